"""The encoder's estimates of what blocks cost that other pictures predict, in squared luma steps."""

from __future__ import annotations

import numpy as np

from torchDVC.modules.block.kernel import kernel
from torchDVC.modules.block.space import PREDICTED, SOURCE, STEP_Y
from torchDVC.modules.block.transform import STEP_BITS, forward

LEAST_ENERGY = np.float32(0.5)
"""Coefficients of less are taken for zero."""
ROUNDING = np.float32(0.08)
"""About the squared error of a level."""


@kernel
def coded_cost(s, size):
    """About what coding the residual in ``s.block`` costs, in steps; it is transformed."""
    block, trade = s.block, s.trades[0]
    none = np.float32(0)
    for y in range(size):
        for x in range(size):
            none += block[y, x] * block[y, x]
    if none < 4 * trade:
        return none
    forward(block, size, s.scratch)
    some = 2 * trade
    for y in range(size):
        for x in range(size):
            energy = block[y, x] * block[y, x]
            if energy > LEAST_ENERGY:
                energy = min(energy, ROUNDING + trade * s.level_bits[min(np.int64(energy), 63)])
            some += energy
    return min(none, some)


@kernel
def predicted_cost(s, p, top, left, size):
    """`coded_cost` of a luma block as other pictures predict it."""
    block, factor = s.block, np.float32((1 << STEP_BITS) / s.params[STEP_Y])
    source = p[0][SOURCE, 0, top : top + size, left : left + size]
    pred = p[0][PREDICTED, 0, top : top + size, left : left + size]
    for y in range(size):
        for x in range(size):
            block[y, x] = np.float32(np.int32(source[y, x]) - np.int32(pred[y, x])) * factor
    return coded_cost(s, size)


@kernel
def gain_of_dividing(s, p, top, left, size):
    """About how many times as much an undivided luma block costs as its four quarters."""
    half = size >> 1
    four = np.float32(0)
    for k in range(4):
        four += predicted_cost(s, p, top + half * (k >> 1), left + half * (k & 1), half)
    return predicted_cost(s, p, top, left, size) / max(four, s.trades[0])
