"""Integer frequency tables: the probabilities that encoder, decoder and rate estimate share exactly.

A table set holds one row per distribution. Row ``r`` codes the symbols ``offset[r] .. offset[r] + size[r] - 2``; its
last entry is the *escape* entry, which announces any other 32-bit integer as an Exp-Golomb code (see `Tables.bits`).
Frequencies are integers of at least 1 that sum to ``TOTAL = 2 ** PRECISION`` in each row, so the coder spends
``-log2(frequency / TOTAL)`` bits. Tables are built in floating point once, when a model is exported, and are stored
with it as integers: a decoder never rebuilds them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from torchDVC.util.errors import CheckpointError

if TYPE_CHECKING:
    import torch

PRECISION = 16
"""Bits of every frequency table: the frequencies of a row sum to ``TOTAL``."""
TOTAL = 1 << PRECISION

MAX_ROWS = 1 << 15
MAX_ENTRIES = 1 << 22
"""Bounds of a table set, over all rows; a model file that claims more is refused."""

TAIL = 2.0**-18
"""Probability cut off at each end of a row, left to the escape entry: a symbol rarer than this is cheaper escaped."""


def log_spaced(least: float, most: float, count: int = 64) -> tuple[float, ...]:
    """Standard deviations of the rows of `gaussian_tables`, equally spaced in their logarithm."""
    return tuple(float(s) for s in np.exp(np.linspace(math.log(least), math.log(most), count)))


GAUSSIAN_SCALES = log_spaced(0.11, 128.0)
"""Those of the networks of this framework, in quantisation steps."""
BETWEEN_SCALES = np.sqrt(np.multiply(GAUSSIAN_SCALES[1:], GAUSSIAN_SCALES[:-1]))
"""From which standard deviation on, by its logarithm, the next row is the nearer one."""


@dataclass(frozen=True, eq=False)
class Tables:
    """Frequency tables of a set of integer distributions (rows).

    frequencies: int32 (sum of ``size``,), the rows one after another; each row sums to ``TOTAL`` and ends with escape.
    offset: int32 (rows,), the symbol that the first entry of each row stands for.
    size: int32 (rows,), entries of each row, the escape entry included; at least 2.

    Raises ValueError if the arrays do not describe such tables.
    """

    frequencies: np.ndarray
    offset: np.ndarray
    size: np.ndarray

    def __post_init__(self) -> None:
        for name in ("frequencies", "offset", "size"):
            object.__setattr__(self, name, _frozen_int32(name, getattr(self, name)))
        _check_shapes(self)
        sums = np.add.reduceat(self.frequencies.astype(np.int64), self.first)
        if self.frequencies.min() < 1 or np.any(sums != TOTAL):
            raise ValueError(f"the frequencies of every row must be at least 1 and sum to {TOTAL}")
        last = self.offset.astype(np.int64) + self.size - 2
        if last.max() > np.iinfo(np.int32).max or self.offset.min() == np.iinfo(np.int32).min:
            raise ValueError("a row reaches beyond the 32-bit integers, or down to the least of them")

    @classmethod
    def from_pmf(cls, pmfs: Sequence[np.ndarray], offsets: Sequence[int], tail: float = TAIL) -> Tables:
        """Tables nearest in Kullback-Leibler divergence to given distributions.

        pmfs: one 1-D array of probabilities a row; what they lack of 1 is the probability of other symbols (escape).
        offsets: the symbol of the first element of each array.
        tail: probability that is cut off at each end of a row.
        Raises ValueError on negative or non-finite probabilities, or sums beyond 1 (by more than rounding, 1e-3).
        """
        given = zip(pmfs, offsets, strict=True)
        rows = [_quantised_row(np.asarray(p, dtype=np.float64), int(o), tail) for p, o in given]
        frequencies = np.concatenate([f for f, _ in rows])
        return cls(frequencies, np.array([o for _, o in rows]), np.array([f.size for f, _ in rows]))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Tables:
        """Rebuild from what `to_arrays` gave; raises CheckpointError if the arrays are not valid tables."""
        try:
            return cls(arrays["frequencies"], arrays["offset"], arrays["size"])
        except KeyError as error:
            raise CheckpointError(f"frequency tables lack the array {error}") from error
        except ValueError as error:
            raise CheckpointError(f"frequency tables are damaged: {error}") from error

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The content as int32 arrays, for a model file."""
        return {"frequencies": self.frequencies, "offset": self.offset, "size": self.size}

    @property
    def rows(self) -> int:
        """Number of distributions."""
        return int(self.size.size)

    @functools.cached_property
    def first(self) -> np.ndarray:
        """Where each row begins in ``frequencies``: int64 (rows,)."""
        return np.cumsum(self.size, dtype=np.int64) - self.size

    @functools.cached_property
    def cost(self) -> np.ndarray:
        """Bits of each entry, float32, in the order of ``frequencies``; an escape costs its code on top."""
        return (PRECISION - np.log2(self.frequencies.astype(np.float64))).astype(np.float32)

    def bits(self, symbols: torch.Tensor, indexes: torch.Tensor) -> torch.Tensor:
        """Bits that the coder spends on each symbol, without leaving the device.

        symbols: integers in any dtype, any shape; indexes: row of each symbol, broadcastable against ``symbols``.
        Returns float32 of the broadcast shape. The values carry no gradient.
        """
        import torch

        table = self._on(symbols.device)
        indexes = indexes.long()
        entry = symbols.long() - table["offset"][indexes]
        escape = table["size"][indexes] - 1
        escaped = (entry < 0) | (entry >= escape)
        cost = table["cost"][table["first"][indexes] + torch.where(escaped, escape, entry)]
        below = entry < 0
        code = 2 * torch.where(below, -1 - entry, entry - escape) + below + 1
        digits = torch.bucketize(code.contiguous(), table["powers"], right=True) - 1
        return cost + torch.where(escaped, 2 * digits + 1, 0)

    @functools.cached_property
    def _copies(self) -> dict[torch.device, dict[str, torch.Tensor]]:
        return {}

    def _on(self, device: torch.device) -> dict[str, torch.Tensor]:
        """The arrays that `bits` looks up, on a device; copied there once."""
        import torch

        if device not in self._copies:
            arrays: dict[str, Any] = {"cost": self.cost, "powers": np.int64(1) << np.arange(35)}
            arrays |= {name: getattr(self, name).astype(np.int64) for name in ("offset", "size", "first")}
            self._copies[device] = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
        return self._copies[device]


