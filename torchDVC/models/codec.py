"""Codec: the modules of a model csv under their codes, and the running of mode strings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchDVC.coding_structure import CodedFrame
from torchDVC.modules.entropy.priors import FactorizedPrior
from torchDVC.modules.entropy.streams import Stream, TrainingStream
from torchDVC.modules.frame_state import FrameState
from torchDVC.util.configuration import ModelConfig
from torchDVC.util.registry import load_class

STRIDE = 64
"""Pictures are padded to multiples of this inside the codec."""


def rate_label(module_name: str) -> str:
    """What a module's bits are called: its name without a trailing ``_codec``."""
    return module_name.removesuffix("_codec")


@dataclass
class CodedPicture:
    """What coding one frame gave.

    Attributes:
        frame: which frame, and from which references.
        state: every picture and field that a module wrote, at the picture's own size.
        stream: what coded it; its ``bits`` are booked by module.
    """

    frame: CodedFrame
    state: dict[str, Tensor]
    stream: Stream


class Codec(nn.Module):
    """A codec as its model csv describes it.

    Args:
        config: the modules, in csv order; each becomes the attribute of its name.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        for spec in config.modules:
            self.add_module(spec.name, load_class(spec.type)(**spec.args))
        self.levels: int = max((getattr(m, "quality_levels", 1) for m in self.modules()), default=1)
        self.register_buffer("lmdas", torch.zeros(self.levels))

    def code_frame(
        self, mode: str, size: tuple[int, int], stream: Stream, *,
        frame: Tensor | None = None, refs: Tensor | None = None, quality: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Code one frame: run the modules of a mode string in order.

        Args:
            mode: module codes, in order.
            size: height and width of the picture.
            stream: where symbols go to or come from.
            frame: (N, 3, H, W) source, RGB in [0, 1]; None where the stream reads.
            refs: (N, R, 3, H, W) references; None on I frames.
            quality: (N,) quality level of each picture, int64; default 0.

        Returns:
            Everything the modules wrote, at the picture's own size.
        """
        state = self._initial_state(size, stream, frame, refs, quality)
        for code in mode:
            spec = self.config.by_code(code)
            if spec.type.encoder_only and stream.reading:
                continue
            with stream.labelled(rate_label(spec.name)):
                state.update(self.get_submodule(spec.name)(state, stream))
        given = ("frame", "refs")
        return {key: _crop(x, state, size) for key, x in state.items() if key not in given}

    def _initial_state(
        self, size: tuple[int, int], stream: Stream, frame: Tensor | None, refs: Tensor | None, quality: Tensor | None
    ) -> FrameState:
        height, width = (-(-x // STRIDE) * STRIDE for x in size)
        if quality is None:
            quality = torch.zeros(stream.batch, dtype=torch.int64, device=self.lmdas.device)
        state = FrameState(stream.batch, height, width, quality)
        if frame is not None and not stream.reading:
            state["frame"] = pad(frame, height, width)
        if refs is not None:
            state["refs"] = pad(refs.flatten(0, 1), height, width).unflatten(0, refs.shape[:2])
        return state

    def forward(
        self, clip: Tensor, frames: Sequence[CodedFrame], modes: dict[str, str], *, rnn: int = 0,
        quality: Tensor | None = None,
    ) -> list[CodedPicture]:
        """Code some frames of training clips with a training stream.

        Args:
            clip: (N, T, 3, H, W), RGB in [0, 1].
            frames: what to code, in coding order.
            modes: mode string of each frame type, ``{"I": …, "P": …, "B": …}``; frames of an empty mode are not coded.
            rnn: references are source frames (0), reconstructions (1), or reconstructions with gradients (2).
            quality: (N,) quality levels.

        Returns:
            The coded frames, in coding order.
        """
        buffer: dict[int, Tensor] = {}
        coded = []
        for frame in frames:
            mode = modes[frame.type]
            if not mode:
                continue
            refs = [buffer.get(r, clip[:, r]) for r in frame.references]
            stream = TrainingStream(clip.shape[0])
            state = self.code_frame(
                mode, clip.shape[-2:], stream, frame=clip[:, frame.index],
                refs=torch.stack(refs, 1) if refs else None, quality=quality,
            )
            if rnn:
                buffer[frame.index] = state["recon"] if rnn == 2 else state["recon"].detach()
            coded.append(CodedPicture(frame, state, stream))
        return coded

    def aux_loss(self) -> Tensor:
        """Sum of the quantile losses of all learned densities that are being trained."""
        losses = [m.aux_loss() for m in self.modules() if isinstance(m, FactorizedPrior) and m.training]
        return torch.stack(losses).sum() if losses else self.lmdas.new_zeros(())

    def level_of(self, lmda: float) -> int:
        """The quality level that was trained for the Lagrangian nearest to ``lmda`` (on a logarithmic scale)."""
        if self.levels == 1 or not bool((self.lmdas > 0).all()):
            return 0
        return int((self.lmdas.log() - torch.tensor(lmda).log()).abs().argmin())


def pad(x: Tensor, height: int, width: int) -> Tensor:
    """(N, C, H, W) to (N, C, height, width), the last row and column repeated."""
    below, right = height - x.shape[-2], width - x.shape[-1]
    return F.pad(x, (0, right, 0, below), mode="replicate") if below or right else x


def _crop(x: Tensor, state: FrameState, size: tuple[int, int]) -> Tensor:
    return x[..., : size[0], : size[1]] if x.shape[-2:] == (state.height, state.width) else x
