"""The codec of blocks: pictures the same to the bit on both sides, rates those of the file, and what it is worth."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from torchDVC.anchors.encoders import ENCODERS
from torchDVC.bitstream.container_reader import ContainerReader
from torchDVC.bitstream.container_writer import ContainerWriter, write_container
from torchDVC.bitstream.streams import header_of, read_frames, write_frames
from torchDVC.coding_structure import CodedFrame, CodingStructure, FrameInfo
from torchDVC.config import Modes, load_model_config
from torchDVC.dataset.frame import Frame, VideoInfo
from torchDVC.dataset.procedural import procedural_clip
from torchDVC.entropy.symbol_streams import EstimatingStream, ReadingStream, WritingStream
from torchDVC.models.codec import Codec
from torchDVC.models.model_file import Model, fixed
from torchDVC.models.sequence import code_clip, code_sequence, periods_at_once
from torchDVC.modules.frame_state import FrameState
from torchDVC.modules.inter.block_coder import BlockCoder
from torchDVC.results.bd_rate import Curve, bd_rate
from torchDVC.results.metrics import psnr_of_mse
from torchDVC.testing.pictures import bit_map
from torchDVC.util.errors import BitstreamError

MODES = Modes("box", "bdf", "mcbdf", "")
STRUCTURE = CodingStructure(0)


@pytest.fixture(scope="module")
def model() -> Model:
    return fixed(Codec(load_model_config("box.csv")), MODES)


@pytest.fixture(scope="module")
def filtering() -> Model:
    """A model whose filter has learned from a few pictures."""
    codec = Codec(load_model_config("box.csv")).eval()
    codec.get_submodule("loop_filter").train()
    clip = torch.stack([codec.format.to_tensor(frame, torch.device("cpu")) for frame in frames_of(3, (64, 96))], 1)
    frames = [CodedFrame(0), *(CodedFrame(index, (index - 1,)) for index in (1, 2))]
    for _ in range(2):
        list(code_clip(codec, clip, frames, MODES, rnn=1, quality=20))
    return fixed(codec.eval(), MODES)


def frames_of(count: int, size: tuple[int, int], index: int = 0) -> list[Frame]:
    return [Frame(yuv=Frame(rgb=rgb).yuv) for rgb in procedural_clip(index, count, size[::-1])]


def pictures_of(model: Model, frames: list[Frame]) -> list[Tensor]:
    return [model.codec.format.to_tensor(frame, torch.device("cpu")) for frame in frames]


def write(path: Path, model: Model, frames: list[Frame], quality: int) -> list[Tensor]:
    """Code frames into a file; what the encoder has of each."""
    width, height = frames[0].size
    info = VideoInfo(width, height, len(frames), Fraction(25), source="test")
    with write_container(path, header_of(model, info, STRUCTURE, quality)) as writer:
        assert isinstance(writer, ContainerWriter)
        return [p.state["recon"] for p in write_frames(model, writer, pictures_of(model, frames))]


@pytest.mark.parametrize(("size", "quality"), [((64, 96), 40), ((37, 51), 63), ((16, 130), 0)])
def test_a_file_holds_the_encoders_pictures_to_the_bit(
    model: Model, size: tuple[int, int], quality: int, tmp_path: Path
) -> None:
    coded = write(tmp_path / "a.lcp", model, frames_of(7, size), quality)
    with ContainerReader(tmp_path / "a.lcp") as reader:
        decoded = [p.state["recon"] for p in read_frames(model, reader)]
    assert len(decoded) == 7
    assert all(torch.equal(a, b) for a, b in zip(coded, decoded, strict=True))


def test_intra_periods_at_once_give_the_file_that_one_after_the_other_does(model: Model, tmp_path: Path) -> None:
    frames = frames_of(11, (48, 64))
    info = VideoInfo(64, 48, len(frames), Fraction(25), source="test")
    for at_once in (1, 3):
        with write_container(tmp_path / f"{at_once}.lcp", header_of(model, info, CodingStructure(4), 30)) as writer:
            coded = [p.frame.index for p in write_frames(model, writer, pictures_of(model, frames), at_once=at_once)]
        assert sorted(coded) == list(range(11))
    assert (tmp_path / "1.lcp").read_bytes() == (tmp_path / "3.lcp").read_bytes()


@pytest.mark.parametrize(
    ("structure", "size", "threads", "expected"),
    [
        (CodingStructure(32), (240, 416), 2, 2),
        (CodingStructure(32), (240, 416), 1, 1),
        (CodingStructure(32), (1080, 1920), 8, 1),  # would take too much memory
        (CodingStructure(0), (240, 416), 2, 1),
        (CodingStructure(32, 8), (240, 416), 2, 1),  # B frames refer to the next I frame
    ],
)
def test_how_many_intra_periods_are_coded_at_once(
    model: Model, structure: CodingStructure, size: tuple[int, int], threads: int, expected: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert periods_at_once(model.codec, structure, size) == expected
    other = Codec(load_model_config("baseline.csv"))
    assert periods_at_once(other, structure, size) == 1


def test_what_the_filter_changes_is_the_same_on_both_sides(filtering: Model, model: Model, tmp_path: Path) -> None:
    frames = frames_of(5, (64, 96))
    plain = write(tmp_path / "plain.lcp", model, frames, 20)
    coded = write(tmp_path / "a.lcp", filtering, frames, 20)
    with ContainerReader(tmp_path / "a.lcp") as reader:
        decoded = [p.state["recon"] for p in read_frames(filtering, reader)]
    assert all(torch.equal(a, b) for a, b in zip(coded, decoded, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(coded, plain, strict=True))


def test_the_estimated_rate_is_that_of_the_payload(model: Model) -> None:
    pictures = pictures_of(model, frames_of(4, (64, 96)))
    sizes, estimates = [], []
    for new_stream in (lambda _: WritingStream(), lambda _: EstimatingStream()):
        for picture in code_sequence(model.codec, MODES, STRUCTURE, (64, 96), new_stream, sources=pictures, quality=30):
            if isinstance(picture.stream, WritingStream):
                sizes.append(8 * len(picture.stream.payload()))
            else:
                estimates.append(float(sum(picture.stream.rates().values())))
    assert all(bits <= size <= bits + 32 for size, bits in zip(sizes, estimates, strict=True))


def test_a_decoder_books_the_bits_that_the_encoder_did(model: Model) -> None:
    picture = pictures_of(model, frames_of(1, (64, 96)))[0]
    written, size = WritingStream(keep_maps=True), (64, 96)
    model.codec.code_frame(CodedFrame(0), MODES, size, written, source=picture)
    read = ReadingStream(written.payload())
    read.maps = {}
    model.codec.code_frame(CodedFrame(0), MODES, size, read)
    assert written.maps
    for label, bits in written.rates().items():
        assert float(read.rates()[label]) == pytest.approx(float(bits), rel=1e-3, abs=1)
        assert torch.allclose(read.maps[label][0], written.maps[label][0], rtol=0.01, atol=0.5)


def test_a_map_shows_all_bits_of_pictures_of_any_shape(model: Model) -> None:
    size = 64, 192
    source = pictures_of(model, frames_of(1, size))[0]
    picture = model.codec.code_frame(CodedFrame(0), MODES, size, WritingStream(keep_maps=True), source=source)
    shown = bit_map(picture, size)
    assert shown.shape == (1, *size)
    assert float(shown.sum()) == pytest.approx(picture.bits, rel=1e-3)


def test_a_prediction_beyond_white_counts_as_white() -> None:
    payloads = []
    for brightest in (1.0, 1.02):
        frame = CodedFrame(1, (0,))
        state = FrameState(FrameInfo.of(frame, [FrameInfo(0)]), 1, 64, 64, torch.zeros(1, dtype=torch.int64))
        shade = torch.linspace(0.9, 1.02, 64).expand(1, 3, 64, 64)
        state.update(mc=shade.clamp(max=brightest), frame=shade.flip(3).clamp(max=1))
        stream = WritingStream()
        BlockCoder().eval()(state, stream)
        payloads.append(stream.payload())
    assert payloads[0] == payloads[1]


def test_quality_levels_order_rate_and_distortion(model: Model, tmp_path: Path) -> None:
    frames = frames_of(5, (64, 96), index=1)
    sources = pictures_of(model, frames)
    sizes, errors = [], []
    for quality in (0, 15, 30, 45, 63):
        coded = write(tmp_path / f"{quality}.lcp", model, frames, quality)
        sizes.append((tmp_path / f"{quality}.lcp").stat().st_size)
        errors.append(float(sum((a - b).square().mean() for a, b in zip(coded, sources, strict=True))))
    assert sizes == sorted(sizes) and len(set(sizes)) == len(sizes)
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("step", [(45, 0), (-37, 0), (0, 51), (29, -33)])
def test_what_scrolls_far_is_found(model: Model, step: tuple[int, int]) -> None:
    """Only what comes into the picture costs bits, however far the rest has moved in which direction."""
    words = np.random.default_rng(0).choice([30, 220], (320, 320)).astype(np.uint8)
    places = [(100 + k * step[0], 100 + k * step[1]) for k in range(2)]
    frames = [Frame(rgb=np.stack([words[y : y + 144, x : x + 144]] * 3)) for y, x in places]
    still, moved = (
        [float(sum(p.stream.rates().values())) for p in code_sequence(
            model.codec, MODES, STRUCTURE, (144, 144), lambda _: EstimatingStream(), sources=pictures_of(model, own),
            quality=30,
        )]
        for own in (frames[:1], frames)
    )  # fmt: skip
    new = 1 - (144 - abs(step[0])) * (144 - abs(step[1])) / 144**2
    assert moved[1] < (new + 0.1) * still[0]


def test_damaged_payloads_give_a_typed_error_or_some_picture(model: Model) -> None:
    picture = pictures_of(model, frames_of(1, (32, 48)))[0]
    stream = WritingStream()
    model.codec.code_frame(CodedFrame(0), MODES, (32, 48), stream, source=picture)
    payload = stream.payload()
    generator = np.random.default_rng(0)
    refused = 0
    for _ in range(40):
        damaged = bytearray(payload[: int(generator.integers(1, len(payload) + 1))])
        damaged[int(generator.integers(len(damaged)))] ^= 1 << int(generator.integers(8))
        try:
            coded = model.codec.code_frame(CodedFrame(0), MODES, (32, 48), ReadingStream(bytes(damaged)))
            assert coded.state["recon"].shape == (1, 3, 32, 48)
        except BitstreamError:
            refused += 1
    assert refused > 20


def test_it_needs_less_than_x264_before_anything_is_learned(model: Model, tmp_path: Path) -> None:
    """BD-rate in PSNR of luma, whole files, low delay, of a clip of two photographs that move."""
    frames = frames_of(8, (144, 176), index=2)
    ours: list[tuple[int, float]] = []
    theirs: list[tuple[int, float]] = []
    for quality in (20, 30, 40, 50):
        coded = write(tmp_path / "a.lcp", model, frames, quality)
        luma = [(picture[0, 0] * 255).round().numpy() for picture in coded]
        ours.append(((tmp_path / "a.lcp").stat().st_size, luma_psnr(frames, luma)))
    encoder, info = ENCODERS["x264"], VideoInfo(176, 144, 8, Fraction(25), source="test")
    for crf in (20.0, 25.0, 30.0, 35.0):
        path = tmp_path / "a.h264"
        encoder.write(encoder, encoder.options(CodingStructure(0), "medium", crf, "psnr"), frames, info, path)
        luma = [frame.yuv[0] for frame, _, _ in encoder.read(path, info)]
        theirs.append((path.stat().st_size, luma_psnr(frames, luma)))
    rate = bd_rate(curve("x264", theirs), curve("box", ours))
    assert rate.value < 0, rate


def curve(codec: str, points: list[tuple[int, float]]) -> Curve:
    sizes, qualities = zip(*sorted(points), strict=True)
    return Curve(codec, "set", "clip", sizes, qualities)


def luma_psnr(frames: list[Frame], decoded: list[np.ndarray]) -> float:
    errors = [np.square(a.yuv[0].astype(float) - b).mean() for a, b in zip(frames, decoded, strict=True)]
    return float(np.mean([psnr_of_mse(error) for error in errors]))
