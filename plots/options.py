"""The command line of ``plot.py``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torchDVC.config.flags import argument, flag, switch_flag
from torchDVC.config.values import any_path, choice, number, words

DEFAULT_METRICS = ("psnr_rgb", "ms_ssim_rgb")

_WHAT = "what is compared"
_FIGURE = "the figure"
_BD = "BD-rates"


@dataclass(frozen=True, kw_only=True)
class PlotOptions:
    """Flags of ``plot.py``."""

    results: tuple[Path, ...] = argument(
        any_path, "csv files, or folders to look for them in", group=_WHAT, metavar="RESULTS", many=True
    )
    seqs: tuple[str, ...] = flag(
        words, "only these sequences", group=_WHAT, metavar="SEQUENCE", many=True, default=()
    )
    codecs: tuple[str, ...] = flag(
        words, "only these codecs, such as 'x264 medium'", group=_WHAT, metavar="CODEC", many=True, default=()
    )
    published: tuple[str, ...] = flag(
        words, "draw published points; 'all'", group=_WHAT, metavar="METHOD", many=True, default=()
    )
    mix: bool = switch_flag("compare different test conditions, named in the legend", group=_WHAT)

    out: Path = flag(any_path, ".png, .svg or .pdf", group=_FIGURE, metavar="FILE", default=Path("rd.png"))
    figure: str = flag(
        choice("rd", "complexity", "frames"),
        "R-D curves; BD-rate against complexity; quality and bits by frame (from frames.csv beside rd.csv)",
        group=_FIGURE, metavar="{rd,complexity,frames}", default="rd",
    )  # fmt: skip
    metrics: tuple[str, ...] = flag(
        words, f"columns of rd.csv (default: {' '.join(DEFAULT_METRICS)})", group=_FIGURE, metavar="METRIC", many=True,
        default=(),
    )  # fmt: skip
    bpp: float | None = flag(
        number(above=True), "rate of the points that --figure frames draws (default: the median)",
        group=_FIGURE, metavar="R", default=None,
    )  # fmt: skip
    sequences: bool = switch_flag("one panel for each sequence instead of data set", group=_FIGURE)
    log: bool = switch_flag("logarithmic rate axis", group=_FIGURE)

    anchor: str = flag(
        words, "codec that BD-rates are against (default: the first of x264, x265, …)", group=_BD, metavar="CODEC",
        default="",
    )  # fmt: skip
    method: str = flag(
        choice("pchip", "akima"), "interpolation", group=_BD, metavar="{pchip,akima}", default="pchip"
    )
    average: str = flag(
        choice("rates", "curve"),
        "of a data set: the mean of its sequences' BD-rates, or the BD-rate of the mean curve",
        group=_BD, metavar="{rates,curve}", default="rates",
    )  # fmt: skip
