"""Quantised levels of a block, and how they are coded."""

from __future__ import annotations

import numpy as np

from torchDVC.modules.block.bits import code, code_golomb, hashed, transfer
from torchDVC.modules.block.kernel import kernel
from torchDVC.modules.block.space import DONE, ENERGY, HINT, QUALITY, SIZE, TASK, WRITING
from torchDVC.modules.block.transform import scan_of

LAST = 15
"""Number of the decision that ends a block; 0 tells zero from other levels, 1 to 14 whether a magnitude goes on."""
MOST_UNARY = 14
CLASSES = np.array([0, 1, 2, 3, 4, 5, 5, 6, 6, 6, 7, 7, 7, 7, 7, 8, 8, 8, 8, 8, 8, 8, 8, 8, 9], np.int64)
OTHER_SIZE = 12


@kernel
def magnitude_class(value):
    """A magnitude in ten classes."""
    return CLASSES[min(value, CLASSES.size - 1)]


@kernel
def surroundings(s, p, levels, cells, plane, top, left, size, u, v):
    """What is known of a coefficient, into ``s.seen``: neighbours in the block, in blocks beside it, and of U for V."""
    seen = s.seen
    y, x = top + u, left + v
    near = 0
    if u > 0:
        near += 2 * abs(levels[y - 1, x])
        if v > 0:
            near += abs(levels[y - 1, x - 1])
        if u > 1:
            near += abs(levels[y - 2, x])
    if v > 0:
        near += 2 * abs(levels[y, x - 1])
        if v > 1:
            near += abs(levels[y, x - 2])
    beside = 0
    same = 0
    if left > 0 and cells[top >> 2, (left >> 2) - 1, SIZE] == size:
        beside += abs(levels[y, x - size])
        same += 1
    if top > 0 and cells[(top >> 2) - 1, left >> 2, SIZE] == size:
        beside += abs(levels[y - size, x])
        same += 1
    if same == 1:
        beside *= 2
    seen[0] = magnitude_class(near)
    seen[1] = magnitude_class(beside) if same else OTHER_SIZE
    seen[2] = magnitude_class(abs(p[1][1, y, x])) if plane == 2 else s.params[HINT]


@kernel
def energy_class(cells, top, left):
    """How much the blocks above and to the left hold, in classes."""
    total = 0
    if left > 0:
        total += cells[top >> 2, (left >> 2) - 1, ENERGY]
    if top > 0:
        total += cells[(top >> 2) - 1, left >> 2, ENERGY]
    return magnitude_class(total)


@kernel
def aim(s, kind, decision, u, v, i, nonzero, energy):
    """Contexts of one decision on a coefficient."""
    contexts, seen, quality = s.contexts, s.seen, s.params[QUALITY]
    tag = kind * 16 + decision
    position = (u << 4) | v
    near, beside, hint = seen[0], seen[1], seen[2]
    count = min(nonzero, 7)
    contexts[0] = hashed(tag, position, near, 1)
    contexts[1] = hashed(tag, position, beside, 2)
    contexts[2] = hashed(tag, near, beside, 3 + 8 * min(i >> 2, 15))
    contexts[3] = hashed(tag, position, count, 4)
    contexts[4] = hashed(tag, position, hint, 5)
    contexts[5] = hashed(tag, near, energy, 6 + 8 * min(u + v, 15))
    contexts[6] = hashed(tag, position, quality, 7 + 8 * min(near, 3))


@kernel
def code_levels(s, p, plane, top, left, size, kind):
    """Code the levels of a block that is not all zero."""
    levels, cells, data = p[1][plane], p[2][DONE, plane], p[3]
    writing = s.cursor[TASK] == WRITING
    scan = scan_of(size)
    energy = energy_class(cells, top, left)
    nonzero = 0
    final = scan.size - 1
    last = last_of(levels, top, left, scan) if writing else 0
    for i in range(scan.size):
        u, v = scan[i] >> 4, scan[i] & 15
        level = np.int64(levels[top + u, left + v]) if writing else 0
        second = 256 + min(i, 15) * 16
        surroundings(s, p, levels, cells, plane, top, left, size, u, v)
        some = 1
        if nonzero > 0 or i < final:
            aim(s, kind, 0, u, v, i, nonzero, energy)
            some = code(s, data, kind * 16, second, 1 if level != 0 else 0)
        if some:
            nonzero += 1
            levels[top + u, left + v] = code_level(s, data, kind, second, u, v, i, nonzero, energy, level)
            if i < final:
                aim(s, kind, LAST, u, v, i, nonzero, energy)
                if code(s, data, kind * 16 + LAST, second + LAST, 1 if i == last else 0):
                    return


@kernel
def code_level(s, data, kind, second, u, v, i, nonzero, energy, level):
    """Code magnitude and sign of a level that is not zero."""
    magnitude = 1
    while magnitude <= MOST_UNARY:
        aim(s, kind, magnitude, u, v, i, nonzero, energy)
        if code(s, data, kind * 16 + magnitude, second + magnitude, 1 if abs(level) > magnitude else 0) == 0:
            break
        magnitude += 1
    if magnitude > MOST_UNARY:
        magnitude += code_golomb(s, data, abs(level) - magnitude)
    return -magnitude if transfer(s, data, 32768, 1 if level < 0 else 0) else magnitude


@kernel
def last_of(levels, top, left, scan):
    """The last position of the scan that holds a level."""
    i = scan.size - 1
    while i > 0 and levels[top + (scan[i] >> 4), left + (scan[i] & 15)] == 0:
        i -= 1
    return i
