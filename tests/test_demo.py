"""The demo shows the codec in the box, and trains it on."""

from __future__ import annotations

import csv
import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.lively_models import lively
from tests.small_model import TRAIN, make_small_model
from torchDVC import demo
from torchDVC.config import load_run, load_train_config
from torchDVC.dataset.frame import Frame, VideoInfo
from torchDVC.dataset.video import open_video, open_writer
from torchDVC.models import checkpoints
from torchDVC.util.errors import LCPError


def test_the_last_stage_keeps_what_is_not_changed(tmp_path: Path) -> None:
    model, shipped = load_run("baseline.csv", "baseline/scratch.cfg", "train")
    path = demo.write_last_stage(shipped.path, tmp_path / "short.cfg", {"steps": "7"})
    (stage,) = load_train_config(str(path), model).stages
    original = shipped.stages[-1]
    assert (stage.steps, stage.pmode, stage.loss_d, stage.lr, stage.pairs, stage.epochs) == (
        7, original.pmode, original.loss_d, original.lr, original.pairs, original.epochs)


def test_the_codec_in_the_box_has_what_the_demo_runs() -> None:
    start = demo.in_the_box()
    model, _ = load_run(start.model, start.test, "test")
    load_run(start.model, start.train, "train")
    assert max(start.qualities) < max(model.levels)
    assert start.weights is None or start.weights.is_file()


def write_clip(path: Path, frames: int, width: int, height: int) -> None:
    generator = np.random.default_rng(0)
    with open_writer(path, VideoInfo(width, height)) as writer:
        for _ in range(frames):
            writer.write(Frame(rgb=generator.integers(0, 256, (3, height, width), dtype=np.uint8)))


def planes(path: Path) -> list[bytes]:
    return [b"".join(plane.tobytes() for plane in frame.yuv) for frame in open_video(path)]


@pytest.mark.parametrize(("frames", "tested", "trained"), [(60, 24, 36), (200, 24, 96), (20, 20, 20), (9, 9, 9)])
def test_a_clip_is_tested_on_frames_it_was_not_trained_on_if_it_is_long_enough(
        tmp_path: Path, frames: int, tested: int, trained: int) -> None:
    write_clip(tmp_path / "clip.y4m", frames, 72, 40)
    clips = demo.own_clips(tmp_path / "clip.y4m", tmp_path / "out")
    source = planes(tmp_path / "clip.y4m")
    assert planes(Path(*clips.test_sets)) == source[:tested] and clips.frames == tested
    trained_on = planes(Path(clips.data))
    assert len(trained_on) == trained
    assert trained_on == (source[tested : tested + trained] if frames > 2 * tested else source)
    assert clips.patch_size == 32


@pytest.fixture
def small_start(tmp_path: Path) -> demo.Start:
    """A small model of 9 quality levels in place of the codec in the box."""
    model = make_small_model(tmp_path / "small", tmp_path, levels=9)
    weights = tmp_path / "small" / "model.safetensors"
    checkpoints.save(weights, {"model": lively(model.codec()).state_dict()})
    train = model.write("demo.cfg", TRAIN.split("[process: intra]")[0] + JOINT)
    return demo.Start(str(model.path / "model.csv"), str(model.path / "test.cfg"), str(train), weights, (0, 8))


JOINT = """[process: joint]
imode = i
pmode = emcr
train = mcr
frames = 2
"""


@pytest.fixture
def run_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the demo run its command lines in this process, which has everything imported."""

    def run(*arguments: object) -> None:
        as_module = arguments[0] == "-m"
        name, *flags = map(str, arguments[as_module:])
        print(f"$ python {name}")
        monkeypatch.setattr(sys, "argv", [name, *flags])
        with pytest.raises(SystemExit) as ended:
            (runpy.run_module if as_module else runpy.run_path)(name, run_name="__main__")
        assert not ended.value.code

    monkeypatch.setattr(demo, "run", run)
    monkeypatch.setattr("torchDVC.util.start.until_ready", lambda: None)  # this process has handlers of its own
    monkeypatch.syspath_prepend(demo.ROOT / "plots")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*found in sys.modules")  # the command lines, which run again
def test_the_demo_shows_a_codec_and_trains_it_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_start: demo.Start, run_here: None,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Its real commands on a short clip, with a small model."""
    monkeypatch.setattr(demo, "in_the_box", lambda: small_start)
    monkeypatch.setattr(demo, "FURTHER", {"epochs": "2", "steps": "2"})
    write_clip(tmp_path / "clip.y4m", 10, 64, 64)
    out = tmp_path / "out"
    assert demo.main(["--video", str(tmp_path / "clip.y4m"), "--out", str(out)]) == 0
    before, after, anchors = (rd_rows(out, name) for name in ("model", "model_trained_on", "anchors"))
    assert [float(row["quality"]) for row in before] == [float(row["quality"]) for row in after] == [0, 8]
    assert {row["sequence"] for row in [*before, *after, *anchors]} == {"test"}
    assert len(anchors) == len(demo.ANCHORS) * len(demo.ANCHOR_QUALITIES)
    assert all(row["bpp"] for row in [*before, *after, *anchors])  # of real files
    assert [row["bpp"] for row in before] != [row["bpp"] for row in after]
    assert (out / "rd.png").read_bytes().startswith(b"\x89PNG")
    data = json.loads((out / "report.html").read_text().split('id="data">')[1].split("</script>")[0])
    assert data["what"].startswith("model at 2 rates and model trained on at 2 rates, beside x264 medium")
    (training,) = data["training"]
    assert "loss" in training["terms"] and "val_loss" in training["terms"]
    said = capfd.readouterr().out
    assert said.index("now it is trained") < said.index("torchDVC.trainer")


def rd_rows(out: Path, name: str) -> list[dict[str, str]]:
    with open(out / "results" / name / "rd.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_a_command_that_fails_ends_the_demo() -> None:
    with pytest.raises(LCPError, match="this command ended with exit code 3"):
        demo.run("-c", "raise SystemExit(3)")


def test_a_clip_that_is_none_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_start: demo.Start, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "in_the_box", lambda: small_start)
    assert demo.main(["--video", str(tmp_path / "none.mp4"), "--out", str(tmp_path)]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "none.mp4" in line
