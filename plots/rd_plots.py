"""The figures: rate-distortion curves, BD-rate against complexity, quality and bits by frame.

Colours are those of Okabe and Ito, which readers with any colour vision tell apart; every curve also has a marker and
a dash pattern of its own, so that a figure can be read in grey.
"""

from __future__ import annotations

import functools
import io
import math
import textwrap
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plots.fonts import fit_fonts
from torchDVC.results.conditions import METRICS, Curve, group
from torchDVC.results.rows import FrameRow
from torchDVC.util.errors import LCPError
from torchDVC.util.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

COLOURS = ("#000000", "#e69f00", "#0072b2", "#cc79a7", "#d55e00", "#56b4e9", "#009e73")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
DASHES = ((), (6, 2), (2, 1.5), (6, 2, 1.5, 2))
FORMATS = (".png", ".svg", ".pdf")

STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "legend.fontsize": 8,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}
COMPLEXITY = {
    "kmac_decode": ("decoder kMAC/pixel", 1),
    "parameters": ("parameters (millions)", 1_000_000),
    "decode_fps": ("decoded frames/s", 1),
    "memory_decode": ("memory to decode (MiB)", 1),
}
"""Title and unit of the axis of each cost."""
LEAST_LOG_SPAN = 6.0
MOST_LOG_TICKS = 6
CHARACTERS_PER_INCH = 17
LEGEND_INCHES = 0.7  # of a legend entry's line
LEGEND_INCHES_PER_CHARACTER = 0.066
LEGEND_LINE_INCHES = 0.18
FRAME_TYPES = {"I": "s", "P": "o", "B": "^"}


