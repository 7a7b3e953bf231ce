"""What each 4x4 samples of a plane hold: fields of ``cells`` (H / 4, W / 4, FIELDS), places in samples."""

from __future__ import annotations

from torchDVC.modules.block.kernel import kernel
from torchDVC.modules.block.space import ENERGY, MODE, SIZE, SKIPPED


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


@kernel
def is_fine(cells, top, left):
    """Whether some luma block of a macroblock is 4x4; only then may its chroma be."""
    y, x = top >> 2, left >> 2
    return min(cells[y, x, SIZE], cells[y, x + 2, SIZE], cells[y + 2, x, SIZE], cells[y + 2, x + 2, SIZE]) == 4


@kernel
def sizes_beside(cells, top, left):
    """The sizes of the blocks to the left and above, in fours; 0 beyond the picture."""
    return at_left(cells, top, left, SIZE, 0) >> 2, at_top(cells, top, left, SIZE, 0) >> 2
