"""Prediction of a block from the samples above it and to its left: planar, mean, 33 directions, chroma from luma.

The directions and the smoothing of the border are those of HEVC (Lainema et al. 2012, "Intra Coding of the HEVC
Standard"); chroma from luma is the linear model of VVC in plain form.
"""

from __future__ import annotations

import numpy as np

from torchDVC.modules.block.kernel import kernel
from torchDVC.modules.block.space import SIZE

PLANAR, MEAN = 0, 1
MODES = 35
GREY = 128

ANGLES = np.array(
    [0, 0, 32, 26, 21, 17, 13, 9, 5, 2, 0, -2, -5, -9, -13, -17, -21, -26, -32]
    + [-26, -21, -17, -13, -9, -5, -2, 0, 2, 5, 9, 13, 17, 21, 26, 32],
    np.int32,
)
INVERSE = np.array([0 if a >= 0 else -round(8192 / -a) for a in ANGLES.tolist()], np.int32)


@kernel
def read_border(plane, cells, top, left, size, border):
    """Fill ``border`` (4 * size + 1): from the sample below left up to the corner, then along the top to the right.

    Samples that are not coded yet repeat the nearest before them; where there are none, all are grey.
    """
    height, width = plane.shape
    first = -1
    for k in range(4 * size + 1):
        y = top + 2 * size - 1 - k if k < 2 * size else top - 1
        x = left - 1 if k <= 2 * size else left + k - 2 * size - 1
        known = 0 <= y < height and 0 <= x < width and cells[y >> 2, x >> 2, SIZE] > 0
        if known:
            border[k] = plane[y, x]
            if first < 0:
                first = k
        else:
            border[k] = border[k - 1] if first >= 0 else GREY
    if first > 0:
        for k in range(first):
            border[k] = border[first]


@kernel
def smooth_border(border, size, smoothed):
    """Weights 1, 2, 1 along the border."""
    last = 4 * size
    smoothed[0] = border[0]
    smoothed[last] = border[last]
    for k in range(1, last):
        smoothed[k] = (border[k - 1] + 2 * border[k] + border[k + 1] + 2) >> 2


@kernel
def smooths(mode, size):
    """Whether a mode reads the smoothed border."""
    if size < 8 or mode == MEAN:
        return False
    if mode == PLANAR:
        return True
    off = min(abs(mode - 26), abs(mode - 10))
    return off > (7 if size == 8 else 1)


@kernel
def predict_intra(border, size, mode, block, line):
    """Fill ``block`` (size, size) from a border as `read_border` gives it; ``line`` is scratch of 3 * size + 1."""
    corner = 2 * size
    shift = 2 if size == 4 else (3 if size == 8 else 4)
    if mode == PLANAR:
        below, right = border[corner - size - 1], border[corner + size + 1]
        for y in range(size):
            for x in range(size):
                across = (size - 1 - x) * border[corner - 1 - y] + (x + 1) * right
                down = (size - 1 - y) * border[corner + 1 + x] + (y + 1) * below
                block[y, x] = (across + down + size) >> (shift + 1)
        return
    if mode == MEAN:
        total = size
        for k in range(size):
            total += border[corner - 1 - k] + border[corner + 1 + k]
        for y in range(size):
            for x in range(size):
                block[y, x] = total >> (shift + 1)
        return
    vertical = mode >= 18
    sign = 1 if vertical else -1
    angle = ANGLES[mode]
    for k in range(2 * size + 1):
        line[size + k] = border[corner + sign * k]
    if angle < 0:
        for k in range(-((size * -angle) >> 5), 0):
            line[size + k] = border[corner - sign * ((k * INVERSE[mode] + 128) >> 8)]
    for y in range(size):
        whole = ((y + 1) * angle) >> 5
        part = ((y + 1) * angle) & 31
        for x in range(size):
            at = size + x + whole + 1
            value = line[at]
            if part:
                value = ((32 - part) * value + part * line[at + 1] + 16) >> 5
            if vertical:
                block[y, x] = value
            else:
                block[x, y] = value


@kernel
def predict_from_luma(luma, chroma, cells, top, left, size, block):
    """Fill ``block`` (size, size) of chroma at ``top, left`` by a line through the pairs of luma and chroma nearby."""
    n = 0
    sum_x = sum_y = sum_xx = sum_xy = np.int64(0)
    for k in range(2 * size):
        y = top - 1 if k < size else top + k - size
        x = left + k if k < size else left - 1
        if y < 0 or x < 0 or cells[y >> 2, x >> 2, SIZE] == 0:
            continue
        a = np.int64(_luma_at(luma, y, x))
        b = np.int64(chroma[y, x])
        n += 1
        sum_x += a
        sum_y += b
        sum_xx += a * a
        sum_xy += a * b
    slope = np.int64(0)
    offset = np.int64(GREY) << 16
    if n:
        spread = n * sum_xx - sum_x * sum_x
        if spread > 0:
            slope = min(max(((n * sum_xy - sum_x * sum_y) << 16) // spread, -(4 << 16)), 4 << 16)
        offset = ((sum_y << 16) - slope * sum_x) // n
    for y in range(size):
        for x in range(size):
            value = (slope * _luma_at(luma, top + y, left + x) + offset + 32768) >> 16
            block[y, x] = min(max(value, 0), 255)


@kernel
def _luma_at(luma, y, x):
    """The mean of the four luma samples of a chroma sample."""
    a = np.int64(luma[2 * y, 2 * x]) + luma[2 * y, 2 * x + 1]
    return (a + luma[2 * y + 1, 2 * x] + luma[2 * y + 1, 2 * x + 1] + 2) >> 2
