"""Several Lagrangians in one command: runs in folders of their own, tests in one curve."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from tests.processes import LIMIT
from tests.small_model import TRAIN, SmallModel, different, make_small_model, metrics
from torchDVC.config.command_line import TrainOptions, parse_trainer
from torchDVC.results.rows import read_rows
from torchDVC.training.side_by_side import run_all, shares
from torchDVC.util.interrupts import Interrupts
from torchDVC.util.start import EXIT_INTERRUPTED


def flags(lines: list[str], *lmdas: str) -> list[str]:
    """A command line with these Lagrangians."""
    at = lines.index("--lmda")
    return [*lines[: at + 1], *lmdas, *lines[at + 2 :]]


def train(model: SmallModel, run: str, lmdas: tuple[str, ...], *more: str, cfg: str = "train.cfg") -> int:
    from torchDVC.trainer import main

    return main(flags(model.train_flags(run, *more, cfg=cfg), *lmdas))


def test(model: SmallModel, run: str, lmdas: tuple[str, ...], *more: str) -> int:
    from torchDVC.tester import main

    return main(flags(model.test_flags(run, *more), *lmdas))


test.__test__ = False  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def curve(tmp_path_factory: pytest.TempPathFactory, clip_folder: Path) -> SmallModel:
    """Runs of three Lagrangians below ``runs``, the second and third adapted from the first in its last stage."""
    model = make_small_model(tmp_path_factory.mktemp("curve"), clip_folder)
    model.write("adapt.cfg", TRAIN.replace("[process: joint]", "[process: joint]\nadapt = true"))
    assert train(model, "runs", ("256", "512", "1024"), cfg="adapt.cfg") == 0
    return model


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs go side by side as on two GPUs; where there are none, they compute on the CPU."""
    monkeypatch.setattr("torchDVC.training.rate_points.shares", lambda options: ["0", "1"])


def test_each_has_a_folder_and_the_later_ones_start_from_the_first(curve: SmallModel) -> None:
    runs = curve.path / "runs"
    assert {path.name for path in runs.iterdir()} == {"model_256", "model_512", "model_1024"}
    stages = {path.name: {row["stage"] for row in metrics(curve, f"runs/{path.name}")} for path in runs.iterdir()}
    assert stages == {"model_256": {"intra", "motion", "joint"}, "model_512": {"joint"}, "model_1024": {"joint"}}
    first, second, third = (curve.weights(f"runs/model_{lmda}") for lmda in (256, 512, 1024))
    trained = {"motion_codec", "motion_compensator", "residual_codec", "lmdas"}
    assert different(first, second) == different(second, third) == trained
    assert float(third["lmdas"]) == pytest.approx(1024)


def test_side_by_side_is_as_one_after_the_other(curve: SmallModel, two_gpus: None) -> None:
    assert train(curve, "beside", ("256", "512", "1024"), cfg="adapt.cfg") == 0
    for run in ("model_256", "model_512", "model_1024"):
        assert different(curve.weights(f"runs/{run}"), curve.weights(f"beside/{run}")) == set()


def until_told(options: TrainOptions) -> int:
    """A run that computes nothing, as a busy machine may not let its parent act beside many that do."""
    with Interrupts() as interrupts:
        Path(options.checkpoint or "").touch()
        while not interrupts.requested:
            time.sleep(0.02)
    print(f"stopped by {signal.Signals(interrupts.number).name}")
    return 0


@pytest.mark.parametrize("running", [2, 1])
def test_a_signal_stops_all_that_run_side_by_side(
    running: int, small_model: SmallModel, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = parse_trainer(small_model.train_flags("run"))
    begun = [tmp_path / str(lmda) for lmda in (256, 512, 1024)]
    runs = [replace(options, checkpoint=path, lmda=float(path.name)) for path in begun]

    def stop() -> None:
        limit = time.monotonic() + LIMIT  # or a run that failed would be waited for while the other goes on
        while not all(path.exists() for path in begun[:running]) and time.monotonic() < limit:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop).start()
    assert run_all(until_told, [partial(replace, run) for run in runs], ["0", "1"], first_alone=running == 1) == 0
    said = capfd.readouterr().out
    assert [f"lmda {path.name}: stopped by SIGTERM" in said for path in begun] == [True, running == 2, False]
    assert [path.exists() for path in begun] == [True, running == 2, False]


def ended_while_it_is_imported(options: TrainOptions) -> int:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)
    return 0


