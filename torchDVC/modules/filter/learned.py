"""Linear filters in exact integers, learned by coding, and switched by the encoder for each picture."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from torchDVC.entropy.streams import Stream
from torchDVC.modules.block.coder import PLANE_WEIGHTS, Planes, run_rows
from torchDVC.modules.block.linear import CELL, CLASSES, EDGE, FEATURES, TAP_BITS
from torchDVC.modules.block.space import RECON, SOURCE, SPACE
from torchDVC.modules.block.transform import STEP_BITS, STEPS
from torchDVC.modules.frame_state import FrameState, stack

BANDS = 8
"""Filters are learned for so many ranges of the quantiser step."""
LOWEST, BAND = 40, 8
"""Where the first range begins, and how wide each is, as places in `STEPS`: two are a quantiser parameter."""
LEAST = 1e-12


class LearnedFilters(nn.Module):
    """Linear filters that bring a picture nearer its source, one for each class of blocks and range of the step.

    `torchDVC.modules.block.linear` says what they see. They are the least squares over all pictures that were coded in
    training, each divided by its squared error; so nothing is learned by gradient. The encoder says for each picture,
    in one bit, whether it is filtered; before anything is learned, none is.

    Args:
        kinds: of pictures, which have filters of their own.
        share: of the quantiser step, how far from a sample those around it count at most.
        ridge: how much filters are held small, the more the less was seen of their class.
    """

    one_core = True
    by_coding = True
    taps: Tensor
    sums: Tensor

    def __init__(self, kinds: int, share: float, ridge: float) -> None:
        super().__init__()
        self.kinds, self.share, self.ridge = kinds, share, ridge
        shape = kinds * BANDS, 3, CLASSES, FEATURES
        self.register_buffer("taps", torch.zeros(shape, dtype=torch.int32))
        self.register_buffer("sums", torch.zeros((*shape, FEATURES + 1), dtype=torch.float64))

    def filtered(self, state: FrameState, stream: Stream, key: str, steps: Tensor, kind: int = 0) -> Tensor:
        """Pictures of the state (N, 3, H, W) filtered, or as they were; ``steps`` (N,) in 2**-STEP_BITS codes."""
        pictures = [self._filter(state, stream, key, item, int(steps[item]), kind) for item in range(state.batch)]
        return stack(pictures).to(state.quality.device)

    def _filter(self, state: FrameState, stream: Stream, key: str, item: int, step: int, kind: int) -> Tensor:
        planes = Planes(*state.shown)
        planes.put(RECON, state[key][item])
        most = max(int(self.share * step / 2**STEP_BITS + 0.5), 1)
        rate = self.kinds * _band(step) + kind
        taps, sums = self.taps[rate], self.sums[rate]
        if stream.reading:
            on = _switch(stream, item)
            if on:
                _View(planes, step, most).filter(taps)
        else:
            planes.put(SOURCE, state["frame"][item])
            before, view = _error(planes), _View(planes, step, most)
            view.filter(taps)
            on = _switch(stream, item, _error(planes) < before)
            if self.training:
                view.learn(sums, 1 / (1 + before))
                taps.copy_(self._best(sums))
        return planes.get(RECON, state.height, state.width) if on else state[key][item]

    def _best(self, sums: Tensor) -> Tensor:
        """The filters that would have been best for what was seen, in 2**-TAP_BITS."""
        products, wanted = sums.split([FEATURES, 1], -1)
        sizes = products.diagonal(dim1=-2, dim2=-1).mean(-1)
        held = self.ridge * (sizes + sizes.mean(1, keepdim=True)) + LEAST
        even = torch.eye(FEATURES, dtype=sums.dtype, device=sums.device)
        taps = torch.linalg.solve(products + held[..., None, None] * even, wanted)[..., 0]
        return (taps * 2**TAP_BITS).round().clamp(-(2**TAP_BITS), 2**TAP_BITS)


class _View:
    """What filters see of a picture.

    Args:
        planes: whose reconstruction it is.
        step: of the quantiser, in 2**-STEP_BITS codes.
        most: how far from a sample those around it count at most, in codes.
    """

    def __init__(self, planes: Planes, step: int, most: int) -> None:
        from torchDVC.modules.block.linear import classify

        self.planes, self.most = planes, most
        height, width = planes.height, planes.width
        self.picture = np.empty((3, height + 2 * EDGE, width + 2 * EDGE), np.uint8)
        self.picture[0] = np.pad(planes.pixels[RECON, 0], EDGE, "edge")
        chroma = np.pad(planes.chroma(RECON), ((0, 0), (EDGE, EDGE), (EDGE, EDGE)), "edge")
        self.picture[1:, : chroma.shape[1], : chroma.shape[2]] = chroma
        self.classes = np.zeros((height // CELL, width // CELL), np.int64)
        classify(self.picture[0], step, self.classes)

    def filter(self, taps: Tensor) -> None:
        """Filter the reconstruction."""
        from torchDVC.modules.block.linear import apply

        apply(self.picture, self.classes, taps.cpu().numpy(), self.most, self.planes.pixels[RECON])

    def learn(self, sums: Tensor, weight: float) -> None:
        """Add what is seen, and what the source would have been, to ``sums``."""
        from torchDVC.modules.block.linear import learn

        added = sums.cpu().numpy()
        learn(self.picture, self.classes, self.planes.pixels[SOURCE], self.most, weight, added)
        sums.copy_(torch.from_numpy(added))


def _switch(stream: Stream, item: int, on: bool = False) -> bool:
    """Say whether a picture is filtered, or be told."""
    from torchDVC.modules.block.bits import code_evenly

    said = [int(on)]
    space, tape = np.zeros(1, SPACE), stream.open_tape()

    def code(data: np.ndarray, row: int) -> None:
        said[row] = code_evenly(space[0], data, said[row])

    stream.close_tape(tape, run_rows(tape, space, 1, 1, code), item)
    return bool(said[0])


def _band(step: int) -> int:
    """Which range a quantiser step is in."""
    return min(max((int(np.searchsorted(STEPS, step)) - LOWEST) // BAND, 0), BANDS - 1)


def _error(planes: Planes) -> float:
    """Squared errors of the reconstruction, as planes count."""
    height, width = planes.height // 2, planes.width // 2
    total = 0.0
    for plane, weight in enumerate(PLANE_WEIGHTS):
        shown = (slice(height), slice(width)) if plane else slice(None)
        difference = planes.pixels[RECON, plane][shown].astype(np.int32) - planes.pixels[SOURCE, plane][shown]
        total += weight * float(np.square(difference).sum())
    return total
