"""The encoder's choice of what a macroblock's blocks are, by rate and distortion.

Costs are in squared luma steps; ``s.trades`` says what a bit is worth in squared steps of each plane. Contexts do not
learn meanwhile. When a macroblock is decided, its levels, samples and cells are as they will be coded.
"""

from __future__ import annotations

import numpy as np

from torchDVC.modules.block.bits import flag_costs
from torchDVC.modules.block.blocks import T_CODED, T_CSPLIT, T_INTRA, T_SHAPE, T_SPLIT
from torchDVC.modules.block.cells import clear, is_fine, sizes_beside
from torchDVC.modules.block.estimates import gain_of_dividing
from torchDVC.modules.block.kernel import kernel
from torchDVC.modules.block.macroblock import copy_prediction, flag_of_coding, flag_of_kind, predict_chroma
from torchDVC.modules.block.modes import FOREVER, may_be_intra
from torchDVC.modules.block.space import DONE, ENERGY, INTER, IS_INTER, PREDICTED, QUALITY, SOURCE
from torchDVC.modules.block.trials import (
    BEST,
    MACROBLOCK,
    WHOLE_8,
    WHOLE_16,
    choose_leaf,
    keep,
    recall,
    try_leaf,
)  # fmt: skip

WORTH_DIVIDING = 3
"""Blocks of 8x8 whose levels sum up to less are not tried in smaller ones."""
CLEAR = 1.1
"""Where a macroblock divided or whole looks so many times as good as the other, the other is not tried."""
CHEAP = 12
"""Macroblocks predicted from other pictures that cost fewer bits' worth, with hardly a level, are not divided."""
DEAR = 24
"""Macroblocks that cost fewer bits' worth are not tried within the picture."""


@kernel
def choose_luma(s, p, top, left, size, inter, least):
    """The best way to code size x size luma samples, whole or in four; returns its cost, or any above ``least``."""
    if size == 4:
        return choose_leaf(s, p, top, left, 4, inter)
    trade, cells = s.trades[0], p[2][DONE, 0]
    clear(cells, top, left, size)
    beside, above = sizes_beside(cells, top, left)
    one, four = flag_costs(s, T_SHAPE if size == 16 else T_SPLIT, beside, above, inter, s.params[QUALITY])
    gain = gain_of_dividing(s, p, top, left, size) if inter else np.float32(1)
    place, whole = WHOLE_16 if size == 16 else WHOLE_8, np.float64(FOREVER)
    if gain < CLEAR:
        whole = trade * one + choose_leaf(s, p, top, left, size, inter)
        if gain * CLEAR < 1 or is_settled(s, cells[top >> 2, left >> 2, ENERGY], size, inter, whole):
            return whole
        keep(s, p, place, 0, top, left, size)
        clear(cells, top, left, size)
    half, least = size >> 1, min(whole, least)
    divided = np.float64(trade * four)
    for k in range(4):
        divided += choose_luma(s, p, top + half * (k >> 1), left + half * (k & 1), half, inter, least - divided)
        if divided > least:
            if whole < FOREVER:
                recall(s, p, place, 0, top, left, size)
            return whole
    return divided


@kernel
def is_settled(s, energy, size, inter, cost):
    """Whether an undivided block is good enough not to try four in its place."""
    if size == 8:
        return energy * 4 < WORTH_DIVIDING
    return inter and energy <= 1 and cost < CHEAP * s.trades[0]


@kernel
def try_chroma(s, p, top, left, inter, choice, size, least):
    """Code the chroma of a macroblock in one way; returns its cost, or any above ``least``."""
    cost = np.float64(0 if inter else s.trades[0] * (choice + 0.5))
    for plane in range(1, 3):
        clear(p[2][DONE, plane], top, left, 8)
    if is_fine(p[2][DONE, 0], 2 * top, 2 * left):
        beside, above = sizes_beside(p[2][DONE, 1], top, left)
        whole, fine = flag_costs(s, T_CSPLIT, beside, above, inter, s.params[QUALITY])
        cost += s.trades[0] * (fine if size == 4 else whole)
    for plane in range(1, 3):
        for y in range(top, top + 8, size):
            for x in range(left, left + 8, size):
                predict_chroma(s, p, plane, y, x, size, choice)
                cost += try_leaf(s, p, plane, y, x, size, choice, 0)
                if cost >= least:
                    return cost
    return cost