def test_a_signal_before_a_run_can_take_any_is_an_interruption(small_model: SmallModel) -> None:
    options = parse_trainer(small_model.train_flags("run"))
    assert run_all(ended_while_it_is_imported, [lambda: options, lambda: options], ["0"]) == EXIT_INTERRUPTED


@pytest.mark.parametrize(
    ("visible", "each", "expected"),
    [(None, 1, ["0", "1", "2", "3"]), ("5,7", 1, ["5", "7"]), (None, 2, ["0,1", "2,3"]), (None, 3, []), ("2", 1, [])],
)
def test_gpus_are_shared_out(
    visible: str | None, each: int, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    flags = ["--lmda", "1", "--model_config", "m.csv", "--run_config", "t.cfg", "--gpu", str(each)]
    assert shares(parse_trainer(flags)) == expected
    assert shares(parse_trainer([*flags, "--device", "cpu"])) == []


def test_without_a_mark_each_is_trained_from_the_start(small_model: SmallModel) -> None:
    assert train(small_model, "runs", ("256", "512"), "--end_epoch", "1", "--experiment_name", "mine") == 0
    assert {path.name for path in (small_model.path / "runs").iterdir()} == {"mine_256", "mine_512"}
    assert {row["stage"] for row in metrics(small_model, "runs/mine_512")} == {"intra"}


def test_all_are_measured_into_one_curve(curve: SmallModel) -> None:
    runs = ("--restore", "load", "--checkpoint", str(curve.path / "runs"))
    assert test(curve, "results", ("256", "512", "1024"), *runs) == 0
    rows = read_rows(curve.path / "results" / "rd.csv")
    assert {row.lmda for row in rows} == {256.0, 512.0, 1024.0} and {row.codec for row in rows} == {"model"}
    assert len({row.checkpoint for row in rows}) == 3


def test_a_run_that_is_not_there_is_said_before_anything_is_measured(
    curve: SmallModel, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = ("--restore", "load", "--checkpoint", str(curve.path / "runs"))
    assert test(curve, "none", ("256", "513"), *runs) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "model_513: no run; expected one of --lmda 513 that" in error
    assert "did you mean 'model_512'?" in error and not (curve.path / "none").exists()


def test_one_checkpoint_of_variable_rate_gives_the_whole_curve(tmp_path: Path, clip_folder: Path) -> None:
    model = make_small_model(tmp_path / "levels", clip_folder, levels=3)
    model.write("range.cfg", TRAIN.replace("[header]", "[header]\nlmda = 64:1024"))
    assert model.train("run", cfg="range.cfg") == 0
    loaded = ("--restore", "load", "--checkpoint", str(model.path / "run"))
    assert test(model, "results", ("64", "256", "1024"), *loaded) == 0
    rows = read_rows(model.path / "results" / "rd.csv")
    assert {(row.lmda, row.quality) for row in rows} == {(64.0, 0.0), (256.0, 1.0), (1024.0, 2.0)}


def test_a_bounded_command_goes_on_where_it_stopped(small_model: SmallModel) -> None:
    bounded = ("--max_minutes", "1e-9", "--end_epoch", "1")
    assert train(small_model, "runs", ("256", "512"), *bounded) == 0
    assert {path.name for path in (small_model.path / "runs").iterdir()} == {"model_256"}
    assert train(small_model, "runs", ("256", "512"), "--end_epoch", "1", "--restore", "resume") == 0
    assert train(small_model, "whole", ("256", "512"), "--end_epoch", "1") == 0
    for run in ("model_256", "model_512"):
        assert different(small_model.weights(f"runs/{run}"), small_model.weights(f"whole/{run}")) == set()


@pytest.mark.parametrize(
    ("lmdas", "more", "said"),
    [
        (("256", "x"), (), "--lmda 'x'; expected a number above 0"),
        (("256", "256"), (), "--lmda has 256 2 times; expected it once"),
        (("256", "512"), ("--experiment_key", "a" * 32), "--experiment_key with 2 values of --lmda; expected one"),
        (("256", "512"), ("--final_copy", "a.safetensors"), "--final_copy 'a.safetensors' of 2 runs; expected"),
    ],
)
def test_contradictions_are_said(
    small_model: SmallModel, lmdas: tuple[str, ...], more: tuple[str, ...], said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert train(small_model, "runs", lmdas, *more) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and not (small_model.path / "runs").exists()
