"""Training through the command line: stages, freezing, processes and validation."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import CHECKOUT
from tests.small_model import TRAIN, SmallModel, different, make_small_model, metrics
from torchDVC.config import load_run
from torchDVC.config.command_line import parse_trainer
from torchDVC.dataset.pictures import read_picture
from torchDVC.models import checkpoints
from torchDVC.training.position import Position
from torchDVC.training.randomness import draw
from torchDVC.training.trainer import Trainer
from torchDVC.util.errors import DataError

INTRA, MOTION, JOINT = range(3)


# --- stages


def test_each_stage_changes_only_what_it_trains(finished: SmallModel) -> None:
    after = [finished.start(), *(finished.weights("run", name) for name in ("01_intra", "02_motion", "03_joint"))]
    for weights in after:
        del weights["lmdas"]
    changed = [different(a, b) for a, b in zip(after, after[1:], strict=False)]
    assert changed[INTRA] == {"intra_codec"}
    assert changed[MOTION] == {"motion_estimator", "motion_codec"}
    assert changed[JOINT] == {"motion_codec", "motion_compensator", "residual_codec"}
    assert different(after[3], {k: v for k, v in finished.weights("run").items() if k != "lmdas"}) == set()


def test_quantiles_are_trained_with_their_module_and_not_without_aux(small_model: SmallModel) -> None:
    before = small_model.start()
    name = "intra_codec.latent.hyper.z_prior.quantiles"
    assert not torch.equal(before[name], small_model.trained("--end_epoch", "1")[name])
    assert torch.equal(before[name], small_model.trained("--end_epoch", "1", "--no-aux")[name])


def test_metrics_name_the_stage_the_terms_and_the_rate(finished: SmallModel) -> None:
    rows = metrics(finished, "run")
    assert {row["stage"] for row in rows} == {"intra", "motion", "joint"}
    joint = [row for row in rows if row["stage"] == "joint" and row["loss"]]
    assert joint and all(float(joint[-1][name]) > 0 for name in ("loss", "rate", "distortion", "motion_rate", "lr"))


def test_the_final_copy_and_the_complexity_are_written(finished: SmallModel) -> None:
    copy = finished.path / "copies" / "model_256.safetensors"
    assert copy.read_bytes() == (finished.path / "run/checkpoints/last.safetensors").read_bytes()
    lines = (finished.path / "run/complexity.csv").read_text().splitlines()
    assert lines[0].startswith("module,frame_type") and len(lines) == 6


@pytest.mark.parametrize(("epoch", "stages"), [(1, {"motion", "joint"}), (2, {"motion", "joint"}), (3, {"joint"})])
def test_start_epoch_enters_the_stage_it_falls_into(small_model: SmallModel, epoch: int, stages: set[str]) -> None:
    before = small_model.start()
    after = small_model.trained("--start_epoch", str(epoch))
    assert {row["stage"] for row in metrics(small_model, "run0")} == stages
    assert "intra_codec" not in different(before, after)
    assert ("motion_estimator" in different(before, after)) == ("motion" in stages)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--start_epoch", "4"), "--start_epoch 4; train has epochs 0 to 3"),
        (("--end_epoch", "50"), "--end_epoch 50; expected at most 4, the number of epochs of train"),
        (("--restore", "resume", "--start_epoch", "1"), "--start_epoch 1 has no use with --restore resume"),
    ],
)
def test_epochs_that_cannot_be_run_are_refused(
    small_model: SmallModel, flags: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert small_model.train("run", *flags) == 2
    assert said in capsys.readouterr().err
    assert not (small_model.path / "run").exists()


# --- validation


def test_variable_rate_draws_levels_and_sets_their_lagrangians(tmp_path: Path, clip_folder: Path) -> None:
    model = make_small_model(tmp_path / "levels", clip_folder, levels=3)
    model.write("range.cfg", TRAIN.replace("[header]", "[header]\nlmda = 64:1024"))
    assert model.train("run", "--end_epoch", "1", cfg="range.cfg") == 0
    torch.testing.assert_close(model.weights("run")["lmdas"], torch.tensor([64.0, 256.0, 1024.0]))


def test_problems_of_late_stages_are_said_together_before_the_first_step(
    small_model: SmallModel, capsys: pytest.CaptureFixture[str]
) -> None:
    assert small_model.train("run", "--end_epoch", "1") == 0
    before = {path.name for path in (small_model.path / "run").iterdir()}
    text = TRAIN.replace("frames = 3\n", "")
    text = text.replace("[process: motion]", "[process: motion]\ndata = /no/such/place\nlmda = 64:1024")
    text = text.replace("[process: joint]", "[process: joint]\ncut = 500:\npairs = step3\nframes = 60")
    small_model.write("late.cfg", text)
    capsys.readouterr()
    assert small_model.train("run", cfg="late.cfg") == 2
    cfg = small_model.path / "late.cfg"
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [f"{cfg}:{number}" for number in (15, 14, 22, 24)]
    expected = ("lmda 64:1024 needs", "/no/such/place: no", "cut '500:': leaves", "has 12")
    assert all(said in line for line, said in zip(lines, expected, strict=True))
    assert {path.name for path in (small_model.path / "run").iterdir()} == before


def test_stages_that_are_not_run_need_no_data(small_model: SmallModel) -> None:
    late = TRAIN.replace("[process: joint]", "[process: joint]\ndata = /no/such/place")
    small_model.write("late.cfg", late)
    assert small_model.train("run", "--end_epoch", "1", cfg="late.cfg") == 0


def test_an_epoch_is_saved_before_it_is_validated(small_model: SmallModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise DataError("clip: damaged")

    monkeypatch.setattr("torchDVC.training.validation.Validation.run", fail)
    assert small_model.train("run", "--end_epoch", "1") == 2
    assert checkpoints.load(small_model.path / "run/checkpoints/last.safetensors")["position"]["epoch"] == 1


def test_validation_and_checkpoints_come_as_often_as_asked(small_model: SmallModel) -> None:
    assert small_model.train("run", "--per_val", "2", "--per_keep", "1") == 0
    validated = [row["epoch"] or row["step"] for row in metrics(small_model, "run") if row["val_loss"]]
    assert len(validated) == 2
    names = {path.name for path in (small_model.path / "run/checkpoints").iterdir()}
    assert {"last.safetensors", "01_intra.safetensors", "02_motion.safetensors", "03_joint.safetensors"} <= names
    assert len(names) == 4 + 4


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_validation_rates_are_those_of_a_fresh_process(small_model: SmallModel, optimizer: str) -> None:
    header = f"[header]\noptimizer = {optimizer}\nlr = 1e-3\naux_lr = 0.5\nepochs = 3"
    small_model.write("val.cfg", TRAIN.replace("[header]", header))
    assert small_model.train("run", "--per_val", "1", "--end_epoch", "3", cfg="val.cfg") == 0
    (*_, last) = [row for row in metrics(small_model, "run") if row["val_rate"]]
    options = parse_trainer(small_model.train_flags("fresh", cfg="val.cfg"))
    trainer = Trainer(options, *load_run(options.model_config, options.run_config, "train"))
    trainer.codec.load_state_dict(small_model.weights("run"))
    trainer.enter(trainer.config.stages[0])
    assert trainer.training is not None
    values = trainer.validation.run(trainer.codec, trainer.training.loss)
    assert float(last["val_rate"]) == pytest.approx(values["val_rate"], rel=1e-6)


def test_a_run_shows_how_far_it_is_and_how_fast(finished: SmallModel) -> None:
    assert finished.train("shown", "--per_val", "1", cfg="train.cfg") == 0
    pictures = sorted(path.name for path in (finished.path / "shown/pictures").iterdir())
    assert pictures == [f"{step:08}.png" for step in (2, 4, 6, 8)]
    assert read_picture(finished.path / "shown/pictures/00000008.png").shape == (3, 80, 96)
    rows = [row for row in metrics(finished, "shown") if row["loss"]]
    assert all(float(row["clips_per_second"]) > 0 and row["skipped"] == "0" for row in rows)
    assert {row["arithmetic"] for row in rows} == {"32 contiguous"}
    assert finished.train("hidden", "--per_val", "1", "--no_image", "--end_epoch", "1") == 0
    assert not (finished.path / "hidden/pictures").exists()


def test_validation_leaves_training_as_it_was(finished: SmallModel) -> None:
    assert finished.train("validated", "--per_val", "1") == 0
    assert different(finished.weights("run"), finished.weights("validated")) == set()


# --- several processes

DRIVER = """
import os, sys
import torch
from torchDVC.training.stage import StageTraining
from torchDVC.training.trainer import Trainer
from torchDVC.config.command_line import parse_trainer
from torchDVC.config import load_run

