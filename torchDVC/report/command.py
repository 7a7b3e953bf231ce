"""One self-contained page of results: ``python -m torchDVC.report results --out report.html``.

The page holds its data, pictures, styles and script; it needs no server and no network.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchDVC.config.flags import argument, flag, parse_flags
from torchDVC.config.values import any_path, whole, words
from torchDVC.report.beside import beside, clip_of, reconstructions
from torchDVC.report.data import Results, read_results, report_data, to_json
from torchDVC.report.films import films, spread
from torchDVC.report.images import choose, embed, find_pictures, with_beside
from torchDVC.report.training import how_training_went, metrics_files, training_runs
from torchDVC.results.bd_rate import choose_anchor
from torchDVC.results.rows import gather
from torchDVC.util.errors import DataError, run_command
from torchDVC.util.files import write_text

PAGE = Path(__file__).with_name("page")
FRAMES_SHOWN = 16
LARGEST = 9_000_000
"""Bytes that data, pictures and films of a page may take together."""
NOTES = 2_000
"""Of them for what is said about pictures and films."""
FILMS_SHARE = 0.4
"""Of what the data leave, at most."""
TITLE = "torchDVC results"


def write_report(
    folders: Sequence[Path],
    out: Path | None = None,
    *,
    anchor: str = "",
    title: str = TITLE,
    frames: int = FRAMES_SHOWN,
) -> Path:
    """Write the page of all results and training runs in and below ``folders`` and return its path.

    Args:
        folders: folders of the tester, of anchors and of training runs, or ``rd.csv`` files.
        out: the page; default ``report.html`` in the first folder.
        anchor: codec that BD-rates are against; default: the first anchor codec that was measured.
        title: heading of the page.
        frames: the most frames whose pictures are shown.
    """
    return _write(_data(folders, anchor, frames), folders, out, title)


def _write(data: dict[str, Any], folders: Sequence[Path], out: Path | None, title: str) -> Path:
    if out is None:
        out = (folders[0] if folders[0].is_dir() else folders[0].parent) / "report.html"
    write_text(out, render(data, title))
    return out


def render(data: dict[str, Any], title: str) -> str:
    """The page as html, with everything it needs inside it."""
    parts = {file.stem: file.read_text(encoding="utf-8") for file in PAGE.iterdir() if file.suffix in (".css", ".js")}
    parts["title"] = title.replace("&", "&amp;").replace("<", "&lt;")
    parts["data"] = to_json({**data, "title": title})
    page = (PAGE / "page.html").read_text(encoding="utf-8")
    return re.sub(r"/\*(\w+)\*/|<!--(\w+)-->", lambda mark: parts[mark[1] or mark[2]], page)


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """The command line of ``python -m torchDVC.report``."""

    results: tuple[Path, ...] = argument(
        any_path, "folders of results, of anchors and training runs too, or rd.csv files", metavar="RESULTS", many=True
    )
    out: Path | None = flag(
        any_path, "the page (default: report.html in the first folder)", metavar="FILE", default=None
    )
    anchor: str = flag(words, "codec that BD-rates are against (default: x264, x265, …)", metavar="CODEC", default="")
    title: str = flag(words, "heading of the page", metavar="TEXT", default=TITLE)
    frames: int = flag(whole(0), "most frames with pictures", metavar="N", default=FRAMES_SHOWN)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run_command(lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> None:
    options = parse_flags(
        ReportOptions, argv, usage="python -m torchDVC.report RESULTS [flags]", description=__doc__ or ""
    )
    data = _data(options.results, options.anchor, options.frames)
    out = _write(data, options.results, options.out, options.title)
    print(*data["outcome"], f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB)", sep="\n")


def _data(folders: Sequence[Path], anchor: str, frames: int) -> dict[str, Any]:
    results, training = read_results(_tables(folders)), training_runs(metrics_files(folders))
    if not results.rows and not training:
        raise DataError(f"{folders[0]}: no results to report")
    anchor = choose_anchor(anchor, [row.codec for row in results.rows]) if results.rows else ""
    data = report_data(results, anchor, LARGEST // 2)
    room = LARGEST - len(to_json(data)) - len(to_json(training)) - NOTES
    if room < 0:
        raise DataError(f"{len(data['points'])} rate points are too many for a page; report fewer folders at a time")
    data["outcome"] += how_training_went(training)
    return {**data, "training": training, **_shown(results, anchor, frames, room, data["notes"])}


def _shown(results: Results, anchor: str, frames: int, room: int, notes: list[str]) -> dict[str, Any]:
    """Pictures and films in ``room`` bytes; a note where there are fewer pictures than were chosen."""
    chosen = choose(find_pictures(results.tables), frames) if frames > 0 else []
    known = reconstructions(results.tables) if chosen else {}
    leads = {point: beside(results.rows, point, known, anchor) for point in dict.fromkeys(c.point for c in chosen)}
    filmed = spread(list(leads), {point: clip_of(results.rows[point]) for point in leads})
    found = films({point: leads[point] for point in filmed}, known, results.rows, int(room * FILMS_SHARE))
    pictures, storage = embed(with_beside(chosen, leads, known), room - len(to_json(found)))
    if len(pictures) < len(chosen):
        notes.append(f"There is room for the pictures of {len(pictures)} of the {len(chosen)} frames chosen.")
    return {"pictures": pictures, "storage": storage, "films": found, "captions": _captions() if pictures else {}}


def _tables(folders: Sequence[Path]) -> list[Path]:
    """The ``rd.csv`` of all folders; one that holds a training run needs none."""
    return gather([folder for folder in folders if not metrics_files([folder]) or list(folder.rglob("rd.csv"))])


def _captions() -> dict[str, str]:
    """What each kind of picture shows, with the ranges that the tester draws the maps in."""
    from torchDVC.testing.pictures import BITS_RANGE, ERROR_RANGE, FLOW_RANGE

    return {
        "source": "source",
        "recon": "reconstruction",
        "mc": "motion-compensated prediction",
        "warped": "warped reference",
        "flow": f"decoded flow: hue is direction, full colour is {FLOW_RANGE:g} pixels or more",
        "bits": f"bits per pixel, all modules: white is {BITS_RANGE:g} or more",
        "error": f"error, mean of R, G, B: white is {ERROR_RANGE * 255:g} of 255 or more",
    }