def _styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Let a function that makes a figure make it in `STYLE`."""

    @functools.wraps(draw)
    def styled(*args: Any, **options: Any) -> Figure:
        import matplotlib

        with matplotlib.rc_context(STYLE):
            return draw(*args, **options)

    return styled


@dataclass(frozen=True)
class Panel:
    """One set of axes of a rate-distortion figure."""

    title: str
    metric: str
    curves: Sequence[Curve]


@_styled
def rd_figure(panels: Sequence[Panel], columns: int, note: str, log: bool = False) -> Figure:
    """Rate-distortion curves; panels fill rows of ``columns``. ``note`` (the test conditions) stands below."""
    styles = curve_styles(curve.codec for panel in panels for curve in panel.curves)
    rows = -(-len(panels) // columns)
    figure, axes = _axes(rows, columns, (max(4.8, 3.5 * columns + 0.2), 2.8 * rows + 0.5), note)
    drawn: dict[str, Line2D] = {}
    for panel, ax in zip(panels, axes, strict=False):
        for curve in panel.curves:
            (drawn[curve.codec],) = ax.plot(curve.rates, curve.qualities, **styles[curve.codec])
        ax.set_title(panel.title, parse_math=False)
        ax.set(xlabel="bits per pixel", ylabel=METRICS[panel.metric])
        if log:
            _log_scale(ax)
    _finish(figure, axes, len(panels), drawn)
    return figure


@_styled
def complexity_figure(rates: Mapping[str, float], costs: Mapping[str, Mapping[str, float]], note: str) -> Figure:
    """BD-rate (percent, by codec) against each complexity of ``costs`` (by name of `COMPLEXITY`, then by codec)."""
    styles = curve_styles(rates)
    columns = [name for name in COMPLEXITY if costs.get(name)]
    if not columns:
        raise LCPError(f"no complexity in these results; expected one of {', '.join(COMPLEXITY)}")
    figure, axes = _axes(1, len(columns), (max(4.8, 3.1 * len(columns)), 3.4), note)
    drawn: dict[str, Line2D] = {}
    for name, ax in zip(columns, axes, strict=True):
        title, unit = COMPLEXITY[name]
        for codec, rate in rates.items():
            if codec in costs[name]:
                (drawn[codec],) = ax.plot(costs[name][codec] / unit, rate, **(styles[codec] | {"linestyle": "none"}))
        ax.set(xlabel=title, ylabel="BD-rate (%)")
        _log_scale(ax)
        ax.axhline(0, color="#888888", linewidth=0.8)
    _finish(figure, axes, len(columns), drawn)
    return figure


@_styled
def frames_figure(sequences: Mapping[str, Mapping[str, Sequence[FrameRow]]], metric: str, note: str) -> Figure:
    """Quality and bits of every frame in display order: one column for each sequence, one line for each codec.

    ``note`` says at which rates the codecs are shown.
    """
    from matplotlib.ticker import MaxNLocator

    styles = curve_styles(codec for runs in sequences.values() for codec in runs)
    note = f"frame; squares are I, circles P, triangles B frames\n{note}"
    figure, axes = _axes(2, len(sequences), (max(6.0, 3.6 * len(sequences)), 4.4), note)
    drawn: dict[str, Line2D] = {}
    for column, (sequence, runs) in enumerate(sequences.items()):
        quality, bits = axes[column], axes[column + len(sequences)]
        for codec, rows in runs.items():
            drawn[codec] = _draw_by_frame(quality, rows, metric, styles[codec])
            _draw_by_frame(bits, rows, "bits", styles[codec])
        quality.set_title(sequence, parse_math=False)
        quality.set(ylabel=METRICS[metric])
        bits.set(ylabel="bits", yscale="log")
        for ax in (quality, bits):
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    _finish(figure, axes, len(axes), drawn)
    return figure


def _draw_by_frame(ax: Axes, rows: Sequence[FrameRow], name: str, style: Mapping[str, Any]) -> Line2D:
    """One line over the frames, which is returned, with a marker for each that tells its type."""
    rows = sorted((row for row in rows if getattr(row, name) is not None), key=lambda row: row.frame)
    (line,) = ax.plot([row.frame for row in rows], [getattr(row, name) for row in rows], **{**style, "marker": ""})
    for kind, of_kind in group(rows, lambda row: row.type).items():
        x, y = [row.frame for row in of_kind], [getattr(row, name) for row in of_kind]
        ax.plot(x, y, linestyle="none", marker=FRAME_TYPES.get(kind, "x"), markersize=4, color=style["color"])
    return line


def curve_styles(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """A colour, marker and dash pattern for each name; published curves are thin with hollow markers."""
    styles = {}
    for i, name in enumerate(dict.fromkeys(names)):
        published = name.endswith("(published)")
        styles[name] = {
            "color": COLOURS[i % len(COLOURS)],
            "marker": MARKERS[i % len(MARKERS)],
            "markersize": 4.5,
            "markerfacecolor": "white" if published else COLOURS[i % len(COLOURS)],
            "linewidth": 1.0 if published else 1.6,
            "dashes": DASHES[i % len(DASHES)],
        }
    return styles


def save(figure: Figure, path: Path) -> None:
    """Write a figure as png, svg or pdf, by the name of the file."""
    if path.suffix.lower() not in FORMATS:
        raise LCPError(f"{path}: cannot draw '{path.suffix}' files; expected {', '.join(FORMATS)}")
    import matplotlib

    form, drawing = path.suffix.lower().removeprefix("."), io.BytesIO()
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        fit_fonts(figure, replace=form != "svg")
        warnings.filterwarnings("ignore", "Glyph")  # those that an svg lacks, whoever shows it has
        figure.savefig(drawing, format=form, dpi=200)
    with atomic_path(path) as temporary:
        temporary.write_bytes(drawing.getvalue())


def _axes(rows: int, columns: int, size: tuple[float, float], note: str) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    lines = [textwrap.fill(line, round(size[0] * CHARACTERS_PER_INCH)) for line in note.splitlines()]
    figure.supxlabel("\n".join(lines), fontsize=7, color="#444444", parse_math=False)
    return figure, list(axes.flat)


def _log_scale(ax: Axes) -> None:
    """Make the horizontal axis logarithmic, with plain numbers at 1, 2, 3 and 5 times the powers of ten, or at fewer.

    Call it when the curves are drawn; a narrow axis is widened to a factor of `LEAST_LOG_SPAN`.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    ax.set_xscale("log")
    low, high = ax.get_xlim()
    widen = max(1.0, math.sqrt(LEAST_LOG_SPAN * low / high))
    ax.set_xlim(low / widen, high * widen)
    decades = math.log10(high / low * widen**2)
    steps = next((s for s in ((1, 2, 3, 5), (1, 3)) if len(s) * decades <= MOST_LOG_TICKS), (1,))
    ax.xaxis.set_major_locator(LogLocator(subs=steps))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))


def _finish(figure: Figure, axes: Sequence[Axes], used: int, entries: Mapping[str, Line2D]) -> None:
    """Hide panels without curves; one legend for all the others, above them, with a line for each name."""
    for ax in axes[used:]:
        ax.set_visible(False)
    widest = LEGEND_INCHES + LEGEND_INCHES_PER_CHARACTER * max(map(len, entries))
    columns = max(1, int(figure.get_figwidth() / widest))
    lines = math.ceil(len(entries) / columns)
    figure.set_figheight(figure.get_figheight() + lines * LEGEND_LINE_INCHES)
    legend = figure.legend(
        list(entries.values()),
        list(map(str, range(len(entries)))),  # not the names, of which it would read some as orders
        loc="outside upper center",
        ncols=min(columns, len(entries)),
        frameon=False,
        handlelength=3.2,
    )
    for text, name in zip(legend.get_texts(), entries, strict=True):
        text.set(text=name, parse_math=False)