torch.set_num_threads(1)
options = parse_trainer(sys.argv[2:])
trainer = Trainer(options, *load_run(options.model_config, options.run_config, "train"))
losses, noise, step = [], [], StageTraining.step
def noted(training, batch):
    values = step(training, batch)
    losses.append(values["loss"].detach())
    noise.append(torch.rand(()))
    return values
StageTraining.step = noted
code = trainer.run()
assert trainer.fabric.world_size == 2
found = {"weights": trainer.codec.state_dict(), "losses": torch.stack(losses), "noise": torch.stack(noise)}
torch.save(found, f"{sys.argv[1]}{os.environ['RANK']}.pt")
sys.exit(code)
"""


@pytest.mark.slow
def test_processes_of_torchrun_train_one_codec_and_write_one_run(small_model: SmallModel) -> None:
    small_model.write("two.cfg", TRAIN.replace("steps = 2", "steps = 3"))
    driver = small_model.write("driver.py", DRIVER)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(driver)]
    flags = small_model.train_flags("run", cfg="two.cfg")
    surroundings = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    command += [str(small_model.path / "rank"), *flags]
    finished = subprocess.run(command, env=surroundings, capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr
    assert "Traceback" not in finished.stderr and finished.stderr.count("joint 1/1: 3/3 steps") == 1
    first, second = (torch.load(small_model.path / f"rank{rank}.pt", weights_only=True) for rank in range(2))
    assert different(first["weights"], second["weights"]) == set()
    assert different(first["weights"], small_model.weights("run")) == set()
    assert not torch.isclose(first["noise"], second["noise"]).any()
    logged = [float(row["loss"]) for row in metrics(small_model, "run") if row["loss"]]
    of_both = (first["losses"] + second["losses"]) / 2
    assert logged == pytest.approx(of_both.reshape(4, 3).mean(1).tolist(), rel=1e-6)
    names = {path.name for path in (small_model.path / "run").iterdir()}
    assert names == {"run.json", "metrics.csv", "tensorboard", "complexity.csv", "checkpoints", "pictures"}
    assert len(list((small_model.path / "run/tensorboard").iterdir())) == 1
    position = checkpoints.load(small_model.path / "run/checkpoints/last.safetensors")["position"]
    assert position == {"epoch": 4, "step": 0, "total": 12}


def test_what_a_step_draws_is_a_function_of_seed_step_and_process(small_model: SmallModel) -> None:
    stage = load_run(str(small_model.path / "model.csv"), str(small_model.path / "train.cfg"), "train")[1].stages[2]

    def drawn(step: int, seed: int = 0, clips: int = 8, **process: int) -> tuple[object, list[int], float]:
        frames, levels, _ = draw(stage, Position(0, step), seed, clips=clips, levels=5, **process)
        return frames, levels, float(torch.rand(()))

    alone, first, second = drawn(3, clips=16), drawn(3, rank=0, processes=2), drawn(3, rank=1, processes=2)
    assert first[1] + second[1] == alone[1] and first[0] == second[0] == alone[0]
    assert first[2] != second[2]
    drawn(4)
    assert drawn(3, clips=16) == alone
    others = [alone, drawn(4, clips=16), drawn(3, seed=1, clips=16)]
    assert len({tuple(levels) for _, levels, _ in others}) == len({noise for *_, noise in others}) == 3


# --- weights from elsewhere


def test_restore_load_takes_the_weights_alone(finished: SmallModel) -> None:
    last = finished.path / "run/checkpoints/last.safetensors"
    flags = ("--restore", "load", "--checkpoint", str(last), "--start_epoch", "3")
    assert finished.train("loaded", *flags) == 0
    assert different(finished.weights("run"), finished.weights("loaded")) == {
        "motion_codec", "motion_compensator", "residual_codec"
    }
    assert checkpoints.load(finished.path / "loaded/checkpoints/last.safetensors")["position"]["total"] == 2


def test_not_load_i_leaves_the_intra_codec_as_it_starts(finished: SmallModel) -> None:
    folder = str(finished.path / "run/checkpoints")
    flags = ("--restore", "load", "--checkpoint", folder, "--not_load_I", "--start_epoch", "3")
    assert finished.train("without", *flags) == 0
    fresh = finished.start()
    assert "intra_codec" not in different(fresh, finished.weights("without"))
    assert "motion_estimator" not in different(finished.weights("run"), finished.weights("without"))
