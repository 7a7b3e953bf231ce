"""Small real-world files (`tests/cases`), each of a kind that headers lie about, by every way into the program."""

from __future__ import annotations

import csv
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.lively_models import lively_model, small
from tests.small_model import SmallModel
from torchDVC.anchors.command import main as anchors
from torchDVC.bitstream.container_reader import ContainerReader
from torchDVC.codec import main as codec
from torchDVC.config import load_model_config
from torchDVC.dataset.frame import Frame
from torchDVC.dataset.training import training_set
from torchDVC.dataset.video import open_video
from torchDVC.models.model_file import save_model
from torchDVC.results.rows import read_rows

CASES = Path(__file__).with_name("cases")
EXPECTED = {row["file"]: row for row in csv.DictReader((CASES / "expected.csv").read_text().splitlines())}


@pytest.mark.parametrize("name", EXPECTED)
def test_cases_are_read_as_they_are(name: str) -> None:
    expected = EXPECTED[name]
    reader = open_video(CASES / name)
    info = reader.info
    found = {"frames": info.frames, "width": info.width, "height": info.height, "fps": info.fps}
    assert found == {key: int(expected[key]) for key in found}
    sizes = [frame.size for frame in reader]
    assert sizes == [(info.width, info.height)] * int(expected["frames"])


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(path, lively_model(small(load_model_config("baseline.csv"))))
    return path


@pytest.mark.parametrize("name", EXPECTED)
def test_cases_are_encoded_whole(
    name: str, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHDVC_MODELS", str(tmp_path))
    stream = tmp_path / "a.lcp"
    assert codec(["encode", str(CASES / name), str(stream), "--model", str(model_file), "--device", "cpu"]) == 0
    with ContainerReader(stream) as reader:
        header = reader.header
    found = {"frames": header.frames, "width": header.width, "height": header.height, "fps": header.fps}
    assert found == {key: int(EXPECTED[name][key]) for key in found}
    assert header.aspect == open_video(CASES / name).info.aspect


def test_cases_are_tested_whole(small_model: SmallModel) -> None:
    small_model.write("all.cfg", "[header]\nms_ssim = no\nimages = no\n\n[process: small]\nimode = i\npmode = emcr\n")
    datasets = [str(CASES / name) for name in EXPECTED if name != "dv_pal.dv"]
    assert small_model.test("results", "--test_datasets", *datasets, "--no_image", cfg="all.cfg") == 0
    rows = {row.sequence: row for row in read_rows(small_model.path / "results/rd.csv")}
    for name in map(Path, EXPECTED):
        if name.stem in rows:
            expected, row = EXPECTED[name.name], rows.pop(name.stem)
            found = {"frames": row.frames, "width": row.width, "height": row.height, "fps": row.fps}
            assert found == {key: int(expected[key]) for key in found}
    assert not rows


def test_cases_are_training_data() -> None:
    clips = training_set(str(CASES), frames=2, patch_size=32, seed=0).clips
    shapes = {Path(clip.name).name: clip.shape for clip in clips}
    assert shapes == {
        name: (int(row["frames"]), 3, int(row["height"]), int(row["width"])) for name, row in EXPECTED.items()
    }


def test_grey_keeps_its_codes() -> None:
    luma = np.stack([frame.yuv[0] for frame in open_video(CASES / "mono265.mp4")])
    assert (luma.min(), luma.max()) == (22, 210)
    assert all((plane == 128).all() for frame in open_video(CASES / "mono265.mp4") for plane in frame.yuv[1:])


def test_a_palette_keeps_its_colours() -> None:
    """Its reddest entry is stored as (252, 0, 0); on the way to YUV and back it is (254, 0, 0) within one step."""
    frame = next(iter(open_video(CASES / "zmbv_pal.avi")))
    red = (frame.rgb == np.array([252, 0, 0])[:, None, None]).all(0)
    assert red.sum() > 100
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(red, 2), (5, 5))
    inside = windows.all((2, 3))  # where chroma is not mixed with that of other colours
    back = Frame(yuv=frame.yuv, matrix="bt709", value_range="limited").rgb
    assert inside.any() and (abs(back[:, inside] - np.array([[254.0], [0.0], [0.0]])) <= 1).all()


def test_the_shape_of_pixels_outlives_coding(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHDVC_MODELS", str(tmp_path))
    stream, clip = str(tmp_path / "a.lcp"), str(tmp_path / "a.y4m")
    flags = ["--model", str(model_file), "--device", "cpu"]
    assert codec(["encode", str(CASES / "dv_pal.dv"), stream, "--frames", "1", *flags]) == 0
    assert codec(["decode", stream, clip, *flags]) == 0
    assert open_video(CASES / "dv_pal.dv").info.aspect == open_video(clip).info.aspect == Fraction(16, 15)


def test_cases_are_measured_by_anchors(tmp_path: Path) -> None:
    flags = ["--codecs", "x264:ultrafast", "--qualities", "30", "--no_ms_ssim", "--save_dir", str(tmp_path)]
    assert anchors(["--datasets", str(CASES), *flags]) == 0
    rows = read_rows(tmp_path / "rd.csv")
    found = {row.sequence: (row.frames, row.width, row.height, row.fps) for row in rows}
    assert found == {
        Path(name).stem: tuple(int(row[key]) for key in ("frames", "width", "height", "fps"))
        for name, row in EXPECTED.items()
    }
