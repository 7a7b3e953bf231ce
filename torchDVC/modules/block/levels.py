"""Quantised levels of a block: how they are coded, and how an encoder chooses them by rate and distortion."""

from __future__ import annotations

import numpy as np

from torchDVC.modules.block.bits import code, code_golomb, hashed, predict, transfer
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
def surroundings(s, p, plane, top, left, size, u, v):
    """What is known of a coefficient, into ``s.seen``: neighbours in the block, in blocks beside it, and of U for V."""
    levels, cells, seen = p[1][plane], p[2][DONE, plane], s.seen
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
    levels, data = p[1][plane], p[3]
    writing = s.cursor[TASK] == WRITING
    scan = scan_of(size)
    energy = energy_class(p[2][DONE, plane], top, left)
    nonzero = 0
    final = scan.size - 1
    for i in range(scan.size):
        u, v = scan[i] // size, scan[i] % size
        level = np.int64(levels[top + u, left + v]) if writing else 0
        second = 256 + min(i, 15) * 16
        surroundings(s, p, plane, top, left, size, u, v)
        some = 1
        if nonzero > 0 or i < final:
            aim(s, kind, 0, u, v, i, nonzero, energy)
            some = code(s, data, kind * 16, second, 1 if level != 0 else 0)
        if some:
            nonzero += 1
            magnitude = 1
            while magnitude <= MOST_UNARY:
                aim(s, kind, magnitude, u, v, i, nonzero, energy)
                first = kind * 16 + magnitude
                if code(s, data, first, second + magnitude, 1 if abs(level) > magnitude else 0) == 0:
                    break
                magnitude += 1
            if magnitude > MOST_UNARY:
                magnitude += code_golomb(s, data, abs(level) - magnitude)
            negative = transfer(s, data, 32768, 1 if level < 0 else 0)
            levels[top + u, left + v] = -magnitude if negative else magnitude
            if i < final:
                aim(s, kind, LAST, u, v, i, nonzero, energy)
                if code(s, data, kind * 16 + LAST, second + LAST, writing and _ends(levels, top, left, size, i)):
                    return


@kernel
def _ends(levels, top, left, size, i):
    """1 where no level follows position ``i`` of the scan."""
    scan = scan_of(size)
    for k in range(i + 1, scan.size):
        if levels[top + scan[k] // size, left + scan[k] % size] != 0:
            return 0
    return 1


@kernel
def choose_levels(s, p, plane, top, left, size, kind, none, some):
    """Choose levels of the coefficients in ``s.block``, in units of the step, and write them.

    none, some: bits of saying that the block is all zero, and that it is not.
    Returns squared error in squared steps, bits with the flag, and the sum of magnitudes.
    """
    levels, block, trade = p[1][plane], s.block, s.trades[plane]
    scan = scan_of(size)
    all_energy = np.float32(0)
    stop = -1
    for i in range(scan.size):
        u, v = scan[i] // size, scan[i] % size
        value = abs(block[u, v])
        all_energy += value * value
        levels[top + u, left + v] = 0
        if value >= 0.5:
            stop = i
    least, bits_of_least, best_end = all_energy + trade * none, none, -1
    error_of_least = all_energy
    energy = energy_class(p[2][DONE, plane], top, left)
    nonzero = 0
    if least < trade * (some + 3):
        stop = -1
    bits = some
    gained = np.float32(0)
    for i in range(stop + 1):
        u, v = scan[i] // size, scan[i] % size
        second = 256 + min(i, 15) * 16
        surroundings(s, p, plane, top, left, size, u, v)
        aim(s, kind, 0, u, v, i, nonzero, energy)
        chance = predict(s, kind * 16, second)
        value = abs(block[u, v])
        zero_bits = s.bit_costs[(65536 - chance) >> 4]
        if value < 0.5:
            bits += zero_bits
            continue
        high = int(value + np.float32(0.5))
        best = 0
        best_cost = trade * zero_bits
        best_bits = zero_bits
        rate = s.bit_costs[chance >> 4] + np.float32(1)
        for magnitude in range(1, high + 1):
            if magnitude <= MOST_UNARY:
                aim(s, kind, magnitude, u, v, i, nonzero + 1, energy)
                chance = predict(s, kind * 16 + magnitude, second + magnitude)
                stops, goes_on = s.bit_costs[(65536 - chance) >> 4], s.bit_costs[chance >> 4]
            else:
                stops, goes_on = 2 * np.log2(np.float32(magnitude - MOST_UNARY)) + 1, np.float32(0)
            if magnitude >= high - 1:
                off = value - magnitude
                now = off * off - value * value + trade * (rate + stops)
                if now < best_cost:
                    best, best_cost, best_bits = magnitude, now, rate + stops
            rate += goes_on
        bits += best_bits
        if best == 0:
            continue
        nonzero += 1
        levels[top + u, left + v] = best if block[u, v] > 0 else -best
        off = value - best
        gained += value * value - off * off
        on_bits = end_bits = np.float32(0)
        if i < scan.size - 1:
            aim(s, kind, LAST, u, v, i, nonzero, energy)
            chance = predict(s, kind * 16 + LAST, second + LAST)
            on_bits, end_bits = s.bit_costs[(65536 - chance) >> 4], s.bit_costs[chance >> 4]
        total = all_energy - gained + trade * (bits + end_bits)
        if total < least:
            least, bits_of_least, best_end = total, bits + end_bits, i
            error_of_least = all_energy - gained
        bits += on_bits
    amount = 0
    for i in range(stop + 1):
        y, x = top + scan[i] // size, left + scan[i] % size
        if i > best_end:
            levels[y, x] = 0
        amount += abs(levels[y, x])
    return error_of_least, bits_of_least, amount
