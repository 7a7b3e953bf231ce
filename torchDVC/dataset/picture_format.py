"""What a codec works in: RGB, or the samples of YUV 4:2:0 as they are, and what that means for pictures as tensors.

| format | channels of a picture (N, C, h, w) | |
|---|---|---|
| ``rgb`` | R G B, (N, 3, H, W) | 8-bit samples / 255 |
| ``yuv420``, ``yuv420p10`` | Y U V, (N, 3, H, W), each chroma sample four times | codes / 255, 10 bits: / 1023 |
| ``yuv420_packed``, ``yuv420p10_packed`` | the four of each 2x2 Y, U, V: (N, 6, H/2, W/2) | the same |

Only this module knows; everything else asks a `PictureFormat`. YUV keeps the matrix and the range of its clip.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from torchDVC.config.picture_formats import PICTURE_FORMATS, RGB
from torchDVC.dataset.colour import LUMA_WEIGHTS, RANGES
from torchDVC.dataset.frame import Frame
from torchDVC.dataset.planes import stored_type

PLANE_WEIGHTS = (6 / 8, 1 / 8, 1 / 8)
"""What Y, U and V weigh in a distortion and in PSNR-YUV, where nothing else is said."""
TRAINING_COLOUR = ("bt709", "limited")
"""Matrix and range in which the RGB of training clips becomes YUV."""

Distortion = Callable[[Tensor, Tensor], Tensor]
"""Gives (N,) of two batches of pictures or planes (N, C, H, W)."""


class PictureFormat:
    """RGB of 8 bits; the base of the others. Pictures are (N, C, h, w) in [0, 1].

    Attributes:
        name: as a model csv gives it.
        bits: of each sample in a file.
        planes: names of the planes that a distortion is measured on.
    """

    name = RGB
    bits = 8
    planes: Sequence[str] = (RGB,)

    def shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Channels, height and width of the tensor of a picture of so many pixels."""
        return 3, height, width

    def pixels(self, height: int, width: int) -> tuple[int, int]:
        """Height and width in pixels of a tensor of so many rows and columns, where they are even."""
        return height, width

    def to_tensor(self, frame: Frame, device: torch.device) -> Tensor:
        """The picture (1, C, h, w) of a frame."""
        return self.from_rgb(torch.from_numpy(np.ascontiguousarray(frame.rgb)).to(device)[None])

    def to_frame(
        self, picture: Tensor, size: tuple[int, int], matrix: str = "bt709", value_range: str = "limited"
    ) -> Frame:
        """The frame that a decoder shows for a picture (1, C, h, w); size is (height, width) in pixels."""
        return Frame(rgb=_codes(picture[0], 8), matrix=matrix, value_range=value_range)

    def from_rgb(self, clips: Tensor) -> Tensor:
        """Pictures (…, C, h, w) of uint8 RGB (…, 3, H, W), as training data is."""
        return clips.float() / 255

    def pad(self, picture: Tensor, height: int, width: int) -> Tensor:
        """A picture continued to so many pixels, the last row and column repeated."""
        target = self.shape(height, width)
        below, right = target[1] - picture.shape[-2], target[2] - picture.shape[-1]
        return F.pad(picture, (0, right, 0, below), mode="replicate") if below or right else picture

    def crop(self, picture: Tensor, height: int, width: int) -> Tensor:
        """The upper left of a picture, so many pixels."""
        target = self.shape(height, width)
        return picture[..., : target[1], : target[2]]

    def split(self, picture: Tensor) -> list[Tensor]:
        """The planes of a picture, each (N, c, h, w), in their own size."""
        return [picture]

    def distortion(self, measure: Distortion, a: Tensor, b: Tensor, weights: Sequence[float] = PLANE_WEIGHTS) -> Tensor:
        """(N,) the distortion between pictures: of each plane, summed with its share of the ``weights``."""
        each = [measure(x, y) for x, y in zip(self.split(a), self.split(b), strict=True)]
        shares = weights if len(each) > 1 else (1.0,)
        return sum(share / sum(shares) * x for share, x in zip(shares, each, strict=True))  # type: ignore[return-value]


