"""Macroblocks of 16x16 luma and 8x8 chroma samples: their syntax, the same in encoder and decoder.

A macroblock is one block of 16x16, or four of 8x8, each of which may be four of 4x4. Blocks are predicted within the
picture, or by what the caller has predicted from other pictures. An encoder has put its decisions into the cells under
`PLANNED`, and the levels in place. `torchDVC.modules.block.space` says what ``s`` and ``p`` are.
"""

from __future__ import annotations

from torchDVC.modules.block.bits import code, hashed
from torchDVC.modules.block.intra import (
    MEAN,
    MODES,
    PLANAR,
    predict_from_luma,
    predict_intra,
    read_border,
    smooth_border,
    smooths,
)  # fmt: skip
from torchDVC.modules.block.kernel import kernel
from torchDVC.modules.block.levels import code_levels, magnitude_class
from torchDVC.modules.block.space import (
    DONE,
    ENERGY,
    HINT,
    INTER,
    IS_INTER,
    MODE,
    MOTION,
    PLANNED,
    PREDICTED,
    QUALITY,
    READING,
    RECON,
    SIZE,
    SKIPPED,
    STEP_C,
    STEP_Y,
    TASK,
)  # fmt: skip
from torchDVC.modules.block.transform import STEP_BITS, inverse

FROM_LUMA = 1
T_CODED, T_INTRA, T_SHAPE, T_SPLIT, T_SKIP, T_FIRST, T_SECOND, T_TREE, T_CHROMA, T_CSPLIT = range(10)
T_FLAG = 16


@kernel
def flag(s, p, tag, a, b, c, d, bit):
    """Code a decision of the syntax; a, b, c and d are what is known beside it, small numbers."""
    contexts = s.contexts
    tag += 1024
    contexts[0] = hashed(tag, a | (b << 4), c | (d << 4), 8)
    contexts[1] = hashed(tag, a, b, 9)
    contexts[2] = hashed(tag, c, d, 10)
    contexts[3] = hashed(tag, a, c, 11)
    contexts[4] = hashed(tag, b, d, 12)
    contexts[5] = hashed(tag, a, d, 13)
    contexts[6] = hashed(tag, 0, 0, 14)
    return code(s, p[3], 512 + (tag & 255), 768 + (tag & 15) * 16 + min(a, 15), bit)


@kernel
def kind_of(size, skipped, plane, mode):
    """Which statistics the levels of a block have."""
    shape = 3 if skipped else (0 if size == 4 else (1 if size == 8 else 2))
    return shape + (4 if plane else 0) + (8 if mode != INTER else 0)


@kernel
def at_left(cells, top, left, field, none):
    """A field of the cell to the left."""
    return cells[top >> 2, (left >> 2) - 1, field] if left > 0 else none


@kernel
def at_top(cells, top, left, field, none):
    """A field of the cell above."""
    return cells[(top >> 2) - 1, left >> 2, field] if top > 0 else none


@kernel
def mark(cells, top, left, size, mode, energy, skipped):
    """Say what a block holds in all its cells."""
    for y in range(top >> 2, (top + size) >> 2):
        for x in range(left >> 2, (left + size) >> 2):
            cells[y, x, SIZE] = size
            cells[y, x, MODE] = mode
            cells[y, x, ENERGY] = energy
            cells[y, x, SKIPPED] = skipped


@kernel
def clear(cells, top, left, size):
    """Say that nothing of a block was coded."""
    for y in range(top >> 2, (top + size) >> 2):
        for x in range(left >> 2, (left + size) >> 2):
            cells[y, x, SIZE] = 0


# --- prediction and reconstruction


@kernel
def predict_block(s, p, plane, top, left, size, mode):
    """The prediction of a block, into ``s.pred``."""
    recons, cells, predicted = p[0][RECON], p[2][DONE], p[0][PREDICTED]
    block, border, smoothed, line = s.pred, s.border, s.smoothed, s.line
    if mode == INTER:
        source = predicted[plane]
        for y in range(size):
            for x in range(size):
                block[y, x] = source[top + y, left + x]
        return
    read_border(recons[plane], cells[plane], top, left, size, border)
    if plane == 0 and smooths(mode, size):
        smooth_border(border, size, smoothed)
        predict_intra(smoothed, size, mode, block, line)
    else:
        predict_intra(border, size, mode, block, line)