@kernel
def choose_chroma(s, p, top, left, inter, least):
    """The best way to code a macroblock's chroma, after luma; returns its cost, `FOREVER` if not below ``least``."""
    may_split = is_fine(p[2][DONE, 0], 2 * top, 2 * left)
    best = np.float64(FOREVER)
    for choice in range(INTER if inter else 0, INTER + 1 if inter else 4):
        for half in range(2 if may_split else 1):
            cost = try_chroma(s, p, top, left, inter, choice, 8 >> half, least)
            if cost < least:
                least = best = cost
                keep(s, p, BEST, 1, top, left, 8)
                keep(s, p, BEST, 2, top, left, 8)
    recall(s, p, BEST, 1, top, left, 8)
    recall(s, p, BEST, 2, top, left, 8)
    return best


@kernel
def squared_error(s, p, top, left):
    """Error of a macroblock that is left as predicted, in squared luma steps."""
    total = 0.0
    for plane in range(3):
        size = 8 if plane else 16
        y0, x0 = (top >> 1, left >> 1) if plane else (top, left)
        source = p[0][SOURCE, plane, y0 : y0 + size, x0 : x0 + size]
        pred = p[0][PREDICTED, plane, y0 : y0 + size, x0 : x0 + size]
        part = 0
        for y in range(size):
            for x in range(size):
                d = np.int64(source[y, x]) - pred[y, x]
                part += d * d
        total += part * s.scales[plane]
    return total


@kernel
def choose_blocks(s, p, top, left, inter, least):
    """The best way to code a macroblock's blocks; returns its cost, `FOREVER` or more if not below ``least``."""
    cost = choose_luma(s, p, top, left, 16, inter, least)
    if cost >= least:
        return np.float64(FOREVER)
    return cost + choose_chroma(s, p, top >> 1, left >> 1, inter, least - cost)


@kernel
def remember(s, p, top, left, back):
    """Keep all planes of a macroblock, or with ``back`` recall them."""
    for plane in range(3):
        y, x, size = (top >> 1, left >> 1, 8) if plane else (top, left, 16)
        if back:
            recall(s, p, MACROBLOCK, plane, y, x, size)
        else:
            keep(s, p, MACROBLOCK, plane, y, x, size)


@kernel
def choose_macroblock(s, p, top, left):
    """Decide on a macroblock."""
    trade = s.trades[0]
    if s.params[IS_INTER] == 0:
        choose_blocks(s, p, top, left, 0, FOREVER)
        return
    beside, above, motion = flag_of_coding(p, top, left)
    none, coded = flag_costs(s, T_CODED, beside, above, motion, s.params[QUALITY])
    skip = squared_error(s, p, top, left) + trade * none
    if skip < trade * (coded + 2):
        copy_prediction(p, top, left)
        return
    beside, above, motion = flag_of_kind(p, top, left)
    outside, within = flag_costs(s, T_INTRA, beside, above, motion, 0)
    spent = trade * (coded + outside)
    inter = spent + choose_blocks(s, p, top, left, 1, skip - spent)
    best = min(inter, skip)
    if best > DEAR * trade and may_be_intra(s, p, top, left):
        remember(s, p, top, left, False)
        spent = trade * (coded + within)
        intra = spent + choose_blocks(s, p, top, left, 0, best - spent)
        if intra < best:
            return
        remember(s, p, top, left, True)
    if skip <= inter:
        copy_prediction(p, top, left)
