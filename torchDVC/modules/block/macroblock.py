"""Macroblocks of 16x16 luma and 8x8 chroma samples: their syntax, the same in encoder and decoder.

A macroblock is one block of 16x16, or four of 8x8, each of which may be four of 4x4. Blocks are predicted within the
picture, or by what the caller has predicted from other pictures. An encoder has put its decisions into the cells under
`PLANNED`, and the levels in place. `torchDVC.modules.block.space` says what ``s`` and ``p`` are.
"""

from __future__ import annotations

from torchDVC.modules.block.bits import flag
from torchDVC.modules.block.blocks import (
    T_CHROMA,
    T_CODED,
    T_CSPLIT,
    T_INTRA,
    T_SHAPE,
    T_SPLIT,
    code_leaf,
    code_mode,
    predict_block,
)  # fmt: skip
from torchDVC.modules.block.cells import at_left, at_top, is_fine, mark, sizes_beside
from torchDVC.modules.block.intra import MEAN, PLANAR, predict_from_luma
from torchDVC.modules.block.kernel import kernel
from torchDVC.modules.block.space import (
    DONE,
    ENERGY,
    INTER,
    IS_INTER,
    MODE,
    MOTION,
    PLANNED,
    PREDICTED,
    QUALITY,
    RECON,
    SIZE,
)  # fmt: skip

FROM_LUMA = 1


@kernel
def code_luma(s, p, top, left, inter):
    """The luma blocks of a macroblock."""
    cells, plan = p[2][DONE, 0], p[2][PLANNED, 0]
    wanted = plan[top >> 2, left >> 2, SIZE]
    beside, above = sizes_beside(cells, top, left)
    if flag(s, p, T_SHAPE, beside, above, inter, s.params[QUALITY], 1 if wanted < 16 else 0) == 0:
        code_luma_leaf(s, p, top, left, 16, inter)
        return
    for k in range(4):
        y, x = top + 8 * (k >> 1), left + 8 * (k & 1)
        wanted = plan[y >> 2, x >> 2, SIZE]
        beside, above = sizes_beside(cells, y, x)
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
        return max(p[2][DONE, 0, top >> 1, left >> 1, MODE], 0)
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
        beside, above = sizes_beside(cells, top, left)
        wanted = plan[top >> 2, left >> 2, SIZE]
        fine = flag(s, p, T_CSPLIT, beside, above, inter, s.params[QUALITY], 1 if wanted == 4 else 0)
    size = 4 if fine else 8
    for plane in range(1, 3):
        for y in range(top, top + 8, size):
            for x in range(left, left + 8, size):
                predict_chroma(s, p, plane, y, x, size, choice)
                code_leaf(s, p, plane, y, x, size, choice)


@kernel
def is_coded(p, top, left):
    """Whether a planned macroblock is more than what other pictures predict."""
    cells = p[2][PLANNED]
    total = cells[0, top >> 2, left >> 2, MODE] - INTER
    for y in range(4):
        for x in range(4):
            total += cells[0, (top >> 2) + y, (left >> 2) + x, ENERGY]
    for y in range(2):
        for x in range(2):
            total += cells[1, (top >> 3) + y, (left >> 3) + x, ENERGY]
            total += cells[2, (top >> 3) + y, (left >> 3) + x, ENERGY]
    return total > 0


@kernel
def flag_of_coding(p, top, left):
    """What is known beside the decision whether a macroblock is coded: levels beside it, class of motion."""
    cells = p[2][DONE, 0]
    beside, above = at_left(cells, top, left, ENERGY, 1), at_top(cells, top, left, ENERGY, 1)
    return min(beside, 3), min(above, 3), p[2][PLANNED, 0, top >> 2, left >> 2, MOTION]


@kernel
def flag_of_kind(p, top, left):
    """What is known beside the decision whether a macroblock is predicted within the picture."""
    cells = p[2][DONE, 0]
    beside, above = at_left(cells, top, left, MODE, INTER) != INTER, at_top(cells, top, left, MODE, INTER) != INTER
    return 1 if beside else 0, 1 if above else 0, p[2][PLANNED, 0, top >> 2, left >> 2, MOTION]


@kernel
def code_macroblock(s, p, top, left):
    """Everything of a macroblock but its motion."""
    inter = s.params[IS_INTER]
    if inter:
        beside, above, motion = flag_of_coding(p, top, left)
        wanted = 1 if is_coded(p, top, left) else 0
        if flag(s, p, T_CODED, beside, above, motion, s.params[QUALITY], wanted) == 0:
            copy_prediction(p, top, left)
            return
        beside, above, motion = flag_of_kind(p, top, left)
        wanted = 1 if p[2][PLANNED, 0, top >> 2, left >> 2, MODE] != INTER else 0
        if flag(s, p, T_INTRA, beside, above, motion, 0, wanted):
            inter = 0
    code_luma(s, p, top, left, inter)
    code_chroma(s, p, top >> 1, left >> 1, inter)


@kernel
def copy_prediction(p, top, left):
    """A macroblock that is just as predicted."""
    for plane in range(3):
        size = 8 if plane else 16
        y, x = (top >> 1, left >> 1) if plane else (top, left)
        p[1][plane, y : y + size, x : x + size] = 0
        p[0][RECON, plane, y : y + size, x : x + size] = p[0][PREDICTED, plane, y : y + size, x : x + size]
        mark(p[2][DONE, plane], y, x, size, INTER, 0, 0)