def gaussian_tables(scales: Sequence[float] = GAUSSIAN_SCALES, tail: float = TAIL) -> Tables:
    """Tables of zero-mean Gaussians integrated over unit quantisation bins, one row per standard deviation.

    ``tail``: see `Tables.from_pmf`; 0 leaves all but 1e-9.
    """
    reach = [math.ceil(6.11 * scale) for scale in scales]
    pmfs = [_gaussian_pmf(scale, k) for scale, k in zip(scales, reach, strict=True)]
    return Tables.from_pmf(pmfs, [-k for k in reach], tail)


def _gaussian_pmf(scale: float, reach: int) -> np.ndarray:
    """Probability of the integers ``-reach .. reach``; from the upper tail, so that small ones keep their accuracy."""
    tail = [0.5 * math.erfc((k + 0.5) / (scale * math.sqrt(2.0))) for k in range(reach + 1)]
    upper = -np.diff(np.array(tail))
    return np.concatenate([upper[::-1], [1.0 - 2.0 * tail[0]], upper])


def _frozen_int32(name: str, array: np.ndarray) -> np.ndarray:
    """A read-only, contiguous int32 copy of a 1-D array of integers that fit in 32 bits."""
    array = np.asarray(array)
    if array.ndim != 1 or array.size == 0 or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name} must be a non-empty 1-D array of integers, not {array.dtype} {array.shape}")
    converted = array.astype(np.int32)
    if np.any(converted != array):
        raise ValueError(f"{name} holds values beyond 32 bits")
    converted.setflags(write=False)
    return converted


def _check_shapes(tables: Tables) -> None:
    if tables.offset.size != tables.size.size:
        raise ValueError(f"{tables.offset.size} offsets for {tables.size.size} rows")
    if tables.size.size > MAX_ROWS or tables.frequencies.size > MAX_ENTRIES:
        raise ValueError(f"more than {MAX_ROWS} rows or {MAX_ENTRIES} entries")
    if tables.size.min() < 2 or tables.size.sum(dtype=np.int64) != tables.frequencies.size:
        raise ValueError("row sizes must be at least 2 and sum to the number of frequencies")


def _quantised_row(pmf: np.ndarray, offset: int, tail: float) -> tuple[np.ndarray, int]:
    """Frequencies of one row, escape last, and the symbol of its first entry, with the improbable ends cut off."""
    if pmf.ndim != 1 or pmf.size == 0 or not np.all(np.isfinite(pmf)) or pmf.min() < 0 or pmf.sum() > 1.001:
        raise ValueError("each distribution must be a 1-D array of probabilities that sum to at most 1")
    begin = min(int(np.searchsorted(np.cumsum(pmf), tail)), pmf.size - 1)
    end = max(pmf.size - int(np.searchsorted(np.cumsum(pmf[::-1]), tail)), begin + 1)
    kept = pmf[begin:end]
    return _quantised(np.append(kept, max(0.0, 1.0 - kept.sum()))), offset + begin


def _quantised(probabilities: np.ndarray) -> np.ndarray:
    """Integers >= 1 with sum ``TOTAL`` that minimise ``-sum(p * log(f))`` (exactly: the cost is convex and separable).

    Starts from rounding, then moves single units to where they gain most from where they cost least.
    """
    if probabilities.size > TOTAL // 2:
        raise ValueError(f"a distribution of {probabilities.size} symbols is too wide for {PRECISION}-bit frequencies")
    p = probabilities / probabilities.sum()
    f = np.maximum(1, np.rint(p * TOTAL))
    while True:
        gain = p * np.log1p(1 / f)
        loss = np.where(f > 1, -p * np.log1p(-1 / np.maximum(f, 2)), np.inf)
        best, cheapest = int(np.argmax(gain)), int(np.argmin(loss))
        surplus = f.sum() - TOTAL
        if surplus == 0 and gain[best] <= loss[cheapest] * (1 + 1e-9):
            return f.astype(np.int32)
        if surplus >= 0:
            f[cheapest] -= 1
        if surplus <= 0:
            f[best] += 1
