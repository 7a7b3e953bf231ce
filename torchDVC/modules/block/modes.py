"""The encoder's choice of intra modes, and of whether to try any, by transformed differences."""

from __future__ import annotations

import numpy as np

from torchDVC.modules.block.blocks import likely_modes
from torchDVC.modules.block.intra import MODES, predict_intra, read_border, smooth_border, smooths
from torchDVC.modules.block.kernel import kernel
from torchDVC.modules.block.space import DONE, PREDICTED, RECON, SOURCE, STEP_Y
from torchDVC.modules.block.transform import STEP_BITS

FOREVER = 1e30
WORTH_INTRA = 0.85
"""The share of a macroblock's detail that prediction from other pictures leaves where intra modes are tried."""


@kernel
def hadamard(source, pred, size, d):
    """Sum of absolute differences of the Hadamard transforms in blocks of 4x4, about that of the DCT."""
    total = 0
    for top in range(0, size, 4):
        for left in range(0, size, 4):
            for y in range(4):
                a = np.int64(source[top + y, left]) - pred[top + y, left]
                b = np.int64(source[top + y, left + 1]) - pred[top + y, left + 1]
                c = np.int64(source[top + y, left + 2]) - pred[top + y, left + 2]
                e = np.int64(source[top + y, left + 3]) - pred[top + y, left + 3]
                d[y, 0], d[y, 1], d[y, 2], d[y, 3] = a + b + c + e, a - b + c - e, a + b - c - e, a - b - c + e
            for x in range(4):
                a, b, c, e = d[0, x], d[1, x], d[2, x], d[3, x]
                total += abs(a + b + c + e) + abs(a - b + c - e) + abs(a + b - c - e) + abs(a - b - c + e)
    return total / 4


@kernel
def is_wanted(turn, mode, first, second, a, b):
    """Whether a mode is looked at in a turn: every fourth direction and the likely, then those next to the best two."""
    if turn == 0:
        return mode < 2 or mode % 4 == 2 or mode in (first, second)
    if mode < 2 or mode in (first, second):
        return False
    if turn == 1:
        return mode % 4 == 0 and (abs(mode - a) == 2 or abs(mode - b) == 2)
    return mode % 2 == 1 and (abs(mode - a) == 1 or abs(mode - b) == 1)


@kernel
def rank_modes(s, p, top, left, size):
    """The two intra modes that look best, into ``s.best``."""
    source, best = p[0][SOURCE, 0, top : top + size, left : left + size], s.best
    border, smoothed = s.border, s.smoothed
    read_border(p[0][RECON, 0], p[2][DONE, 0], top, left, size, border)
    smooth_border(border, size, smoothed)
    first, second = likely_modes(p[2][DONE, 0], top, left)
    weight = np.sqrt(s.trades[0]) * 0.8 * s.params[STEP_Y] / (1 << STEP_BITS)
    cost_0, cost_1 = FOREVER, FOREVER
    best[0] = best[1] = 0
    for turn in range(3):
        a, b = best[0], best[1]
        for mode in range(MODES):
            if not is_wanted(turn, mode, first, second, a, b):
                continue
            predict_intra(smoothed if smooths(mode, size) else border, size, mode, s.pred, s.line)
            bits = 1 if mode == first else (2 if mode == second else 6)
            now = hadamard(source, s.pred, size, s.wide) + weight * bits
            if now < cost_0:
                cost_1, best[1] = cost_0, best[0]
                cost_0, best[0] = now, mode
            elif now < cost_1:
                cost_1, best[1] = now, mode


@kernel
def may_be_intra(s, p, top, left):
    """Whether prediction from other pictures leaves so much that one within the picture may be better."""
    left_over, detail, block, scratch = 0.0, 0.0, s.pred, s.wide
    for k in range(4):
        y0, x0 = top + 8 * (k >> 1), left + 8 * (k & 1)
        source, pred = p[0][SOURCE, 0, y0 : y0 + 8, x0 : x0 + 8], p[0][PREDICTED, 0, y0 : y0 + 8, x0 : x0 + 8]
        total = 32
        for y in range(8):
            for x in range(8):
                block[y, x] = pred[y, x]
                total += source[y, x]
        left_over += hadamard(source, block, 8, scratch)
        block[:8, :8] = total >> 6
        detail += hadamard(source, block, 8, scratch)
    return left_over > WORTH_INTRA * detail
