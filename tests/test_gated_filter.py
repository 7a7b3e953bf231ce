"""The loop filter: it learns by coding what brings pictures nearer their sources, and is off where it does not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from torchDVC.coding_structure import CodedFrame, FrameInfo
from torchDVC.dataset.procedural import procedural_clip
from torchDVC.entropy.symbol_streams import ReadingStream, WritingStream
from torchDVC.modules.filter.gated import GatedFilter
from torchDVC.modules.frame_state import FrameState

SIZE = (128, 192)


def state_of(source: Tensor | None, coded: Tensor, step: int) -> FrameState:
    state = FrameState(FrameInfo.of(CodedFrame(0), ()), 1, *SIZE, torch.zeros(1, dtype=torch.int64))
    state.update(recon=coded, step=torch.tensor([64 * step]))
    if source is not None:
        state["frame"] = source
    return state


def picture_of(index: int) -> Tensor:
    """Codes / 255 of three planes, chroma repeated 2x2."""
    frame = torch.from_numpy(procedural_clip(index, 1, SIZE[::-1])[0]).float()
    frame[1:] = frame[1:, ::2, ::2].repeat_interleave(2, 1).repeat_interleave(2, 2)
    return frame[None] / 255


def noisy(picture: Tensor) -> Tensor:
    """A picture with noise of about 4 codes."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, 3, SIZE[0] // 2, SIZE[1] // 2, generator=generator)
    noise = noise.repeat_interleave(2, 2).repeat_interleave(2, 3)
    return ((picture * 255 + 4 * noise).round().clamp(0, 255) / 255).float()


@pytest.fixture(scope="module")
def taught() -> GatedFilter:
    """A filter that has seen noisy pictures."""
    module = GatedFilter()
    for index in range(3):
        source = picture_of(index)
        module(state_of(source, noisy(source), 16), WritingStream())
    return module.eval()


def error(a: Tensor, b: Tensor) -> float:
    return float((a - b).square().mean())


def test_it_takes_noise_from_a_picture_that_it_has_not_seen(taught: GatedFilter) -> None:
    source = picture_of(7)
    coded = noisy(source)
    stream = WritingStream()
    filtered = taught(state_of(source, coded, 16), stream)["recon"]
    assert error(filtered, source) < 0.8 * error(coded, source)
    assert sum(float(bits) for bits in stream.rates().values()) == 1
    decoded = taught(state_of(None, coded, 16), ReadingStream(stream.payload()))["recon"]
    assert torch.equal(decoded, filtered)


def test_it_is_off_where_it_would_do_harm(taught: GatedFilter) -> None:
    coded = noisy(picture_of(7))
    stream = WritingStream()
    assert torch.equal(taught(state_of(coded, coded, 16), stream)["recon"], coded)
    assert torch.equal(taught(state_of(None, coded, 16), ReadingStream(stream.payload()))["recon"], coded)


def test_filters_are_learned_for_a_range_of_steps(taught: GatedFilter) -> None:
    source = picture_of(7)
    assert torch.equal(taught(state_of(source, noisy(source), 100), WritingStream())["recon"], noisy(source))


def test_it_learns_in_training_only(taught: GatedFilter) -> None:
    before = taught.taps.clone()
    taught(state_of(picture_of(9), noisy(picture_of(9)), 16), WritingStream())
    assert torch.equal(taught.taps, before) and bool(before.any())
