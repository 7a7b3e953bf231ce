"""Codec: the modules of a model csv under their codes, and the running of mode strings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchDVC.coding_structure import CodedFrame
from torchDVC.config import ModelConfig, Modes
from torchDVC.config.registry import load_class
from torchDVC.entropy.priors import FactorizedPrior
from torchDVC.entropy.streams import Stream, TrainingStream
from torchDVC.modules.frame_state import FrameState
from torchDVC.util.errors import ConfigError, first_line

STRIDE = 64
"""Pictures are padded to multiples of this inside the codec."""

REFERENCE = "ref_"
"""A module that reads ``ref_<key>`` is given what the references' modules wrote as ``<key>``: (N, R, …)."""

Reference = Mapping[str, Tensor]
"""What the decoded picture buffer keeps of a frame: ``recon``, and what some module reads as ``ref_<key>``."""


@dataclass
class CodedPicture:
    """What coding one frame gave.

    Attributes:
        frame: which frame, and from which references.
        source: (N, 3, H, W), RGB in [0, 1]; None in a decoder.
        state: every picture and field that a module wrote, at the picture's own size.
        stream: what coded it; its ``bits`` are booked by module.
    """

    frame: CodedFrame
    source: Tensor | None
    state: dict[str, Tensor]
    stream: Stream


class Codec(nn.Module):
    """A codec as its model csv describes it.

    Args:
        config: the modules, in csv order; each becomes the attribute of its name.

    Raises `ConfigError` naming every module that cannot be built with its arguments.
    """

    lmdas: Tensor
    """(levels,) the Lagrangian that each quality level was trained for; 0 before training."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.levels = 1
        self.register_buffer("lmdas", torch.zeros(1))
        problems = []
        for spec in config.modules:
            if hasattr(self, spec.name):
                problems.append(f"{spec.where}: name '{spec.name}' is taken by the codec itself; expected another")
                continue
            try:
                self.add_module(spec.name, load_class(spec.type)(**spec.args))
            except (RuntimeError, ValueError, TypeError, ArithmeticError, LookupError) as error:
                problems.append(f"{spec.where}: {spec.type.name}: {first_line(error)}")
        if problems:
            raise ConfigError(problems)
        self.levels = max(getattr(module, "quality_levels", 1) for module in self.modules())
        self.lmdas = torch.zeros(self.levels)

    def code_frame(
        self, mode: str, size: tuple[int, int], stream: Stream, references: Sequence[Reference] = (), *,
        frame: Tensor | None = None, quality: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Code one frame: run the modules of a mode string in order.

        Args:
            mode: module codes, in order.
            size: height and width of the picture.
            stream: where symbols go to or come from.
            references: none on I, one on P, two on B frames; see `reference_of`.
            frame: (N, 3, H, W) source, RGB in [0, 1]; None where the stream reads.
            quality: (N,) quality level of each picture, int64; default 0.

        Returns:
            Everything the modules wrote, pictures at their own size; and under ``ref_<key>``, as it is, what later
            frames may read.
        """
        state = self._initial_state(size, stream, references, frame, quality)
        given = set(state)
        for spec in self.config.of_codes(mode):
            if spec.type.encoder_only and stream.reading:
                continue
            with stream.labelled(spec.label):
                state.update(self.get_submodule(spec.name)(state, stream))
        stream.end()
        written = {key: _crop(x, state, size) for key, x in state.items() if key not in given}
        return written | {REFERENCE + key: state[key] for key in self._kept if key in state}

    def _initial_state(
        self, size: tuple[int, int], stream: Stream, references: Sequence[Reference],
        frame: Tensor | None, quality: Tensor | None,
    ) -> FrameState:
        height, width = (-(-x // STRIDE) * STRIDE for x in size)
        if quality is None:
            quality = torch.zeros(stream.batch, dtype=torch.int64, device=self.lmdas.device)
        state = FrameState(stream.batch, height, width, quality)
        if frame is not None and not stream.reading:
            state["frame"] = pad(frame, size, height, width)
        for key in references[0] if references else ():
            if all(key in reference for reference in references):
                name = "refs" if key == "recon" else REFERENCE + key
                kept = [pad(r[key], size, height, width) if key == "recon" else r[key] for r in references]
                state[name] = torch.stack(kept, 1)
        return state

    def reference_of(self, state: Mapping[str, Tensor]) -> Reference:
        """What later frames may need of a coded frame."""
        kept = {"recon": state["recon"].clamp(0, 1)}
        return kept | {key: state[REFERENCE + key] for key in self._kept if REFERENCE + key in state}

    @cached_property
    def _kept(self) -> frozenset[str]:
        reads = (key for spec in self.config.modules for key in (*spec.type.reads, *spec.type.encoder_reads))
        return frozenset(key.removeprefix(REFERENCE) for key in reads if key.startswith(REFERENCE))

    def forward(
        self, clip: Tensor, frames: Sequence[CodedFrame], modes: Modes, *, rnn: int = 0, quality: Tensor | None = None,
        new_stream: Callable[[int], Stream] = TrainingStream,
    ) -> list[CodedPicture]:
        """Code some frames of training clips.

        Args:
            clip: (N, T, 3, H, W), RGB in [0, 1].
            frames: what to code, in coding order; those of a type whose mode is empty are left out.
            modes: the mode string of each frame type.
            rnn: references are source frames (0), reconstructions (1), or reconstructions with gradients (2).
            quality: (N,) quality levels.
            new_stream: gives the stream of a frame, for a batch of N.

        Returns:
            The coded frames, in coding order.
        """
        buffer: dict[int, Reference] = {}
        coded = []
        size = (clip.shape[-2], clip.shape[-1])
        for frame in frames:
            mode = mode_of(modes, frame.type)
            if not mode:
                continue
            references = [buffer.get(r, {"recon": clip[:, r]}) for r in frame.references]
            stream = new_stream(clip.shape[0])
            source = clip[:, frame.index]
            state = self.code_frame(mode, size, stream, references, frame=source, quality=quality)
            if rnn:
                kept = self.reference_of(state)
                buffer[frame.index] = kept if rnn == 2 else {key: x.detach() for key, x in kept.items()}
            coded.append(CodedPicture(frame, source, state, stream))
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


@contextmanager
def evaluating(codec: Codec) -> Iterator[None]:
    """Put a codec into eval mode; afterwards those of its modules that were training go on."""
    training = [module for module in codec.modules() if module.training]
    codec.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def mode_of(modes: Modes, frame_type: str) -> str:
    """The mode string of ``"I"``, ``"P"`` or ``"B"`` frames."""
    return {"I": modes.imode, "P": modes.pmode, "B": modes.bmode}[frame_type]


def pad(x: Tensor, size: tuple[int, int], height: int, width: int) -> Tensor:
    """A picture (N, C, *size) to (N, C, height, width), the last row and column repeated; other tensors unchanged."""
    below, right = height - size[0], width - size[1]
    if x.shape[-2:] != size or not (below or right):
        return x
    return F.pad(x, (0, right, 0, below), mode="replicate")


def _crop(x: Tensor, state: FrameState, size: tuple[int, int]) -> Tensor:
    return x[..., : size[0], : size[1]] if x.shape[-2:] == (state.height, state.width) else x
