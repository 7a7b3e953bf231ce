"""The DVC command line: that both fronts train the same, and what tests report."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.conftest import write_clip
from tests.dvc_workspace import (
    FULL_GOP,
    NORMALISED,
    PHASE,
    TEST_COMMAND,
    TRAIN_COMMAND,
    TRAINING,
    DVCFolder,
    moved,
    shown,
)
from torchDVC.dataset.procedural import procedural_clip
from torchDVC.dataset.testing import SEQUENCES
from torchDVC.models import checkpoints
from torchDVC.modules.intra.scale_hyperprior import ScaleHyperpriorIntra
from torchDVC.results.conditions import curves
from torchDVC.results.rows import read_frames, read_rows
from torchDVC.training.optimizers import AUX

CHECKOUT = Path(__file__).resolve().parents[1]


# --- training


def test_both_fronts_train_equal_weights(dvc: DVCFolder, capsys: pytest.CaptureFixture[str]) -> None:
    from torchDVC.trainer import main

    dvc.phases({"motion": 1, "two": 2, "gop": 3}, two=PHASE, gop=FULL_GOP,
               motion={**PHASE, "mode": "motion", "loss_on": {"R": "m_rate", "D": "mc_distortion"}})  # fmt: skip
    torch.manual_seed(5)
    save_file(ScaleHyperpriorIntra(6, 8).state_dict(), dvc.path / "intra.safetensors")
    flags = ("--intra_weights", "intra.safetensors", "--patch_size", "80", "--seed", "3")
    assert dvc.train("--experiment_name", "dvc", *flags) == 0
    command, _ = shown(dvc, capsys, *TRAINING, *flags)
    assert main([*command, "--save_dir", "log/engine"]) == 0
    ours, theirs = (dvc.checkpoint(run)["model"] for run in ("dvc", "engine"))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_frozen_modules_stay_to_the_bit(dvc: DVCFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parameters, quantiles, batch statistics and optimizer state; a module thawed later starts its state anew."""
    dvc.write("plugins/estimator.py", NORMALISED)
    monkeypatch.setenv("TORCHDVC_PLUGINS", str(dvc.path / "plugins"))
    dvc.phases({"a": 1, "b": 2, "c": 3}, a=PHASE, c={**PHASE, "frozen_modules": []},
               b={**PHASE, "frozen_modules": ["Motion", "Residual"], "train_intra": True})  # fmt: skip
    assert dvc.train("--experiment_name", "run", estimator="NormalisedEstimator") == 0
    first, second, third = (dvc.checkpoint("run", f"epoch_{n:04}") for n in (1, 2, 3))
    assert moved(first, second) == {"intra_codec", "motion_estimator", "motion_compensator"}
    assert moved(second, third) == {"motion_estimator", "motion_codec", "motion_compensator", "residual_codec"}
    assert moments(first) == {"motion_codec": 2, "motion_compensator": 2, "residual_codec": 2, AUX: 2}
    assert moments(second) == {
        "intra_codec": 2, "motion_estimator": 2, "motion_codec": 2, "motion_compensator": 4, "residual_codec": 2,
        AUX: 2,
    }  # fmt: skip
    assert moments(third)["motion_codec"] == 4 and moments(third)["intra_codec"] == 2
    assert torch.equal(second["model"]["motion_estimator.net.1.num_batches_tracked"], torch.tensor(2))


def moments(state: dict[str, Any]) -> dict[str, int]:
    """How many updates the optimizer made, by parameter group that has state."""
    optimizer = state["optimizer"]
    steps = {
        group["name"]: {int(optimizer["state"][p]["step"]) for p in group["params"] if p in optimizer["state"]}
        for group in optimizer["param_groups"]
    }
    return {name: min(found) for name, found in steps.items() if found}


