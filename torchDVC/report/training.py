"""Curves of training for a report page, read from the ``metrics.csv`` of runs."""

from __future__ import annotations

import base64
import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from torchDVC.results.conditions import mean
from torchDVC.util.errors import DataError

POINTS = 300
"""A curve is thinned to at most so many points, each the mean of a stretch."""
PICTURES = 8
"""As many pictures of a run are shown, ``PICTURE_SIDE`` pixels wide or high at most."""
PICTURE_SIDE = 288
PLACES = ("step", "seconds", "stage", "epoch")
"""Columns that say where a row stands; all others are curves."""


def metrics_files(folders: Sequence[Path]) -> list[Path]:
    """Every ``metrics.csv`` in the folders and below them."""
    return [file for folder in folders if folder.is_dir() for file in sorted(folder.rglob("metrics.csv"))]


def training_runs(files: Sequence[Path]) -> list[dict[str, Any]]:
    """Of each run that has trained: name, stages, points (step, minutes, value) by term, and pictures over time."""
    runs = []
    for file in files:
        rows = _rows(file)
        terms = {term: points for term in _terms(rows) if len(points := list(_points(rows, term))) > 1}
        if terms:
            runs.append({
                "name": file.parent.name,
                "stages": _stages(rows),
                "terms": {term: _thinned(points) for term, points in terms.items()},
                "pictures": [_shown(path) for path in _spread(sorted((file.parent / "pictures").glob("*.png")))],
            })
    return runs


def how_training_went(runs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A sentence for each run of `training_runs` that was validated more than once: its loss, first and last."""
    for run in runs:
        losses = [value for _, _, value in run["terms"].get("val_loss", ())]
        if losses:
            amount = 100 * (losses[-1] / losses[0] - 1)
            became = f"{abs(amount):.1f} % {'lower' if amount < 0 else 'higher'}"
            yield f"The validation loss of {run['name']} was {losses[0]:.4g} at first and ended {became}."


def _spread(pictures: Sequence[Path]) -> list[Path]:
    """The first, the last and others between them, `PICTURES` at most."""
    count = min(PICTURES, len(pictures))
    return [pictures[round(i * (len(pictures) - 1) / max(count - 1, 1))] for i in range(count)]


def _shown(path: Path) -> dict[str, Any]:
    """A picture that training left, small, and the step in its name."""
    try:
        with Image.open(path) as picture:
            small = picture.convert("RGB")
            small.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
            data = io.BytesIO()
            small.save(data, "webp", quality=80)
    except OSError:
        raise DataError(f"{path}: damaged; remove it") from None
    return {"step": int(path.stem) if path.stem.isdecimal() else 0, "image": base64.b64encode(data.getvalue()).decode()}


def _rows(file: Path) -> list[dict[str, str]]:
    """Every whole row; a killed run may leave an incomplete last line, which is dropped."""
    try:
        reader = csv.DictReader(io.StringIO(file.read_text(encoding="utf-8").rpartition("\n")[0]), restval="")
        rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: not a csv file ({error})") from None
    for number, row in enumerate(rows, start=2):
        if not row.get("step", "").isdecimal() or None in row:
            raise DataError(f"{file}:{number}: not a row of metrics; expected {','.join(reader.fieldnames or ())}")
    return rows


def _terms(rows: Sequence[Mapping[str, str]]) -> list[str]:
    return [name for name in (rows[0] if rows else ()) if name not in PLACES]


def _points(rows: Sequence[Mapping[str, str]], term: str) -> Iterator[tuple[float, float, float]]:
    for row in rows:
        values = (_number(row["step"]), _number(row.get("seconds", "")) / 60, _number(row[term]))
        if all(map(math.isfinite, values)):
            yield values


def _stages(rows: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """The name of each stage, and the step and minute of its first row."""
    found: list[dict[str, Any]] = []
    for row in rows:
        if row.get("stage") and (not found or found[-1]["name"] != row["stage"]):
            minute = _number(row.get("seconds", "")) / 60
            found.append({"name": row["stage"], "step": int(row["step"]), "minute": round(minute, 3)})
    return found


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _thinned(points: Sequence[tuple[float, float, float]]) -> list[list[float]]:
    stretch = math.ceil(len(points) / POINTS)
    parts = [points[i : i + stretch] for i in range(0, len(points), stretch)]
    return [[float(f"{mean(values):.5g}") for values in zip(*part, strict=True)] for part in parts]
