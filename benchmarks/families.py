"""What model families are worth beside each other: one line for each rate point of their tests.

    python -m torchDVC.anchors --datasets dev --codecs x264:medium --tune psnr --save_dir results/x264
    python tester.py …                                          # of each family, on the same clips
    python benchmarks/families.py results --anchor x264

Means over the sequences of a test. A codec that was trained for one rate has a point and no curve, so the last columns
say how many times the bits it needs that the anchor needs for the same quality, read off the anchor's curve of each
sequence: log rate interpolated over PSNR, and the geometric mean taken. Sequences on which the anchor's curve does not
reach the quality are left out, and counted. The anchor is that of the same intra period, whatever its GOP size.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from torchDVC.config.flags import argument, flag, parse_flags
from torchDVC.config.values import existing_path, words
from torchDVC.results.conditions import check_comparable, group
from torchDVC.results.rows import RDRow, gather, read_rows
from torchDVC.results.tables import markdown_table
from torchDVC.util.errors import DataError, nearest, run_command

HEADER = (
    "codec", "quality", "parameters / M", "kMAC/pixel", "frames/s", "memory / MiB",
    "bpp", "PSNR-RGB", "PSNR-Y", "MS-SSIM", "bits, same RGB", "bits, same Y",
)  # fmt: skip
METRICS = ("psnr_rgb", "psnr_y")


@dataclass(frozen=True, kw_only=True)
class Options:
    """The command line."""

    results: tuple[Path, ...] = argument(
        existing_path, "folders of results, or rd.csv files", metavar="RESULTS", many=True
    )
    anchor: str = flag(words, "codec whose bits are 1: a name of the results, or what one begins with", default="x264")


def main() -> int:
    """Print the table; returns the exit code."""
    return run_command(_run)


def _run() -> None:
    usage = "python benchmarks/families.py RESULTS [flags]"
    options = parse_flags(Options, sys.argv[1:], usage=usage, description=(__doc__ or "").split("\n")[0])
    rows = [row for path in gather(options.results) for row in read_rows(path)]
    anchors = [row for row in rows if row.codec.startswith(options.anchor)]
    if not anchors:
        raise DataError(f"no results of '{options.anchor}'{nearest(options.anchor, {row.codec for row in rows})}")
    tests = [row for row in rows if row not in anchors]
    for own in group(tests, lambda row: row.codec).values():
        beside = [row for row in anchors if row.intra_period == own[0].intra_period]
        check_comparable([replace(row, gop_size=1) for row in (*own, *beside)])
    points = group(tests, lambda row: (row.codec, row.quality)).values()
    print(markdown_table(HEADER, [list(_line(own, anchors)) for own in points]), end="")


def _line(rows: Sequence[RDRow], anchors: Sequence[RDRow]) -> Iterator[str]:
    """The cells of a rate point."""
    first = rows[0]
    yield first.codec
    yield "" if first.quality is None else f"{first.quality:g}"
    yield f"{(first.parameters or 0) / 1e6:.1f}"
    for ends, digits in ((("kmac_encode", "kmac_decode"), 0), (("encode_fps", "decode_fps"), 1)):
        yield " / ".join(f"{_mean(rows, name):.{digits}f}" for name in ends)
    peaks = [max(row.memory_encode or 0 for row in rows), max(row.memory_decode or 0 for row in rows)]
    yield " / ".join(f"{peak:.0f}" for peak in peaks) if all(peaks) else ""
    for name, digits in (("bpp", 3), ("psnr_rgb", 2), ("psnr_y", 2), ("ms_ssim_rgb", 4)):
        yield f"{_mean(rows, name):.{digits}f}"
    for metric in METRICS:
        yield _relative(rows, anchors, metric)


def _mean(rows: Sequence[RDRow], name: str) -> float:
    """The mean of a column, NaN where a row lacks it."""
    values = [getattr(row, name) for row in rows]
    return math.nan if None in values else float(np.mean(values))


def _relative(rows: Sequence[RDRow], anchors: Sequence[RDRow], metric: str) -> str:
    """How many times the anchor's bits, and of how many sequences where not of all."""
    logs = [value for row in rows if (value := _log_relative(row, anchors, metric)) is not None]
    of = f" ({len(logs)} of {len(rows)})" if len(logs) < len(rows) else ""
    return (f"{math.exp(np.mean(logs)):.2f}" if logs else "") + of


def _log_relative(row: RDRow, anchors: Sequence[RDRow], metric: str) -> float | None:
    """Log of a sequence's rate over that of the anchor of the same quality; None where that is not on its curve."""
    of_sequence = [a for a in anchors if (a.sequence, a.intra_period) == (row.sequence, row.intra_period)]
    curve = sorted((getattr(a, metric), math.log(a.rate)) for a in of_sequence if a.rate)
    quality = getattr(row, metric)
    if not curve or not curve[0][0] <= quality <= curve[-1][0] or not row.rate:
        return None
    qualities, rates = zip(*curve, strict=True)
    return math.log(row.rate) - float(np.interp(quality, qualities, rates))


if __name__ == "__main__":
    sys.exit(main())
