"""Proof that what a model's streams mean does not depend on who computes.

A few frames are coded, and decoded again in ways that a decoder elsewhere might compute: in bfloat16, in float64, and,
worse than any, with other weights wherever they are no whole numbers. Pictures may then differ. Which table codes each
symbol may not, or the decoder reads other symbols than were written. So each way of decoding is handed the symbols that
were coded, and what it asks for is compared.
"""

from __future__ import annotations

import contextlib
import copy
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from torchDVC.coding_structure import CodedFrame, CodingStructure
from torchDVC.config import Modes
from torchDVC.entropy.replay import Coded, DifferentError, NotingStream, Taped, ToldStream
from torchDVC.models.codec import Codec, evaluating
from torchDVC.models.sequence import FrameTask, code_frames, code_sequence
from torchDVC.util.errors import first_line

_log = logging.getLogger(__name__)

SIZE = (64, 128)
"""Height and width of the pictures that are coded."""
DISTURBANCES = (1e-4, 1e-1)
"""By about how much of itself each weight that is not a whole number is changed: by as little as an arithmetic may do,
and by so much that a few symbols tell. Neither changes what is exact."""


@dataclass(frozen=True)
class Difference:
    """What a way of decoding asked for that the encoder had not used.

    Attributes:
        module: the name of the module.
        frame: which frame it coded.
        how: the way of decoding.
        what: how they differ.
    """

    module: str
    frame: CodedFrame
    how: str
    what: str

    def __str__(self) -> str:
        return f"{self.module}: frame {self.frame.type}{self.frame.index}, decoded {self.how}: {self.what}"


def differences(codec: Codec, modes: Modes) -> list[Difference]:
    """The first difference of each module, over all ways of decoding; none where the model is exact.

    Args:
        codec: fixed to integers, on the device to prove it on.
        modes: the mode string of each frame type.
    """
    found: dict[str, Difference] = {}
    with evaluating(codec), torch.random.fork_rng(_devices(codec)):
        coded = _coded(codec, modes)
        for how, decoding in _WAYS.items():
            try:
                for difference in _decoded(decoding, codec, modes, coded, how):
                    found.setdefault(difference.module, difference)
            except (RuntimeError, TypeError) as error:  # a module may have no kernels for this arithmetic
                _log.warning("whether the model decodes the same %s is not known: %s", how, first_line(error))
    return list(found.values())


Way = Callable[[Codec], contextlib.AbstractContextManager[Codec]]
"""Gives the codec, or another like it, to decode with inside."""


@dataclass(frozen=True)
class _Frame:
    """A coded frame."""

    frame: CodedFrame
    quality: int
    events: list[Coded | Taped]


def _coded(codec: Codec, modes: Modes) -> list[_Frame]:
    """What coding a short clip asks of the coder, with a frame of each type that the model has a mode for."""
    b_frames = bool(modes.bmode)
    intra_period = 2 * (b_frames and not modes.pmode)
    structure = CodingStructure(intra_period, 1 + b_frames, modes.references)
    count = 1 + 2 * b_frames + modes.references * bool(modes.pmode) + bool(modes.pmode and not b_frames)
    sources = [codec.format.from_rgb(picture) for picture in moving_clip(count, SIZE, codec.lmdas.device)]
    pictures = code_sequence(
        codec, modes, structure, SIZE, lambda frame: NotingStream(), sources=sources, quality=codec.levels // 2
    )
    return [
        _Frame(picture.frame, int(picture.quality), picture.stream.events)
        for picture in pictures
        if isinstance(picture.stream, NotingStream)
    ]


def _decoded(decoding: Way, codec: Codec, modes: Modes, coded: list[_Frame], how: str) -> Iterator[Difference]:
    """What is different when these frames are decoded in a way."""
    names = {spec.label: spec.name for spec in codec.config.modules}
    streams = [ToldStream(item.events) for item in coded]
    tasks = [FrameTask(item.frame, stream, quality=item.quality) for item, stream in zip(coded, streams, strict=True)]
    with contextlib.suppress(DifferentError), decoding(codec) as decoder:
        for _ in code_frames(decoder, modes, SIZE, tasks):
            pass
    for item, stream in zip(coded, streams, strict=True):
        yield from (Difference(names[label], item.frame, how, what) for label, what in stream.found)


def moving_clip(frames: int, size: tuple[int, int], device: torch.device) -> list[Tensor]:
    """RGB pictures (1, 3, *size) of large and small structures that move, uint8; the same on every machine."""
    generator = torch.Generator().manual_seed(0)
    height, width = size
    whole = torch.zeros(1, 3, height + 64, width + 64)
    for step in (64, 16, 4, 1):
        shape = (1, 3, -(-whole.shape[2] // step), -(-whole.shape[3] // step))
        layer = F.interpolate(torch.rand(shape, generator=generator), scale_factor=step, mode="nearest")
        whole += layer[..., : whole.shape[2], : whole.shape[3]] * (0.4 if step > 4 else 0.1)
    whole = (255 * whole).to(torch.uint8)
    return [whole[..., 2 * t : 2 * t + height, 3 * t : 3 * t + width].to(device) for t in range(frames)]


# --- ways of decoding


@contextlib.contextmanager
def _disturbed(relative: float, codec: Codec) -> Iterator[Codec]:
    """Every weight that is not a whole number a little different."""
    other = copy.deepcopy(codec)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in other.state_dict().values():
            if tensor.is_floating_point():
                noise = 1 + relative * torch.randn(tensor.shape, generator=generator).to(tensor)
                tensor.copy_(torch.where(tensor == tensor.round(), tensor, tensor * noise))
    yield other


@contextlib.contextmanager
def _in_bfloat16(codec: Codec) -> Iterator[Codec]:
    with torch.autocast(codec.lmdas.device.type, dtype=torch.bfloat16):
        yield codec


@contextlib.contextmanager
def _in_float64(codec: Codec) -> Iterator[Codec]:
    with _Float64():
        yield codec


class _Float64(TorchFunctionMode):
    """Everything in float32 is computed in float64."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = tree_map(_widened, (args, kwargs or {}))
        return tree_map(_widened, func(*args, **kwargs))


def _widened(x: Any) -> Any:
    if isinstance(x, Tensor) and x.dtype == torch.float32:
        return x.double()
    return torch.float64 if x is torch.float32 else x


_WAYS: dict[str, Way] = {
    "as it was coded": contextlib.nullcontext,
    **{f"with weights {relative:g} different": partial(_disturbed, relative) for relative in DISTURBANCES},
    "in bfloat16": _in_bfloat16,
    "in float64": _in_float64,
}


def _devices(codec: Codec) -> list[torch.device]:
    device = codec.lmdas.device
    return [device] if device.type == "cuda" else []
