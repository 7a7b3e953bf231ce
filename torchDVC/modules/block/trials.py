"""The encoder's trials of luma and chroma blocks: what one costs, and which way of coding it costs least.

Costs are in squared luma steps; ``s.trades`` says what a bit is worth in squared steps of each plane.
"""

from __future__ import annotations

import numpy as np

from torchDVC.modules.block.bits import bits_since, flag_costs
from torchDVC.modules.block.blocks import (
    T_SKIP,
    code_mode,
    energy_of,
    flag_of_levels,
    flag_of_samples,
    kind_of,
    predict_block,
    reconstruct,
    set_hint,
)  # fmt: skip
from torchDVC.modules.block.cells import clear, mark
from torchDVC.modules.block.kernel import kernel
from torchDVC.modules.block.modes import rank_modes
from torchDVC.modules.block.rdoq import choose_levels
from torchDVC.modules.block.space import (
    COST,
    DONE,
    ENERGY,
    FIELDS,
    INTER,
    IS_INTER,
    QUALITY,
    RECON,
    SOURCE,
    STEP_C,
    STEP_Y,
)  # fmt: skip
from torchDVC.modules.block.transform import STEP_BITS, forward

WORTH_SAMPLES = 3
"""Blocks with smaller levels are not tried without a transform."""
TRANSFORMED, WHOLE_8, WHOLE_16, BEST, MACROBLOCK = range(5)
"""Places where `keep` remembers blocks: as transformed, not divided, in the best way so far, and macroblocks."""


@kernel
def keep(s, p, place, plane, top, left, size):
    """Remember a block as it is."""
    levels = p[1][plane, top : top + size, left : left + size]
    recon = p[0][RECON, plane, top : top + size, left : left + size]
    cells = p[2][DONE, plane, top >> 2 : (top + size) >> 2, left >> 2 : (left + size) >> 2]
    for y in range(size):
        for x in range(size):
            s.kept_levels[place, plane, y, x] = levels[y, x]
            s.kept_pixels[place, plane, y, x] = recon[y, x]
    for y in range(size >> 2):
        for x in range(size >> 2):
            for k in range(FIELDS):
                s.kept_cells[place, plane, y, x, k] = cells[y, x, k]


@kernel
def recall(s, p, place, plane, top, left, size):
    """Make a block what it was when it was remembered."""
    levels = p[1][plane, top : top + size, left : left + size]
    recon = p[0][RECON, plane, top : top + size, left : left + size]
    cells = p[2][DONE, plane, top >> 2 : (top + size) >> 2, left >> 2 : (left + size) >> 2]
    for y in range(size):
        for x in range(size):
            levels[y, x] = s.kept_levels[place, plane, y, x]
            recon[y, x] = s.kept_pixels[place, plane, y, x]
    for y in range(size >> 2):
        for x in range(size >> 2):
            for k in range(FIELDS):
                cells[y, x, k] = s.kept_cells[place, plane, y, x, k]


@kernel
def transform_residual(s, p, plane, top, left, size, skipped):
    """What the prediction in ``s.pred`` leaves, transformed, in steps, into ``s.block``."""
    block, pred = s.block, s.pred
    source = p[0][SOURCE, plane, top : top + size, left : left + size]
    factor = np.float32((1 << STEP_BITS) / (s.params[STEP_C] if plane else s.params[STEP_Y]))
    for y in range(size):
        for x in range(size):
            block[y, x] = np.float32(np.int64(source[y, x]) - pred[y, x]) * factor
    if not skipped:
        forward(block, size, s.scratch)


@kernel
def try_leaf(s, p, plane, top, left, size, mode, skipped):
    """Code a block, predicted in ``s.pred``, with the best levels; returns its cost."""
    transform_residual(s, p, plane, top, left, size, skipped)
    tag, beside, above, other = flag_of_levels(p, plane, top, left, size, mode)
    none, some = flag_costs(s, tag, beside, above, other, s.params[QUALITY])
    if size == 4:
        beside, above, chroma, inter = flag_of_samples(p, plane, top, left, mode)
        transformed, plain = flag_costs(s, T_SKIP, beside, above, chroma, inter)
        some += plain if skipped else transformed
    set_hint(s, p, plane, top, left, size, mode)
    error, bits, amount = choose_levels(s, p, plane, top, left, size, kind_of(size, skipped, plane, mode), none, some)
    energy = energy_of(amount, size)
    reconstruct(s, p, plane, top, left, size, energy, skipped)
    mark(p[2][DONE, plane], top, left, size, mode, energy, skipped if amount else 0)
    return (error + s.trades[plane] * bits) * (s.trades[0] / s.trades[plane])


@kernel
def try_both(s, p, top, left, size, mode):
    """Code a luma block, predicted in ``s.pred``, by its transform, or if that is small by its samples; the cost."""
    cost = try_leaf(s, p, 0, top, left, size, mode, 0)
    if size > 4 or p[2][DONE, 0, top >> 2, left >> 2, ENERGY] < WORTH_SAMPLES:
        return cost
    keep(s, p, TRANSFORMED, 0, top, left, size)
    other = try_leaf(s, p, 0, top, left, size, mode, 1)
    if other < cost:
        return other
    recall(s, p, TRANSFORMED, 0, top, left, size)
    return cost


@kernel
def choose_leaf(s, p, top, left, size, inter):
    """The best way to code a luma block of a given size; returns its cost."""
    if inter:
        predict_block(s, p, 0, top, left, size, INTER)
        return try_both(s, p, top, left, size, INTER)
    rank_modes(s, p, top, left, size)
    first, second = s.best[0], s.best[1]
    least = try_mode(s, p, top, left, size, first)
    if s.params[IS_INTER]:
        return least
    keep(s, p, BEST, 0, top, left, size)
    cost = try_mode(s, p, top, left, size, second)
    if cost < least:
        return cost
    recall(s, p, BEST, 0, top, left, size)
    return least


@kernel
def try_mode(s, p, top, left, size, mode):
    """Code a luma block predicted within the picture; returns its cost."""
    clear(p[2][DONE, 0], top, left, size)
    before = s.cursor[COST]
    code_mode(s, p, top, left, mode)
    bits = bits_since(s, before)
    predict_block(s, p, 0, top, left, size, mode)
    return s.trades[0] * bits + try_both(s, p, top, left, size, mode)
