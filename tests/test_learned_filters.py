"""Learned filters of pictures and of predictions: they learn by coding, and are off where they would do harm."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from torchDVC.coding_structure import CodedFrame, FrameInfo
from torchDVC.config import Modes, load_model_config
from torchDVC.dataset.frame import Frame
from torchDVC.dataset.procedural import procedural_clip
from torchDVC.entropy.symbol_streams import ReadingStream, WritingStream
from torchDVC.models.codec import Codec, CodedPicture
from torchDVC.models.sequence import FrameTask, code_frames
from torchDVC.modules.block.transform import step_of
from torchDVC.modules.compensation.filtered import FilteredPrediction
from torchDVC.modules.filter.gated import GatedFilter
from torchDVC.modules.filter.learned import LearnedFilters
from torchDVC.modules.frame_state import FrameState

SIZE = (128, 192)
MIDDLE, COARSE = 38, 6
"""Quality levels of quantiser steps of about 16 and 100 codes."""
CSV = """\
code,name,type,args,weights
-,format,yuv420
m,motion_codec,BlockMotion,,
c,motion_compensator,OverlappedCompensation,,
r,refinement,FilteredPrediction,,
b,block_codec,BlockCoder,,
"""
FRAMES = [CodedFrame(0), *(CodedFrame(index, (index - 1,)) for index in (1, 2))]


class Taught(NamedTuple):
    """A module that has seen noisy pictures, and what it filters."""

    module: LearnedFilters
    key: str

    def filtered(
        self, source: Tensor | None, coded: Tensor, stream: WritingStream | ReadingStream, level: int
    ) -> Tensor:
        info = FrameInfo.of(CodedFrame(1, (0,)), [FrameInfo(0)])
        state = FrameState(info, 1, *SIZE, torch.full((1,), level))
        state.update({self.key: coded, "step": torch.tensor([step_of(47 - level / 2)])})
        if source is not None:
            state["frame"] = source
        return self.module(state, stream)[self.key]


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


@pytest.fixture(scope="module", params=[(GatedFilter, "recon"), (FilteredPrediction, "mc")], ids=["recon", "mc"])
def taught(request: pytest.FixtureRequest) -> Taught:
    kind, key = request.param
    taught = Taught(kind(), key)
    for index in range(3):
        source = picture_of(index)
        taught.filtered(source, noisy(source), WritingStream(), MIDDLE)
    taught.module.eval()
    return taught


def error(a: Tensor, b: Tensor) -> float:
    return float((a - b).square().mean())


def test_it_takes_noise_from_a_picture_that_it_has_not_seen(taught: Taught) -> None:
    source = picture_of(7)
    coded = noisy(source)
    stream = WritingStream()
    filtered = taught.filtered(source, coded, stream, MIDDLE)
    assert error(filtered, source) < 0.8 * error(coded, source)
    assert sum(float(bits) for bits in stream.rates().values()) == 1
    assert torch.equal(taught.filtered(None, coded, ReadingStream(stream.payload()), MIDDLE), filtered)


def test_it_is_off_where_it_would_do_harm(taught: Taught) -> None:
    coded = noisy(picture_of(7))
    stream = WritingStream()
    assert torch.equal(taught.filtered(coded, coded, stream, MIDDLE), coded)
    assert torch.equal(taught.filtered(None, coded, ReadingStream(stream.payload()), MIDDLE), coded)


def test_filters_are_learned_for_a_range_of_steps(taught: Taught) -> None:
    source = picture_of(7)
    assert torch.equal(taught.filtered(source, noisy(source), WritingStream(), COARSE), noisy(source))


def test_it_learns_in_training_only(taught: Taught) -> None:
    before = taught.module.taps.clone()
    taught.filtered(picture_of(9), noisy(picture_of(9)), WritingStream(), MIDDLE)
    assert torch.equal(taught.module.taps, before) and bool(before.any())


@pytest.fixture
def refining(tmp_path: Path) -> Codec:
    """A codec of blocks without a loop filter, which refines its prediction."""
    (tmp_path / "refining.csv").write_text(CSV)
    return Codec(load_model_config(str(tmp_path / "refining.csv"))).eval()


def code(codec: Codec, pmode: str, level: int, payloads: list[bytes] | None = None) -> list[CodedPicture]:
    """Encode three frames, or decode them."""
    rgb = procedural_clip(5, 3, (96, 64))
    sources = [codec.format.to_tensor(Frame(yuv=Frame(rgb=picture).yuv), torch.device("cpu")) for picture in rgb]
    tasks = [
        FrameTask(frame, ReadingStream(payloads[frame.index]), quality=level) if payloads
        else FrameTask(frame, WritingStream(), sources[frame.index], level)
        for frame in FRAMES
    ]  # fmt: skip
    return list(code_frames(codec, Modes("box", "b", pmode, ""), (64, 96), tasks))


def payload_of(picture: CodedPicture) -> bytes:
    assert isinstance(picture.stream, WritingStream)
    return picture.stream.payload()


def test_before_it_has_learned_a_codec_codes_as_without_it(refining: Codec) -> None:
    plain, refined = code(refining, "mcb", 30), code(refining, "mcrb", 30)
    assert [a.bits - b.bits for a, b in zip(refined, plain, strict=True)] == pytest.approx([0, 1, 1], abs=1e-2)
    for a, b in zip(refined, plain, strict=True):
        assert torch.equal(a.state["recon"], b.state["recon"])


def test_a_codec_that_has_learned_to_refine_its_prediction_decodes_to_the_bit(refining: Codec) -> None:
    refining.get_submodule("refinement").train()
    code(refining, "mcrb", 30)
    coded = code(refining.eval(), "mcrb", 30)
    assert not torch.equal(coded[1].state["mc"], code(refining, "mcb", 30)[1].state["mc"])
    decoded = code(refining, "mcrb", 30, [payload_of(picture) for picture in coded])
    assert all(torch.equal(a.state["recon"], b.state["recon"]) for a, b in zip(decoded, coded, strict=True))
