"""The encoder's choice of levels by rate and distortion, with the rates of the contexts themselves.

Coefficients are in units of the quantiser step, float32; a bit is worth ``trade`` squared steps.
"""

from __future__ import annotations

import numpy as np

from torchDVC.modules.block.bits import costs
from torchDVC.modules.block.kernel import kernel
from torchDVC.modules.block.levels import LAST, MOST_UNARY, aim, energy_class, surroundings
from torchDVC.modules.block.space import DONE
from torchDVC.modules.block.transform import scan_of

LEAST = 0.5
"""Smaller coefficients are zero."""
LEAST_LAST = 0.75
"""The last level of a block is of a coefficient at least so large."""
LEAST_BITS = 3
"""A block takes at least so many bits beside its flags."""


@kernel
def choose_levels(s, p, plane, top, left, size, kind, none, some):
    """Choose levels of the coefficients in ``s.block`` and write them.

    none, some: bits of saying that the block is all zero, and that it is not.
    Returns squared error in squared steps, bits with the flag, and the sum of magnitudes.
    """
    levels, cells, block, trade = p[1][plane], p[2][DONE, plane], s.block, s.trades[plane]
    scan = scan_of(size)
    energy = energy_class(cells, top, left)
    error, stop = begin_block(block, levels[top : top + size, left : left + size], scan, size)
    least, least_bits, least_error, end = error + trade * none, none, error, -1
    if least < trade * (some + LEAST_BITS):
        stop = -1
    bits, nonzero = some, 0
    for i in range(stop + 1):
        u, v = scan[i] >> 4, scan[i] & 15
        second = 256 + min(i, 15) * 16
        surroundings(s, p, levels, cells, plane, top, left, size, u, v)
        value = abs(block[u, v])
        level, spent = choose_level(s, kind, second, u, v, i, nonzero, energy, value, trade)
        bits += spent
        if level == 0:
            continue
        nonzero += 1
        levels[top + u, left + v] = level if block[u, v] > 0 else -level
        off = value - level
        error += off * off - value * value
        going, ending = costs_of_end(s, kind, second, u, v, i, nonzero, energy, scan.size)
        total = error + trade * (bits + ending)
        if total < least:
            least, least_bits, least_error, end = total, bits + ending, error, i
        bits += going
    return least_error, least_bits, cut(levels, top, left, scan, stop, end)


@kernel
def begin_block(block, levels, scan, size):
    """Clear the levels of a block; the energy of its coefficients, and where in the scan the last level may be."""
    total = np.float32(0)
    for y in range(size):
        for x in range(size):
            levels[y, x] = 0
            total += block[y, x] * block[y, x]
    stop = scan.size - 1
    while stop >= 0 and abs(block[scan[stop] >> 4, scan[stop] & 15]) < LEAST_LAST:
        stop -= 1
    return total, stop


@kernel
def choose_level(s, kind, second, u, v, i, nonzero, energy, value, trade):
    """The best magnitude for a coefficient >= 0, and its bits."""
    aim(s, kind, 0, u, v, i, nonzero, energy)
    zero, rate = costs(s, kind * 16, second)
    best, bits, least = 0, zero, trade * zero
    if value < LEAST:
        return best, bits
    high = int(value + np.float32(0.5))
    rate += np.float32(1)
    for magnitude in range(1, high + 1):
        if magnitude <= MOST_UNARY:
            aim(s, kind, magnitude, u, v, i, nonzero + 1, energy)
            stops, goes_on = costs(s, kind * 16 + magnitude, second + magnitude)
        else:
            stops, goes_on = np.float32(2 * np.log2(np.float32(magnitude - MOST_UNARY)) + 1), np.float32(0)
        if magnitude >= high - 1:
            off = value - magnitude
            now = off * off - value * value + trade * (rate + stops)
            if now < least:
                best, bits, least = magnitude, rate + stops, now
        rate += goes_on
    return best, bits


@kernel
def costs_of_end(s, kind, second, u, v, i, nonzero, energy, size):
    """Bits of saying after a level that others follow, and that none does; none at the end of the scan."""
    if i == size - 1:
        return np.float32(0), np.float32(0)
    aim(s, kind, LAST, u, v, i, nonzero, energy)
    return costs(s, kind * 16 + LAST, second + LAST)


@kernel
def cut(levels, top, left, scan, stop, end):
    """Clear the levels after ``end`` in the scan; the sum of the magnitudes of the others."""
    amount = 0
    for i in range(stop + 1):
        y, x = top + (scan[i] >> 4), left + (scan[i] & 15)
        if i > end:
            levels[y, x] = 0
        amount += abs(levels[y, x])
    return amount
