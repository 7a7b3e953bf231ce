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
    lines = np.zeros((4, CELL // 2 * columns), np.int32)
    for row in range(rows):
        measure(luma[EDGE + CELL * row - 1 : EDGE + CELL * (row + 1) + 1], lines, bent[row + 1])
    bent[0], bent[rows + 1] = bent[1], bent[rows]
    for row in range(rows):
        for column in range(columns):
            classes[row, column] = class_of(bent[row : row + 3, column : column + 3], step)


@kernel
def measure(luma, lines, bent):
    """How far samples of a row of blocks are from means of neighbours, into ``bent`` (W / 4 + 2, 4), its ends twice.

    ``luma`` (CELL + 2, …) begins a sample above the row; ``lines`` (4, W / 2) int32 is scratch.
    """
    lines[:] = 0
    for i in range(CELL):
        left = EDGE - 1 + (i & 1)
        add_bends(luma[i, left:], luma[i + 1, left:], luma[i + 2, left:], lines[0], lines[1], lines[2], lines[3])
    columns = bent.shape[0] - 2
    for k in range(4):
        for column in range(columns):
            bent[column + 1, k] = lines[k, 2 * column] + lines[k, 2 * column + 1]
        bent[0, k], bent[columns + 1, k] = bent[1, k], bent[columns, k]


@kernel
def add_bends(above, here, below, down, across, falling, rising):
    """Add how far every other sample is from the means of those above and below, beside it, and on both diagonals."""
    for k in range(down.size):
        x = 2 * k
        twice = np.int32(2 * np.int32(here[x + 1]))
        down[k] += abs(np.int32(twice - np.int32(above[x + 1]) - np.int32(below[x + 1])))
        across[k] += abs(np.int32(twice - np.int32(here[x]) - np.int32(here[x + 2])))
        falling[k] += abs(np.int32(twice - np.int32(above[x]) - np.int32(below[x + 2])))
        rising[k] += abs(np.int32(twice - np.int32(above[x + 2]) - np.int32(below[x])))


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
def see(picture, plane, y, most, seen):
    """What corrections of a row are made of, into ``seen`` (FEATURES, W) int32; returns how many numbers that is."""
    own = picture[plane]
    pairs(own, y, 0, 1, most, seen[0])
    pairs(own, y, 0, 2, most, seen[1])
    pairs(own, y, 1, 0, most, seen[2])
    pairs(own, y, 2, 0, most, seen[3])
    pairs(own, y, 1, 1, most, seen[4])
    pairs(own, y, 1, -1, most, seen[5])
    if plane == 0:
        return OWN
    pairs(picture[3 - plane], y, 0, 1, most, seen[6])
    pairs(picture[3 - plane], y, 1, 0, most, seen[7])
    see_luma(picture[0], EDGE + 2 * y, 2 * most, seen)
    return FEATURES


@kernel
def pairs(plane, y, down, across, most, seen):
    """How far two samples that lie opposite are from the one between them, each at most so far, in row ``y``."""
    y += EDGE
    low, high = np.int32(-most), np.int32(most)
    here, one, other = plane[y, EDGE:], plane[y + down, EDGE + across :], plane[y - down, EDGE - across :]
    for x in range(seen.size):
        centre = np.int32(here[x])
        first, second = np.int32(np.int32(one[x]) - centre), np.int32(np.int32(other[x]) - centre)
        seen[x] = min(max(first, low), high) + min(max(second, low), high)


@kernel
def see_luma(luma, y, most, seen):
    """How luma above, below and beside the two samples of a chroma sample differs from them, and one from the other."""
    low, high, left = np.int32(-most), np.int32(most), EDGE - 1
    above, upper, lower, below = luma[y - 1, left:], luma[y, left:], luma[y + 1, left:], luma[y + 2, left:]
    for k in range(seen.shape[1]):
        x = 2 * k
        first, second = np.int32(upper[x + 1]), np.int32(lower[x + 1])
        both = np.int32(first + second)
        seen[8, k] = min(max(np.int32(2 * np.int32(above[x + 1]) - both), low), high)
        seen[9, k] = min(max(np.int32(2 * np.int32(below[x + 1]) - both), low), high)
        before = np.int32(np.int32(upper[x]) + np.int32(lower[x]) - both)
        after = np.int32(np.int32(upper[x + 2]) + np.int32(lower[x + 2]) - both)
        seen[10, k] = min(max(before, low), high) + min(max(after, low), high)
        seen[11, k] = min(max(np.int32(first - second), low), high)


@kernel
def apply(picture, classes, taps, most, pixels):
    """Filter a picture into ``pixels`` (3, H, W). ``taps`` (3, CLASSES, FEATURES) int32 in 2**-TAP_BITS."""
    for plane in range(3):
        size = 2 if plane else 4
        width = size * classes.shape[1]
        seen, weights = np.zeros((FEATURES, width), np.int32), np.zeros((FEATURES, width), np.int32)
        total = np.zeros(width, np.int32)
        for row in range(classes.shape[0]):
            spread(taps[plane], classes[row], size, weights)
            for y in range(size * row, size * (row + 1)):
                total[:] = 1 << (TAP_BITS - 1)
                for k in range(see(picture, plane, y, most, seen)):
                    add_products(weights[k], seen[k], total)
                correct(picture[plane, EDGE + y, EDGE:], total, 2 * most, pixels[plane, y])


@kernel
def spread(taps, classes, size, weights):
    """The taps of every sample of a row, into ``weights`` (FEATURES, W)."""
    for k in range(FEATURES):
        for column in range(classes.size):
            weights[k, size * column : size * (column + 1)] = taps[classes[column], k]


@kernel
def add_products(weights, seen, total):
    """Add to ``total``."""
    for x in range(total.size):
        total[x] += weights[x] * seen[x]


@kernel
def correct(here, total, most, pixels):
    """A row of samples with what is added to each, at most so much either way."""
    low, high = np.int32(-most), np.int32(most)
    for x in range(total.size):
        change = min(max(np.int32(total[x] >> TAP_BITS), low), high)
        pixels[x] = min(max(np.int32(np.int32(here[x]) + change), np.int32(0)), np.int32(255))


@kernel
def learn(picture, classes, source, most, weight, sums):
    """Add to ``sums`` (3, CLASSES, FEATURES, FEATURES + 1) products of what is seen, and last with what is missing."""
    for plane in range(3):
        size = 2 if plane else 4
        seen = np.zeros((FEATURES, size * classes.shape[1]), np.int32)
        for y in range(size * classes.shape[0]):
            count = see(picture, plane, y, most, seen)
            for x in range(seen.shape[1]):
                missing = np.int64(source[plane, y, x]) - picture[plane, EDGE + y, EDGE + x]
                total = sums[plane, classes[y // size, x // size]]
                for i in range(count):
                    for j in range(count):
                        total[i, j] += weight * seen[i, x] * seen[j, x]
                    total[i, FEATURES] += weight * seen[i, x] * missing
