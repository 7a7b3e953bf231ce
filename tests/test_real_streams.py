"""Writing and reading streams: what a decoder gets from a file is what the encoder had, to the bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.lively_models import clip, lively_model, read_stream, small, write_stream
from torchDVC.bitstream.container_reader import ContainerReader
from torchDVC.bitstream.streams import header_of
from torchDVC.coding_structure import CodedFrame, CodingStructure
from torchDVC.config import Modes, load_model_config, load_test_config
from torchDVC.config.problems import CONFIGS
from torchDVC.dataset.frame import VideoInfo
from torchDVC.entropy.symbol_streams import EstimatingStream, ReadingStream, WritingStream
from torchDVC.models.model_file import Model, load_model, save_model
from torchDVC.models.sequence import code_sequence, in_display_order
from torchDVC.util.arithmetic import Arithmetic
from torchDVC.util.errors import BitstreamError, ConfigError

SHIPPED = sorted(path.stem for path in (CONFIGS / "model").glob("*.csv"))
OTHER_TYPES = """\
code,name,type,args,weights
i,intra_codec,ScaleHyperpriorIntra,,
e,motion_estimator,PWCNet,,
m,motion_codec,FlowCodec,factorized.json,
c,motion_compensator,Refinement,,
r,residual_codec,ResidualCodec,factorized.json,
"""
LOW_DELAY, HIERARCHICAL = CodingStructure(4, 1), CodingStructure(8, 4)
SIZES = [(1, 1), (1, 130), (130, 1), (17, 33), (64, 64), (65, 63), (130, 130)]


@pytest.fixture(scope="module", params=[*SHIPPED, "other types"])
def models(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Model]:
    """A shrunk shipped model, or one of the types that those do not use, and what a decoder reads from its file."""
    if request.param == "other types":
        table = tmp_path_factory.mktemp("csv") / "other.csv"
        table.write_text(OTHER_TYPES)
        table.with_name("factorized.json").write_text('{"latent": {"type": "Factorized"}}')
        config = small(load_model_config(str(table)))
    else:
        config = small(load_model_config(f"{request.param}.csv"))
    tests = CONFIGS / "test" / f"{request.param}.cfg"
    modes: Modes = load_test_config(tests if tests.is_file() else "baseline.cfg", config).processes[0]
    model = lively_model(config, modes)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(path, model)
    return model, load_model(path)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("structure", [LOW_DELAY, HIERARCHICAL], ids=["P", "B"])
def test_a_decoder_gets_the_encoders_pictures(
    models: tuple[Model, Model], structure: CodingStructure, size: tuple[int, int], tmp_path: Path
) -> None:
    encoder, decoder = models
    if structure.gop_size > 1 and not encoder.modes.bmode:
        pytest.skip("the model codes no B frames")
    frames = 6
    expected = write_stream(tmp_path / "a.lcp", encoder, structure, clip(frames, size))
    decoded = read_stream(tmp_path / "a.lcp", decoder)
    assert decoded.keys() == expected.keys() == set(range(frames))
    for index, picture in expected.items():
        assert picture.shape[-2:] == size
        assert torch.equal(decoded[index], picture), index


@pytest.mark.slow
def test_full_hd(models: tuple[Model, Model], tmp_path: Path) -> None:
    """One I frame, one P frame, and one B frame where the model codes them, else another P frame."""
    encoder, decoder = models
    structure = CodingStructure(0, 2 if encoder.modes.bmode else 1)
    expected = write_stream(tmp_path / "a.lcp", encoder, structure, clip(3, (1080, 1920)))
    decoded = read_stream(tmp_path / "a.lcp", decoder)
    assert [decoded[index].shape[-2:] for index in range(3)] == 3 * [(1080, 1920)]
    assert all(torch.equal(decoded[index], expected[index]) for index in range(3))


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_a_decoder_computes_as_the_stream_says(precision: str, tmp_path: Path) -> None:
    encoder, decoder = (lively_model(small(load_model_config("baseline.csv"))) for _ in range(2))
    pictures = clip(3, (70, 90))
    in_float32 = write_stream(tmp_path / "32.lcp", encoder, LOW_DELAY, pictures)
    encoder.codec.compute_in(Arithmetic(precision, "contiguous"), torch.device("cpu"))
    expected = write_stream(tmp_path / "a.lcp", encoder, LOW_DELAY, pictures)
    decoded = read_stream(tmp_path / "a.lcp", decoder)
    for index, picture in expected.items():
        torch.testing.assert_close(decoded[index], picture, atol=1e-3, rtol=0)
        assert float((picture - in_float32[index]).abs().max()) > 1e-3  # so not in float32
    read_stream(tmp_path / "32.lcp", decoder)
    assert decoder.codec.precision == "32"


def test_files_are_as_long_as_estimated(models: tuple[Model, Model], tmp_path: Path) -> None:
    model, _ = models
    pictures = clip(5, (280, 280))
    write_stream(tmp_path / "a.lcp", model, LOW_DELAY, pictures)
    estimated = code_sequence(
        model.codec, model.modes, LOW_DELAY, (280, 280), lambda frame: EstimatingStream(), sources=pictures
    )
    bits = [float(sum(p.stream.rates().values()).sum()) for p in estimated]  # type: ignore[union-attr]
    with ContainerReader(tmp_path / "a.lcp") as reader:
        payloads = [8 * len(packet.payload) for packet in reader.packets()]
    assert min(bits) > 8 * 20
    for estimate, payload in zip(bits, payloads, strict=True):
        assert estimate - 1 <= payload <= 1.01 * estimate + 8 * 8 * 4


def test_latents_are_not_all_zero(models: tuple[Model, Model], tmp_path: Path) -> None:
    """Else the equalities above would say little."""
    expected = write_stream(tmp_path / "a.lcp", models[0], LOW_DELAY, clip(3, (100, 100)))
    assert all(picture.std() > 0.01 for picture in expected.values())
    assert (tmp_path / "a.lcp").stat().st_size > 400


@pytest.fixture(scope="module")
def baseline() -> Model:
    return lively_model(small(load_model_config("baseline.csv")))


def frame_payload(model: Model) -> bytes:
    stream = WritingStream()
    with torch.no_grad():
        model.codec.code_frame(CodedFrame(0), model.modes, (64, 64), stream, source=clip(1, (64, 64))[0])
    return stream.payload()


def read_payload(model: Model, payload: bytes) -> None:
    with torch.no_grad():
        model.codec.code_frame(CodedFrame(0), model.modes, (64, 64), ReadingStream(payload, "this frame"))


def test_a_frame_with_bytes_left_over_is_refused(baseline: Model) -> None:
    payload = frame_payload(baseline)
    read_payload(baseline, payload)
    with pytest.raises(BitstreamError, match="this frame"):
        read_payload(baseline, payload + b"\1\2")


def test_wild_latents_are_coded(baseline: Model) -> None:
    """An encoder may meet infinities and what is not a number; it must not write what no decoder reads."""
    picture = clip(1, (64, 64))[0] * torch.tensor(1e30)
    picture[0, 0, 0, 0] = float("nan")
    stream = WritingStream()
    with torch.no_grad():
        expected = baseline.codec.code_frame(CodedFrame(0), baseline.modes, (64, 64), stream, source=picture).state
        reading = ReadingStream(stream.payload())
        decoded = baseline.codec.code_frame(CodedFrame(0), baseline.modes, (64, 64), reading).state
    assert torch.equal(decoded["recon"].nan_to_num(), expected["recon"].nan_to_num())


def test_what_a_model_cannot_code_is_said_before_coding(baseline: Model) -> None:
    info = VideoInfo(64, 64, 3, source="clip.y4m")
    only_p = Model(baseline.codec, Modes("p", "i", "emcr", ""), baseline.hash)
    with pytest.raises(ConfigError, match="codes no B frames"):
        header_of(only_p, info, HIERARCHICAL, 0)
    with pytest.raises(ConfigError, match="--quality 1; expected 0 to 0"):
        header_of(baseline, info, LOW_DELAY, 1)
    with pytest.raises(ConfigError, match="clip.y4m: cannot be coded: width is 20000"):
        header_of(baseline, VideoInfo(20000, 64, 3, source="clip.y4m"), LOW_DELAY, 0)


@pytest.mark.parametrize("lost", [(), (0,), (4,), (8,), (2,), (0, 4), (3, 12), (8, 12)])
def test_display_order_passes_over_lost_frames(lost: tuple[int, ...]) -> None:
    order = HIERARCHICAL.order(14)
    items = [(frame, frame.index) for frame in order if frame.index not in lost]
    shown = list(in_display_order(items))
    assert shown == [(i, i) for i in range(14) if i not in lost]


def test_display_order_does_not_step_through_what_is_lost() -> None:
    last = 2**31 - 1
    items = [(CodedFrame(0), "a"), (CodedFrame(last - 1), "b"), (CodedFrame(last, (last - 1,)), "c")]
    assert list(in_display_order(items)) == [(0, "a"), (last - 1, "b"), (last, "c")]


def test_display_order_waits_for_two_gops_at_most() -> None:
    waiting = 0

    def taken():
        nonlocal waiting
        for frame in HIERARCHICAL.order(200):
            if frame.index != 1:
                waiting += 1
                yield frame, frame.index

    for _ in in_display_order(taken()):
        waiting -= 1
        assert waiting <= 8
