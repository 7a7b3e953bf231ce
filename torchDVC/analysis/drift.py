"""Drift: what quality is lost, frame by frame, between one intra frame and the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torchDVC.analysis.conditions import mean
from torchDVC.analysis.results import FrameRow


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
