"""HEVC intra pictures as the intra codec of a model."""

from __future__ import annotations

import tempfile
from pathlib import Path

import av
import numpy as np

from torchDVC.analysis.coded_files import read_av, write_av
from torchDVC.analysis.encoders import ENCODERS
from torchDVC.coding_structure import CodingStructure
from torchDVC.dataset.frame import Frame, VideoInfo
from torchDVC.modules.intra.conventional import ConventionalIntra
from torchDVC.util.errors import BitstreamError
from torchDVC.util.registry import codec_module


@codec_module(encoder_reads="frame", writes="recon", codes=True)
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
        encoder = ENCODERS["hevc-intra"]
        options = encoder.options(CodingStructure(1), self.preset, self.qp, "")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "picture.hevc"
            write_av(encoder, options, [Frame(rgb=picture)], VideoInfo(picture.shape[2], picture.shape[1]), path)
            return path.read_bytes()

    def decode(self, data: bytes, width: int, height: int) -> np.ndarray:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "picture.hevc"
            path.write_bytes(data)
            try:
                frames = [frame for frame, _, _ in read_av(path, VideoInfo(width, height))]
            except av.error.FFmpegError as error:
                raise BitstreamError(f"damaged HEVC picture: {error.strerror}") from None
        if len(frames) != 1:
            raise BitstreamError(f"{len(frames)} HEVC pictures; expected one")
        return frames[0].rgb
