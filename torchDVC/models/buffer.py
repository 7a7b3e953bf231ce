"""The decoded picture buffer: what coded frames leave for those that refer to them, in training and in coding."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

from torchDVC.coding_structure import CodedFrame, FrameInfo
from torchDVC.util.errors import BitstreamError


@dataclass(frozen=True)
class Reference:
    """A frame that others may refer to.

    Attributes:
        info: which frame it is.
        picture: (N, C, h, w) its reconstruction, in [0, 1].
        kept: what later frames may read as ``ref_<key>``, by key, (N, …).
    """

    info: FrameInfo
    picture: Tensor
    kept: Mapping[str, Tensor] = field(default_factory=dict)


class DecodedPictureBuffer:
    """References of frames still to come, as few as they may need.

    Frames come in the order of `torchDVC.coding_structure`: B frames from left to right within each level, so nothing
    before a frame's first reference is referred to again, and nothing before the last I and P frames.

    Args:
        references: how many I and P frames a P frame refers to.
    """

    def __init__(self, references: int = 1) -> None:
        self._entries: dict[int, Reference] = {}
        self._anchors = [-1] * references

    def add(self, reference: Reference) -> None:
        """Keep a coded frame, and forget what no later frame needs any more."""
        info = reference.info
        oldest = min([*self._anchors, *info.references])
        self._entries = {index: kept for index, kept in self._entries.items() if index >= oldest}
        self._entries[info.index] = reference
        if info.type != "B":
            self._anchors = [*self._anchors[1:], info.index]

    def of(self, frame: CodedFrame) -> list[Reference]:
        """The references of a frame, in its order. Raises `BitstreamError` where one was never decoded."""
        for index in frame.references:
            if index not in self._entries:
                raise BitstreamError(f"frame {frame.index} refers to frame {index}, which was lost")
        return [self._entries[index] for index in frame.references]


class ClipBuffer(DecodedPictureBuffer):
    """References within a training clip; what was not coded is referred to as it is.

    Args:
        clip: (N, T, C, h, w), pictures of the codec's format.
        rnn: pictures are those of the clip (0), reconstructions (1), or reconstructions with gradients (2). What
            modules keep beside them is handed on in any case, with gradients for 2.
        grad_clip: largest norm of the gradient that comes back to a frame through a tensor which it left; 0: any.
    """

    def __init__(self, clip: Tensor, rnn: int, grad_clip: float = 0.0) -> None:
        super().__init__()
        self._clip, self._rnn, self._grad_clip = clip, rnn, grad_clip

    def add(self, reference: Reference) -> None:
        if self._rnn < 2:
            reference = _detached(reference)
        if not self._rnn:
            reference = replace(reference, picture=self._clip[:, reference.info.index])
        if self._grad_clip:
            for tensor in (reference.picture, *reference.kept.values()):
                if tensor.requires_grad:
                    tensor.register_hook(self._bounded)
        self._entries[reference.info.index] = reference

    def _bounded(self, gradient: Tensor) -> Tensor:
        return gradient * (self._grad_clip / gradient.norm().clamp(min=1e-12)).clamp(max=1)

    def cut(self, needed: Container[int]) -> None:
        """Let no gradient pass to what was coded so far, and forget all but the frames that are still ``needed``."""
        self._entries = {index: _detached(kept) for index, kept in self._entries.items() if index in needed}

    def of(self, frame: CodedFrame) -> list[Reference]:
        return [self._entries.get(i) or Reference(FrameInfo(i), self._clip[:, i]) for i in frame.references]


def _detached(reference: Reference) -> Reference:
    kept = {key: x.detach() for key, x in reference.kept.items()}
    return replace(reference, picture=reference.picture.detach(), kept=kept)
