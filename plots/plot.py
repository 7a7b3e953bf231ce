"""Draw result files: ``plot.py results/*/rd.csv --out rd.png``; prints the test conditions and the BD-rates."""

from __future__ import annotations

if __name__ == "__main__":
    import os
    import sys

    sys.path[0] = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    from torchDVC.util.start import program

    program("plots.plot")

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from plots.options import PlotOptions
    from torchDVC.results.bd_rate import Entry
    from torchDVC.results.conditions import Curve
    from torchDVC.results.rows import RDRow

MAXIMUM_COLUMNS = 4


@dataclass(frozen=True)
class Comparison:
    """Rows that may be compared, with their curves by metric, per sequence and as means over data sets.

    ``notes`` say which means there are none of.
    """

    rows: Sequence[RDRow]
    anchor: str
    sequences: dict[str, list[Curve]]
    means: dict[str, list[Curve]]
    notes: Sequence[str]

    def drawn(self, metric: str, sequences: bool) -> list[Curve]:
        """The curves of a figure: of each sequence, or the means."""
        return (self.sequences if sequences else self.means)[metric]

    def codecs(self, metric: str) -> set[str]:
        """The codecs that have curves in a metric."""
        return {curve.codec for curve in (*self.sequences[metric], *self.means[metric])}

    def bd_rates(self, metric: str, method: str, average: str) -> list[Entry]:
        """BD-rates against the anchor, in one metric; none where it has no curve."""
        from torchDVC.results.bd_rate import bd_table

        if self.anchor not in self.codecs(metric):
            return []
        return bd_table(self.sequences[metric], self.means[metric], self.anchor, method, average)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    from torchDVC.util.errors import run_command

    return run_command(lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> None:
    from plots.options import PlotOptions
    from plots.rd_plots import save
    from torchDVC.config.flags import parse_flags

    args = parse_flags(PlotOptions, argv, usage="python plots/plot.py RESULTS [flags]", description=__doc__ or "")
    comparison = _comparison(args)
    draw = {"rd": _draw_rd, "complexity": _draw_complexity, "frames": _draw_frames}[args.figure]
    report = "\n".join(_report(comparison, args))
    save(draw(comparison, args), args.out)
    print(report)
    print(f"wrote {args.out}")


def _comparison(args: PlotOptions) -> Comparison:
    from plots.published import published_curves
    from torchDVC.results.bd_rate import choose_anchor
    from torchDVC.results.conditions import (
        curves,
        label_conditions,
        label_processes,
        mean_curves,
        possible_mean_curves,
    )
    from torchDVC.results.rows import gather, read_rows
    from torchDVC.util.errors import DataError

    rows: Sequence[RDRow] = [row for path in gather(args.results) for row in read_rows(path)]
    rows = label_processes(_chosen(_chosen(rows, "sequence", args.seqs), "codec", args.codecs))
    if not rows:
        raise DataError(f"{args.results[0]}: no results; expected one line for each sequence and rate point")
    if args.mix:
        rows = label_conditions(rows)
    else:
        _check(rows)
    metrics = _metrics(args.metrics, rows)
    datasets = {row.dataset for row in rows}
    structure = None if args.mix else (rows[0].intra_period, rows[0].gop_size)
    notes: list[str] = []
    means = {}
    for metric in metrics:
        drawn = args.figure == "rd" and not args.sequences
        own = mean_curves(rows, metric, args.mix) if drawn else possible_mean_curves(rows, metric, notes, args.mix)
        means[metric] = own + published_curves(datasets, metric, args.published, structure)
    codecs = [row.codec for row in rows] + [curve.codec for of_metric in means.values() for curve in of_metric]
    sequences = {metric: curves(rows, metric) for metric in metrics}
    return Comparison(rows, choose_anchor(args.anchor, codecs), sequences, means, notes)


def _chosen(rows: Sequence[RDRow], column: str, names: Sequence[str] | None) -> Sequence[RDRow]:
    """The rows that have one of these names in a column; all without names."""
    from torchDVC.util.errors import LCPError, nearest

    known = {getattr(row, column) for row in rows}
    for name in names or ():
        if name not in known:
            raise LCPError(f"no results of {column} '{name}'{nearest(name, known)}")
    return [row for row in rows if not names or getattr(row, column) in names]


def _check(rows: Sequence[RDRow]) -> None:
    from torchDVC.results.conditions import check_comparable
    from torchDVC.util.errors import DataError

    try:
        check_comparable(rows)
    except DataError as error:
        raise DataError(f"{error}; --mix compares them anyway") from None


def _metrics(asked: Sequence[str] | None, rows: Sequence[RDRow]) -> list[str]:
    """The metrics asked for, or those of the default, that rows with a rate have."""
    from plots.options import DEFAULT_METRICS
    from torchDVC.results.conditions import METRICS
    from torchDVC.util.errors import DataError, LCPError, nearest

    for metric in asked or ():
        if metric not in METRICS:
            raise LCPError(f"unknown metric '{metric}'{nearest(metric, METRICS)}")
    rated = [row for row in rows if row.rate is not None]
    if not rated:
        raise DataError("no result has a rate; expected a value of bpp or bpp_estimated")
    known = [m for m in asked or DEFAULT_METRICS if any(getattr(row, m) is not None for row in rated)]
    if not known:
        raise DataError(f"no result has {' or '.join(asked or DEFAULT_METRICS)}")
    return known


def _draw_rd(comparison: Comparison, args: PlotOptions) -> Figure:
    """One panel for each metric and data set or sequence: rows of metrics, in one row where there is one data set."""
    from plots.rd_plots import Panel, rd_figure
    from torchDVC.results.conditions import describe_conditions, group

    by_metric = {
        metric: group(comparison.drawn(metric, args.sequences), lambda curve: (curve.dataset, curve.sequence))
        for metric in comparison.means
    }
    panels = [
        Panel(" ".join(filter(None, key)), metric, own) for metric, of in by_metric.items() for key, own in of.items()
    ]
    widest = max(map(len, by_metric.values()))
    columns = len(by_metric) if widest == 1 else min(widest, MAXIMUM_COLUMNS)
    note = describe_conditions(comparison.rows)
    if any(_published(panel.curves) for panel in panels):
        note += "; published points not run by this framework"
    return rd_figure(panels, columns, note, args.log)


def _published(curves: Iterable[Curve]) -> set[str]:
    """The codecs among them whose points others published."""
    return {curve.codec for curve in curves if curve.codec.endswith("(published)")}


def _draw_complexity(comparison: Comparison, args: PlotOptions) -> Figure:
    """BD-rate in the first metric against what each codec costs, means over its rows."""
    from plots.rd_plots import COMPLEXITY, complexity_figure
    from torchDVC.results.bd_rate import dataset_rates
    from torchDVC.results.conditions import describe_conditions, group, mean

    metric = next(iter(comparison.means))
    rates = {comparison.anchor: 0.0} | dataset_rates(comparison.bd_rates(metric, args.method, args.average))
    costs: dict[str, dict[str, float]] = {name: {} for name in COMPLEXITY}
    for codec, rows in group(comparison.rows, lambda row: row.codec).items():
        for name in COMPLEXITY:
            known = [getattr(row, name) for row in rows if getattr(row, name)]
            if known and codec in rates:
                costs[name][codec] = mean(known)
    note = f"BD-rate against {comparison.anchor} in {metric}; {describe_conditions(comparison.rows)}"
    without = sorted({row.codec for row in comparison.rows} - rates.keys())
    if without:
        note += f"\nnot drawn, for want of a BD-rate: {', '.join(without)}"
    return complexity_figure(rates, costs, note)


def _draw_frames(comparison: Comparison, args: PlotOptions) -> Figure:
    """Each codec's rate point nearest to the rate asked for, on every sequence."""
    from plots.rd_plots import frames_figure
    from torchDVC.results.conditions import group
    from torchDVC.results.per_frame import frames_by_point, nearest_points, point_key
    from torchDVC.results.rows import gather
    from torchDVC.util.errors import DataError, LCPError

    frames = frames_by_point(gather(args.results))
    rows = [row for row in comparison.rows if row.rate and point_key(row) in frames]
    if not rows:
        raise DataError(f"{args.results[0]}: no frames.csv with the frames of these results")
    rates = sorted(row.rate for row in rows if row.rate)
    points = nearest_points(rows, args.bpp or rates[len(rates) // 2])
    sequences = group(points, lambda row: f"{row.dataset} {row.sequence}".strip())
    if len(sequences) > MAXIMUM_COLUMNS:
        raise LCPError(f"{len(sequences)} sequences are too many for one figure; choose with --seqs")
    runs = {name: {row.codec: frames[point_key(row)] for row in own} for name, own in sequences.items()}
    shown = [(name, [f"{row.codec} {row.rate:.3f} bpp" for row in own]) for name, own in sequences.items()]
    note = "\n".join(f"{name}: {', '.join(rates)}" for name, rates in shown)
    return frames_figure(runs, next(iter(comparison.means)), note)


def _report(comparison: Comparison, args: PlotOptions) -> Iterable[str]:
    """What a reader of the figure must know: conditions, estimated rates, BD-rates with method and overlap."""
    from torchDVC.results.bd_rate import bd_lines
    from torchDVC.results.conditions import METRICS, describe_conditions
    from torchDVC.results.tables import text_table

    yield f"conditions: {describe_conditions(comparison.rows)}"
    yield from comparison.notes
    yield from _about_published(comparison, args)
    estimated = {row.codec for row in comparison.rows if row.bpp is None and row.bpp_estimated is not None}
    if estimated:
        yield f"estimated rates, no stream was written: {', '.join(sorted(estimated))}"
    for metric in comparison.means:
        without = {row.codec for row in comparison.rows} - comparison.codecs(metric)
        if without:
            yield f"no rate or no {METRICS[metric]}: {', '.join(sorted(without))}"
        entries = comparison.bd_rates(metric, args.method, args.average)
        if entries:
            yield f"\nBD-rate against {comparison.anchor}, {METRICS[metric]}, {args.method}:"
            yield text_table(*bd_lines(entries)).rstrip()


def _about_published(comparison: Comparison, args: PlotOptions) -> Iterable[str]:
    """Under which conditions the published points stand, and which that were asked for are not there."""
    from plots.published import CONDITIONS

    found = _published(curve for of_metric in comparison.means.values() for curve in of_metric)
    if found:
        yield CONDITIONS
    if found and (args.figure != "rd" or args.sequences):
        yield "published points are means over data sets, which this figure does not draw"
    datasets = ", ".join(sorted({row.dataset for row in comparison.rows}))
    for name in args.published:
        if not found if name == "all" else f"{name} (published)" not in found:
            what = "any method" if name == "all" else name
            yield f"no published points of {what} on {datasets} in these metrics, with this coding structure"
