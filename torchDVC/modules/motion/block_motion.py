"""Motion of blocks: searched by the encoder with its rate in mind, coded without loss."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from torchDVC.config.registry import codec_module
from torchDVC.entropy.streams import Stream
from torchDVC.modules.block.coder import BLOCK, Contexts, Planes, Schedule, run_rows, set_quality
from torchDVC.modules.block.compensation import COLUMN_0, FIELDS, KNOWN, MARGIN, ROW_0
from torchDVC.modules.block.shifts import find_shifts
from torchDVC.modules.block.space import RECON, SOURCE
from torchDVC.modules.frame_state import FrameState, stack

GRID = 8


@codec_module(
    reads="refs", optional="ref_anchor ref_quarters ref_block_motion ref_motion_contexts", encoder_reads="frame",
    writes="block_motion:feature quarters:feature second:picture motion_contexts:feature flow_hat:flow",
    codes=True, levels="levels", formats="yuv420",
)  # fmt: skip
class BlockMotion(nn.Module):
    """Vectors in quarter samples for blocks of 16x16 and 8x8, into the last picture, an older one, or the mean of both.

    The older one is the last but one or earlier that begins a round of ``offsets``. Pictures are YUV 4:2:0.

    Writes ``block_motion`` (N, 7, H / 8, W / 8) int32: a field as `torchDVC.modules.block.compensation` has it, then
    how each macroblock said it; ``quarters`` (N, 2, 16, H + 80, W + 80) uint8: luma of both references at all quarter
    samples; ``second``: the older reference; ``flow_hat``: the vectors into the last picture, in pixels, x first.

    Args:
        levels, lowest, highest, offsets, intra_offset: see `Schedule`.
        trade: squared steps that a bit is worth.
        patience: see `Contexts`.
    """

    one_core = True

    def __init__(
        self, levels: int = 64, lowest: float = 47.0, highest: float = 15.5, offsets: tuple[float, ...] = (0, 2, 1, 2),
        intra_offset: float = -1.0, trade: float = 0.16, patience: int = 30,
    ) -> None:  # fmt: skip
        super().__init__()
        self.trade = trade
        self.schedule = Schedule(levels, lowest, highest, offsets, intra_offset)
        self.contexts = Contexts(patience)

    @torch.no_grad()
    def forward(self, state: FrameState, stream: Stream) -> dict[str, Tensor]:
        last = state["refs"][:, 0]
        second = state["ref_anchor"][:, 0] if "ref_anchor" in state else last
        quarters = stack([self._quarters(state, item) for item in range(state.batch)])
        coded = [self._code(state, stream, quarters[item].numpy(), item) for item in range(state.batch)]
        motion = stack([motion for motion, _ in coded]).to(last.device)
        contexts = self.contexts.end([space for _, space in coded])
        state.keep("anchor", last if self.schedule.is_anchor(state.info.since_intra - 1) else second)
        return {
            "block_motion": motion, "quarters": quarters, "second": second, "motion_contexts": contexts,
            "flow_hat": _flow(motion, state),
        }  # fmt: skip

    def _quarters(self, state: FrameState, item: int) -> Tensor:
        """(2, 16, …) uint8 of both references; those of the older one were worked out before."""
        from torchDVC.modules.block.compensation import fill_quarters

        planes = Planes(*state.shown)
        planes.put(RECON, state["refs"][item, 0])
        height, width = planes.height + 2 * MARGIN, planes.width + 2 * MARGIN
        quarters = np.empty((2, 16, height, width), np.uint8)
        fill_quarters(planes.pixels[RECON, 0], quarters[0], np.empty((4, height + 8, width), np.int16))
        if "ref_quarters" in state:
            was_last = self.schedule.is_anchor(state.info.since_intra - 2)
            quarters[1] = state["ref_quarters"][item, 0, 0 if was_last else 1].numpy()
        else:
            quarters[1] = quarters[0]
        return torch.from_numpy(quarters)

    def _code(self, state: FrameState, stream: Stream, quarters: np.ndarray, item: int) -> tuple[Tensor, np.ndarray]:
        from torchDVC.modules.block.picture import choose_motion_row, code_motion_row

        planes = Planes(*state.shown)
        space = self.contexts.begin(state.get("ref_motion_contexts"), item)
        qp = self.schedule.qp(int(state.quality[item]), state.info.since_intra)
        set_quality(space, qp, 0, self.trade, True)
        rows, columns = planes.height // BLOCK, planes.width // BLOCK
        field, past, ways = _fields(state, item, rows, columns)
        plans = np.zeros((rows, columns, 5, FIELDS), np.int32)
        two = int("ref_anchor" in state)
        memory = quarters, field, past, ways, plans

        def choose(row: int) -> None:
            choose_motion_row(space[0], planes.view(), *memory, row, two)
            field[2 * row : 2 * row + 2, :, KNOWN] = 0

        if not stream.reading:
            planes.put(SOURCE, state["frame"][item])
            space["shifts"] = find_shifts(planes.pixels[SOURCE, 0], quarters[0, 0, MARGIN:-MARGIN, MARGIN:-MARGIN])
        tape = stream.open_tape()
        bits = run_rows(
            tape, space, rows, columns,
            code=lambda data, row: code_motion_row(space[0], planes.view(data), *memory[1:], row, two),
            choose=None if stream.reading else choose,
        )  # fmt: skip
        stream.close_tape(tape, bits, item)
        said = ways[0].repeat(2, 0).repeat(2, 1)
        return torch.from_numpy(np.concatenate([field.transpose(2, 0, 1), said[None]])), space


def _fields(state: FrameState, item: int, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A field to fill, that of the last frame, and how both are said; see `torchDVC.modules.block.motion`."""
    field = np.zeros((2 * rows, 2 * columns, FIELDS), np.int32)
    past, ways = field.copy(), np.ones((2, rows, columns), np.int32)
    if "ref_block_motion" in state:
        before = state["ref_block_motion"][item, 0].cpu().numpy()
        past[:] = before[:FIELDS].transpose(1, 2, 0)
        ways[1] = before[FIELDS, ::2, ::2]
    return field, past, ways


def _flow(motion: Tensor, state: FrameState) -> Tensor:
    """(N, 1, 2, H, W): how far each pixel of the last picture lies to the right and below, last vectors repeated."""
    vectors = motion[:, [COLUMN_0, ROW_0]].float() / 4
    flow = vectors.repeat_interleave(GRID, 2).repeat_interleave(GRID, 3)
    more = (0, state.width - flow.shape[3], 0, state.height - flow.shape[2])
    return nn.functional.pad(flow, more, mode="replicate")[:, None]
