"""Rows of results for tests, with every required value filled in."""

from __future__ import annotations

from typing import Any

from torchDVC.results.rows import FrameRow, RDRow


def rd_row(**changes: Any) -> RDRow:
    """One rate point of ``ours`` on a sequence of five frames; ``changes`` replace its values."""
    values: dict[str, Any] = dict(
        dataset="D", sequence="s", width=64, height=48, frames=5, intra_period=4, gop_size=1, lmda=256.0, bpp=0.25,
        psnr_rgb=31.5, codec="ours", matrix="bt709", range="limited",
    )  # fmt: skip
    return RDRow(**(values | changes))


def frame_row(**changes: Any) -> FrameRow:
    """One P frame; ``changes`` replace its values."""
    values: dict[str, Any] = dict(
        run_id="r", dataset="D", sequence="s", frame=1, type="P", references=(0,), bits=640.0, psnr_rgb=30.0
    )
    return FrameRow(**(values | changes))


def curve_rows(codec: str, points: dict[float, float], **changes: Any) -> list[RDRow]:
    """One row for each ``bpp: psnr_rgb`` of ``points``, with lmda 1, 2, 3, …"""
    return [
        rd_row(codec=codec, lmda=float(i), bpp=bpp, psnr_rgb=psnr, **changes)
        for i, (bpp, psnr) in enumerate(points.items(), 1)
    ]
