"""Averages of the scalars of training steps, between two rows of metrics."""

from __future__ import annotations

import math

from torch import Tensor


class Averages:
    """Collects tensors without waiting for the device, and averages them when asked."""

    def __init__(self) -> None:
        self._values: dict[str, list[Tensor]] = {}
        self._shown: dict[str, str] = {}

    def add(self, values: dict[str, Tensor]) -> None:
        """The scalars of one step."""
        for name, value in values.items():
            self._values.setdefault(name, []).append(value.detach())

    @property
    def empty(self) -> bool:
        """Nothing was added since the last `take`."""
        return not self._values

    def take(self) -> dict[str, float]:
        """The means since the last call, over the finite values."""
        means = {name: _mean(values) for name, values in self._values.items()}
        self._values = {}
        self._shown = {name: f"{means[name]:.4g}" for name in ("loss", "rate") if name in means}
        self._shown |= {name: f"{means[name]:.3g}" for name in means if name.endswith("distortion")}
        return means

    def shown(self) -> dict[str, str]:
        """The latest means, for a progress bar."""
        return self._shown


def _mean(values: list[Tensor]) -> float:
    finite = [x for x in map(float, values) if math.isfinite(x)]
    return sum(finite) / len(finite) if finite else math.nan
