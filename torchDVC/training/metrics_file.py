"""The csv file of a run's metrics."""

from __future__ import annotations

import contextlib
import csv
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torchDVC.results.run_folder import set_aside
from torchDVC.util.errors import LCPError
from torchDVC.util.files import append_bytes, write_text

Value = float | int | str


class MetricsFile:
    """A csv file of metrics, one row a call, with a column for every name met so far and ``step`` first.

    Each row is handed to the system before `append` returns. A name met for the first time rewrites the file,
    atomically, with one more column. Rows without a value for a column leave it empty.
    """

    def __init__(self, path: Path, resume_step: int | None = None) -> None:
        self.path = path
        self._columns = ["step"]
        if resume_step is None:
            set_aside(path)
        elif path.exists():
            self._columns, rows = self._read()
            self._write([row for row in rows if int(row["step"]) <= resume_step])

    def append(self, step: int, values: Mapping[str, Value]) -> None:
        """Add one row."""
        new = [name for name in values if name not in self._columns]
        if new or not self.path.exists():
            rows = self.rows()
            self._columns += new
            self._write(rows)
        append_bytes(self.path, _csv_text(self._columns, [{"step": step, **values}]).encode())

    def rows(self) -> list[dict[str, str]]:
        """Every whole row; empty texts where a row has no value."""
        return self._read()[1] if self.path.exists() else []

    def seconds(self) -> float:
        """The time of the last row that has one, 0 where there is none."""
        return max((float(row["seconds"]) for row in self.rows() if row.get("seconds")), default=0.0)

    def _read(self) -> tuple[list[str], list[dict[str, str]]]:
        """Columns and rows; an incomplete last line, which a killed run may leave, is dropped."""
        whole = self.path.read_text(encoding="utf-8-sig").rpartition("\n")[0]
        reader = csv.DictReader(io.StringIO(whole), restval="")
        rows = list(reader)
        columns = list(reader.fieldnames or ())
        for number, row in enumerate(rows, start=2):
            if not re.fullmatch(r"\d+", row.get("step", "")) or None in row:
                raise LCPError(f"{self.path}:{number}: not a row of metrics; expected {','.join(columns) or 'step,…'}")
        return columns or ["step"], rows

    def _write(self, rows: list[dict[str, str]]) -> None:
        write_text(self.path, ",".join(self._columns) + "\n" + _csv_text(self._columns, rows))


def _csv_text(columns: list[str], rows: list[Any]) -> str:
    text = io.StringIO()
    csv.DictWriter(text, columns, restval="", lineterminator="\n").writerows(rows)
    return text.getvalue()


def numbers(row: Mapping[str, str]) -> dict[str, float]:
    """The metrics of a csv row: the columns that hold numbers, without step and time."""
    found = {}
    for name in row.keys() - {"step", "seconds"}:
        with contextlib.suppress(ValueError):
            found[name] = float(row[name])
    return found
