"""Switches of blocks of 32x32 samples, in adaptive contexts."""

from __future__ import annotations

from torchDVC.modules.block.bits import flag
from torchDVC.modules.block.kernel import kernel
from torchDVC.modules.block.space import QUALITY

GATE = 32
T_GATE = 80


@kernel
def code_gates(s, p, gates, row):
    """Code one row of gates (rows, columns) uint8; a decoder writes them."""
    for column in range(gates.shape[1]):
        beside = gates[row, column - 1] if column > 0 else 2
        above = gates[row - 1, column] if row > 0 else 2
        gates[row, column] = flag(s, p, T_GATE, beside, above, s.params[QUALITY], 0, gates[row, column])
