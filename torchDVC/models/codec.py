"""Codec: the modules of a model csv under their codes, and the running of mode strings on a frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from torchDVC.coding_structure import CodedFrame, FrameInfo
from torchDVC.config import ModelConfig, Modes, ModuleSpec
from torchDVC.config.records import levels_said
from torchDVC.config.scan import load_class
from torchDVC.dataset.picture_format import PictureFormat, picture_format
from torchDVC.entropy.priors import FactorizedPrior
from torchDVC.entropy.streams import Stream
from torchDVC.models.buffer import Reference
from torchDVC.modules.frame_state import REFERENCE, FrameState, stack
from torchDVC.util.arithmetic import Arithmetic
from torchDVC.util.device import autocast
from torchDVC.util.errors import ConfigError, ModuleError, first_line

STRIDE = 64
"""Pictures are padded to multiples of this inside the codec."""
SIZED_AS_PICTURES = ("flow", "map")
"""Kinds that are cropped to the picture's size as pictures are, where they have that of the padded one."""


@dataclass
class CodedPicture:
    """What coding one frame gave.

    Attributes:
        info: which frame, and from which references.
        source: a picture of the codec's format; None in a decoder.
        state: everything that a module wrote; pictures, flows and maps at the picture's own size.
        stream: what coded it; its ``bits`` are booked by module.
        quality: (N,) the quality level of each picture.
        kept: what later frames may read as ``ref_<key>``, by key.
    """

    info: FrameInfo
    source: Tensor | None
    state: dict[str, Tensor]
    stream: Stream
    quality: Tensor
    kept: dict[str, Tensor] = field(default_factory=dict)

    @property
    def frame(self) -> CodedFrame:
        """Which frame it is."""
        return self.info.frame

    @property
    def bits(self) -> float:
        """Bits of all pictures and modules, without a container's."""
        return sum(float(bits.sum()) for bits in self.stream.rates().values())

    @property
    def reference(self) -> Reference:
        """What later frames may need of it; where nothing was reconstructed, the source."""
        picture = self.state["recon"].clamp(0, 1) if "recon" in self.state else self.source
        assert picture is not None
        return Reference(self.info, picture, self.kept)


