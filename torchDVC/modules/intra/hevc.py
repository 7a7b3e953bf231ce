"""HEVC intra pictures as the intra codec of a model."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import islice
from typing import Any

import av
import numpy as np

from torchDVC.config.registry import codec_module
from torchDVC.dataset.encoding import encode_clip
from torchDVC.dataset.frame import Frame, VideoInfo, split_planes
from torchDVC.modules.intra.conventional import ConventionalIntra
from torchDVC.util.errors import BitstreamError

NO_MESSAGES = "filter_units=remove_types=39|40"
"""A bitstream filter that takes x265's own messages out."""


def intra_options(preset: str, qp: float) -> dict[str, str]:
    """The options of x265 that make every frame an I frame with this quantiser parameter."""
    parameters = (
        "keyint=1:min-keyint=1:scenecut=0:open-gop=0:pools=none:frame-threads=1:bframes=0:b-adapt=0:rc-lookahead=0:"
        f"cutree=0:qp={qp:g}:log-level=none"
    )
    return {"preset": preset, "x265-params": parameters}


@codec_module(encoder_reads="frame", writes="recon", codes=True, from_zero="qp", formats="rgb")
class HEVCIntra(ConventionalIntra):
    """HEVC intra pictures by x265 as PyAV bundles it, in YUV 4:2:0, BT.709 limited range.

    Args:
        qp: quantiser parameter, 0 to 51; see `ConventionalIntra`.
        preset: of x265.
    """

    def __init__(self, qp: int = 22, preset: str = "medium") -> None:
        super().__init__(qp)
        self.preset = preset

    def encode(self, picture: np.ndarray) -> bytes:
        file, info = io.BytesIO(), VideoInfo(picture.shape[2], picture.shape[1])
        options = intra_options(self.preset, self.qp)
        encode_clip(file, "hevc", "libx265", [Frame(rgb=picture)], info, options=options, filter_=NO_MESSAGES)
        return file.getvalue()

    def decode(self, data: bytes, width: int, height: int) -> np.ndarray:
        try:
            pictures = list(islice(_pictures(data, width * height), 2))
        except av.error.FFmpegError as error:
            raise BitstreamError(f"damaged HEVC picture: {error.strerror}") from None
        if len(pictures) != 1:
            raise BitstreamError(f"{len(pictures) or 'no'} HEVC pictures; expected one")
        [picture] = pictures
        form = f"{picture.width}x{picture.height} {picture.format.name}"
        if form != f"{width}x{height} yuv420p":
            raise BitstreamError(f"HEVC picture of {form}; expected {width}x{height} yuv420p")
        packed: Any = picture.to_ndarray()
        return Frame(yuv=split_planes(packed.reshape(-1), width, height)).rgb


def _pictures(data: bytes, most_pixels: int) -> Iterator[av.VideoFrame]:
    """The pictures in HEVC data; they are taken as nothing else, whatever they look like."""
    decoder = av.CodecContext.create("hevc", "r")
    decoder.thread_count = 1
    decoder.options = {"max_pixels": str(most_pixels)}
    for packet in [*decoder.parse(data), *decoder.parse(None), None]:
        yield from decoder.decode(packet)
