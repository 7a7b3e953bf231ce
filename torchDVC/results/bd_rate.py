"""Bjontegaard delta rates: how much more rate a codec needs than an anchor for the same quality, in percent."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torchDVC.results.conditions import Curve, group, mean
from torchDVC.util.errors import LCPError, nearest

ANCHORS = ("x264", "x265", "svtav1", "vp9")
"""What BD-rates are against unless told: the first of these that was measured."""

METHODS = ("pchip", "akima")
AVERAGES = {"rates": "mean of BD-rates", "curve": "BD-rate of the mean curve"}
MINIMUM_OVERLAP = 0.75
"""Of qualities; below it a BD-rate carries a warning."""
LEAST_OVERLAP = 0.25
"""Of qualities, and of rates on a logarithmic scale; below it a BD-rate is not shown."""
MINIMUM_POINTS = 2


@dataclass(frozen=True)
class BDRate:
    """A BD-rate in percent (negative: saves rate); NaN with a ``reason`` where there is none.

    ``overlap`` is the part of the two curves' joint quality range that both cover, from 0 to 1; ``rate_overlap`` the
    same of their rates, on a logarithmic scale.
    """

    value: float
    overlap: float
    method: str
    reason: str = ""
    rate_overlap: float = 1.0

    @property
    def comparable(self) -> bool:
        """Whether the value says enough to be shown: the curves share more than a fringe of qualities and of rates."""
        return not self.reason and min(self.overlap, self.rate_overlap) >= LEAST_OVERLAP

    @property
    def text(self) -> str:
        """The value as tables show it."""
        if self.reason:
            return "NaN"
        return f"{self.value:+.2f} %" if self.comparable else "not comparable"

    @property
    def warning(self) -> str:
        """What a reader must know about a value that stands on little overlap; empty where nothing."""
        if self.reason:
            return ""
        if not self.comparable:
            what, part = min(("qualities", self.overlap), ("rates", self.rate_overlap), key=lambda pair: pair[1])
            return f"{what} hardly overlap ({part:.0%}): not comparable"
        return f"overlap only {self.overlap:.0%}" if self.overlap < MINIMUM_OVERLAP else ""


@dataclass(frozen=True)
class Entry:
    """A line of a BD-rate table; in one for a data set ``sequence`` is empty and ``average`` says how it came about."""

    codec: str
    dataset: str
    sequence: str
    rate: BDRate
    average: str = ""

    @property
    def note(self) -> str:
        """How the value came about, and what to know of it."""
        return "; ".join(filter(None, (self.average, self.rate.reason or self.rate.warning)))


def choose_anchor(asked: str, codecs: Iterable[str]) -> str:
    """The codec that the others are compared with: the one asked for, else the first of `ANCHORS`, else the first."""
    names = list(dict.fromkeys(codecs))
    if asked and asked not in names:
        raise LCPError(f"no results of the anchor '{asked}'{nearest(asked, names)}")
    return asked or next((name for anchor in ANCHORS for name in names if name.startswith(anchor)), names[0])


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
    return BDRate(float(value), overlap, method, rate_overlap=_overlap(_logs(anchor.rates), _logs(test.rates)))


def bd_table(
    per_sequence: Sequence[Curve], means: Sequence[Curve], anchor: str, method: str = "pchip", average: str = "rates"
) -> list[Entry]:
    """BD-rates of every codec against ``anchor``: per sequence, then per data set, averaged as `AVERAGES` names.

    A codec that has a mean curve only, such as a published one, is compared by it whatever ``average`` says.

    Args:
        per_sequence: one curve for each codec and sequence.
        means: one curve for each codec and data set.
        anchor: name of a codec.
        method: interpolation, one of `METHODS`.
        average: one of `AVERAGES`.
    """
    known = {curve.codec for curve in (*per_sequence, *means)}
    if anchor not in known:
        raise LCPError(f"no results of the anchor '{anchor}'{nearest(anchor, known)}")
    entries = _against(anchor, per_sequence, method)
    averaged = {}
    sequences = {(curve.dataset, curve.sequence) for curve in per_sequence}
    if average == "rates":
        for key, own in group(entries, lambda entry: (entry.codec, entry.dataset)).items():
            of_dataset = sum(dataset == key[1] for dataset, _ in sequences)
            over = f" over {len(own)} of {of_dataset} sequences" if len(own) < of_dataset else ""
            averaged[key] = Entry(*key, "", _mean([entry.rate for entry in own]), AVERAGES["rates"] + over)
    others = [curve for curve in means if (curve.codec, curve.dataset) not in averaged]
    return [*entries, *averaged.values(), *_against(anchor, others, method, AVERAGES["curve"])]


def bd_lines(entries: Iterable[Entry]) -> tuple[list[str], list[list[str]]]:
    """Header and lines of a BD-rate table: what is compared, the value, the overlap of the curves, and what to know."""
    header = ["data set", "sequence", "codec", "BD-rate", "overlap", "note"]
    lines = []
    for entry in entries:
        rate = entry.rate
        names = [entry.dataset, entry.sequence or "(all)", entry.codec]
        lines.append([*names, rate.text, f"{rate.overlap:.0%}", entry.note])
    return header, lines


def dataset_rates(entries: Iterable[Entry]) -> dict[str, float]:
    """For each codec the mean over data sets of its BD-rate, in percent; codecs that lack one to show are left out."""
    of_datasets = group((entry for entry in entries if not entry.sequence), lambda entry: entry.codec)
    shown = {codec: own for codec, own in of_datasets.items() if all(entry.rate.comparable for entry in own)}
    return {codec: mean([entry.rate.value for entry in own]) for codec, own in shown.items()}


def _against(anchor: str, all_curves: Sequence[Curve], method: str, average: str = "") -> list[Entry]:
    anchors = {(curve.dataset, curve.sequence): curve for curve in all_curves if curve.codec == anchor}
    pairs = [(anchors.get((c.dataset, c.sequence)), c) for c in all_curves if c.codec != anchor]
    return [Entry(c.codec, c.dataset, c.sequence, bd_rate(a, c, method), average) for a, c in pairs if a]


def _mean(rates: Sequence[BDRate]) -> BDRate:
    """The mean of BD-rates, with the least overlaps among them; NaN where one of them is."""
    overlap, of_rates = min(rate.overlap for rate in rates), min(rate.rate_overlap for rate in rates)
    without = sum(bool(rate.reason) for rate in rates)
    if without:
        reason = f"{without} of {len(rates)} sequences without a BD-rate"
        return BDRate(math.nan, overlap, rates[0].method, reason)
    return BDRate(mean([rate.value for rate in rates]), overlap, rates[0].method, rate_overlap=of_rates)


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


def _logs(rates: Sequence[float]) -> list[float]:
    return [math.log(rate) for rate in rates]


def _overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Common part of two ranges divided by their joint range."""
    common = min(max(a), max(b)) - max(min(a), min(b))
    joint = max(*a, *b) - min(*a, *b)
    return max(0.0, common) / joint if joint > 0 else 0.0