def test_checkpoints_by_key_and_epoch(dvc: DVCFolder, capfd: pytest.CaptureFixture[str]) -> None:
    dvc.phases({"two": 2}, two={**PHASE, "steps": 1})
    assert dvc.train("--experiment_name", "run") == 0
    said = re.search(r"experiment key (\w{32}), in log/run_q6", capfd.readouterr().out)
    assert said is not None
    for key in ("run", "run_q6", "log/run_q6", said[1]):
        name = f"from_{len(key)}"
        restored = ("--restore", "load", "--restore_exp_key", key, "--restore_exp_epoch", "1", "--end_epoch", "1")
        assert dvc.train("--experiment_name", name, *restored, "--seed", "0") == 0
    first, *others = (dvc.checkpoint(f"from_{length}")["model"] for length in (3, 6, 10, 32))
    assert all(torch.equal(first[name], other[name]) for other in others for name in first)
    capfd.readouterr()
    assert dvc.train("--restore", "load", "--restore_exp_key", "runn_q6") == 2
    assert capfd.readouterr().err == "--restore_exp_key runn_q6: no such run in log; did you mean 'run_q6'?\n"
    assert dvc.train("--restore", "load", "--restore_exp_key", "run", "--restore_exp_epoch", "7") == 2
    assert capfd.readouterr().err.endswith("no such checkpoint in log/run_q6/checkpoints; it has 1 to 2\n")


