"""Blocks between tensors and kernels: contexts that a model learns, and one picture's memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from torchDVC.entropy.tape import Tape
from torchDVC.modules.block.space import (
    COUNT,
    DONE,
    ERROR,
    FIELDS,
    IS_INTER,
    LANES,
    MOTION,
    PLANNED,
    POSITION,
    QUALITY,
    READING,
    STEP_C,
    STEP_Y,
    TASK,
    WRITING,
    new_space,
)  # fmt: skip
from torchDVC.modules.block.transform import STEP_BITS, step_of
from torchDVC.modules.frame_state import stack

BLOCK = 16
MOST_DECISIONS = 80 * BLOCK * BLOCK
"""A macroblock takes no more decisions than this."""
NO_DATA = np.zeros(0, np.uint32)
PLANE_WEIGHTS = (1.0, 4.43, 3.44)
"""How much a squared error in U and V counts in RGB beside one in Y (BT.709, limited range, chroma for four pixels)."""


class Contexts(nn.Module):
    """The state that adaptive contexts start from at every I frame: integers, learned by coding pictures in training.

    Args:
        patience: how many decisions a start counts for, at most, when coding adapts it.
    """

    by_coding = True
    slots: Tensor
    weights: Tensor

    def __init__(self, patience: int = 30) -> None:
        super().__init__()
        self.patience = patience
        space = new_space()
        self.register_buffer("slots", torch.from_numpy(space["slots"][0].view(np.int32)))
        self.register_buffer("weights", torch.from_numpy(space["weights"][0]))

    def begin(self, handed_on: Tensor | None, item: int) -> np.ndarray:
        """A space with the state that the last frame handed on, (N, R, …) int32, or with the start."""
        space = new_space()
        if handed_on is None:
            handed_on = torch.cat([self.slots.flatten(), self.weights.flatten()]).expand(item + 1, 1, -1)
        set_state(space, handed_on[item, 0])
        return space

    def end(self, spaces: Sequence[np.ndarray]) -> Tensor:
        """The states to hand on, (N, …) int32; in training the start becomes the last of them."""
        if self.training:
            slots, weights = spaces[-1]["slots"][0], spaces[-1]["weights"][0]
            seen = np.minimum(slots & 1023, self.patience).astype(np.uint32)
            self.slots.copy_(torch.from_numpy((slots & ~np.uint32(1023) | seen).view(np.int32)))
            self.weights.copy_(torch.from_numpy(weights))
        return stack([state_of(space) for space in spaces])


def state_of(space: np.ndarray) -> Tensor:
    """What adapted contexts know, flat int32."""
    return torch.from_numpy(np.concatenate([space["slots"].view(np.int32).ravel(), space["weights"].ravel()]))


def set_state(space: np.ndarray, state: Tensor) -> None:
    """Make a space know what another one did; see `state_of`."""
    flat = state.cpu().numpy()
    slots = space["slots"].size
    space["slots"] = flat[:slots].view(np.uint32).reshape(space["slots"].shape)
    space["weights"] = flat[slots:].reshape(space["weights"].shape)


class Planes:
    """What the kernels call ``p``: the planes of one picture, as large as its macroblocks.

    Args:
        height, width: of the picture.
    """

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = (-(-x // BLOCK) * BLOCK for x in (height, width))
        self.pixels = np.zeros((3, 3, self.height, self.width), np.uint8)

    @cached_property
    def levels(self) -> np.ndarray:
        """(3, H, W) int32; made when first asked for, as are cells: filters do without."""
        return np.zeros((3, self.height, self.width), np.int32)

    @cached_property
    def cells(self) -> np.ndarray:
        """(2, 3, H / 4, W / 4, FIELDS) int32."""
        return np.zeros((2, 3, self.height // 4, self.width // 4, FIELDS), np.int32)

    def put(self, role: int, picture: Tensor) -> None:
        """Take a picture (3, H, W) of codes / 255, chroma repeated 2x2, padded beyond the macroblocks."""
        from torchDVC.modules.block.planes import take

        take(picture.float().contiguous().cpu().numpy(), self.pixels[role])

    def view(self, data: np.ndarray = NO_DATA) -> tuple[np.ndarray, ...]:
        """What kernels take, with a tape's data."""
        return self.pixels, self.levels, self.cells, data

    def plan(self, row: int) -> None:
        """Take what was chosen for a row of macroblocks as what is to be coded."""
        for plane, cells in enumerate((BLOCK // 4, BLOCK // 8, BLOCK // 8)):
            part = slice(row * cells, (row + 1) * cells)
            self.cells[PLANNED, plane, part, :, :MOTION] = self.cells[DONE, plane, part, :, :MOTION]
            self.cells[DONE, plane, part] = 0

    def chroma(self, role: int) -> np.ndarray:
        """U and V, (2, H / 2, W / 2)."""
        return self.pixels[role, 1:, : self.height // 2, : self.width // 2]

    def get(self, role: int, height: int, width: int) -> Tensor:
        """The picture (3, height, width) of codes / 255, its last row and column repeated as far as needed."""
        from torchDVC.modules.block.planes import give

        picture = np.empty((3, height, width), np.float32)
        give(self.pixels[role], picture)
        return torch.from_numpy(picture)


@dataclass(frozen=True)
class Schedule:
    """Quantiser parameters by quality level and by the distance of a frame to the last I frame.

    Args:
        levels: quality levels, from 0 for the lowest.
        lowest, highest: quantiser parameter (HEVC's scale: 6 more is twice the step) of the lowest and of the highest
            level; those between are evenly spaced.
        offsets: added to it by the distance to the last I frame, counted round.
        intra_offset: added to it on I frames.
    """

    levels: int
    lowest: float
    highest: float
    offsets: tuple[float, ...]
    intra_offset: float

    def qp(self, quality: int, since_intra: int) -> float:
        """The quantiser parameter of a frame."""
        share = quality / max(1, self.levels - 1)
        offset = self.offsets[since_intra % len(self.offsets)] if since_intra else self.intra_offset
        return self.lowest + share * (self.highest - self.lowest) + offset

    def is_anchor(self, since_intra: int) -> bool:
        """Whether a frame begins a round of offsets, and so is coded better than those after it."""
        return since_intra % len(self.offsets) == 0


def set_quality(space: np.ndarray, qp: float, chroma_offset: float, trade: float, inter: bool) -> None:
    """Set steps, and what a bit is worth in squared luma steps."""
    luma, chroma = step_of(qp), step_of(qp + chroma_offset)
    space["params"][0, [STEP_Y, STEP_C, IS_INTER, QUALITY]] = luma, chroma, inter, max(int(qp), 0) // 6
    weights, steps = np.array(PLANE_WEIGHTS), np.array([luma, chroma, chroma])
    space["scales"] = weights * (2**STEP_BITS / luma) ** 2
    space["trades"] = trade / (weights * (steps / luma) ** 2)


def run_rows(
    tape: Tape, space: np.ndarray, rows: int, columns: int, code: Callable[[np.ndarray, int], None],
    choose: Callable[[int], None] | None = None,
) -> np.ndarray:  # fmt: skip
    """Run a kernel that takes a tape's data and the number of a row of macroblocks for all rows, on a tape.

    Before each row, an encoder's ``choose`` is told of it. Returns the bits of each macroblock, (rows, columns), those
    of a row spread evenly.
    """
    from torchDVC.modules.block.bits import know

    if choose:
        know(space[0])
    cursor = space["cursor"][0]
    cursor[:] = 0
    cursor[[TASK, COUNT, POSITION]] = READING if tape.reading else WRITING, tape.count, tape.position
    space["params"][0, LANES] = tape.states.size
    space["states"][0, : tape.states.size] = tape.states
    written, bits = [], np.zeros((rows, columns), np.float32)
    for row in range(rows):
        if choose:
            choose(row)
        data = tape.words if tape.reading else np.empty(columns * MOST_DECISIONS, np.uint32)
        if tape.reading:
            before = _taken(space)
            code(data, row)
            bits[row] = (_taken(space) - before) / columns
        else:
            cursor[COUNT] = 0
            code(data, row)
            written.append(data[: cursor[COUNT]].copy())
            tape.operations = written[-1]
            bits[row] = tape.bits().sum() / columns
    if tape.reading:
        tape.count, tape.position, tape.damaged = int(cursor[COUNT]), int(cursor[POSITION]), bool(cursor[ERROR])
        tape.states[:] = space["states"][0, : tape.states.size]
    else:
        tape.operations = np.concatenate(written)
    return bits


def _taken(space: np.ndarray) -> float:
    """Bits that a decoder has taken from a frame: those of the words read, less what its states still hold."""
    states = space["states"][0, : space["params"][0, LANES]]
    return 16.0 * space["cursor"][0, POSITION] - float(np.log2(np.maximum(states, 1)).sum())
