"""The encoder's choice of what a macroblock's blocks are, by rate and distortion.

Costs are in squared luma steps; ``s.trades`` says what a bit is worth in squared steps of each plane.
"""

from __future__ import annotations

import numpy as np

from torchDVC.modules.block.intra import MODES, predict_intra, read_border, smooth_border, smooths
from torchDVC.modules.block.kernel import kernel
from torchDVC.modules.block.levels import choose_levels
from torchDVC.modules.block.macroblock import (
    T_CODED,
    T_CSPLIT,
    T_INTRA,
    T_SHAPE,
    T_SKIP,
    T_SPLIT,
    at_left,
    at_top,
    clear,
    code_flag_of_levels,
    code_mode,
    flag,
    is_fine,
    kind_of,
    likely_modes,
    mark,
    predict_block,
    predict_chroma,
    reconstruct,
    set_hint,
)  # fmt: skip
from torchDVC.modules.block.space import (
    COST,
    COST_BITS,
    DONE,
    ENERGY,
    FIELDS,
    INTER,
    IS_INTER,
    MODE,
    MOTION,
    PLANNED,
    PREDICTED,
    QUALITY,
    RECON,
    SIZE,
    SKIPPED,
    SOURCE,
    STEP_C,
    STEP_Y,
)  # fmt: skip
from torchDVC.modules.block.transform import STEP_BITS, forward

FOREVER = 1e30
WORTH_SAMPLES = 3
"""Blocks with smaller levels are not tried without a transform."""
WORTH_DIVIDING = 3
"""Blocks whose levels sum up to less are not tried in smaller ones."""

@kernel
def keep(s, p, depth, plane, top, left, size):
    """Remember a block as it is."""
    levels, recon, cells = p[1][plane], p[0][RECON, plane], p[2][DONE, plane]
    for y in range(size):
        for x in range(size):
            s.kept_levels[depth, plane, y, x] = levels[top + y, left + x]
            s.kept_pixels[depth, plane, y, x] = recon[top + y, left + x]
    for y in range(size >> 2):
        for x in range(size >> 2):
            for k in range(FIELDS):
                s.kept_cells[depth, plane, y, x, k] = cells[(top >> 2) + y, (left >> 2) + x, k]


@kernel
def recall(s, p, depth, plane, top, left, size):
    """Make a block what it was when it was remembered."""
    levels, recon, cells = p[1][plane], p[0][RECON, plane], p[2][DONE, plane]
    for y in range(size):
        for x in range(size):
            levels[top + y, left + x] = s.kept_levels[depth, plane, y, x]
            recon[top + y, left + x] = s.kept_pixels[depth, plane, y, x]
    for y in range(size >> 2):
        for x in range(size >> 2):
            for k in range(FIELDS):
                cells[(top >> 2) + y, (left >> 2) + x, k] = s.kept_cells[depth, plane, y, x, k]


@kernel
def bits_of(s, before):
    """Bits counted on a costing tape since ``before``."""
    return (s.cursor[COST] - before) / (1 << COST_BITS)


