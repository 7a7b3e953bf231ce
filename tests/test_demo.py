"""The demo runs commands that exist, on configuration that is valid, in the time it was given."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from torchDVC import demo
from torchDVC.coding_structure import CodingStructure
from torchDVC.config import load_run, load_train_config
from torchDVC.config.command_line import parse_tester, parse_trainer
from torchDVC.dataset.frame import Frame, VideoInfo
from torchDVC.dataset.video import open_video, open_writer


class Commands:
    """Stands in for `demo.run`: checks each command line, and leaves what the trainer would."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = seconds
        self.stages: dict[str, dict[str, int]] = {}
        self.bounds: dict[str, float] = {}
        self.paces: dict[str, set[tuple[str, str]]] = {}
        self.tested: list[float] = []
        self.others: list[list[str]] = []

    def __call__(self, *arguments: object) -> None:
        words = [str(argument) for argument in arguments]
        if words[1] == "torchDVC.trainer":
            self._train(words[2:])
        elif words[1] == "torchDVC.tester":
            options = parse_tester(words[2:])
            load_run(options.model_config, options.run_config, "test")
            self.tested.append(options.lmda)
        else:
            self.others.append(words)

    def _train(self, words: list[str]) -> None:
        options = parse_trainer(words)
        model, config = load_run(options.model_config, options.run_config, "train")
        self.stages[options.folder.name] = {stage.name: (stage.steps or 0) * stage.epochs for stage in config.stages}
        rows = options.folder / "metrics.csv"
        rows.parent.mkdir(parents=True)
        lines, time, epoch = ["seconds,loss,stage,epoch,arithmetic"], 0.0, 0
        self.bounds[options.folder.name] = options.max_minutes or math.inf
        self.paces[options.folder.name] = {(stage.precision, stage.memory_format) for stage in config.stages}
        for stage in config.stages:
            time += 1.5  # a stage's first steps take longer
            for _ in range(stage.epochs):
                time += self.seconds[stage.name] * (stage.steps or math.nan)
                lines.append(f"{time},1.0,{stage.name},{epoch},32 channels_last")
                epoch += 1
        rows.write_text("\n".join([*lines, f"{time + 50},,{stage.name},,"]) + "\n")
        checkpoint = options.folder / "checkpoints" / "last.safetensors"
        checkpoint.parent.mkdir()
        checkpoint.touch()


def test_every_command_is_valid_and_fills_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {stage: 0.01 * (1 + number) for number, stage in enumerate(demo.TRAINING)}
    commands = Commands(seconds)
    monkeypatch.setattr(demo, "run", commands)
    figure, page = demo.Demo(tmp_path / "out", 5, demo.Clips()).run()
    assert (figure, page) == (tmp_path / "out" / "rd.png", tmp_path / "out" / "report.html")
    assert commands.tested == list(demo.LMDAS)
    assert [words[1] for words in commands.others if words[0] == "-m"] == [
        "torchDVC.anchors",
        "torchDVC.report",
    ]
    runs = {name: stages for name, stages in commands.stages.items() if name != "probe"}
    assert list(runs["base"]) == list(demo.TRAINING)
    taken = sum(seconds[stage] * count for stages in runs.values() for stage, count in stages.items())
    assert 5 * 60 * 0.95 < taken <= 5 * 60
    assert sum(commands.bounds.values()) == pytest.approx(5 * (demo.SLACK + demo.PROBE_SHARE), rel=1e-3)
    assert commands.paces.pop("probe") == {("auto", "auto")}
    assert set(map(frozenset, commands.paces.values())) == {frozenset({("32", "channels_last")})}