def test_a_resumed_run_ends_as_one_that_was_not_interrupted(dvc: DVCFolder) -> None:
    assert dvc.train("--experiment_name", "whole") == 0
    assert dvc.train("--experiment_name", "parts", "--end_epoch", "1") == 0
    assert dvc.train("--experiment_name", "parts", "--restore", "resume") == 0
    whole, parts = (dvc.checkpoint(run)["model"] for run in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_pwcnet_is_trained_in_a_codec(dvc: DVCFolder) -> None:
    dvc.phases({"all": 2}, all={**FULL_GOP, "steps": 1})
    assert dvc.train("--experiment_name", "run", estimator="PWC") == 0
    assert "motion_estimator" in moved(dvc.checkpoint("run", "epoch_0001"), dvc.checkpoint("run"))


# --- testing


def test_a_test_reports_each_sequence(dvc: DVCFolder, capfd: pytest.CaptureFixture[str]) -> None:
    dvc.coder("DVC_inter", 3, "GoogleFactorizedPrior")
    dvc.phases({"two": 1}, two={**PHASE, "steps": 1})
    assert dvc.train("--experiment_name", "run") == 0
    capfd.readouterr()
    restored = ("--restore", "load", "--restore_exp_key", "run", "--restore_exp_epoch", "1", "--gop", "4")
    shutil.copy(dvc.data / "one.y4m", dvc.path / "one.y4m")
    both = ("--test_datasets", str(dvc.data / "one.y4m"), str(dvc.path / "one.y4m"))
    assert dvc.run("--experiment_name", "run", *restored, "--test", *both) == 0
    results = dvc.path / "results" / "run"
    (point, copy), frames = read_rows(results / "rd.csv"), read_frames(results / "frames.csv")
    assert point.bpp is not None and (point.intra_period, point.gop_size, point.frames) == (4, 1, 12)
    frames = [frame for frame in frames if frame.dataset == point.dataset]
    with open(results / "q6" / f"{point.dataset}_one.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["type"] for row in rows] == ["I", "P", "P", "P"] * 3
    for row, frame in zip(rows, sorted(frames, key=lambda frame: frame.frame), strict=True):
        assert float(row["rate"]) == pytest.approx(frame.bits / (96 * 80), rel=1e-5)
        if row["type"] == "P":
            parts = float(row["motion_rate"]) + float(row["residual_rate"])
            assert parts == pytest.approx(float(row["rate"]), rel=1e-4)
            assert 0 < float(row["motion_hyper_rate"]) < float(row["motion_rate"])
            assert row["residual_hyper_rate"] == "" and float(row["mc_psnr"]) > 0 and float(row["warped_psnr"]) > 0
    with open(results / "q6" / "summary.csv", newline="") as file:
        (one, other, overall) = csv.DictReader(file)
    assert [line["sequence"] for line in (one, other, overall)] == ["one", "one", "all"]
    assert [line["dataset"] for line in (one, other, overall)] == [point.dataset, copy.dataset, ""]
    assert float(one["psnr"]) == pytest.approx(point.psnr_rgb, rel=1e-5)
    assert "motion_hyper_rate" in capfd.readouterr().out


def test_quality_levels_are_one_curve(dvc: DVCFolder, caplog: pytest.LogCaptureFixture) -> None:
    """Trained and tested with commands that differ in the level alone, none in another's way."""
    dvc.phases({"two": 1}, two={**PHASE, "steps": 1})
    for level in ("3", "6"):
        assert dvc.train("--quality_level", level) == 0
        assert dvc.run("--quality_level", level, "--restore", "load", "--test") == 0
    assert "trained with" not in caplog.text
    rows = read_rows(dvc.path / "results" / "DVC" / "rd.csv")
    assert [(row.codec, row.lmda) for row in rows] == [("DVC", 65025 * 0.0067), ("DVC", 65025 * 0.0483)]
    assert rows[0].checkpoint != rows[1].checkpoint
    assert [(dvc.path / "results" / "DVC" / level / "summary.csv").is_file() for level in ("q3", "q6")] == [True, True]
    (curve,) = curves(rows, "psnr_rgb")
    assert len(curve.rates) == 2


def test_a_checkpoint_of_another_level_is_said(dvc: DVCFolder, caplog: pytest.LogCaptureFixture) -> None:
    dvc.phases({"two": 1}, two={**PHASE, "steps": 1})
    assert dvc.train() == 0
    restored = ("--restore", "load", "--restore_exp_key", "DVC_q6", "--no-write_stream")
    assert dvc.run("--quality_level", "1", *restored, "--test") == 0
    (said,) = [record.getMessage() for record in caplog.records if "trained with" in record.getMessage()]
    assert said == "--lmda 117.045: the checkpoint was trained with 3140.71; its results stand under 117.045"
    (row,) = read_rows(dvc.path / "results" / "DVC" / "rd.csv")
    assert (row.bpp, row.lmda) == (None, 65025 * 0.0018)


# --- the commands, as they stand


@pytest.mark.slow
def test_the_commands_verbatim(dvc: DVCFolder) -> None:
    """Only the yml and json files are small, and data and intra weights are put where the environment says.

    The motion estimator, of which there are no weights, is trained first.
    """
    dvc.phases({"two": 1}, two={**PHASE, "steps": 1})
    (dvc.path / "DVC.py").symlink_to(CHECKOUT / "DVC" / "DVC.py")
    clips = [f"{name}/{sequence}" for name in ("UVG", "HEVC-B") for sequence in SEQUENCES[name]]
    for clip in clips:
        write_clip(dvc.path / f"data/{clip}.y4m", (64, 64), procedural_clip(0, 2, (64, 64)))
    save_file(ScaleHyperpriorIntra(192, 320).state_dict(), dvc.path / "weights.safetensors")
    cached = dvc.path / "cache" / "zoo" / "bmshj2018-hyperprior-6.safetensors"
    cached.parent.mkdir(parents=True)
    (dvc.path / "weights.safetensors").rename(cached)
    environment = {**os.environ, "DATAROOT": str(dvc.path / "data"), "LOG": str(dvc.path / "log"),
                   "TORCHDVC_CACHE": str(dvc.path / "cache"), "CUDA_VISIBLE_DEVICES": ""}  # fmt: skip
    for command in (TRAIN_COMMAND, TEST_COMMAND.replace("xxx", "DVC").replace(" 22 ", " 1 ")):
        finished = subprocess.run(
            [sys.executable, "DVC.py", *command.split()], capture_output=True, text=True, env=environment, check=False
        )
        assert finished.returncode == 0, finished.stderr
        assert finished.stderr.count("--gpus 1: no GPU here, running on the CPU") == 1
    rows = read_rows(dvc.path / "log" / "results" / "DVC" / "rd.csv")
    assert [f"{row.dataset}/{row.sequence}" for row in rows] == clips
    assert all(row.memory_decode for row in rows)
    state = dvc.checkpoint("DVC", "epoch_0004")
    assert moved(dvc.checkpoint("DVC", "epoch_0003"), state) == {
        "motion_codec", "motion_compensator", "residual_codec"
    }  # fmt: skip
    assert state["conditions"]["--lmda"] == str(255**2 * 0.0483)
    assert checkpoints.last(dvc.path / "log" / "DVC_q6" / "checkpoints").is_file()
