"""Results frame by frame: which frames belong to a rate point, and what quality is lost from one intra frame on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torchDVC.results.conditions import group, mean
from torchDVC.results.rows import POINT, FrameRow, RDRow, read_frames


@dataclass(frozen=True)
class Drift:
    """Mean quality at each distance from the last intra frame, and how it falls.

    Attributes:
        distances: 1, 2, 3, … frames after an intra frame.
        qualities: the mean over all frames at that distance.
        slope: of the straight line through them by least squares, per frame; 0 for a single distance.
    """

    distances: tuple[int, ...]
    qualities: tuple[float, ...]
    slope: float


def point_key(row: RDRow | FrameRow) -> tuple:
    """What a rate point's row and the rows of its frames have in common."""
    return row.run_id, *(getattr(row, name) for name in POINT)


def frames_by_point(tables: Iterable[Path]) -> dict[tuple, list[FrameRow]]:
    """The frames of every rate point, by `point_key`, from the ``frames.csv`` beside each ``rd.csv`` where it is."""
    files = [table.with_name("frames.csv") for table in tables]
    return group([row for file in files if file.exists() for row in read_frames(file)], point_key)


def nearest_points(rows: Iterable[RDRow], bpp: float) -> list[RDRow]:
    """Of each codec on each sequence the rate point whose rate is nearest to ``bpp``, as a ratio."""
    known = [(abs(math.log(row.rate / bpp)), row) for row in rows if row.rate]
    groups = group(known, lambda pair: (pair[1].codec, pair[1].dataset, pair[1].sequence)).values()
    return [min(own, key=lambda pair: pair[0])[1] for own in groups]


def drift(rows: Sequence[FrameRow], metric: str = "psnr_rgb") -> Drift | None:
    """Drift of one sequence at one rate point; None where no frame follows an intra frame.

    Frames of all types but I count, each by its distance in display order from the nearest I frame before it.
    """
    by_distance: dict[int, list[float]] = {}
    last_intra = None
    for row in sorted(rows, key=lambda row: row.frame):
        if row.type == "I":
            last_intra = row.frame
        elif last_intra is not None and getattr(row, metric) is not None:
            by_distance.setdefault(row.frame - last_intra, []).append(getattr(row, metric))
    if not by_distance:
        return None
    distances = tuple(sorted(by_distance))
    qualities = tuple(mean(by_distance[distance]) for distance in distances)
    return Drift(distances, qualities, _slope(distances, qualities))


def _slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Slope of the least-squares line."""
    centre, level = mean(x), mean(y)
    spread = sum((a - centre) ** 2 for a in x)
    return sum((a - centre) * (b - level) for a, b in zip(x, y, strict=True)) / spread if spread else 0.0
