"""Exact conversion between RGB and 8-bit YUV 4:2:0 in the matrices BT.601 and BT.709, limited and full range.

The equations are those of ITU-R BT.601-7 and BT.709-6: with R', G', B' in [0, 1] and luma weights (Kr, Kg, Kb),

    Y' = Kr R' + Kg G' + Kb B'      Pb = (B' - Y') / (2 (1 - Kb))      Pr = (R' - Y') / (2 (1 - Kr))

and 8-bit codes Y = 16 + 219 Y', U = 128 + 224 Pb, V = 128 + 224 Pr in limited range, Y = 255 Y', U = 128 + 255 Pb,
V = 128 + 255 Pr in full range. Every result is the real-valued one, rounded half up and clipped to [0, 255].

Chroma is sited in the centre of its 2x2 luma pixels (as in JPEG): it is the mean of those pixels going down and
interpolated bilinearly (weights 9, 3, 3, 1 over 16) going up. An odd last row or column counts twice in the mean.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from torchDVC.util.errors import DataError, nearest

Plane = NDArray[np.uint8]

LUMA_WEIGHTS = {"bt709": (0.2126, 0.7152, 0.0722), "bt601": (0.299, 0.587, 0.114)}
# Code of black, steps from black to white, steps of the whole chroma swing.
RANGES = {"limited": (16, 219, 224), "full": (0, 255, 255)}

# Rounds half up; the small part lets a result that is exactly half, but for float64's own rounding, go up as well.
_HALF = 0.5 + 2.0**-33
_STRIP = 32  # rows converted at a time, so that intermediate results stay in the processor's cache


def check_colour(matrix: str, value_range: str) -> None:
    """Raise `DataError` unless ``matrix`` is a key of `LUMA_WEIGHTS` and ``value_range`` one of `RANGES`."""
    if matrix not in LUMA_WEIGHTS:
        raise DataError(f"unknown colour matrix '{matrix}'{nearest(matrix, LUMA_WEIGHTS)}")
    if value_range not in RANGES:
        raise DataError(f"unknown value range '{value_range}'{nearest(value_range, RANGES)}")


def chroma_size(width: int, height: int) -> tuple[int, int]:
    """(width, height) of the chroma planes of a 4:2:0 picture; an odd luma size rounds up."""
    return (width + 1) // 2, (height + 1) // 2


def yuv420_to_rgb(y: Plane, u: Plane, v: Plane, matrix: str = "bt709", value_range: str = "limited") -> Plane:
    """RGB (3, H, W) uint8 of the planes y (H, W) and u, v (ceil(H/2), ceil(W/2)), all uint8."""
    check_colour(matrix, value_range)
    kr, kg, kb = LUMA_WEIGHTS[matrix]
    black, luma_steps, chroma_steps = RANGES[value_range]
    luma, chroma = 255 / luma_steps, 255 / chroma_steps / 16
    u_sum, v_sum = (_upsample(plane, *y.shape) for plane in (u, v))
    rgb = np.empty((3, *y.shape), np.uint8)
    for top in range(0, y.shape[0], _STRIP):
        rows = slice(top, top + _STRIP)
        grey = (y[rows].astype(np.float64) - black) * luma
        pb = (u_sum[rows].astype(np.float64) - 128 * 16) * (chroma * 2)
        pr = (v_sum[rows].astype(np.float64) - 128 * 16) * (chroma * 2)
        _store(rgb[0, rows], grey + pr * (1 - kr))
        _store(rgb[1, rows], grey - pb * (kb * (1 - kb) / kg) - pr * (kr * (1 - kr) / kg))
        _store(rgb[2, rows], grey + pb * (1 - kb))
    return rgb


def rgb_to_yuv420(rgb: Plane, matrix: str = "bt709", value_range: str = "limited") -> tuple[Plane, Plane, Plane]:
    """Planes y (H, W) and u, v (ceil(H/2), ceil(W/2)) of RGB (3, H, W), all uint8."""
    check_colour(matrix, value_range)
    height, width = rgb.shape[1:]
    y = np.empty((height, width), np.uint8)
    for top in range(0, height, _STRIP):
        rows = slice(top, top + _STRIP)
        _store(y[rows], _luma(rgb[:, rows], matrix, RANGES[value_range][1] / 255) + RANGES[value_range][0])
    u, v = _chroma(_sums_of_four(rgb), matrix, RANGES[value_range][2] / 255 / 4)
    return y, u, v


def _store(target: Plane, values: NDArray[np.float64]) -> None:
    """Round half up, clip to [0, 255] and write to the uint8 ``target``; overwrites ``values``."""
    values += _HALF
    np.clip(values, 0, 255, out=values)
    target[...] = values


def _luma(rgb: NDArray, matrix: str, scale: float) -> NDArray[np.float64]:
    kr, kg, kb = LUMA_WEIGHTS[matrix]
    return rgb[0] * (kr * scale) + rgb[1] * (kg * scale) + rgb[2] * (kb * scale)


def _chroma(sums: NDArray[np.uint16], matrix: str, scale: float) -> tuple[Plane, Plane]:
    kr, _, kb = LUMA_WEIGHTS[matrix]
    grey = _luma(sums, matrix, scale)
    u, v = np.empty(grey.shape, np.uint8), np.empty(grey.shape, np.uint8)
    _store(u, (sums[2] * scale - grey) / (2 * (1 - kb)) + 128)
    _store(v, (sums[0] * scale - grey) / (2 * (1 - kr)) + 128)
    return u, v


def _sums_of_four(rgb: Plane) -> NDArray[np.uint16]:
    """Sums over 2x2 pixels of (3, H, W); an odd last row or column is counted twice."""
    height, width = rgb.shape[1:]
    even = np.pad(rgb, ((0, 0), (0, height % 2), (0, width % 2)), mode="edge").astype(np.uint16)
    return even[:, ::2, ::2] + even[:, ::2, 1::2] + even[:, 1::2, ::2] + even[:, 1::2, 1::2]


def _upsample(plane: Plane, height: int, width: int) -> NDArray[np.uint16]:
    """Bilinear values at the (height, width) luma positions, times 16."""
    rows = _double(plane.astype(np.uint16))
    return _double(rows.T).T[:height, :width]


def _double(values: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Twice the rows, centre-sited bilinear, times 4; the outermost rows are continued outwards."""
    padded = np.concatenate([values[:1], values, values[-1:]])
    doubled = np.empty((2 * len(values), *values.shape[1:]), np.uint16)
    doubled[::2] = 3 * values + padded[:-2]
    doubled[1::2] = 3 * values + padded[2:]
    return doubled
