"""Coding of whole pictures, macroblock by macroblock, row by row."""

from __future__ import annotations

from torchDVC.modules.block.decide import choose_macroblock
from torchDVC.modules.block.kernel import kernel
from torchDVC.modules.block.macroblock import code_macroblock
from torchDVC.modules.block.motion import code_motion
from torchDVC.modules.block.search import choose_motion
from torchDVC.modules.block.space import COSTING, READING, TASK


@kernel
def code_row(s, p, row):
    """Choose, where there is a source, and code one row of macroblocks."""
    task = s.cursor[TASK]
    for left in range(0, p[1].shape[2], 16):
        if task != READING:
            s.cursor[TASK] = COSTING
            choose_macroblock(s, p, 16 * row, left)
            s.cursor[TASK] = task
        code_macroblock(s, p, 16 * row, left)


@kernel
def code_motion_row(s, p, quarters, field, past, ways, row, two):
    """Choose, where there is a source, and code the motion of one row of macroblocks."""
    task = s.cursor[TASK]
    for column in range(ways.shape[2]):
        if task != READING:
            s.cursor[TASK] = COSTING
            choose_motion(s, p, quarters, field, past, ways, row, column, two)
            s.cursor[TASK] = task
        code_motion(s, p, field, past, ways, row, column, two)
