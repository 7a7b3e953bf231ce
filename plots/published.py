"""Points that others published, as curves; where they come from and under which conditions.

The numbers stand in ``rd_points_<data set>.py``. They are facts taken over, not results of this framework: their test
conditions are those of the papers, which differ between them, so they are drawn only when asked for, and marked.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from pathlib import Path

from torchDVC.results.conditions import Curve
from torchDVC.util.errors import LCPError, nearest

BENCHMARK = "Z. Hu, Benchmark of Video Compression, github.com/ZhihaoHu/PyTorchVideoCompression"
CONDITIONS = (
    "published points: low delay, intra period 10 on HEVC and 12 on UVG and MCL-JCV unless their papers say otherwise,"
    " not run by this framework"
)

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


def published_curves(datasets: Iterable[str], metric: str, names: Iterable[str]) -> list[Curve]:
    """The published mean curves of these methods (``["all"]``: of every one) on these data sets, in this metric."""
    names = list(names)
    for name in names:
        if name not in SOURCES and name != "all":
            raise LCPError(f"no published points of '{name}'{nearest(name, SOURCES)}")
    tables = [importlib.import_module(f"plots.{module}") for module in _tables()]
    return [
        Curve(f"{method} (published)", table.DATASET, "", tuple(x for x, _ in points), tuple(y for _, y in points))
        for table in tables
        if table.DATASET in set(datasets)
        for (method, of_metric), points in table.POINTS.items()
        if of_metric == metric and (method in names or "all" in names)
    ]


def _tables() -> list[str]:
    modules = pkgutil.iter_modules([str(Path(__file__).parent)])
    return sorted(module.name for module in modules if module.name.startswith("rd_points_"))