@kernel
def try_leaf(s, p, plane, top, left, size, mode, skipped):
    """Code a block, predicted in ``s.pred``, with the best levels; returns error in squared luma steps plus rate."""
    source, block, pred = p[0][SOURCE, plane], s.block, s.pred
    step = s.params[STEP_C] if plane else s.params[STEP_Y]
    factor = np.float32((1 << STEP_BITS) / step)
    for y in range(size):
        for x in range(size):
            block[y, x] = (np.int64(source[top + y, left + x]) - pred[y, x]) * factor
    forward(block, size, s.scratch, skipped)
    before = s.cursor[COST]
    code_flag_of_levels(s, p, plane, top, left, size, mode, 0)
    none = bits_of(s, before)
    before = s.cursor[COST]
    code_flag_of_levels(s, p, plane, top, left, size, mode, 1)
    if size == 4:
        cells = p[2][DONE, plane]
        beside, above = at_left(cells, top, left, SKIPPED, 0), at_top(cells, top, left, SKIPPED, 0)
        flag(s, p, T_SKIP, beside, above, 1 if plane else 0, 1 if mode == INTER else 0, skipped)
    some = bits_of(s, before)
    set_hint(s, p, plane, top, left, size, mode)
    trade = s.trades[plane]
    error, bits, amount = choose_levels(s, p, plane, top, left, size, kind_of(size, skipped, plane, mode), none, some)
    energy = 0
    if amount:
        energy = max((amount * 16 + size * size // 2) // (size * size), 1)
    reconstruct(s, p, plane, top, left, size, energy, skipped)
    mark(p[2][DONE, plane], top, left, size, mode, energy, skipped if amount else 0)
    scale = s.trades[0] / trade
    return (error + trade * bits) * scale


@kernel
def hadamard(source, pred, top, left, size, d):
    """Sum of absolute differences of the Hadamard transforms in blocks of 4x4, about that of the DCT."""
    total = 0
    for by in range(0, size, 4):
        for bx in range(0, size, 4):
            for y in range(4):
                a = np.int64(source[top + by + y, left + bx]) - pred[by + y, bx]
                b = np.int64(source[top + by + y, left + bx + 1]) - pred[by + y, bx + 1]
                c = np.int64(source[top + by + y, left + bx + 2]) - pred[by + y, bx + 2]
                e = np.int64(source[top + by + y, left + bx + 3]) - pred[by + y, bx + 3]
                d[y, 0], d[y, 1], d[y, 2], d[y, 3] = a + b + c + e, a - b + c - e, a + b - c - e, a - b - c + e
            for x in range(4):
                a, b, c, e = d[0, x], d[1, x], d[2, x], d[3, x]
                total += abs(a + b + c + e) + abs(a - b + c - e) + abs(a + b - c - e) + abs(a - b - c + e)
    return total / 4


@kernel
def rank_modes(s, p, top, left, size):
    """The two intra modes that look best, into ``s.best``: every fourth direction, then those next to the best."""
    source, best = p[0][SOURCE, 0], s.best
    border, smoothed, line, pred = s.border, s.smoothed, s.line, s.pred
    read_border(p[0][RECON, 0], p[2][DONE, 0], top, left, size, border)
    smooth_border(border, size, smoothed)
    first, second = likely_modes(p[2][DONE, 0], top, left)
    weight = np.sqrt(s.trades[0]) * 0.8 * s.params[STEP_Y] / (1 << STEP_BITS)
    cost_0, cost_1 = FOREVER, FOREVER
    best[0] = best[1] = 0
    for turn in range(3):
        a, b = best[0], best[1]
        for mode in range(MODES):
            if turn == 0:
                wanted = mode < 2 or mode % 4 == 2 or mode in (first, second)
            elif turn == 1:
                wanted = mode >= 2 and mode % 4 == 0 and (abs(mode - a) == 2 or abs(mode - b) == 2)
            else:
                wanted = mode >= 2 and mode % 2 == 1 and (abs(mode - a) == 1 or abs(mode - b) == 1)
            if not wanted or (turn and mode in (first, second)):
                continue
            predict_intra(smoothed if smooths(mode, size) else border, size, mode, pred, line)
            bits = 1 if mode == first else (2 if mode == second else 6)
            now = hadamard(source, pred, top, left, size, s.wide) + weight * bits
            if now < cost_0:
                cost_1, best[1] = cost_0, best[0]
                cost_0, best[0] = now, mode
            elif now < cost_1:
                cost_1, best[1] = now, mode
    return cost_0


@kernel
def choose_leaf(s, p, top, left, size, inter):
    """The best way to code a luma block of a given size; returns its cost."""
    if inter:
        predict_block(s, p, 0, top, left, size, INTER)
        return try_both(s, p, top, left, size, INTER)
    rank_modes(s, p, top, left, size)
    first, second = s.best[0], s.best[1]
    least = np.float64(FOREVER)
    for k in range(1 if s.params[IS_INTER] else 2):
        mode = first if k == 0 else second
        clear(p[2][DONE, 0], top, left, size)
        before = s.cursor[COST]
        code_mode(s, p, top, left, mode)
        bits = bits_of(s, before)
        predict_block(s, p, 0, top, left, size, mode)
        cost = s.trades[0] * bits + try_both(s, p, top, left, size, mode)
        if cost < least:
            least = cost
            keep(s, p, 2, 0, top, left, size)
    recall(s, p, 2, 0, top, left, size)
    return least


@kernel
def try_both(s, p, top, left, size, mode):
    """Code a luma block, predicted in ``s.pred``, by its transform, or if that is small by its samples; the cost."""
    cost = try_leaf(s, p, 0, top, left, size, mode, 0)
    if size > 4 or p[2][DONE, 0, top >> 2, left >> 2, ENERGY] < WORTH_SAMPLES:
        return cost
    keep(s, p, 3, 0, top, left, size)
    other = try_leaf(s, p, 0, top, left, size, mode, 1)
    if other < cost:
        return other
    recall(s, p, 3, 0, top, left, size)
    return cost


@kernel
def bits_of_flag(s, p, tag, top, left, inter, bit):
    """Bits of saying whether a luma block is divided."""
    cells = p[2][DONE, 0]
    beside, above = at_left(cells, top, left, SIZE, 0) >> 2, at_top(cells, top, left, SIZE, 0) >> 2
    before = s.cursor[COST]
    flag(s, p, tag, beside, above, inter, s.params[QUALITY], bit)
    return bits_of(s, before)


@kernel
def choose_quarter(s, p, top, left, inter):
    """The best way to code 8x8 luma samples; returns its cost."""
    trade = s.trades[0]
    clear(p[2][DONE, 0], top, left, 8)
    whole = trade * bits_of_flag(s, p, T_SPLIT, top, left, inter, 0)
    fine = trade * bits_of_flag(s, p, T_SPLIT, top, left, inter, 1)
    whole += choose_leaf(s, p, top, left, 8, inter)
    if p[2][DONE, 0, top >> 2, left >> 2, ENERGY] * 4 < WORTH_DIVIDING:
        return whole
    keep(s, p, 1, 0, top, left, 8)
    clear(p[2][DONE, 0], top, left, 8)
    for j in range(4):
        y, x = top + 4 * (j >> 1), left + 4 * (j & 1)
        fine += choose_leaf(s, p, y, x, 4, inter)
        if fine > whole:
            break
    if fine < whole:
        return fine
    recall(s, p, 1, 0, top, left, 8)
    return whole


@kernel
def choose_luma(s, p, top, left, inter):
    """The best way to code 16x16 luma samples; returns its cost."""
    trade = s.trades[0]
    clear(p[2][DONE, 0], top, left, 16)
    whole = trade * bits_of_flag(s, p, T_SHAPE, top, left, inter, 0)
    fine = trade * bits_of_flag(s, p, T_SHAPE, top, left, inter, 1)
    whole += choose_leaf(s, p, top, left, 16, inter)
    if inter and p[2][DONE, 0, top >> 2, left >> 2, ENERGY] <= 1 and whole < 12 * trade:
        return whole
    keep(s, p, 0, 0, top, left, 16)
    clear(p[2][DONE, 0], top, left, 16)
    for k in range(4):
        y, x = top + 8 * (k >> 1), left + 8 * (k & 1)
        fine += choose_quarter(s, p, y, x, inter)
        if fine > whole:
            break
    if fine < whole:
        return fine
    recall(s, p, 0, 0, top, left, 16)
    return whole


@kernel
def choose_chroma(s, p, top, left, inter):
    """The best way to code the chroma of a macroblock whose luma is chosen; returns its cost."""
    may_split = is_fine(p[2][DONE, 0], 2 * top, 2 * left)
    least = FOREVER
    cells = p[2][DONE, 1]
    for choice in range(-1 if inter else 0, 0 if inter else 4):
        bits = 0.0 if inter else choice + 0.5
        for fine in range(2 if may_split else 1):
            size = 4 if fine else 8
            cost = s.trades[0] * bits
            clear(p[2][DONE, 1], top, left, 8)
            clear(p[2][DONE, 2], top, left, 8)
            if may_split:
                before = s.cursor[COST]
                beside, above = at_left(cells, top, left, SIZE, 0) >> 2, at_top(cells, top, left, SIZE, 0) >> 2
                flag(s, p, T_CSPLIT, beside, above, inter, s.params[QUALITY], fine)
                cost += s.trades[0] * bits_of(s, before)
            for plane in range(1, 3):
                for y in range(top, top + 8, size):
                    for x in range(left, left + 8, size):
                        predict_chroma(s, p, plane, y, x, size, choice)
                        cost += try_leaf(s, p, plane, y, x, size, choice, 0)
                        if cost >= least:
                            break
            if cost < least:
                least = cost
                keep(s, p, 3, 1, top, left, 8)
                keep(s, p, 3, 2, top, left, 8)
    recall(s, p, 3, 1, top, left, 8)
    recall(s, p, 3, 2, top, left, 8)
    return least


@kernel
def squared_error(s, p, top, left):
    """Error of a macroblock that is left as predicted, in squared luma steps but for their size."""
    total = 0.0
    for plane in range(3):
        shift = 1 if plane else 0
        size = 16 >> shift
        source, pred = p[0][SOURCE, plane], p[0][PREDICTED, plane]
        part = 0
        for y in range(top >> shift, (top >> shift) + size):
            for x in range(left >> shift, (left >> shift) + size):
                d = np.int64(source[y, x]) - pred[y, x]
                part += d * d
        total += part * s.scales[plane]
    return total


@kernel
def may_be_intra(s, p, top, left):
    """Whether prediction from other pictures leaves so much that one within the picture may be better."""
    source, pred = p[0][SOURCE, 0], p[0][PREDICTED, 0]
    left_over, detail, block, mean = 0.0, 0.0, s.pred, s.wide
    for k in range(4):
        y0, x0 = top + 8 * (k >> 1), left + 8 * (k & 1)
        total = 0
        for y in range(8):
            for x in range(8):
                block[y, x] = pred[y0 + y, x0 + x]
                total += source[y0 + y, x0 + x]
        left_over += hadamard(source, block, y0, x0, 8, mean)
        for y in range(8):
            for x in range(8):
                block[y, x] = (total + 32) >> 6
        detail += hadamard(source, block, y0, x0, 8, mean)
    return left_over > 0.4 * detail


@kernel
def choose_macroblock(s, p, top, left):
    """Decide on a macroblock and leave the decision in the plans, levels in place."""
    trade = s.trades[0]
    y, x = top >> 1, left >> 1
    if s.params[IS_INTER] == 0:
        choose_luma(s, p, top, left, 0)
        choose_chroma(s, p, y, x, 0)
        plan(s, p, top, left)
        return
    skip = squared_error(s, p, top, left)
    cells = p[2][DONE, 0]
    a, b = min(at_left(cells, top, left, ENERGY, 1), 3), min(at_top(cells, top, left, ENERGY, 1), 3)
    motion = p[2][PLANNED, 0, top >> 2, left >> 2, MOTION]
    before = s.cursor[COST]
    flag(s, p, T_CODED, a, b, motion, s.params[QUALITY], 0)
    skip += trade * bits_of(s, before)
    before = s.cursor[COST]
    flag(s, p, T_CODED, a, b, motion, s.params[QUALITY], 1)
    coded = bits_of(s, before)
    if skip < trade * (coded + 2):
        plan_none(s, p, top, left)
        return
    a, b = at_left(cells, top, left, MODE, -1) >= 0, at_top(cells, top, left, MODE, -1) >= 0
    before = s.cursor[COST]
    flag(s, p, T_INTRA, 1 if a else 0, 1 if b else 0, motion, 0, 0)
    inter = trade * (coded + bits_of(s, before))
    before = s.cursor[COST]
    flag(s, p, T_INTRA, 1 if a else 0, 1 if b else 0, motion, 0, 1)
    intra = trade * (coded + bits_of(s, before))
    inter += choose_luma(s, p, top, left, 1)
    inter += choose_chroma(s, p, y, x, 1)
    plan(s, p, top, left)
    best = inter
    if min(inter, skip) > 24 * trade and may_be_intra(s, p, top, left):
        save(s, p, top, left)
        intra += choose_luma(s, p, top, left, 0)
        if intra < min(inter, skip):
            intra += choose_chroma(s, p, y, x, 0)
        if intra < min(inter, skip):
            plan(s, p, top, left)
            best = intra
        else:
            restore(s, p, top, left)
    if skip <= best:
        plan_none(s, p, top, left)


@kernel
def save(s, p, top, left):
    """Remember the levels of all planes of a macroblock."""
    for y in range(16):
        for x in range(16):
            s.kept_levels[4, 0, y, x] = p[1][0][top + y, left + x]
    for plane in range(1, 3):
        for y in range(8):
            for x in range(8):
                s.kept_levels[4, plane, y, x] = p[1][plane][(top >> 1) + y, (left >> 1) + x]


@kernel
def restore(s, p, top, left):
    """Put the levels of all planes of a macroblock back."""
    for y in range(16):
        for x in range(16):
            p[1][0][top + y, left + x] = s.kept_levels[4, 0, y, x]
    for plane in range(1, 3):
        for y in range(8):
            for x in range(8):
                p[1][plane][(top >> 1) + y, (left >> 1) + x] = s.kept_levels[4, plane, y, x]


@kernel
def plan(s, p, top, left):
    """Take the cells of a macroblock as what is to be coded, and clear them."""
    for plane in range(3):
        shift = 1 if plane else 0
        for y in range(top >> (2 + shift), (top >> (2 + shift)) + (4 >> shift)):
            for x in range(left >> (2 + shift), (left >> (2 + shift)) + (4 >> shift)):
                for k in range(4):
                    p[2][PLANNED, plane, y, x, k] = p[2][DONE, plane, y, x, k]
                p[2][DONE, plane, y, x, SIZE] = 0


@kernel
def plan_none(s, p, top, left):
    """Plan to leave a macroblock as predicted."""
    for plane in range(3):
        shift = 1 if plane else 0
        clear(p[2][PLANNED, plane], top >> shift, left >> shift, 16 >> shift)
        clear(p[2][DONE, plane], top >> shift, left >> shift, 16 >> shift)
