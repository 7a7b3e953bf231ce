"""Picture formats: samples come back as they were, distortions are weighted, and wrong ones are refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.configuration_workspace import Workspace, make_workspace
from tests.lively_models import clip, lively_model, read_stream, small, write_stream
from tests.small_model import SmallModel
from torchDVC.coding_structure import CodingStructure
from torchDVC.config import load_model_config
from torchDVC.config.picture_formats import PICTURE_FORMATS
from torchDVC.dataset.colour import rgb_to_yuv420
from torchDVC.dataset.frame import Frame, VideoInfo
from torchDVC.dataset.picture_format import picture_format
from torchDVC.dataset.planes import stored_type
from torchDVC.dataset.video import open_video, open_writer
from torchDVC.models.distortions import mse
from torchDVC.models.model_file import load_model, save_model
from torchDVC.results.metrics import picture_metrics

CPU = torch.device("cpu")
YUV = [name for name in PICTURE_FORMATS if name != "rgb"]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    return make_workspace(tmp_path, monkeypatch)


def frame_of(height: int, width: int, bits: int, seed: int = 0) -> Frame:
    """A frame of noise in YUV."""
    rng = np.random.default_rng(seed)
    shapes = [(height, width), *2 * [(-(-height // 2), -(-width // 2))]]
    y, u, v = (rng.integers(0, 2**bits, shape).astype(stored_type(bits)) for shape in shapes)
    return Frame(yuv=(y, u, v), bits=bits)


def same_planes(a: Frame, b: Frame, bits: int) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a.planes(bits), b.planes(bits), strict=True))


@pytest.mark.parametrize("name", YUV)
@settings(max_examples=25, deadline=None)
@given(height=st.integers(1, 9), width=st.integers(1, 9), seed=st.integers(0, 99))
def test_samples_come_back_from_tensors_of_any_size(name: str, height: int, width: int, seed: int) -> None:
    form = picture_format(name)
    frame = frame_of(height, width, form.bits, seed)
    picture = form.to_tensor(frame, CPU)
    assert picture.shape == (1, *form.shape(height, width))
    padded = form.pad(picture, 64, 64)
    assert padded.shape == (1, *form.shape(64, 64)) and 0 <= padded.min() <= padded.max() <= 1
    assert torch.equal(form.crop(padded, height, width), picture)
    again = form.to_frame(picture, (height, width))
    assert again.bits == form.bits and same_planes(again, frame, form.bits)


@pytest.mark.parametrize("name", ["yuv420", "yuv420_packed"])
@pytest.mark.parametrize("size", [(32, 48), (33, 47)])
def test_training_clips_become_the_yuv_of_the_readers(name: str, size: tuple[int, int]) -> None:
    form = picture_format(name)
    rgb = np.random.default_rng(0).integers(0, 256, (3, *size)).astype(np.uint8)
    found = form.to_frame(form.from_rgb(torch.from_numpy(rgb)[None, None])[0], size)
    for own, expected in zip(found.yuv, rgb_to_yuv420(rgb), strict=True):
        difference = np.abs(own.astype(int) - expected)
        assert difference.max() <= 1 and difference.mean() < 0.01  # float32 rounds some halves down


def test_a_source_of_other_depth_is_converted() -> None:
    frame = frame_of(6, 8, 8)
    deep = picture_format("yuv420p10").to_frame(picture_format("yuv420p10").to_tensor(frame, CPU), (6, 8))
    assert np.array_equal(deep.planes(10)[0], frame.yuv[0].astype(int) * 4) and same_planes(deep, frame, 8)


@pytest.mark.parametrize("name", YUV)
def test_distortion_is_weighted_by_plane(name: str) -> None:
    form = picture_format(name)
    a = form.to_tensor(frame_of(8, 8, form.bits), CPU)
    y, u, v = form.split(a)
    other = form.join(y + 0.1, u + 0.2, v - 0.3)  # type: ignore[attr-defined]
    assert float(form.distortion(mse, a, other)) == pytest.approx((6 * 0.01 + 0.04 + 0.09) / 8, rel=1e-5)
    assert float(form.distortion(mse, a, other, (0, 1, 3))) == pytest.approx((0.04 + 0.27) / 4, rel=1e-5)
    rgb = picture_format("rgb")
    assert torch.equal(rgb.distortion(mse, a, other, (1, 2, 3)), mse(a, other))


def test_metrics_are_in_the_depth_of_the_source() -> None:
    source = frame_of(16, 16, 10)
    y, u, v = source.planes(10)
    recon = Frame(yuv=(np.minimum(y, 1022) + 1, u, v), bits=10)
    assert picture_metrics(source, recon, False)["psnr_y"] == pytest.approx(20 * np.log10(1023), abs=0.1)
    assert picture_metrics(source, source, False)["psnr_yuv"] == 100


def test_ten_bits_go_through_y4m(tmp_path: Path) -> None:
    frames = [frame_of(5, 7, 10, seed) for seed in range(3)]
    with open_writer(tmp_path / "a.y4m", VideoInfo(7, 5, bits=10)) as writer:
        for frame in frames:
            writer.write(frame)
    reader = open_video(tmp_path / "a.y4m")
    assert (reader.info.bits, reader.info.frames) == (10, 3)
    assert all(same_planes(a, b, 10) for a, b in zip(reader, frames, strict=True))


def test_ready_made_modules_work_in_yuv_and_the_model_file_says_so(small_model: SmallModel, tmp_path: Path) -> None:
    csv = (small_model.path / "model.csv").read_text()
    small_model.write("model.csv", csv.replace("weights\n", "weights\n-,format,yuv420\n"))
    model = lively_model(small(load_model_config(str(small_model.path / "model.csv"))))
    save_model(tmp_path / "m.safetensors", model)
    again = load_model(tmp_path / "m.safetensors")
    assert again.codec.format.name == "yuv420" and again.hash == model.hash
    pictures = [model.codec.format.from_rgb((255 * x).to(torch.uint8)) for x in clip(3, (50, 70))]
    written = write_stream(tmp_path / "a.lcp", model, CodingStructure(0, 1), pictures)
    read = read_stream(tmp_path / "a.lcp", again)
    assert all(torch.equal(written[index], read[index]) for index in range(3))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("-,format,yuv42", "unknown picture format 'yuv42'; did you mean 'yuv420'?"),
        ("-,formt,yuv420", "unknown property 'formt'; expected -,format,…"),
        ("-,format,yuv420_packed", "ToyEstimator works in rgb, yuv420, yuv420p10, not in yuv420_packed"),
    ],
)
def test_a_wrong_format_is_said(workspace: Workspace, line: str, expected: str) -> None:
    problems = workspace.csv_problems(line, "e,motion_estimator,ToyEstimator")
    assert len(problems) == 1 and problems[0].endswith(expected)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("yuv_weights = 6:1", "yuv_weights = '6:1'; expected the weights of Y, U and V, such as 6:1:1"),
        ("yuv_weights = 0:0:0", "yuv_weights = '0:0:0'; expected the weights of Y, U and V, such as 6:1:1"),
        ("yuv_weights = 4:1:1", "yuv_weights has no use, since model works in rgb"),
    ],
)
def test_wrong_weights_are_said(workspace: Workspace, line: str, expected: str) -> None:
    (problem,) = workspace.stage_problems("imode = i", line)
    assert problem.endswith(expected)