@kernel
def reconstruct(s, p, plane, top, left, size, energy, skipped):
    """Add the residual of the levels to the prediction in ``s.pred``."""
    recon, block, residual = p[0][RECON, plane], s.pred, s.residual
    if energy:
        step = s.params[STEP_C] if plane else s.params[STEP_Y]
        inverse(p[1][plane], top, left, size, step, skipped, residual, s.wide)
        for y in range(size):
            for x in range(size):
                recon[top + y, left + x] = min(max(block[y, x] + residual[y, x], 0), 255)
    else:
        for y in range(size):
            for x in range(size):
                recon[top + y, left + x] = block[y, x]


# --- syntax


@kernel
def code_flag_of_levels(s, p, plane, top, left, size, mode, bit):
    """Whether a block has levels."""
    cells = p[2][DONE]
    beside = min(at_left(cells[plane], top, left, ENERGY, 1), 3)
    above = min(at_top(cells[plane], top, left, ENERGY, 1), 3)
    other = 0
    if plane == 2:
        other = min(cells[1][top >> 2, left >> 2, ENERGY], 3)
    elif plane == 1:
        other = magnitude_class(cells[0][(2 * top) >> 2, (2 * left) >> 2, ENERGY])
    tag = T_FLAG + kind_of(size, 0, plane, mode) + (16 if plane == 2 else 0)
    return flag(s, p, tag, beside, above, other, s.params[QUALITY], bit)


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
        s.params[HINT] = magnitude_class(p[2][DONE, 0, (2 * top) >> 2, (2 * left) >> 2, ENERGY])
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
    """Levels of a block, with the prediction in ``s.pred``, and its reconstruction."""
    levels, plan = p[1][plane], p[2][PLANNED, plane]
    cells = p[2][DONE, plane]
    reading = s.cursor[TASK] == READING
    wanted = 0 if reading else plan[top >> 2, left >> 2, ENERGY]
    if reading:
        for y in range(top, top + size):
            for x in range(left, left + size):
                levels[y, x] = 0
    energy = skipped = 0
    some = code_flag_of_levels(s, p, plane, top, left, size, mode, 1 if wanted > 0 else 0)
    if some:
        if size == 4:
            beside = at_left(cells, top, left, SKIPPED, 0)
            above = at_top(cells, top, left, SKIPPED, 0)
            bit = 0 if reading else plan[top >> 2, left >> 2, SKIPPED]
            skipped = flag(s, p, T_SKIP, beside, above, 1 if plane else 0, 1 if mode == INTER else 0, bit)
        set_hint(s, p, plane, top, left, size, mode)
        code_levels(s, p, plane, top, left, size, kind_of(size, skipped, plane, mode))
        for y in range(top, top + size):
            for x in range(left, left + size):
                energy += abs(levels[y, x])
        energy = max((energy * 16 + size * size // 2) // (size * size), 1)
    reconstruct(s, p, plane, top, left, size, energy, skipped)
    mark(cells, top, left, size, mode, energy, skipped)


@kernel
def code_luma(s, p, top, left, inter):
    """The luma blocks of a macroblock."""
    cells, plan = p[2][DONE, 0], p[2][PLANNED, 0]
    wanted = plan[top >> 2, left >> 2, SIZE]
    beside, above = at_left(cells, top, left, SIZE, 0) >> 2, at_top(cells, top, left, SIZE, 0) >> 2
    if flag(s, p, T_SHAPE, beside, above, inter, s.params[QUALITY], 1 if wanted < 16 else 0) == 0:
        code_luma_leaf(s, p, top, left, 16, inter)
        return
    for k in range(4):
        y, x = top + 8 * (k >> 1), left + 8 * (k & 1)
        wanted = plan[y >> 2, x >> 2, SIZE]
        beside, above = at_left(cells, y, x, SIZE, 0) >> 2, at_top(cells, y, x, SIZE, 0) >> 2
        if flag(s, p, T_SPLIT, beside, above, inter, s.params[QUALITY], 1 if wanted < 8 else 0) == 0:
            code_luma_leaf(s, p, y, x, 8, inter)
            continue
        for j in range(4):
            code_luma_leaf(s, p, y + 4 * (j >> 1), x + 4 * (j & 1), 4, inter)


@kernel
def code_luma_leaf(s, p, top, left, size, inter):
    """A luma block: its intra mode, its levels."""
    mode = INTER
    if not inter:
        mode = code_mode(s, p, top, left, p[2][PLANNED, 0, top >> 2, left >> 2, MODE])
    predict_block(s, p, 0, top, left, size, mode)
    code_leaf(s, p, 0, top, left, size, mode)


@kernel
def chroma_mode(choice, p, top, left):
    """The intra mode of chroma at ``top, left`` of its planes: that of luma, or another."""
    if choice == 0:
        return max(p[2][DONE, 0, (2 * top) >> 2, (2 * left) >> 2, MODE], 0)
    return PLANAR if choice == 2 else MEAN


@kernel
def predict_chroma(s, p, plane, top, left, size, choice):
    """The prediction of a chroma block by one of four choices, or from other pictures."""
    if choice == FROM_LUMA:
        predict_from_luma(p[0][RECON, 0], p[0][RECON, plane], p[2][DONE, plane], top, left, size, s.pred)
    elif choice == INTER:
        predict_block(s, p, plane, top, left, size, INTER)
    else:
        predict_block(s, p, plane, top, left, size, chroma_mode(choice, p, top, left))


@kernel
def is_fine(cells, top, left):
    """Whether some luma block of a macroblock is 4x4; only then may its chroma be."""
    y, x = top >> 2, left >> 2
    return min(cells[y, x, SIZE], cells[y, x + 2, SIZE], cells[y + 2, x, SIZE], cells[y + 2, x + 2, SIZE]) == 4


@kernel
def code_chroma(s, p, top, left, inter):
    """The chroma blocks of a macroblock at ``top, left`` of their planes."""
    cells, plan = p[2][DONE, 1], p[2][PLANNED, 1]
    choice = INTER
    if not inter:
        wanted = plan[top >> 2, left >> 2, MODE]
        beside, above = at_left(cells, top, left, MODE, -1) + 1, at_top(cells, top, left, MODE, -1) + 1
        choice = 0
        while choice < 3:
            if flag(s, p, T_CHROMA, beside, above, choice, 0, 1 if wanted > choice else 0) == 0:
                break
            choice += 1
    fine = 0
    if is_fine(p[2][DONE, 0], 2 * top, 2 * left):
        beside, above = at_left(cells, top, left, SIZE, 0) >> 2, at_top(cells, top, left, SIZE, 0) >> 2
        wanted = plan[top >> 2, left >> 2, SIZE]
        fine = flag(s, p, T_CSPLIT, beside, above, inter, s.params[QUALITY], 1 if wanted == 4 else 0)
    size = 4 if fine else 8
    for plane in range(1, 3):
        for y in range(top, top + 8, size):
            for x in range(left, left + 8, size):
                predict_chroma(s, p, plane, y, x, size, choice)
                code_leaf(s, p, plane, y, x, size, choice)


@kernel
def code_macroblock(s, p, top, left):
    """Everything of a macroblock but its motion."""
    cells, plan = p[2][DONE, 0], p[2][PLANNED, 0]
    inter = s.params[IS_INTER]
    if inter:
        a, b = at_left(cells, top, left, ENERGY, 1), at_top(cells, top, left, ENERGY, 1)
        wanted = plan[top >> 2, left >> 2, SIZE] > 0
        motion = p[2][PLANNED, 0, top >> 2, left >> 2, MOTION]
        if flag(s, p, T_CODED, min(a, 3), min(b, 3), motion, s.params[QUALITY], 1 if wanted else 0) == 0:
            copy_prediction(s, p, top, left)
            return
        a, b = at_left(cells, top, left, MODE, -1) >= 0, at_top(cells, top, left, MODE, -1) >= 0
        wanted = plan[top >> 2, left >> 2, MODE] >= 0
        if flag(s, p, T_INTRA, 1 if a else 0, 1 if b else 0, motion, 0, 1 if wanted else 0):
            inter = 0
    code_luma(s, p, top, left, inter)
    code_chroma(s, p, top >> 1, left >> 1, inter)


@kernel
def copy_prediction(s, p, top, left):
    """A macroblock that is just as predicted."""
    for plane in range(3):
        shift = 1 if plane else 0
        size = 16 >> shift
        y, x = top >> shift, left >> shift
        predict_block(s, p, plane, y, x, size, INTER)
        for i in range(size):
            for j in range(size):
                p[1][plane][y + i, x + j] = 0
                p[0][RECON, plane, y + i, x + j] = s.pred[i, j]
        mark(p[2][DONE, plane], y, x, size, INTER, 0, 0)
