"""A loop filter in exact integers, switched by the encoder for each block."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchDVC.config.registry import codec_module
from torchDVC.entropy.integer import ACTIVATION_MAX, INPUT_MAX, IntegerConv2d
from torchDVC.entropy.streams import Stream, round_through
from torchDVC.modules.block.coder import PLANE_WEIGHTS, Planes, run_rows, set_quality, set_state, state_of
from torchDVC.modules.block.space import new_space
from torchDVC.modules.frame_state import FrameState

GATE = 32
GREY = 128
UNIT = 8192
"""A correction of the network counts 1 / UNIT of the quantiser step in codes; see `GatedFilter`."""
CHANNELS = 6


@codec_module(
    reads="recon contexts step", optional="mc", encoder_reads="frame", writes="recon:picture contexts:feature",
    codes=True, formats="yuv420",
)  # fmt: skip
class GatedFilter(nn.Module):
    """Adds to the decoded picture what a small network of integers makes of it, where that brings it nearer the source.

    It sees Y at the four samples of each chroma sample, U and V; how far the prediction was from them; and the
    quantiser step, which its corrections are multiplied with. They are zero before training. The encoder switches it
    for each 32x32 luma samples; in training it is on everywhere. Pictures are YUV 4:2:0.

    Args:
        width: channels of each hidden layer.
        layers: hidden layers after the first.
        trade: squared steps of luma that a bit is worth.
    """

    one_core = True

    def __init__(self, width: int = 24, layers: int = 1, trade: float = 0.16) -> None:
        super().__init__()
        self.trade = trade
        self.first = IntegerConv2d(2 * CHANNELS + 1, width, input_bits=0)
        self.hidden = nn.ModuleList(IntegerConv2d(width, width) for _ in range(layers))
        self.last = IntegerConv2d(width, CHANNELS)
        nn.init.zeros_(self.last.weight)

    def forward(self, state: FrameState, stream: Stream) -> dict[str, Tensor]:
        codes = (state["recon"] * 255).round()
        packed = _pack(codes)
        wanted = self._wanted(state, stream, packed)
        gates, contexts = self._code(state, stream, wanted)
        if not bool(gates.any()):
            return {"recon": state["recon"], "contexts": contexts}
        filtered = _unpack(self.correct(state, packed))
        on = F.interpolate(gates[:, None].float(), size=None, scale_factor=GATE, mode="nearest")
        on = on[..., : state.height, : state.width]
        return {"recon": (codes + on * (filtered - codes)) / 255, "contexts": contexts}

    def correct(self, state: FrameState, packed: Tensor) -> Tensor:
        """The filtered picture (N, 6, H / 2, W / 2), whole codes; gradients pass."""
        before = _pack((state["mc"] * 255).round()) - packed if "mc" in state else torch.zeros_like(packed)
        step = state["step"].float()[:, None, None, None]
        level = (step / 32).floor().clamp(max=INPUT_MAX).expand(-1, 1, *packed.shape[2:])
        with torch.autocast(packed.device.type, enabled=False):
            x = torch.cat([packed - GREY, before, level], 1).clamp(-INPUT_MAX, INPUT_MAX)
            x = self.first(x).clamp(0, ACTIVATION_MAX)
            for layer in self.hidden:
                x = layer(x).clamp(0, ACTIVATION_MAX)
            change = self.last(x).clamp(-UNIT // 8, UNIT // 8).float() * step / UNIT
        return (packed + round_through(change)).clamp(0, 255)

    @torch.no_grad()
    def _wanted(self, state: FrameState, stream: Stream, packed: Tensor) -> Tensor | None:
        """(N, h, w) bool: where filtering gains more than a bit is worth; None in a decoder."""
        if stream.reading:
            return None
        source = _pack((state["frame"] * 255).round())
        filtered = self.correct(state, packed)
        weights = packed.new_tensor([PLANE_WEIGHTS[0]] * 4 + [*PLANE_WEIGHTS[1:]])[:, None, None]
        gain = (((packed - source) ** 2 - (filtered - source) ** 2) * weights).sum(1, keepdim=True)
        more = (0, -gain.shape[3] % (GATE // 2), 0, -gain.shape[2] % (GATE // 2))
        gains = F.avg_pool2d(F.pad(gain, more), GATE // 2)[:, 0] * (GATE // 2) ** 2
        least = self.trade * (state["step"].float() / 64) ** 2
        return gains > least[:, None, None] if not self.training else torch.ones_like(gains, dtype=torch.bool)

    @torch.no_grad()
    def _code(self, state: FrameState, stream: Stream, wanted: Tensor | None) -> tuple[Tensor, Tensor]:
        from torchDVC.modules.block.gates import code_gates

        rows, columns = -(-state.shown[0] // GATE), -(-state.shown[1] // GATE)
        spaces = []
        whole = torch.zeros(state.batch, -(-state.height // GATE), -(-state.width // GATE), dtype=torch.bool)
        planes = Planes(1, 1)
        for item in range(state.batch):
            space = new_space()
            set_state(space, state["contexts"][item])
            set_quality(space, 0, 0, self.trade, "mc" in state)
            gates = np.zeros((rows, columns), np.uint8)
            if wanted is not None:
                gates[:] = wanted[item, :rows, :columns].cpu().numpy()
            tape = stream.open_tape()
            bits = run_rows(
                tape, space, rows, columns,
                lambda data, row, s=space[0], g=gates: code_gates(s, planes.view(data), g, row),  # type: ignore[misc]
            )  # fmt: skip
            stream.close_tape(tape, bits, item)
            whole[item, :rows, :columns] = torch.from_numpy(gates.astype(bool))
            spaces.append(state_of(space))
        return whole.to(state.quality.device), torch.stack(spaces).to(state.quality.device)


def _pack(codes: Tensor) -> Tensor:
    """Y U V (N, 3, H, W), chroma repeated 2x2, to (N, 6, H / 2, W / 2)."""
    return torch.cat([F.pixel_unshuffle(codes[:, :1], 2), codes[:, 1:, ::2, ::2]], 1)


def _unpack(packed: Tensor) -> Tensor:
    """The reverse of `_pack`."""
    chroma = packed[:, 4:].repeat_interleave(2, 2).repeat_interleave(2, 3)
    return torch.cat([F.pixel_shuffle(packed[:, :4], 2), chroma], 1)
