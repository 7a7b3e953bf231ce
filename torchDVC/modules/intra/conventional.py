"""Base of intra codecs that were not learned, as module types: their files travel in the frame's symbol stream."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from torchDVC.entropy.streams import Stream
from torchDVC.entropy.tables import Tables
from torchDVC.modules.frame_state import FrameState
from torchDVC.util.errors import BitstreamError

CELL = 64
"""Bytes are laid out as channels of a grid of cells of so many pixels, since a latent covers its picture."""
LENGTH_BYTES = 4
BYTE, PADDING = 0, 1
GREY = 128


@functools.cache
def byte_tables() -> Tables:
    """Row `BYTE`: 256 equally likely values. Row `PADDING`: 0, at next to no cost."""
    return Tables.from_pmf([np.full(256, 1 / 256), np.array([1.0])], [0, 0])


@dataclass(frozen=True)
class BytePrior:
    """Bytes of which nothing is known, among positions that hold none."""

    indexes: Tensor
    part: str = "latent"
    at: Tensor | None = None

    @property
    def mean(self) -> Tensor:
        """0."""
        return torch.zeros((), device=self.indexes.device)

    @property
    def tables(self) -> Tables:
        """`byte_tables`."""
        return byte_tables()

    def likelihood(self, v: Tensor) -> Tensor:
        """1/256 of every byte, 1 of positions that hold none."""
        return torch.where(self.indexes == BYTE, 1 / 256, 1.0).to(v.dtype)


class ConventionalIntra(nn.Module):
    """Base of intra codecs that turn a picture into bytes and back; 8-bit RGB, nothing to train.

    Each picture of the batch costs its file and `LENGTH_BYTES` bytes. The picture is coded at its padded size.

    Args:
        qp: quantiser parameter, 0 (best) to 51. What the literature uses beside a learned inter codec trained for lmda
            256, 512, 1024 and 2048: 37, 32, 27 and 22.
    """

    def __init__(self, qp: int = 22) -> None:
        super().__init__()
        self.qp = qp

    def encode(self, picture: np.ndarray) -> bytes:
        """The file of a picture, uint8 RGB (3, H, W)."""
        raise NotImplementedError

    def decode(self, data: bytes, width: int, height: int) -> np.ndarray:
        """The picture of a file, uint8 RGB (3, H, W); `BitstreamError` where it is damaged."""
        raise NotImplementedError

    @torch.no_grad()
    def forward(self, state: FrameState, stream: Stream) -> dict[str, Tensor]:
        device = state.quality.device
        files = None if stream.reading else [self.encode(_to_bytes(picture)) for picture in state["frame"]]
        lengths = None if files is None else [len(file).to_bytes(LENGTH_BYTES, "little") for file in files]
        coded = _code_bytes(stream, lengths, [LENGTH_BYTES] * state.batch, state)
        sizes = [int.from_bytes(length, "little") for length in coded]
        most = LENGTH_BYTES * 3 * state.height * state.width
        if max(sizes) > most:
            raise BitstreamError(f"intra picture of {max(sizes)} bytes; expected at most {most}")
        files = _code_bytes(stream, files, sizes, state)
        pictures = [self._picture(file, state.width, state.height) for file in files]
        recon = torch.from_numpy(np.stack(pictures)).to(device)
        return {"recon": recon.float() / 255}

    def _picture(self, file: bytes, width: int, height: int) -> np.ndarray:
        """The decoded picture; no bytes at all stand for a grey one, which no encoder writes."""
        if not file:
            return np.full((3, height, width), GREY, np.uint8)
        picture = self.decode(file, width, height)
        if picture.shape != (3, height, width):
            raise BitstreamError(f"intra picture of {picture.shape[2]}x{picture.shape[1]}; expected {width}x{height}")
        return picture


def _to_bytes(picture: Tensor) -> np.ndarray:
    """(3, H, W) in [0, 1] as uint8, rounded."""
    return (picture.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()


def _code_bytes(stream: Stream, files: Sequence[bytes] | None, sizes: Sequence[int], state: FrameState) -> list[bytes]:
    """Code a string of bytes of a size known to both sides for each picture of the batch."""
    grid = (state.height // CELL, state.width // CELL)
    channels = max(1, math.ceil(max(sizes) / math.prod(grid)))
    shape = (state.batch, channels, *grid)
    position = torch.arange(math.prod(shape[1:]), device=state.quality.device)
    ends = torch.tensor(sizes, device=state.quality.device)[:, None]
    indexes = torch.where(position < ends, BYTE, PADDING).to(torch.int32).view(shape)
    values = None
    if files is not None:
        padded = b"".join(file.ljust(len(position), b"\0") for file in files)
        values = torch.from_numpy(np.frombuffer(padded, np.uint8).copy()).to(indexes.device).float().view(shape)
    coded = stream.code_integers(values, BytePrior(indexes))
    data = coded.flatten(1).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
    return [bytes(file[:size]) for file, size in zip(data, sizes, strict=True)]
