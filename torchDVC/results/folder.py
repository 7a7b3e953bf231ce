"""The tables of a folder of results, to which several processes may add at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torchDVC.results.conditions import rate_point
from torchDVC.results.per_frame import point_key
from torchDVC.results.rows import PLACE, FrameRow, RDRow, read_frames, read_rows, write_rows
from torchDVC.results.tables import text_table
from torchDVC.util.errors import DataError
from torchDVC.util.files import remove_leftovers
from torchDVC.util.locks import locked


class ResultsFolder:
    """``rd.csv`` and ``frames.csv`` of a folder, which hold every rate point of every codec once.

    A new measurement of a rate point takes the place of the old one. Nothing is kept in memory: what other processes
    add, before or at the same time, stays and is seen.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.rd, self.frames = folder, folder / "rd.csv", folder / "frames.csv"
        remove_leftovers(folder)

    def rows(self) -> list[RDRow]:
        """The rate points."""
        return read_rows(self.rd) if self.rd.exists() else []

    def frame_rows(self) -> list[FrameRow]:
        """Their frames."""
        return read_frames(self.frames) if self.frames.exists() else []

    def has(self, conditions: Mapping[str, Any]) -> bool:
        """A row of this rate point follows from just the same."""
        names = (*PLACE, "digest")
        return any(all(getattr(row, name) == conditions[name] for name in names) for row in self.rows())

    def check_source(self, dataset: str, sequence: str, source: str) -> None:
        """Raises `DataError` where the folder has results of another clip of that name, which is still there."""
        for row in self.rows():
            same_name = (row.dataset, row.sequence) == (dataset, sequence)
            if same_name and row.source not in ("", source) and Path(row.source).exists():
                raise DataError(
                    f"{source}: would be {sequence} of {dataset} in {self.rd}, as {row.source} is; give another "
                    "--save_dir, or rename one"
                )

    def add(self, measured: Iterable[tuple[RDRow, Sequence[FrameRow]]]) -> None:
        """Put rate points with their frames in their places, and write both files.

        Raises `DataError` as `check_source` does: another process may have begun with another clip at the same time.
        """
        new = {_place(row): (row, frames) for row, frames in measured}
        with locked(self.folder / ".rd.lock"):
            for row, _ in new.values():
                self.check_source(row.dataset, row.sequence, row.source)
            kept = [row for row in self.rows() if _place(row) not in new]
            keys = set(map(point_key, kept))
            of_kept = [frame for frame in self.frame_rows() if point_key(frame) in keys]
            write_rows(self.frames, of_kept + [frame for _, frames in new.values() for frame in frames])
            write_rows(self.rd, kept + [row for row, _ in new.values()])

    def summary(self) -> str:
        """A line a rate point."""
        header = ["data set", "sequence", "process", "rate point", "bpp", "PSNR-RGB", "PSNR-YUV", "MS-SSIM"]
        lines = [
            [r.dataset, r.sequence, r.process, rate_point(r), _short(r.rate, ".4f"), _short(r.psnr_rgb, ".2f"),
             _short(r.psnr_yuv, ".2f"), _short(r.ms_ssim_rgb, ".4f")]
            for r in self.rows()
        ]  # fmt: skip
        return text_table(header, lines) + f"written to {self.rd}"


def _place(row: RDRow) -> tuple:
    return tuple(getattr(row, name) for name in PLACE)


def _short(value: float | None, form: str) -> str:
    return "" if value is None else f"{value:{form}}"
