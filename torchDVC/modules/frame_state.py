"""What the modules of a mode string hand to one another while a frame is coded."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from torchDVC.coding_structure import FrameInfo

REFERENCE = "ref_"
"""``ref_<key>`` is what the modules of the reference frames left as ``<key>``."""


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """As `torch.stack`, but one alone is not copied: what comes shares its memory."""
    return tensors[0].unsqueeze(dim) if len(tensors) == 1 else torch.stack(list(tensors), dim)


class FrameState(dict[str, Tensor]):
    """Named tensors of the frame being coded, and what encoder and decoder both know about it.

    Keys that the codec itself gives: ``frame`` (N, 3, H, W), the source in [0, 1], in the encoder only; ``refs`` (N, R,
    3, H, W), the references; both RGB, where the codec works in no other `torchDVC.dataset.picture_format`;
    ``ref_<key>`` (N, R, …), what their modules left as ``<key>``, zero where a reference has none and absent where none
    of them has it. H and W are multiples of 64.

    Attributes:
        info: index, type, references, layer and distance to the last I frame.
        batch: N.
        height, width: H and W, padded.
        shown: height and width of the picture without padding.
        quality: (N,) quality level of each picture, int64.
        has: for each ``ref_<key>``, which of the R references have it.
        kept: what modules hand on to later frames beside what they write, by key; see `keep`.
    """

    def __init__(
        self, info: FrameInfo, batch: int, height: int, width: int, quality: Tensor,
        shown: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.info = info
        self.batch, self.height, self.width, self.quality = batch, height, width, quality
        self.shown = shown or (height, width)
        self.has: dict[str, tuple[bool, ...]] = {}
        self.kept: dict[str, Tensor] = {}
        self._copies = 1

    def size(self) -> tuple[int, int, int]:
        """Batch, height and width."""
        return self.batch, self.height, self.width

    def per_reference(self) -> FrameState:
        """The same state for what is coded once for each reference: of batch N·R, references within a picture's."""
        copies = self["refs"].shape[1]
        quality = self.quality.repeat_interleave(copies, 0)
        view = FrameState(self.info, self.batch * copies, self.height, self.width, quality)
        view.update(self)
        view.has, view.kept, view._copies = self.has, self.kept, copies
        return view

    def keep(self, key: str, x: Tensor) -> None:
        """Hand (B, …) on to later frames, which `recall` it; of what is coded for each reference, the first's."""
        self.kept[key] = x.unflatten(0, (-1, self._copies))[:, 0]

    def recall(self, key: str) -> Tensor | None:
        """What the first reference that has such kept under ``key``, (B, …)."""
        found = self.get(REFERENCE + key)
        if found is None:
            return None
        return found[:, self.has[REFERENCE + key].index(True)].repeat_interleave(self._copies, 0)

    def refer(self, key: str, given: list[Tensor | None]) -> None:
        """Set ``ref_<key>`` to what the references have, each (N, …) or None, where at least one has it."""
        known = [x for x in given if x is not None]
        if known:
            self[REFERENCE + key] = stack([torch.zeros_like(known[0]) if x is None else x for x in given], 1)
            self.has[REFERENCE + key] = tuple(x is not None for x in given)
