"""Motion compensation in exact integers: quarter-sample luma, eighth-sample chroma, overlapping blocks.

A motion field (H / 8, W / 8, FIELDS) int32 says of 8x8 luma samples: which reference (0, 1, or 2 for the mean of both),
row and column of the vector to either in quarter samples, and whether it is known. The luma filters are those of HEVC.
Each sample is a weighted mean of what the vectors of the four nearest blocks predict (overlapped block motion
compensation: Orchard & Sullivan 1994), with raised cosines as weights.
"""

from __future__ import annotations

import numpy as np

from torchDVC.modules.block.kernel import kernel
from torchDVC.modules.block.space import PREDICTED

MARGIN = 40
"""Samples that references are continued beyond each edge."""
REACH = 24
"""A block may lie at most so many samples beyond an edge."""
FIELDS = 6
DIRECTION, ROW_0, COLUMN_0, ROW_1, COLUMN_1, KNOWN = range(FIELDS)
BOTH = 2

LUMA_TAPS = np.array(
    [[0, 0, 0, 64, 0, 0, 0, 0], [-1, 4, -10, 58, 17, -5, 1, 0]]
    + [[-1, 4, -11, 40, 40, -11, 4, -1], [0, 1, -5, 17, 58, -10, 4, -1]],
    np.int16,
)
CHROMA_TAPS = np.array(
    [[0, 64, 0, 0], [-2, 58, 10, -2], [-4, 54, 16, -2], [-6, 46, 28, -4]]
    + [[-4, 36, 36, -4], [-4, 28, 46, -6], [-2, 16, 54, -4], [-2, 10, 58, -2]],
    np.int32,
)
OWN_8 = np.array([18, 24, 29, 32], np.int32)
OWN_4 = np.array([20, 30], np.int32)
"""Weights out of 32 of a block's own vector in its first samples; the rest is that of the block before."""


@kernel
def fill_quarters(plane, quarters, rows):
    """The 16 quarter-sample phases ``4 * row + column`` of a plane with margins, (16, H + 80, W + 80) uint8.

    ``rows``: scratch (4, H + 88, W + 80) int16.
    """
    height, width = plane.shape
    line = np.empty(quarters.shape[2] + 8, np.int16)
    for y in range(rows.shape[1]):
        source = plane[min(max(y - MARGIN - 4, 0), height - 1)]
        for x in range(line.size):
            line[x] = source[min(max(x - MARGIN - 3, 0), width - 1)]
        for phase in range(4):
            filter_across(line, LUMA_TAPS[phase], rows[phase, y])
    for y in range(quarters.shape[1]):
        for across in range(4):
            for down in range(4):
                filter_down(rows[across, y + 1 : y + 9], LUMA_TAPS[down], quarters[4 * down + across, y])


@kernel
def filter_across(line, taps, out):
    """Weighted sums of eight samples that lie beside one another, into ``out`` (W,) int16."""
    for x in range(out.size):
        total = np.int32(0)
        for k in range(8):
            total += np.int32(np.int32(taps[k]) * np.int32(line[x + k]))
        out[x] = total


@kernel
def filter_down(lines, taps, out):
    """Samples ``out`` (W,) uint8 of weighted sums over eight lines."""
    for x in range(out.size):
        total = np.int32(2048)
        for k in range(8):
            total += np.int32(np.int32(taps[k]) * np.int32(lines[k, x]))
        out[x] = min(max(total >> 12, 0), 255)


@kernel
def fetch_luma(quarters, motion, top, left, size, out):
    """Luma samples (size, size) that a motion predicts, into ``out``."""
    direction = motion[DIRECTION]
    for reference in range(2):
        if reference == 1 - direction:
            continue
        row, column = motion[ROW_0 + 2 * reference], motion[COLUMN_0 + 2 * reference]
        y0, x0 = top + MARGIN + (row >> 2), left + MARGIN + (column >> 2)
        phase = quarters[reference, 4 * (row & 3) + (column & 3), y0 : y0 + size, x0 : x0 + size]
        if reference == 1 and direction == BOTH:
            for y in range(size):
                for x in range(size):
                    out[y, x] = (out[y, x] + np.int32(phase[y, x]) + 1) >> 1
        else:
            for y in range(size):
                for x in range(size):
                    out[y, x] = phase[y, x]


