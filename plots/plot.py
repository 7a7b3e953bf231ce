"""Draw result files: ``plot.py results/*/rd.csv --out rd.png``; prints the test conditions and the BD-rates."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from torchDVC.analysis.bd_rate import Entry
    from torchDVC.analysis.conditions import Curve
    from torchDVC.analysis.results import RDRow

ANCHORS = ("x264", "x265", "svtav1", "vp9")
MAXIMUM_COLUMNS = 4
DEFAULT_METRICS = ("psnr_rgb", "ms_ssim_rgb")


@dataclass(frozen=True)
class Comparison:
    """Rows that may be compared, with their curves by metric, per sequence and as means over data sets."""

    rows: Sequence[RDRow]
    anchor: str
    sequences: dict[str, list[Curve]]
    means: dict[str, list[Curve]]

    def bd_rates(self, metric: str, method: str, average: str) -> list[Entry]:
        """BD-rates against the anchor, in one metric."""
        from torchDVC.analysis.bd_rate import bd_table

        return bd_table(self.sequences[metric], self.means[metric], self.anchor, method, average)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    from torchDVC.util.errors import run_command

    args = _arguments(argv)
    return run_command(lambda: _run(args))


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="plot.py", description=__doc__)
    parser.add_argument("results", nargs="+", type=Path, help="csv files, or folders to look for them in")
    parser.add_argument("--out", type=Path, default=Path("rd.png"), help="the figure: .png, .svg or .pdf (%(default)s)")
    parser.add_argument(
        "--figure",
        choices=("rd", "complexity", "frames"),
        default="rd",
        help="R-D curves of rd.csv files; BD-rate against complexity; quality and bits by frame of frames.csv files",
    )
    parser.add_argument("--metrics", nargs="+", metavar="METRIC", help=f"default: {' '.join(DEFAULT_METRICS)}")
    parser.add_argument("--anchor", help="codec that BD-rates are against; default: the first of x264, x265, …")
    parser.add_argument("--method", choices=("pchip", "akima"), default="pchip", help="interpolation for BD-rates")
    parser.add_argument(
        "--average",
        choices=("rates", "curve"),
        default="rates",
        help="BD-rate of a data set: the mean of its sequences' BD-rates, or the BD-rate of the mean curve",
    )
    parser.add_argument("--published", nargs="+", default=[], metavar="METHOD", help="draw published points; 'all'")
    parser.add_argument("--sequences", action="store_true", help="one panel for each sequence instead of data set")
    parser.add_argument("--log", action="store_true", help="logarithmic rate axis")
    parser.add_argument("--mix", action="store_true", help="compare different test conditions, named in the legend")
    return parser.parse_args(argv)


def _run(args: argparse.Namespace) -> None:
    from plots.rd_plots import save

    if args.figure == "frames":
        save(_draw_frames(args), args.out)
    else:
        comparison = _comparison(args)
        draw = {"rd": _draw_rd, "complexity": _draw_complexity}[args.figure]
        save(draw(comparison, args), args.out)
        print("\n".join(_report(comparison, args)))
    print(f"wrote {args.out}")


def _comparison(args: argparse.Namespace) -> Comparison:
    from plots.published import published_curves
    from torchDVC.analysis.conditions import curves, label_conditions, mean_curves
    from torchDVC.analysis.results import gather, read_rows
    from torchDVC.util.errors import DataError

    rows = [row for path in gather(args.results) for row in read_rows(path)]
    if not rows:
        raise DataError(f"{args.results[0]}: no results; expected one line for each sequence and rate point")
    if args.mix:
        rows = label_conditions(rows)
    else:
        _check(rows)
    metrics = _metrics(args.metrics, rows)
    datasets = {row.dataset for row in rows}
    means = {
        metric: mean_curves(rows, metric, args.mix) + published_curves(datasets, metric, args.published)
        for metric in metrics
    }
    return Comparison(rows, _anchor(args.anchor, rows), {m: curves(rows, m) for m in metrics}, means)


def _check(rows: Sequence[RDRow]) -> None:
    from torchDVC.analysis.conditions import check_comparable
    from torchDVC.util.errors import DataError

    try:
        check_comparable(rows)
    except DataError as error:
        raise DataError(f"{error}; --mix compares them anyway") from None


def _metrics(asked: Sequence[str] | None, rows: Sequence[RDRow]) -> list[str]:
    """The metrics asked for, or those of the default that the rows have."""
    from torchDVC.analysis.conditions import METRICS
    from torchDVC.util.errors import DataError, LCPError, nearest

    for metric in asked or ():
        if metric not in METRICS:
            raise LCPError(f"unknown metric '{metric}'{nearest(metric, METRICS)}")
    known = [m for m in asked or DEFAULT_METRICS if any(getattr(row, m) is not None for row in rows)]
    if not known:
        raise DataError(f"no result has {' or '.join(asked or DEFAULT_METRICS)}")
    return known


def _anchor(asked: str | None, rows: Sequence[RDRow]) -> str:
    """The codec that the others are compared with."""
    names = list(dict.fromkeys(row.codec for row in rows))
    standard = [name for anchor in ANCHORS for name in names if name.startswith(anchor)]
    return asked or (standard or names)[0]


def _draw_rd(comparison: Comparison, args: argparse.Namespace) -> Figure:
    """One row of panels for each metric, one column for each data set or sequence."""
    from plots.rd_plots import Panel, rd_figure
    from torchDVC.analysis.conditions import describe_conditions, group

    panels, columns = [], 1
    for metric in comparison.means:
        drawn = comparison.sequences[metric] if args.sequences else comparison.means[metric]
        groups = group(drawn, lambda curve: (curve.dataset, curve.sequence))
        panels += [Panel(" ".join(filter(None, key)), metric, own) for key, own in groups.items()]
        columns = max(columns, len(groups))
    return rd_figure(panels, min(columns, MAXIMUM_COLUMNS), describe_conditions(comparison.rows), args.log)


def _draw_complexity(comparison: Comparison, args: argparse.Namespace) -> Figure:
    """BD-rate in the first metric against what each codec costs, means over its rows."""
    from plots.rd_plots import COMPLEXITY, complexity_figure
    from torchDVC.analysis.bd_rate import dataset_rates
    from torchDVC.analysis.conditions import describe_conditions, group, mean

    metric = next(iter(comparison.means))
    rates = {comparison.anchor: 0.0} | dataset_rates(comparison.bd_rates(metric, args.method, args.average))
    costs: dict[str, dict[str, float]] = {name: {} for name in COMPLEXITY}
    for codec, rows in group(comparison.rows, lambda row: row.codec).items():
        for name in COMPLEXITY:
            known = [getattr(row, name) for row in rows if getattr(row, name)]
            if known and codec in rates:
                costs[name][codec] = mean(known)
    note = f"BD-rate against {comparison.anchor} in {metric}; {describe_conditions(comparison.rows)}"
    return complexity_figure(rates, costs, note)


def _draw_frames(args: argparse.Namespace) -> Figure:
    """Every run of every sequence that the frames.csv files hold."""
    from plots.rd_plots import frames_figure
    from torchDVC.analysis.conditions import group
    from torchDVC.analysis.results import gather, read_frames, run_label
    from torchDVC.util.errors import LCPError

    rows = [row for path in gather(args.results, "frames.csv") for row in read_frames(path)]
    sequences = group(rows, lambda row: row.sequence)
    if len(sequences) > MAXIMUM_COLUMNS:
        raise LCPError(f"{len(sequences)} sequences are too many for one figure; name some: {', '.join(sequences)}")
    metric = (args.metrics or DEFAULT_METRICS)[0]
    runs = {name: group(own, run_label) for name, own in sequences.items()}
    return frames_figure(runs, metric)


def _report(comparison: Comparison, args: argparse.Namespace) -> Iterable[str]:
    """What a reader of the figure must know: conditions, estimated rates, BD-rates with method and overlap."""
    from plots.published import CONDITIONS
    from torchDVC.analysis.bd_rate import bd_lines
    from torchDVC.analysis.conditions import METRICS, describe_conditions
    from torchDVC.analysis.tables import text_table

    yield f"conditions: {describe_conditions(comparison.rows)}"
    if args.published:
        yield CONDITIONS
    estimated = {row.codec for row in comparison.rows if row.bpp is None and row.bpp_estimated is not None}
    if estimated:
        yield f"estimated rates, no stream was written: {', '.join(sorted(estimated))}"
    for metric in comparison.means:
        entries = comparison.bd_rates(metric, args.method, args.average)
        if entries:
            yield f"\nBD-rate against {comparison.anchor}, {METRICS[metric]}, {args.method}:"
            yield text_table(*bd_lines(entries)).rstrip()


if __name__ == "__main__":
    import sys

    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from plots.plot import main as packaged_main

    sys.exit(packaged_main())
