"""Linear filters of a picture, one for each class of blocks and plane, in exact integers; and what they learn from.

Blocks of 4x4 luma samples are told apart by how busy they are and in which direction, as by VVC's adaptive loop filter
(Karczewicz et al. 2021, "VVC In-Loop Filters"). A sample's correction is a weighted sum of how far those around it are
from it, each by at most a share of the quantiser step; those of chroma also see luma and the other chroma plane.

Pictures are (3, H + 2 * EDGE, W + 2 * EDGE) uint8, their borders repeated; chroma fills a quarter of its planes.
"""

from __future__ import annotations

import numpy as np

from torchDVC.modules.block.kernel import kernel

EDGE = 4
CELL = 4
BUSY = np.array([3, 8, 20, 50, 120, 300], np.int64)
"""How far samples are from the mean of two neighbours, in hundredths of a step, where the next class begins."""
DIRECTIONS = 5
CLASSES = (BUSY.size + 1) * DIRECTIONS
OWN, OTHERS = 6, 6
FEATURES = OWN + OTHERS
"""Numbers that are seen in a sample's own plane, and for chroma in the others."""
TAP_BITS = 8


@kernel
def classify(luma, step, classes):
    """The class of each block, into ``classes`` (H / 4, W / 4); ``step`` is in 2**-STEP_BITS codes."""
    rows, columns = classes.shape
    bent = np.zeros((rows + 2, columns + 2, 4), np.int64)
    for row in range(-1, rows + 1):
        for column in range(-1, columns + 1):
            y, x = min(max(row, 0), rows - 1), min(max(column, 0), columns - 1)
            measure(luma, EDGE + CELL * y, EDGE + CELL * x, bent[row + 1, column + 1])
    for row in range(rows):
        for column in range(columns):
            classes[row, column] = class_of(bent[row : row + 3, column : column + 3], step)


@kernel
def measure(luma, top, left, bent):
    """How far every other sample of a block is from the means of neighbours above and below, beside it, diagonally."""
    down = across = falling = rising = np.int64(0)
    for i in range(CELL):
        for j in range(i & 1, CELL, 2):
            y, x = top + i, left + j
            twice = 2 * np.int64(luma[y, x])
            down += abs(twice - luma[y - 1, x] - luma[y + 1, x])
            across += abs(twice - luma[y, x - 1] - luma[y, x + 1])
            falling += abs(twice - luma[y - 1, x - 1] - luma[y + 1, x + 1])
            rising += abs(twice - luma[y - 1, x + 1] - luma[y + 1, x - 1])
    bent[0], bent[1], bent[2], bent[3] = down, across, falling, rising


@kernel
def around(bent, k):
    """The sum of a block's measure and those of the blocks around it, with weights 1, 2, 1 either way."""
    sides = bent[0, 1, k] + bent[1, 0, k] + bent[1, 2, k] + bent[2, 1, k]
    return 4 * bent[1, 1, k] + 2 * sides + bent[0, 0, k] + bent[0, 2, k] + bent[2, 0, k] + bent[2, 2, k]


@kernel
def class_of(bent, step):
    """The class of a block, by the measures (3, 3, 4) of it and of the blocks around it."""
    down, across, falling, rising = around(bent, 0), around(bent, 1), around(bent, 2), around(bent, 3)
    busy = 0
    while busy < BUSY.size and 25 * (down + across) >= BUSY[busy] * step:
        busy += 1
    straight_most, straight_least = max(down, across), min(down, across)
    slant_most, slant_least = max(falling, rising), min(falling, rising)
    direction = 0
    if slant_most * straight_least > straight_most * slant_least:
        if slant_most > 2 * slant_least:
            direction = 1 if falling > rising else 2
    elif straight_most > 2 * straight_least:
        direction = 3 if down > across else 4
    return busy * DIRECTIONS + direction


@kernel
def near(difference, most):
    """A difference, at most so large."""
    return min(max(difference, -most), most)


@kernel
def pair(plane, y, x, down, across, most):
    """How far two samples that lie opposite are from the one between them."""
    centre = np.int64(plane[y, x])
    return near(plane[y + down, x + across] - centre, most) + near(plane[y - down, x - across] - centre, most)


@kernel
def see(picture, plane, y, x, most, seen):
    """What the correction of a sample is made of, into ``seen`` (FEATURES,); returns how many numbers that is."""
    own = picture[plane]
    seen[0], seen[1] = pair(own, y, x, 0, 1, most), pair(own, y, x, 0, 2, most)
    seen[2], seen[3] = pair(own, y, x, 1, 0, most), pair(own, y, x, 2, 0, most)
    seen[4], seen[5] = pair(own, y, x, 1, 1, most), pair(own, y, x, 1, -1, most)
    if plane == 0:
        return OWN
    other = picture[3 - plane]
    seen[6], seen[7] = pair(other, y, x, 0, 1, most), pair(other, y, x, 1, 0, most)
    see_luma(picture[0], 2 * y - EDGE, 2 * x - EDGE, 2 * most, seen)
    return FEATURES


@kernel
def see_luma(luma, y, x, most, seen):
    """How luma above, below and beside the two samples of a chroma sample differs from them, and they do."""
    upper, lower = np.int64(luma[y, x]), np.int64(luma[y + 1, x])
    both = upper + lower
    seen[8], seen[9] = near(2 * luma[y - 1, x] - both, most), near(2 * luma[y + 2, x] - both, most)
    left = near(np.int64(luma[y, x - 1]) + luma[y + 1, x - 1] - both, most)
    seen[10] = left + near(np.int64(luma[y, x + 1]) + luma[y + 1, x + 1] - both, most)
    seen[11] = near(upper - lower, most)


@kernel
def apply(picture, classes, taps, most, pixels):
    """Filter a picture into ``pixels`` (3, H, W). ``taps`` (3, CLASSES, FEATURES) int32 in 2**-TAP_BITS."""
    seen = np.zeros(FEATURES, np.int64)
    for plane in range(3):
        shift = 1 if plane else 2
        for y in range(classes.shape[0] << shift):
            for x in range(classes.shape[1] << shift):
                count = see(picture, plane, EDGE + y, EDGE + x, most, seen)
                weights = taps[plane, classes[y >> shift, x >> shift]]
                total = np.int64(1 << (TAP_BITS - 1))
                for k in range(count):
                    total += weights[k] * seen[k]
                change = near(total >> TAP_BITS, 2 * most)
                pixels[plane, y, x] = min(max(picture[plane, EDGE + y, EDGE + x] + change, 0), 255)


@kernel
def learn(picture, classes, source, most, weight, sums):
    """Add to ``sums`` (3, CLASSES, FEATURES, FEATURES + 1) products of what is seen, and last with what is missing."""
    seen = np.zeros(FEATURES, np.int64)
    for plane in range(3):
        shift = 1 if plane else 2
        for y in range(classes.shape[0] << shift):
            for x in range(classes.shape[1] << shift):
                count = see(picture, plane, EDGE + y, EDGE + x, most, seen)
                missing = np.int64(source[plane, y, x]) - picture[plane, EDGE + y, EDGE + x]
                total = sums[plane, classes[y >> shift, x >> shift]]
                for i in range(count):
                    for j in range(count):
                        total[i, j] += weight * seen[i] * seen[j]
                    total[i, FEATURES] += weight * seen[i] * missing
