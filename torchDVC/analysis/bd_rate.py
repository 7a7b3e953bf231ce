"""Bjontegaard delta rates: how much more rate a codec needs than an anchor for the same quality, in percent."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from torchDVC.analysis.conditions import Curve, curves, group, mean, mean_curves
from torchDVC.analysis.results import RDRow
from torchDVC.util.errors import LCPError, nearest

METHODS = ("pchip", "akima")
AVERAGES = {"rates": "mean of BD-rates", "curve": "BD-rate of the mean curve"}
MINIMUM_OVERLAP = 0.75
MINIMUM_POINTS = 2


@dataclass(frozen=True)
class BDRate:
    """A BD-rate in percent (negative: saves rate); NaN with a ``reason`` where there is none.

    ``overlap`` is the part of the two curves' joint quality range that both cover, from 0 to 1.
    """

    value: float
    overlap: float
    method: str
    reason: str = ""

    @property
    def warning(self) -> str:
        """What a reader must know about a value that stands on little overlap; empty where nothing."""
        if self.reason or self.overlap >= MINIMUM_OVERLAP:
            return ""
        return f"overlap only {self.overlap:.0%}"

    def __str__(self) -> str:
        if self.reason:
            return f"NaN ({self.reason})"
        return f"{self.value:+.1f} %" + (f" ({self.warning})" if self.warning else "")


@dataclass(frozen=True)
class Entry:
    """A line of a BD-rate table; ``sequence`` is empty in the line that averages a data set."""

    codec: str
    dataset: str
    sequence: str
    rate: BDRate


def bd_rate(anchor: Curve, test: Curve, method: str = "pchip") -> BDRate:
    """BD-rate of ``test`` against ``anchor`` over the qualities that both curves cover, log rate interpolated."""
    overlap = _overlap(anchor.qualities, test.qualities)
    reason = _unusable(anchor) or _unusable(test)
    if not reason and overlap == 0:
        reason = (
            f"the curves do not overlap: {min(anchor.qualities):.4g} to {max(anchor.qualities):.4g} and"
            f" {min(test.qualities):.4g} to {max(test.qualities):.4g}"
        )
    if reason:
        return BDRate(math.nan, overlap, method, reason)
    import bjontegaard

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Insufficient curve overlap")  # said by `BDRate.warning`
        value = bjontegaard.bd_rate(
            anchor.rates, anchor.qualities, test.rates, test.qualities, method=method, require_matching_points=False
        )
    return BDRate(float(value), overlap, method)


def bd_table(
    rows: Sequence[RDRow], anchor: str, metric: str = "psnr_rgb", method: str = "pchip", average: str = "rates"
) -> list[Entry]:
    """BD-rates of every codec against ``anchor``: per sequence, then per data set, averaged as `AVERAGES` names."""
    if anchor not in {row.codec for row in rows}:
        raise LCPError(f"no results of the anchor '{anchor}'{nearest(anchor, {row.codec for row in rows})}")
    means = mean_curves(rows, metric)
    entries = _against(anchor, curves(rows, metric), method)
    if average == "curve":
        return entries + _against(anchor, means, method)
    of_dataset = group(entries, lambda entry: (entry.codec, entry.dataset))
    return entries + [Entry(*key, "", _mean([entry.rate for entry in own])) for key, own in of_dataset.items()]


def _against(anchor: str, all_curves: Sequence[Curve], method: str) -> list[Entry]:
    anchors = {(curve.dataset, curve.sequence): curve for curve in all_curves if curve.codec == anchor}
    pairs = [(anchors.get((c.dataset, c.sequence)), c) for c in all_curves if c.codec != anchor]
    return [Entry(c.codec, c.dataset, c.sequence, bd_rate(a, c, method)) for a, c in pairs if a]


def _mean(rates: Sequence[BDRate]) -> BDRate:
    """The mean of BD-rates, with the least overlap among them; NaN where one of them is."""
    overlap = min(rate.overlap for rate in rates)
    without = sum(bool(rate.reason) for rate in rates)
    if without:
        reason = f"{without} of {len(rates)} sequences without a BD-rate"
        return BDRate(math.nan, overlap, rates[0].method, reason)
    return BDRate(mean([rate.value for rate in rates]), overlap, rates[0].method)


def _unusable(curve: Curve) -> str:
    """Why a curve has no BD-rate; empty where it has."""
    if len(curve.rates) < MINIMUM_POINTS:
        return f"{curve.codec} has {len(curve.rates)} point, a curve needs {MINIMUM_POINTS}"
    if min(curve.rates) <= 0:
        return f"{curve.codec} has a rate of 0"
    pairs = zip(itertools.pairwise(curve.rates), itertools.pairwise(curve.qualities), strict=True)
    if any(r1 >= r2 or q1 >= q2 for (r1, r2), (q1, q2) in pairs):
        return f"{curve.codec}: quality does not rise with rate"
    return ""


def _overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Common part of two ranges divided by their joint range."""
    common = min(max(a), max(b)) - max(min(a), min(b))
    joint = max(*a, *b) - min(*a, *b)
    return max(0.0, common) / joint if joint > 0 else 0.0
