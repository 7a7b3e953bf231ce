"""Blocks of 4x4 to 16x16 samples of a plane: prediction, reconstruction and syntax, the same in encoder and decoder."""

from __future__ import annotations

from torchDVC.modules.block.bits import flag
from torchDVC.modules.block.cells import at_left, at_top, mark
from torchDVC.modules.block.intra import MEAN, MODES, PLANAR, predict_intra, read_border, smooth_border, smooths
from torchDVC.modules.block.kernel import kernel
from torchDVC.modules.block.levels import code_levels, magnitude_class
from torchDVC.modules.block.space import (
    DONE,
    ENERGY,
    HINT,
    INTER,
    MODE,
    PLANNED,
    PREDICTED,
    QUALITY,
    READING,
    RECON,
    SKIPPED,
    STEP_C,
    STEP_Y,
    TASK,
)  # fmt: skip
from torchDVC.modules.block.transform import STEP_BITS, inverse

T_CODED, T_INTRA, T_SHAPE, T_SPLIT, T_SKIP, T_FIRST, T_SECOND, T_TREE, T_CHROMA, T_CSPLIT = range(10)
T_FLAG = 16


@kernel
def kind_of(size, skipped, plane, mode):
    """Which statistics the levels of a block have."""
    shape = 3 if skipped else (0 if size == 4 else (1 if size == 8 else 2))
    return shape + (4 if plane else 0) + (8 if mode != INTER else 0)


@kernel
def predict_block(s, p, plane, top, left, size, mode):
    """The prediction of a block, into ``s.pred``."""
    block, border = s.pred, s.border
    if mode == INTER:
        source = p[0][PREDICTED, plane, top : top + size, left : left + size]
        for y in range(size):
            for x in range(size):
                block[y, x] = source[y, x]
        return
    read_border(p[0][RECON, plane], p[2][DONE, plane], top, left, size, border)
    if plane == 0 and smooths(mode, size):
        smooth_border(border, size, s.smoothed)
        predict_intra(s.smoothed, size, mode, block, s.line)
    else:
        predict_intra(border, size, mode, block, s.line)


@kernel
def reconstruct(s, p, plane, top, left, size, energy, skipped):
    """Add the residual of the levels to the prediction in ``s.pred``."""
    block, residual = s.pred, s.residual
    recon = p[0][RECON, plane, top : top + size, left : left + size]
    if energy:
        step = s.params[STEP_C] if plane else s.params[STEP_Y]
        inverse(p[1][plane], top, left, size, step, skipped, residual, s.wide)
        for y in range(size):
            for x in range(size):
                recon[y, x] = min(max(block[y, x] + residual[y, x], 0), 255)
    else:
        for y in range(size):
            for x in range(size):
                recon[y, x] = block[y, x]


@kernel
def flag_of_levels(p, plane, top, left, size, mode):
    """Whether a block has levels: the tag of that decision, and what is known beside it."""
    cells = p[2][DONE]
    beside = min(at_left(cells[plane], top, left, ENERGY, 1), 3)
    above = min(at_top(cells[plane], top, left, ENERGY, 1), 3)
    other = 0
    if plane == 2:
        other = min(cells[1, top >> 2, left >> 2, ENERGY], 3)
    elif plane == 1:
        other = magnitude_class(cells[0, top >> 1, left >> 1, ENERGY])
    return T_FLAG + kind_of(size, 0, plane, mode) + (16 if plane == 2 else 0), beside, above, other


@kernel
def flag_of_samples(p, plane, top, left, mode):
    """Whether a block of 4x4 is not transformed: what is known beside that decision."""
    cells = p[2][DONE, plane]
    beside, above = at_left(cells, top, left, SKIPPED, 0), at_top(cells, top, left, SKIPPED, 0)
    return beside, above, 1 if plane else 0, 1 if mode == INTER else 0


@kernel
def energy_of(amount, size):
    """The field `ENERGY` of a block whose levels sum up to ``amount``: sixteenths a sample, 0 only for none."""
    return max((amount * 16 + size * size // 2) // (size * size), 1) if amount else 0


@kernel
def likely_modes(cells, top, left):
    """The intra modes of the neighbours, two different ones."""
    first = at_left(cells, top, left, MODE, PLANAR)
    second = at_top(cells, top, left, MODE, PLANAR)
    first = PLANAR if first < 0 else first
    second = PLANAR if second < 0 else second
    if second == first:
        second = MEAN if first == PLANAR else PLANAR
    return first, second


@kernel
def code_mode(s, p, top, left, mode):
    """The intra mode of a luma block: that of a neighbour, or one of all by a binary tree."""
    first, second = likely_modes(p[2][DONE, 0], top, left)
    size = 0 if (top | left) & 7 else ((top | left) & 15 != 0) + 1
    same = 1 if first < 2 else 0
    if flag(s, p, T_FIRST, same, size, 1 if second < 2 else 0, 0, 1 if mode == first else 0):
        return first
    if flag(s, p, T_SECOND, same, size, 1 if second < 2 else 0, 0, 1 if mode == second else 0):
        return second
    node = 1
    for k in range(5, -1, -1):
        bit = flag(s, p, T_TREE, node & 15, node >> 4, first >> 2, second >> 2, (mode >> k) & 1)
        node = 2 * node + bit
    return min(node - 64, MODES - 1)


@kernel
def set_hint(s, p, plane, top, left, size, mode):
    """What else is known of a block: luma's direction, or how busy its prediction is; for U, how much luma holds."""
    if plane:
        s.params[HINT] = magnitude_class(p[2][DONE, 0, top >> 1, left >> 1, ENERGY])
        return
    if mode != INTER:
        s.params[HINT] = mode if mode < 2 else 2 + ((mode - 2) >> 2)
        return
    pred = s.pred
    total = 0
    for y in range(1, size):
        for x in range(1, size):
            total += abs(pred[y, x] - pred[y - 1, x]) + abs(pred[y, x] - pred[y, x - 1])
    scaled = (total << (STEP_BITS + 3)) // (size * size * s.params[STEP_Y])
    busy = 0
    while scaled and busy < 9:
        scaled >>= 1
        busy += 1
    s.params[HINT] = busy


@kernel
def code_leaf(s, p, plane, top, left, size, mode):
    """Levels of a block, with the prediction in ``s.pred``; a decoder reconstructs it."""
    levels, plan = p[1][plane, top : top + size, left : left + size], p[2][PLANNED, plane]
    reading = s.cursor[TASK] == READING
    wanted = 0 if reading else plan[top >> 2, left >> 2, ENERGY]
    if reading:
        levels[:] = 0
    amount = skipped = 0
    tag, beside, above, other = flag_of_levels(p, plane, top, left, size, mode)
    if flag(s, p, tag, beside, above, other, s.params[QUALITY], 1 if wanted > 0 else 0):
        if size == 4:
            beside, above, chroma, inter = flag_of_samples(p, plane, top, left, mode)
            skipped = 0 if reading else plan[top >> 2, left >> 2, SKIPPED]
            skipped = flag(s, p, T_SKIP, beside, above, chroma, inter, skipped)
        set_hint(s, p, plane, top, left, size, mode)
        code_levels(s, p, plane, top, left, size, kind_of(size, skipped, plane, mode))
        for y in range(size):
            for x in range(size):
                amount += abs(levels[y, x])
    energy = energy_of(amount, size)
    if reading:
        reconstruct(s, p, plane, top, left, size, energy, skipped)
    mark(p[2][DONE, plane], top, left, size, mode, energy, skipped)