@kernel
def same_motion(a, b):
    """Whether two blocks are predicted in the same way."""
    if a[DIRECTION] != b[DIRECTION]:
        return False
    first = a[ROW_0] == b[ROW_0] and a[COLUMN_0] == b[COLUMN_0]
    second = a[ROW_1] == b[ROW_1] and a[COLUMN_1] == b[COLUMN_1]
    return (first or a[DIRECTION] == 1) and (second or a[DIRECTION] == 0)


@kernel
def compensate(pixels, quarters, field, chroma):
    """Predict all planes, into ``pixels[PREDICTED]``. ``chroma`` (2, 2, h, w) uint8: U and V of either reference."""
    rows, columns = field.shape[0], field.shape[1]
    corner, patch = np.zeros((2, 4, 2, 2), np.int32), np.zeros((4, 4, 4), np.int32)
    for b in range(rows):
        for c in range(columns):
            for quadrant in range(4):
                low, right = quadrant >> 1, quadrant & 1
                b2 = min(max(b + 2 * low - 1, 0), rows - 1)
                c2 = min(max(c + 2 * right - 1, 0), columns - 1)
                m0, m1, m2, m3 = field[b, c], field[b, c2], field[b2, c], field[b2, c2]
                plain = same_motion(m0, m1) and same_motion(m0, m2) and same_motion(m0, m3)
                y, x = 8 * b + 4 * low, 8 * c + 4 * right
                fetch_luma(quarters, m0, y, x, 4, patch[0])
                if not plain:
                    fetch_luma(quarters, m1, y, x, 4, patch[1])
                    fetch_luma(quarters, m2, y, x, 4, patch[2])
                    fetch_luma(quarters, m3, y, x, 4, patch[3])
                blend(pixels[PREDICTED, 0], patch, OWN_8, 4, y, x, low, right, plain)
                y, x = 4 * b + 2 * low, 4 * c + 2 * right
                fetch_chroma(chroma, m0, y, x, corner[:, 0])
                if not plain:
                    fetch_chroma(chroma, m1, y, x, corner[:, 1])
                    fetch_chroma(chroma, m2, y, x, corner[:, 2])
                    fetch_chroma(chroma, m3, y, x, corner[:, 3])
                for plane in range(2):
                    blend(pixels[PREDICTED, 1 + plane], corner[plane], OWN_4, 2, y, x, low, right, plain)


@kernel
def blend(target, patch, weights, size, top, left, low, right, plain):
    """Mix what their own block, that beside, that above or below, and the diagonal one predict, (4, size, size)."""
    for i in range(size):
        own_row = weights[size - 1 - i] if low else weights[i]
        for j in range(size):
            value = patch[0, i, j]
            if not plain:
                own = weights[size - 1 - j] if right else weights[j]
                first = own * value + (32 - own) * patch[1, i, j]
                second = own * patch[2, i, j] + (32 - own) * patch[3, i, j]
                value = (own_row * first + (32 - own_row) * second + 512) >> 10
            target[top + i, left + j] = value


@kernel
def fetch_chroma(chroma, motion, top, left, out):
    """2x2 predicted samples of U and V, into ``out`` (2, 2, 2)."""
    direction = motion[DIRECTION]
    for plane in range(2):
        for i in range(2):
            for j in range(2):
                out[plane, i, j] = 0
    for reference in range(2):
        if reference == 1 - direction:
            continue
        row, column = motion[ROW_0 + 2 * reference], motion[COLUMN_0 + 2 * reference]
        down, across = CHROMA_TAPS[row & 7], CHROMA_TAPS[column & 7]
        y0, x0 = top + (row >> 3) - 1, left + (column >> 3) - 1
        for plane in range(2):
            source = chroma[reference, plane]
            height, width = source.shape
            for j in range(2):
                total_0 = total_1 = np.int32(2048)
                for i in range(5):
                    line = source[min(max(y0 + i, 0), height - 1)]
                    value = np.int32(0)
                    for k in range(4):
                        value += across[k] * np.int32(line[min(max(x0 + j + k, 0), width - 1)])
                    if i < 4:
                        total_0 += down[i] * value
                    if i > 0:
                        total_1 += down[i - 1] * value
                out[plane, 0, j] += min(max(total_0 >> 12, 0), 255)
                out[plane, 1, j] += min(max(total_1 >> 12, 0), 255)
    if direction == BOTH:
        for plane in range(2):
            for i in range(2):
                for j in range(2):
                    out[plane, i, j] = (out[plane, i, j] + 1) >> 1
