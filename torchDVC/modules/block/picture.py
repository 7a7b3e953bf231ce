"""Coding of whole pictures, macroblock by macroblock, row by row."""

from __future__ import annotations

from torchDVC.modules.block.decide import choose_macroblock
from torchDVC.modules.block.kernel import kernel
from torchDVC.modules.block.macroblock import code_macroblock
from torchDVC.modules.block.motion import code_motion
from torchDVC.modules.block.search import choose_motion
from torchDVC.modules.block.space import COSTING, TASK


@kernel
def choose_row(s, p, row):
    """Choose the blocks of a row of macroblocks; nothing is learned meanwhile."""
    task = s.cursor[TASK]
    s.cursor[TASK] = COSTING
    for left in range(0, p[1].shape[2], 16):
        choose_macroblock(s, p, 16 * row, left)
    s.cursor[TASK] = task


@kernel
def code_row(s, p, row):
    """Code one row of macroblocks."""
    for left in range(0, p[1].shape[2], 16):
        code_macroblock(s, p, 16 * row, left)


@kernel
def choose_motion_row(s, p, quarters, field, past, ways, plans, row, two):
    """Choose the motion of a row of macroblocks; nothing is learned meanwhile."""
    task = s.cursor[TASK]
    s.cursor[TASK] = COSTING
    for column in range(ways.shape[2]):
        choose_motion(s, p, quarters, field, past, ways, plans[row, column], row, column, two)
    s.cursor[TASK] = task


@kernel
def code_motion_row(s, p, field, past, ways, plans, row, two):
    """Code the motion of one row of macroblocks."""
    for column in range(ways.shape[2]):
        code_motion(s, p, field, past, ways, plans[row, column], row, column, two)