class Codec(nn.Module):
    """A codec as its model csv describes it.

    Args:
        config: the modules, in csv order; each becomes the attribute of its name.

    Raises `ConfigError` naming every module that cannot be built with its arguments.
    """

    format: PictureFormat
    """What its pictures are, as tensors and as frames."""
    lmdas: Tensor
    """(levels,) the Lagrangian that each quality level was trained for; 0 before training."""
    precision: str = "32"
    """What frames are coded in; with ``32``, what is around may say otherwise."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.format = picture_format(config.format)
        self.levels = 1
        self.register_buffer("lmdas", torch.zeros(1))
        problems = []
        for spec in config.modules:
            if hasattr(self, spec.name):
                problems.append(f"{spec.where}: name '{spec.name}' is taken by the codec itself; expected another")
                continue
            try:
                self.add_module(spec.name, load_class(spec.type)(**spec.args))
            except (ImportError, RuntimeError, ValueError, TypeError, ArithmeticError, LookupError) as error:
                problems.append(f"{spec.where}: {spec.type.name}: {first_line(error)}")
        if len(config.levels) > 1:
            problems.append(f"{config.path}: modules of unequal quality levels: {levels_said(config.levels)}")
        if problems:
            raise ConfigError(problems)
        self.levels = max(config.levels, default=1)
        self.lmdas = torch.zeros(self.levels)
        self.set_options({})

    def set_options(self, options: Mapping[str, Any]) -> None:
        """Set ``options`` of modules that declare some: those given here as ``<module>.<name>``, else defaults."""
        for spec in self.config.modules:
            defaults = spec.type.option_defaults
            if defaults:
                own = {name: options.get(f"{spec.name}.{name}", default) for name, default in defaults.items()}
                setattr(self.get_submodule(spec.name), "options", own)  # noqa: B010

    def compute_in(self, arithmetic: Arithmetic, device: torch.device) -> None:
        """Code on a device, in this precision and layout, from now on."""
        self.precision = arithmetic.precision
        self.to(device).to(memory_format=arithmetic.layout)

    def code_frame(
        self, frame: CodedFrame, modes: Modes, size: tuple[int, int], stream: Stream,
        references: Sequence[Reference] = (), *, source: Tensor | None = None, quality: Tensor | None = None,
    ) -> CodedPicture:
        """Code one frame: run the modules of its type's mode string in order.

        Args:
            frame: index, type and references.
            modes: the mode string of each frame type.
            size: height and width of the picture.
            stream: where symbols go to or come from.
            references: what the frames that ``frame`` refers to left, in its order.
            source: pictures (N, C, h, w) of the codec's `format`; None where the stream reads.
            quality: (N,) quality level of each picture, int64; default 0.

        Raises `ModuleError` where a module does not write what it declares.
        """
        if quality is None:
            quality = torch.zeros(stream.batch, dtype=torch.int64, device=self.lmdas.device)
        info = FrameInfo.of(frame, [reference.info for reference in references])
        state = self._initial_state(info, modes, size, stream, references, source, quality)
        kinds: dict[str, str] = {}
        kept: dict[str, Tensor] = {}
        for spec in self.config.of_codes(modes.of(frame.type)):
            if spec.type.encoder_only and stream.reading:
                continue
            with stream.labelled(spec.label), autocast(self.precision, self.lmdas.device):
                written = self.get_submodule(spec.name)(state, stream)
            kinds |= _checked(spec, written, state, self.format)
            state.update(written)
            if not spec.type.encoder_only:
                kept |= {key: x for key, x in written.items() if key in self._kept}
        stream.end()
        return CodedPicture(info, source, _cropped(state, kinds, size, self.format), stream, quality, kept | state.kept)

    def _initial_state(
        self, info: FrameInfo, modes: Modes, size: tuple[int, int], stream: Stream, references: Sequence[Reference],
        source: Tensor | None, quality: Tensor,
    ) -> FrameState:
        height, width = (-(-x // STRIDE) * STRIDE for x in size)
        state = FrameState(info, stream.batch, height, width, quality, size)
        if source is not None and not stream.reading:
            state["frame"] = self.format.pad(source, height, width)
        if references:
            state["refs"] = stack([self.format.pad(r.picture, height, width) for r in references], 1)
        if not (modes.feature_reset and info.since_intra % modes.feature_reset == 0):
            for key in dict.fromkeys(key for reference in references for key in reference.kept):
                state.refer(key, [reference.kept.get(key) for reference in references])
        return state

    @cached_property
    def _kept(self) -> frozenset[str]:
        """Keys that some module reads of the references."""
        used = (key for spec in self.config.modules for key in spec.type.uses)
        return frozenset(key.removeprefix(REFERENCE) for key in used if key.startswith(REFERENCE))

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


def _checked(spec: ModuleSpec, written: Any, state: FrameState, form: PictureFormat) -> dict[str, str]:
    """The kinds of what a module wrote; raises `ModuleError` where that is not what its declaration says."""
    declared = dict(zip(spec.type.writes, spec.type.kinds, strict=True))
    if not isinstance(written, Mapping):
        found = f"{spec}: {spec.type.name} gave {type(written).__name__}"
        raise ModuleError(f"{found}; expected a dict of what it writes: {', '.join(declared)}")
    if written.keys() != declared.keys():
        found = " ".join(written) or "nothing"
        raise ModuleError(f"{spec}: {spec.type.name} wrote {found}; its declaration says {' '.join(declared)}")
    picture = (state.batch, *form.shape(state.height, state.width))
    for key, kind in declared.items():
        if kind == "picture" and written[key].shape != picture:
            raise ModuleError(
                f"{spec}: {spec.type.name} wrote '{key}' of shape {tuple(written[key].shape)}; "
                f"expected a picture, {picture}"
            )
    return declared


def _cropped(
    state: FrameState, kinds: Mapping[str, str], size: tuple[int, int], form: PictureFormat
) -> dict[str, Tensor]:
    """What was written; pictures, and flows and maps of their full size, at the size of the picture."""

    def cropped(x: Tensor, kind: str) -> Tensor:
        if kind == "picture":
            return form.crop(x, *size)
        if kind in SIZED_AS_PICTURES and x.shape[-2:] == (state.height, state.width):
            return x[..., : size[0], : size[1]]
        return x

    return {key: cropped(state[key], kind) for key, kind in kinds.items()}
