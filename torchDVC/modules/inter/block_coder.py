"""A codec of blocks in exact integers, for I frames and for what prediction leaves of others."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from torchDVC.config.registry import codec_module
from torchDVC.entropy.streams import Stream
from torchDVC.modules.block.coder import BLOCK, Contexts, Planes, Schedule, run_rows, set_quality
from torchDVC.modules.block.space import DONE, MOTION, PLANNED, PREDICTED, RECON, SOURCE, STEP_Y
from torchDVC.modules.frame_state import FrameState, stack


@codec_module(
    optional="mc block_motion ref_contexts", encoder_reads="frame",
    writes="recon:picture contexts:feature step:feature blocks:feature", codes=True, levels="levels", formats="yuv420",
)  # fmt: skip
class BlockCoder(nn.Module):
    """Blocks of 4x4 to 16x16, predicted within the picture or by ``mc`` where that is there, transformed and coded.

    Everything that a decoder computes is an integer, so pictures are the same to the bit on every machine. Levels are
    chosen by rate and distortion with the rates of the contexts themselves. Pictures are YUV 4:2:0.

    Writes ``recon``; ``contexts``, what they have learned; ``step`` (N,), that of luma in 1/64 codes; ``blocks`` (N, 3,
    H / 4, W / 4, FIELDS) int32, cells of what each 4x4 samples of a plane hold, see `torchDVC.modules.block.space`.

    Args:
        levels, lowest, highest, offsets, intra_offset: see `Schedule`.
        chroma_offset: added to the quantiser parameter of U and V.
        trade, intra_trade: squared steps that a bit is worth, on P and on I frames.
        patience: see `Contexts`.
    """

    one_core = True

    def __init__(
        self, levels: int = 64, lowest: float = 47.0, highest: float = 15.5, offsets: tuple[float, ...] = (0, 2, 1, 2),
        intra_offset: float = -1.0, chroma_offset: float = -4.0, trade: float = 0.16, intra_trade: float = 0.14,
        patience: int = 30,
    ) -> None:  # fmt: skip
        super().__init__()
        self.schedule = Schedule(levels, lowest, highest, offsets, intra_offset)
        self.chroma_offset, self.trade, self.intra_trade = chroma_offset, trade, intra_trade
        self.contexts = Contexts(patience)

    @torch.no_grad()
    def forward(self, state: FrameState, stream: Stream) -> dict[str, Tensor]:
        coded = [self._code(state, stream, item) for item in range(state.batch)]
        recon = stack([planes.get(RECON, state.height, state.width) for planes, _ in coded])
        contexts = self.contexts.end([space for _, space in coded])
        device = state.quality.device
        steps = torch.tensor([int(space["params"][0, STEP_Y]) for _, space in coded])
        blocks = stack([torch.from_numpy(planes.cells[DONE]) for planes, _ in coded])
        written = {"recon": recon, "contexts": contexts, "step": steps, "blocks": blocks}
        return {key: x.to(device) for key, x in written.items()}

    def _code(self, state: FrameState, stream: Stream, item: int) -> tuple[Planes, np.ndarray]:
        from torchDVC.modules.block.picture import choose_row, code_row

        planes = Planes(*state.shown)
        space = self.contexts.begin(state.get("ref_contexts"), item)
        inter = "mc" in state
        qp = self.schedule.qp(int(state.quality[item]), state.info.since_intra)
        set_quality(space, qp, self.chroma_offset, self.trade if inter else self.intra_trade, inter)
        if inter:
            planes.put(PREDICTED, state["mc"][item])
        if "block_motion" in state:
            planes.cells[PLANNED, 0, ::4, ::4, MOTION] = _motion_class(state["block_motion"][item], planes)
        rows, columns = planes.height // BLOCK, planes.width // BLOCK

        def choose(row: int) -> None:
            choose_row(space[0], planes.view(), row)
            planes.plan(row)

        if not stream.reading:
            planes.put(SOURCE, state["frame"][item])
        tape = stream.open_tape()
        bits = run_rows(
            tape, space, rows, columns,
            code=lambda data, row: code_row(space[0], planes.view(data), row),
            choose=None if stream.reading else choose,
        )  # fmt: skip
        stream.close_tape(tape, bits, item)
        return planes, space


def _motion_class(motion: Tensor, planes: Planes) -> np.ndarray:
    """How uneven the motion of each macroblock is: 0 one vector of its own, 1 that of a neighbour, 2 several."""
    rows, columns = planes.height // BLOCK, planes.width // BLOCK
    return motion[-1, : 2 * rows : 2, : 2 * columns : 2].cpu().numpy()