class YUV420(PictureFormat):
    """The codes of YUV 4:2:0 as three channels of the picture's size, chroma repeated 2x2."""

    planes = ("y", "u", "v")

    def __init__(self, name: str, bits: int) -> None:
        self.name, self.bits = name, bits

    def to_tensor(self, frame: Frame, device: torch.device) -> Tensor:
        y, u, v = (torch.from_numpy(x.astype(np.int32)).to(device) for x in frame.planes(self.bits))
        return self.join(*(x.float()[None, None] / self.most for x in (y, u, v)))

    def to_frame(
        self, picture: Tensor, size: tuple[int, int], matrix: str = "bt709", value_range: str = "limited"
    ) -> Frame:
        y, u, v = (_codes(plane[0, 0], self.bits) for plane in self.split(picture))
        y, u, v = y[: size[0], : size[1]], *(x[: -(-size[0] // 2), : -(-size[1] // 2)] for x in (u, v))
        return Frame(yuv=(y, u, v), matrix=matrix, value_range=value_range, bits=self.bits)

    def from_rgb(self, clips: Tensor) -> Tensor:
        flat = clips.reshape(-1, *clips.shape[-3:]).float()
        planes = [_rounded(x, self.bits) for x in _to_yuv420(flat, *TRAINING_COLOUR)]
        pictures = self.join(*planes)
        return pictures.reshape(*clips.shape[:-3], *pictures.shape[1:])

    @property
    def most(self) -> int:
        """The largest code."""
        return 2**self.bits - 1

    def join(self, y: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """The pictures of planes (N, 1, H, W) and (N, 1, ceil(H/2), ceil(W/2))."""
        chroma = F.interpolate(torch.cat([u, v], 1), scale_factor=2, mode="nearest")
        return torch.cat([y, chroma[..., : y.shape[-2], : y.shape[-1]]], 1)

    def split(self, picture: Tensor) -> list[Tensor]:
        chroma = F.avg_pool2d(_even(picture[:, 1:]), 2)
        return [picture[:, :1], chroma[:, :1], chroma[:, 1:]]


class PackedYUV420(YUV420):
    """The codes of YUV 4:2:0 at half the size: Y's upper left, upper right, lower left, lower right, then U and V."""

    def shape(self, height: int, width: int) -> tuple[int, int, int]:
        return 6, -(-height // 2), -(-width // 2)

    def pixels(self, height: int, width: int) -> tuple[int, int]:
        return 2 * height, 2 * width

    def join(self, y: Tensor, u: Tensor, v: Tensor) -> Tensor:
        return torch.cat([F.pixel_unshuffle(_even(y), 2), u, v], 1)

    def split(self, picture: Tensor) -> list[Tensor]:
        return [F.pixel_shuffle(picture[:, :4], 2), picture[:, 4:5], picture[:, 5:]]


def picture_format(name: str) -> PictureFormat:
    """The format of a name of `PICTURE_FORMATS`."""
    return _FORMATS[name]


_FORMATS = {
    name: PictureFormat()
    if name == RGB
    else (PackedYUV420 if name.endswith("_packed") else YUV420)(name, 10 if "p10" in name else 8)
    for name in PICTURE_FORMATS
}


def _even(x: Tensor) -> Tensor:
    """An odd last row or column twice."""
    return F.pad(x, (0, x.shape[-1] % 2, 0, x.shape[-2] % 2), mode="replicate")


def _codes(plane: Tensor, bits: int) -> NDArray[Any]:
    """[0, 1] to integers, rounded half up; uint16 above 8 bits."""
    codes = (plane.float().clamp(0, 1) * (2**bits - 1) + 0.5).to(torch.int32).cpu().numpy()
    return codes.astype(stored_type(bits))


def _to_yuv420(rgb: Tensor, matrix: str, value_range: str) -> tuple[Tensor, Tensor, Tensor]:
    """Planes in codes of 8 bits, not rounded, of (N, 3, H, W) in 0 to 255."""
    kr, kg, kb = LUMA_WEIGHTS[matrix]
    black, luma_steps, chroma_steps = RANGES[value_range]
    grey = (rgb * rgb.new_tensor([kr, kg, kb])[:, None, None]).sum(1, keepdim=True)
    small = F.avg_pool2d(_even(torch.cat([grey, rgb], 1)), 2)
    u = (small[:, 3:] - small[:, :1]) * (chroma_steps / 255 / 2 / (1 - kb)) + 128
    v = (small[:, 1:2] - small[:, :1]) * (chroma_steps / 255 / 2 / (1 - kr)) + 128
    return grey * (luma_steps / 255) + black, u, v


def _rounded(codes: Tensor, bits: int) -> Tensor:
    """Codes of 8 bits, with a fraction, to [0, 1] in steps of a depth."""
    scale, most = 2 ** (bits - 8), 2**bits - 1
    return (codes * scale + 0.5).floor().clamp(0, most) / most
