"""What a DVC test reports: a csv of each sequence's frames, and a summary on screen and on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from torchDVC.results.conditions import group
from torchDVC.results.folder import ResultsFolder
from torchDVC.results.per_frame import point_key
from torchDVC.results.rows import FrameRow, RDRow
from torchDVC.results.tables import csv_table, text_table
from torchDVC.util.files import write_text

Column = Callable[[FrameRow, int], float | None]

COLUMNS: Mapping[str, Column] = {
    "psnr": lambda row, pixels: row.psnr_rgb,
    "ms_ssim": lambda row, pixels: row.ms_ssim_rgb,
    "rate": lambda row, pixels: row.bits / pixels,
    "mc_psnr": lambda row, pixels: row.pictures.get("mc"),
    "warped_psnr": lambda row, pixels: row.pictures.get("warped"),
    "motion_rate": lambda row, pixels: _of(row.rates, "motion", pixels),
    "residual_rate": lambda row, pixels: _of(row.rates, "residual", pixels),
    "motion_hyper_rate": lambda row, pixels: _of(row.hyper_rates, "motion", pixels),
    "residual_hyper_rate": lambda row, pixels: _of(row.hyper_rates, "residual", pixels),
    "intra_rate": lambda row, pixels: _of(row.rates, "intra", pixels),
}
"""Of a frame: PSNR in dB, rates in bits per pixel, those of the hyper-latents being part of their module's rate."""


def _of(bits: Mapping[str, float], label: str, pixels: int) -> float | None:
    return bits[label] / pixels if label in bits else None


def frame_table(rows: Sequence[FrameRow], pixels: int) -> str:
    """A sequence's frames in display order, as csv."""
    ordered = sorted(rows, key=lambda row: row.frame)
    cells = [[str(row.frame), row.type, *(_cell(of(row, pixels)) for of in COLUMNS.values())] for row in ordered]
    return csv_table(["frame", "type", *COLUMNS], cells)


def summary(sequences: Sequence[tuple[RDRow, Sequence[FrameRow]]]) -> tuple[list[str], list[list[str]]]:
    """Header and a line for each sequence: means over the frames that have a value, and the mean of all sequences."""
    means = [[_mean([of(f, row.width * row.height) for f in frames]) for of in COLUMNS.values()]
             for row, frames in sequences]
    lines = [[row.dataset, row.sequence, str(row.frames), *map(_cell, own)]
             for (row, _), own in zip(sequences, means, strict=True)]
    overall = [_mean(column) for column in zip(*means, strict=True)]
    lines.append(["", "all", str(sum(row.frames for row, _ in sequences)), *map(_cell, overall)])
    return ["dataset", "sequence", "frames", *COLUMNS], lines


def write(folder: Path, results: ResultsFolder, lmda: float) -> str:
    """Write ``<dataset>_<sequence>.csv`` for each sequence of a rate, and ``summary.csv``; returns that as text."""
    of_point = group(results.frame_rows(), point_key)
    sequences = [(row, of_point[point_key(row)]) for row in results.rows() if row.lmda == lmda]
    for row, frames in sequences:
        write_text(folder / f"{row.dataset}_{row.sequence}.csv", frame_table(frames, row.width * row.height))
    header, lines = summary(sequences)
    write_text(folder / "summary.csv", csv_table(header, lines))
    return text_table(header, lines) + f"written to {folder / 'summary.csv'}"


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
