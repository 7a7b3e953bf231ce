"""Which rows may be compared: the test conditions of rate-distortion rows, and curves made of comparable rows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from torchDVC.results.rows import RDRow
from torchDVC.util.errors import DataError

OF_TEST = ("intra_period", "gop_size", "matrix", "range")
"""Conditions that must be the same in all rows that one figure or table compares."""

OF_SEQUENCE = ("width", "height", "frames", "fps")
"""Conditions that must be the same in all rows of one sequence.

Frames a second are one of them as encoders read their quality number differently at another rate. Rows that do not tell
a condition, as those of old files, are compared with any.
"""

METRICS = {
    "psnr_rgb": "PSNR-RGB (dB)",
    "ms_ssim_rgb": "MS-SSIM-RGB",
    "psnr_y": "PSNR-Y (dB)",
    "psnr_u": "PSNR-U (dB)",
    "psnr_v": "PSNR-V (dB)",
    "psnr_yuv": "PSNR-YUV 6:1:1 (dB)",
}

Item = TypeVar("Item")
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Curve:
    """A codec's rate points on one sequence, or the mean over a data set's (``sequence`` empty), by rising rate."""

    codec: str
    dataset: str
    sequence: str
    rates: tuple[float, ...]
    qualities: tuple[float, ...]
    estimated: bool = False
    """True where a rate is an estimate because no stream was written."""


def group(items: Iterable[Item], key: Callable[[Item], Key]) -> dict[Key, list[Item]]:
    """Items by key, keys in order of first appearance."""
    groups: dict[Key, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def check_comparable(rows: Sequence[RDRow]) -> None:
    """Refuse rows of different test conditions, naming the condition and two of the codecs that differ in it."""
    _check_equal(rows, OF_TEST, "")
    for (dataset, sequence), of_sequence in group(rows, lambda row: (row.dataset, row.sequence)).items():
        _check_equal(of_sequence, OF_SEQUENCE, f" on {dataset} {sequence}")


def check_distinct(rows: Iterable[RDRow]) -> None:
    """Refuse two rows for the same point: same codec, sequence, conditions, lmda and quality."""

    def point(row: RDRow) -> tuple:
        return (row.codec, row.dataset, row.sequence, row.lmda, row.quality, row.process, *condition(row))

    for first, *others in group(rows, point).values():
        if others:
            raise DataError(
                f"{first.codec}: two results for {first.dataset} {first.sequence} at {rate_point(first)} (runs"
                f" {first.run_id or '?'} and {others[0].run_id or '?'}); leave one of them out"
            )


def label_processes(rows: Sequence[RDRow]) -> list[RDRow]:
    """The rows with the test process added to the name of every codec that was tested in several."""
    processes = {codec: {row.process for row in own} for codec, own in group(rows, lambda row: row.codec).items()}

    def label(row: RDRow) -> str:
        return f"{row.codec} (process {row.process})" if row.process and len(processes[row.codec]) > 1 else row.codec

    return [replace(row, codec=label(row)) for row in rows]


def label_conditions(rows: Sequence[RDRow]) -> list[RDRow]:
    """The rows with each condition that differs between them added to the codec's name, for comparing them anyway."""
    differing = [name for name in OF_TEST if _differ(rows, name)]
    of_sequence = group(rows, lambda row: (row.dataset, row.sequence)).values()
    differing += [name for name in OF_SEQUENCE if any(_differ(own, name) for own in of_sequence)]
    if not differing:
        return list(rows)

    def label(row: RDRow) -> str:
        return f"{row.codec} ({', '.join(f'{name} {getattr(row, name)}' for name in differing)})"

    return [replace(row, codec=label(row)) for row in rows]


def _differ(rows: Sequence[RDRow], name: str) -> bool:
    return len({getattr(row, name) for row in rows} - {None}) > 1


def condition(row: RDRow) -> tuple:
    """The values of all conditions of a row."""
    return tuple(getattr(row, name) for name in OF_TEST + OF_SEQUENCE)


def describe_conditions(rows: Sequence[RDRow]) -> str:
    """The test conditions of rows in words; where they differ, all values of each condition."""
    names = {"intra_period": "intra period", "gop_size": "GOP size", "matrix": "matrix", "range": "range"}
    values = {name: sorted({getattr(row, name) for row in rows}) for name in (*OF_TEST, "frames")}
    parts = [f"{names[name]} {'/'.join(map(str, values[name]))}" for name in OF_TEST]
    frames = values["frames"]
    parts.append(f"{frames[0]} frames" if len(frames) == 1 else f"{frames[0]} to {frames[-1]} frames")
    return ", ".join(parts)


