"""Averages of the scalars of training steps, between two rows of metrics."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch
from torch import Tensor


class Rate:
    """How fast something goes: ``add`` counts, ``take`` gives the count a second since the last call."""

    def __init__(self) -> None:
        self._count, self._start = 0, time.monotonic()

    def add(self, count: int) -> None:
        """Count more."""
        self._count += count

    def take(self) -> float:
        """The mean since the last call, or since this began."""
        count, start = self._count, self._start
        self._count, self._start = 0, time.monotonic()
        return count / max(self._start - start, 1e-9)


class Averages:
    """Collects tensors without waiting for the device, and averages them when asked.

    Args:
        total: adds up a tensor over all processes, which must hold values of the same names; by default there is one.
    """

    def __init__(self, total: Callable[[Tensor], Tensor] = lambda tensor: tensor) -> None:
        self._total = total
        self._values: dict[str, list[Tensor]] = {}
        self._shown: dict[str, str] = {}

    def add(self, values: dict[str, Tensor]) -> None:
        """The scalars of one step."""
        for name, value in values.items():
            self._values.setdefault(name, []).append(value.detach())

    def take(self) -> dict[str, float]:
        """The means since the last call, over the finite values of all processes."""
        sums = self._total(torch.tensor([_sum(values) for values in self._values.values()], dtype=torch.float64))
        means = {name: x / n if n else math.nan for name, (x, n) in zip(self._values, sums.tolist(), strict=True)}
        self._values = {}
        self._shown = {name: f"{means[name]:.4g}" for name in ("loss", "rate") if name in means}
        self._shown |= {name: f"{means[name]:.3g}" for name in means if name.endswith("distortion")}
        return means

    def shown(self) -> dict[str, str]:
        """The latest means, for a progress bar."""
        return self._shown


def _sum(values: list[Tensor]) -> tuple[float, int]:
    """Sum and number of the finite values."""
    finite = [x for x in map(float, values) if math.isfinite(x)]
    return sum(finite), len(finite)