def test_a_probe_that_runs_out_of_time_leaves_the_last_stages_to_the_slowest_pace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = {stage: 0.01 * (1 + number) for number, stage in enumerate(demo.TRAINING)}
    commands = Commands(seconds)
    monkeypatch.setattr(demo, "run", commands)
    own = demo.Demo(tmp_path / "out", 5, demo.Clips())
    original = Commands._train

    def cut_short(self: Commands, words: list[str]) -> None:
        original(self, words)
        rows = tmp_path / "out/train/probe/metrics.csv"
        rows.write_text("\n".join(rows.read_text().splitlines()[:5]) + "\n")  # two stages

    monkeypatch.setattr(Commands, "_train", cut_short)
    paces = own._probe()
    assert [paces[stage].seconds for stage in list(demo.TRAINING)[1:]] == pytest.approx(7 * [0.02])
    assert paces["joint"].precision == "auto" and paces["intra"].precision == "32"


def test_every_shipped_stage_has_its_share() -> None:
    model, config = load_run(demo.MODEL, "baseline/scratch.cfg", "train")
    assert [stage.name for stage in config.stages] == list(demo.TRAINING)
    parts = [*demo.TRAINING.values(), *len(demo.LMDAS) * [*demo.ADAPTING.values()]]
    assert math.isclose(sum(part.share for part in parts), 1)
    assert set(demo.ADAPTING) < set(demo.TRAINING)
    CodingStructure(demo.INTRA_PERIOD, 1)


def test_a_shortened_cfg_keeps_what_it_does_not_change(tmp_path: Path) -> None:
    model, shipped = load_run(demo.MODEL, "baseline/scratch.cfg", "train")
    path = demo.write_cfg(shipped.path, tmp_path / "short.cfg", {"grad_clip": "0.5"}, {"joint": {"steps": "7"}})
    config = load_train_config(str(path), model)
    (stage,) = config.stages
    (original,) = (stage for stage in shipped.stages if stage.name == "joint")
    assert (stage.grad_clip, stage.steps) == (0.5, 7)
    assert (stage.pmode, stage.loss_d, stage.lr, stage.pairs) == (
        original.pmode, original.loss_d, original.lr, original.pairs)


def write_clip(path: Path, frames: int, width: int, height: int) -> None:
    generator = np.random.default_rng(0)
    with open_writer(path, VideoInfo(width, height)) as writer:
        for _ in range(frames):
            writer.write(Frame(rgb=generator.integers(0, 256, (3, height, width), dtype=np.uint8)))


def planes(path: Path) -> list[bytes]:
    return [b"".join(plane.tobytes() for plane in frame.yuv) for frame in open_video(path)]


@pytest.mark.parametrize(("frames", "tested", "trained"), [(60, 16, 44), (200, 16, 96), (20, 16, 20), (9, 9, 9)])
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


@pytest.mark.slow
def test_the_demo_draws_a_curve_of_a_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its real commands, with one stage, one rate point and I frames only."""
    monkeypatch.setattr(demo, "TRAINING", {"intra": demo.Part(0.5, 3e-4)})
    monkeypatch.setattr(demo, "ADAPTING", {"intra": demo.Part(0.5, 3e-4)})
    monkeypatch.setattr(demo, "LMDAS", (512,))
    monkeypatch.setattr(demo, "INTRA_PERIOD", 1)
    write_clip(tmp_path / "clip.y4m", 10, 64, 64)
    out = tmp_path / "out"
    assert demo.main(["--video", str(tmp_path / "clip.y4m"), "--minutes", "0.001", "--out", str(out)]) == 0
    assert (out / "rd.png").read_bytes().startswith(b"\x89PNG")
    assert "baseline" in (out / "report.html").read_text()
    (learned,), anchor = rd_rows(out, "baseline_512"), rd_rows(out, "x264")
    assert (int(learned["frames"]), learned["sequence"], learned["lmda"]) == (10, "test", "512.0")
    assert len(anchor) == len(demo.ANCHOR_QUALITIES)
    assert all(4 < float(row["psnr_rgb"]) < 60 for row in [learned, *anchor])


def rd_rows(out: Path, name: str) -> list[dict[str, str]]:
    with open(out / "results" / name / "rd.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_a_clip_that_is_none_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert demo.main(["--video", str(tmp_path / "none.mp4"), "--out", str(tmp_path)]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "none.mp4" in line