def rate_point(row: RDRow) -> str:
    """The name of a row's rate point: its lmda, or its quality."""
    parts = [f"{name} {_rounded(value)}" for name in ("lmda", "quality") if (value := getattr(row, name)) is not None]
    return ", ".join(parts) or "its only rate point"


def _rounded(value: float) -> str:
    """Whole numbers as they are, others with three digits, or all before the point."""
    if value == round(value):
        return f"{value:g}"
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def curves(rows: Iterable[RDRow], metric: str) -> list[Curve]:
    """One curve for each codec and sequence; rows without a rate or without the metric are left out."""
    known = [row for row in rows if row.rate is not None and getattr(row, metric) is not None]
    check_distinct(known)
    groups = group(known, lambda row: (row.codec, row.dataset, row.sequence))
    return [_curve(key, [(row,) for row in of_curve], metric) for key, of_curve in groups.items()]


def mean_curves(rows: Iterable[RDRow], metric: str, mix: bool = False) -> list[Curve]:
    """One curve for each codec and data set: rates and qualities averaged over its sequences, point by point.

    Refused where a sequence lacks a rate point of the others and, unless told to ``mix``, where the codecs were not all
    run on the same sequences.
    """
    known = [row for row in rows if row.rate is not None and getattr(row, metric) is not None]
    check_distinct(known)
    if not mix:
        check_same_sequences(known)
    means = []
    for (codec, dataset), of_codec in group(known, lambda row: (row.codec, row.dataset)).items():
        means.append(_curve((codec, dataset, ""), matched_points(of_codec), metric))
    return means


def possible_mean_curves(rows: Iterable[RDRow], metric: str, notes: list[str], mix: bool = False) -> list[Curve]:
    """The `mean_curves` of the data sets on which they can be made; adds a note for each of the others."""
    found = []
    for own in group(rows, lambda row: row.dataset).values():
        try:
            found += mean_curves(own, metric, mix)
        except DataError as error:
            note = f"No means: {error}"
            if note not in notes:
                notes.append(note)
    return found


def matched_points(rows: Sequence[RDRow]) -> list[tuple[RDRow, ...]]:
    """A codec's rows by rate point; refused where a point lacks a sequence that another has."""
    points = list(group(rows, lambda row: (row.lmda, row.quality, row.process)).values())
    sequences = {row.sequence for row in rows}
    for point in points:
        missing = sequences - {row.sequence for row in point}
        if missing:
            raise DataError(
                f"{point[0].codec}: no result for {point[0].dataset} {min(missing)} at {rate_point(point[0])}; a mean"
                " over sequences needs the same rate points in each"
            )
    return [tuple(point) for point in points]


def check_same_sequences(rows: Iterable[RDRow]) -> None:
    """Refuse to average codecs over different sequences of a data set."""
    for dataset, of_dataset in group(rows, lambda row: row.dataset).items():
        run = {codec: {row.sequence for row in own} for codec, own in group(of_dataset, lambda r: r.codec).items()}
        for (a, of_a), (b, of_b) in itertools.pairwise(run.items()):
            if of_a != of_b:
                lacking, missing = (b, of_a - of_b) if of_a - of_b else (a, of_b - of_a)
                raise DataError(
                    f"{dataset}: {lacking} has no results for {', '.join(sorted(missing))}, which"
                    f" {a if lacking == b else b} has; means over different sequences are not compared"
                )


def _check_equal(rows: Sequence[RDRow], names: Iterable[str], where: str) -> None:
    for name in names:
        for a, b in itertools.pairwise(row for row in rows if getattr(row, name) is not None):
            if getattr(a, name) != getattr(b, name):
                raise DataError(
                    f"different test conditions{where}: {name} is {getattr(a, name)} for {a.codec} and"
                    f" {getattr(b, name)} for {b.codec}"
                )


def _curve(key: tuple[str, str, str], points: Sequence[Sequence[RDRow]], metric: str) -> Curve:
    means = [(_mean_of(point, "rate"), _mean_of(point, metric)) for point in points]
    rates, qualities = zip(*sorted(means), strict=True)
    estimated = any(row.bpp is None for point in points for row in point)
    return Curve(*key, rates=rates, qualities=qualities, estimated=estimated)


def _mean_of(rows: Sequence[RDRow], name: str) -> float:
    return mean([getattr(row, name) for row in rows])


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean."""
    return math.fsum(values) / len(values)
