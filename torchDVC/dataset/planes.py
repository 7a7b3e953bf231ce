"""Samples of any depth and chroma layout: to 4:2:0, and from one depth to another.

Results are real-valued ones, rounded half up (`torchDVC.dataset.colour`). In limited range a code of n bits stands for
2^(n-8) of an 8-bit one; in full range the largest code stays the largest, and the middle of chroma its middle.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchDVC.dataset.colour import chroma_size

Codes = NDArray[Any]
"""A plane of codes, (H, W): uint8, above 8 bits uint16."""
CodePlanes = tuple[Codes, Codes, Codes]


def stored_type(bits: int) -> np.dtype[Any]:
    """What samples of so many bits are in files, and in arrays: above 8 bits uint16, the lower byte first."""
    return np.dtype("u1" if bits == 8 else "<u2")


def to_420(planes: list[Codes], bits: int) -> CodePlanes:
    """Y (H, W), U and V (ceil(H/2), ceil(W/2)) of codes of ``bits`` bits, in these bits.

    Chroma may be as large as luma, half in either direction, or absent (grey). In the direction that it is not halved
    in yet, it becomes the mean of two; an odd last row or column counts twice.
    """
    height, width = planes[0].shape
    size = chroma_size(width, height)[::-1]
    if len(planes) < 3:
        none = np.full(size, 1 << bits >> 1, stored_type(bits))
        return planes[0], none, none
    u, v = (_chroma(plane, size, bits) for plane in planes[1:3])
    return planes[0], u, v


def in_depth(planes: CodePlanes, bits: int, wanted: int, value_range: str) -> CodePlanes:
    """Y, U and V of ``bits`` bits in ``wanted`` bits."""
    if bits == wanted:
        return planes
    y, u, v = (
        _scaled(plane, bits, wanted, value_range, chroma) for plane, chroma in zip(planes, (0, 1, 1), strict=True)
    )
    return y, u, v


def to_rgb8(codes: Codes, bits: int) -> NDArray[np.uint8]:
    """RGB of ``bits`` bits in any shape as uint8: the largest code becomes 255."""
    return codes.astype(np.uint8, copy=False) if bits == 8 else _scaled(codes, bits, 8, "full", 0)


def _chroma(plane: Codes, size: tuple[int, int], bits: int) -> Codes:
    """A chroma plane with (height, width) ``size``."""
    if plane.shape == size:
        return plane
    means: NDArray[Any] = plane
    for axis in (0, 1):
        if plane.shape[axis] != size[axis]:
            means = _halved(means, axis)
    return _rounded(means, bits)


def _halved(plane: NDArray[Any], axis: int) -> NDArray[np.float64]:
    """Means of two neighbours."""
    rows = np.moveaxis(plane.astype(np.float64), axis, 0)
    rows = np.concatenate([rows, rows[-1:]]) if len(rows) % 2 else rows
    return np.moveaxis((rows[::2] + rows[1::2]) / 2, 0, axis)


def _scaled(codes: Codes, bits: int, wanted: int, value_range: str, chroma: int) -> NDArray[Any]:
    scale = 2.0 ** (wanted - bits) if value_range == "limited" else ((1 << wanted) - 1) / ((1 << bits) - 1)
    middle, new_middle = (chroma << depth >> 1 for depth in (bits, wanted))
    return _rounded((codes.astype(np.float64) - middle) * scale + new_middle, wanted)


def _rounded(values: NDArray[np.float64], bits: int) -> NDArray[Any]:
    """Rounded half up (what is so but for float64's own rounding, too), in the range of a depth."""
    return np.clip(np.floor(values + (0.5 + 2.0**-33)), 0, (1 << bits) - 1).astype(stored_type(bits))
