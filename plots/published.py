"""Points that others published, as curves; where they come from and under which conditions.

The numbers stand in ``rd_points_IXXGXX_<data set>.py``, by the intra period and the GOP size that they were measured
with (`Table`). They are facts taken over, not results of this framework, so they are drawn only when asked for, and
marked; beside results of another coding structure only when that is asked for too.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from torchDVC.results.conditions import Curve
from torchDVC.util.errors import DataError, LCPError, nearest

BENCHMARK = "Z. Hu, Benchmark of Video Compression, github.com/ZhihaoHu/PyTorchVideoCompression"
CONDITIONS = "published points: not run by this framework; intra period and GOP size as in their files' names"

SOURCES = {
    "DVC": "Lu et al., DVC: An end-to-end deep video compression framework, CVPR 2019",
    "DVC++": "Lu et al., An end-to-end learning framework for video compression, TPAMI 2020",
    "SSF": "Agustsson et al., Scale-space flow for end-to-end optimized video compression, CVPR 2020",
    "HLVC": "Yang et al., Learning for video compression with hierarchical quality and recurrent enhancement,"
    " CVPR 2020",
    "RaFC": "Hu et al., Improving deep video compression by resolution-adaptive flow coding, ECCV 2020",
    "FVC": "Hu et al., FVC: A new framework towards deep video compression in feature space, CVPR 2021",
    "ELF-VC": "Rippel et al., ELF-VC: Efficient learned flexible-rate video coding, ICCV 2021",
    "DCVC": "Li et al., Deep contextual video compression, NeurIPS 2021",
    "C2F": "Hu et al., Coarse-to-fine deep video coding with hyperprior-guided mode prediction, CVPR 2022",
    "HM": "the reference software of HEVC, as that benchmark ran it",
    "VTM": "the reference software of VVC, as that benchmark ran it",
    "VTM-17.0 low delay B": "the reference software of VVC, QP 22 to 49, one intra frame, whole sequences, coded and"
    " measured in YUV 4:2:0; not from that benchmark; means over the sequences by us",
}
"""Who published each method's points; all but the last were collected in `BENCHMARK`."""

Points = tuple[tuple[float, float], ...]
_FILE = re.compile(r"rd_points_I(\d+|XX)G(\d+|XX)_\w+")


@dataclass(frozen=True)
class Table:
    """The points of a file ``rd_points_I12G01_uvg.py``: intra period 12, GOP size 1 (low delay).

    Attributes:
        points: (bpp, quality), both rising, by method and metric.
        structure: intra period (``I00``: one intra frame) and GOP size; None where the name has ``XX``, for not told.
    """

    dataset: str
    points: Mapping[tuple[str, str], Points]
    structure: tuple[int | None, int | None]

    def __str__(self) -> str:
        return _shown(*self.structure)


def _shown(intra_period: int | None, gop_size: int | None) -> str:
    period, gop = ("not told" if value is None else value for value in (intra_period, gop_size))
    return f"intra period {period}, GOP size {gop}"


def published_curves(
    datasets: Collection[str], metric: str, names: Collection[str], structure: tuple[int, int] | None
) -> list[Curve]:
    """The published mean curves of these methods (``["all"]``: of every one) on these data sets, in this metric.

    Args:
        structure: intra period and GOP size of the results to stand beside, which the points must have; None takes
            those of any, with it in their names.

    Raises:
        LCPError: a method of which no points are known.
        DataError: a method that was asked for by its name has points of another coding structure.
    """
    for name in names:
        if name not in SOURCES and name != "all":
            raise LCPError(f"no published points of '{name}'{nearest(name, SOURCES)}")
    found = []
    for table in tables():
        for (method, of_metric), points in table.points.items():
            if table.dataset not in datasets or of_metric != metric or not {method, "all"}.intersection(names):
                continue
            if structure in (None, table.structure):
                name = f"{method}, {table}" if structure is None else method
                rates, qualities = zip(*points, strict=True)
                found.append(Curve(f"{name} (published)", table.dataset, "", rates, qualities))
            elif method in names:
                raise DataError(
                    f"{table.dataset}: the published points of {method} have {table}, the results"
                    f" {_shown(*structure)}; --mix compares them anyway"
                )
    return found


@cache
def tables() -> tuple[Table, ...]:
    """Every table of published points that stands beside this file."""
    found = []
    for module in sorted(module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)])):
        if name := _FILE.fullmatch(module):
            period, gop = (None if text == "XX" else int(text) for text in name.groups())
            file = importlib.import_module(f"plots.{module}")
            found.append(Table(file.DATASET, file.POINTS, (period, gop)))
    return tuple(found)
