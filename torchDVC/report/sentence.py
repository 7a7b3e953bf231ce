"""What a report page says in words before it shows anything: what was run, and how it came out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from torchDVC.results.bd_rate import BDRate, bd_table
from torchDVC.results.conditions import METRICS, Curve, curves, group, possible_mean_curves
from torchDVC.results.rows import RDRow

CLIPS_NAMED = 3


def what_was_run(rows: Sequence[RDRow], anchors: Iterable[str]) -> str:
    """One sentence: which codecs at how many rates, beside which others, on what, how."""
    codecs = group(rows, lambda row: row.codec)
    tested, others = _tested(rows, anchors)
    words = _listed(f"{name} at {_counted(_rates(codecs[name]), 'rate')}" for name in tested)
    beside = f", beside {_listed(others)}," if others else ""
    return f"{words}{beside} on {_clips(rows)}, {_structure(rows[0])}."


def how_it_came_out(rows: Sequence[RDRow], metric: str, anchors: Iterable[str]) -> Iterator[str]:
    """A sentence for each tested codec and data set: its BD-rates against all anchors that were run beside it.

    Those after the first, such as what became of a codec that was trained on, are compared with the first too.
    """
    notes: list[str] = []  # the page says them already
    of_sequences, means = curves(rows, metric), possible_mean_curves(rows, metric, notes)
    tested, others = _tested(rows, anchors)
    references = [other for other in (*others, tested[0]) if _has(other, of_sequences, means)]
    tables = {other: bd_table(of_sequences, means, other) for other in references}
    datasets = list(dict.fromkeys(row.dataset for row in rows))
    for codec in tested:
        for dataset in datasets:
            rates = {
                other: entry.rate
                for other, entries in tables.items()
                for entry in entries
                if (entry.codec, entry.dataset, entry.sequence) == (codec, dataset, "")
            }
            where = f" on {dataset}" if len(datasets) > 1 else ""
            yield from _verdicts(codec, rates, METRICS[metric].split(" (")[0] + where)


def _verdicts(codec: str, rates: Mapping[str, BDRate], what: str) -> Iterator[str]:
    amounts = [
        f"{abs(rate.value):.1f} % {'less' if rate.value < 0 else 'more'} than {other}"
        for other, rate in rates.items()
        if rate.comparable
    ]
    if amounts:
        first, *more = amounts
        yield f"{codec} needs {_listed([first.replace(' than', ' rate than', 1), *more])} for the same {what}."
    for other, rate in rates.items():
        if not rate.comparable:
            yield f"{codec} and {other}: {rate.reason or rate.warning}."


def _tested(rows: Sequence[RDRow], anchors: Iterable[str]) -> tuple[list[str], list[str]]:
    """The names of the tested codecs, and of the anchors; anchors alone count as tested."""
    known = tuple(anchors)
    names = list(dict.fromkeys(row.codec for row in rows))
    tested = [name for name in names if not name.startswith(known)]
    return (tested, [name for name in names if name not in tested]) if tested else (names, [])


def _has(codec: str, *all_curves: Sequence[Curve]) -> bool:
    return any(curve.codec == codec for own in all_curves for curve in own)


def _clips(rows: Sequence[RDRow]) -> str:
    clips = {(row.dataset, row.sequence): row for row in rows}
    names = [row.sequence for row in clips.values()]
    named = names[0] if len(names) == 1 else _counted(len(names), "clip")
    if 1 < len(names) <= CLIPS_NAMED:
        named += f" ({_listed(names)})"
    sizes = {f"{row.width}x{row.height}" for row in clips.values()}
    frames = sorted({row.frames for row in clips.values()})
    size = f"of {sizes.pop()} pixels" if len(sizes) == 1 else "of several sizes"
    length = f"{frames[0]}" if len(frames) == 1 else f"{frames[0]} to {frames[-1]}"
    return f"{named} {size}, {length} frames{' each' if len(names) > 1 else ''}"


def _structure(row: RDRow) -> str:
    period = {0: "one I frame at the start", 1: "I frames only"}.get(
        row.intra_period, f"an I frame every {row.intra_period}"
    )
    return f"{period}, {'low delay' if row.gop_size == 1 else f'GOPs of {row.gop_size} with B frames'}"


def _rates(rows: Sequence[RDRow]) -> int:
    return len({(row.lmda, row.quality) for row in rows})


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count > 1 else ''}"


def _listed(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
