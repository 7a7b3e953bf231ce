"""Training through the command line: stages, freezing, resuming and losses."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.conftest import CHECKOUT
from tests.small_model import TRAIN, SmallModel, different, make_small_model, metrics
from torchDVC.coding_structure import training_frames
from torchDVC.config import load_run
from torchDVC.config.command_line import parse_trainer
from torchDVC.dataset.pictures import read_picture
from torchDVC.models import checkpoints
from torchDVC.models.distortions import load_distortion
from torchDVC.models.loss import StageLoss
from torchDVC.training.optimizers import AUX, make_optimizer, set_memory_format
from torchDVC.training.position import Position
from torchDVC.training.randomness import draw
from torchDVC.training.trainer import Trainer
from torchDVC.util.errors import DataError

INTRA, MOTION, JOINT = range(3)


def trained(model: SmallModel, *flags: str) -> dict[str, torch.Tensor]:
    """The weights after a run of one's own."""
    name = f"run{len(list(model.path.glob('run*')))}"
    assert model.train(name, *flags) == 0
    return model.weights(name)


def start(model: SmallModel) -> dict[str, torch.Tensor]:
    """The weights that a run starts from."""
    options = parse_trainer(model.train_flags("unused"))
    trainer = Trainer(options, *load_run(options.model_config, options.run_config, "train"))
    return dict(trainer.codec.state_dict())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, clip_folder: Path) -> SmallModel:
    """A model whose run ``run`` went through all stages without an interruption."""
    model = make_small_model(tmp_path_factory.mktemp("finished"), clip_folder)
    assert model.train("run", "--final_copy", str(model.path / "copies")) == 0
    return model


# --- stages


def test_each_stage_changes_only_what_it_trains(finished: SmallModel) -> None:
    after = [start(finished), *(finished.weights("run", name) for name in ("01_intra", "02_motion", "03_joint"))]
    for weights in after:
        del weights["lmdas"]
    changed = [different(a, b) for a, b in zip(after, after[1:], strict=False)]
    assert changed[INTRA] == {"intra_codec"}
    assert changed[MOTION] == {"motion_estimator", "motion_codec"}
    assert changed[JOINT] == {"motion_codec", "motion_compensator", "residual_codec"}
    assert different(after[3], {k: v for k, v in finished.weights("run").items() if k != "lmdas"}) == set()


def test_quantiles_are_trained_with_their_module_and_not_without_aux(small_model: SmallModel) -> None:
    before = start(small_model)
    name = "intra_codec.latent.hyper.z_prior.quantiles"
    assert not torch.equal(before[name], trained(small_model, "--end_epoch", "1")[name])
    assert torch.equal(before[name], trained(small_model, "--end_epoch", "1", "--no-aux")[name])


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
    before = start(small_model)
    after = trained(small_model, "--start_epoch", str(epoch))
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


# --- resuming


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(finished: SmallModel, epoch: int) -> None:
    run = f"resumed{epoch}"
    assert finished.train(run, "--end_epoch", str(epoch)) == 0
    assert finished.train(run, "--restore", "resume") == 0
    assert different(finished.weights("run"), finished.weights(run)) == set()
    ours, theirs = (checkpoints.load(finished.path / name / "checkpoints/last.safetensors") for name in ("run", run))
    assert str(ours["optimizer"]) == str(theirs["optimizer"]) and ours["position"] == theirs["position"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "workers", "code"),
    [(signal.SIGTERM, 0, 0), (signal.SIGUSR1, 2, 0), (signal.SIGINT, 2, 130), (signal.SIGHUP, 0, 130)],
)
def test_a_run_stopped_in_an_epoch_resumes_to_the_same_weights(
    small_model: SmallModel, number: signal.Signals, workers: int, code: int
) -> None:
    """A batch system's signal ends it well, a user's as an interruption."""
    small_model.write("long.cfg", TRAIN.replace("steps = 2", "steps = 40").split("[process: motion]")[0])
    flags = ["--num_workers", str(workers)]
    assert small_model.train("whole", *flags, cfg="long.cfg") == 0
    process = subprocess.Popen(
        [sys.executable, "torchDVC/trainer.py", *small_model.train_flags("part", *flags, cfg="long.cfg")],
        cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )
    wait_for(small_model.path / "part" / "metrics.csv", process)
    os.killpg(process.pid, number)  # as a terminal does, and a batch system: workers hear it too
    said, error = process.communicate(timeout=120)
    assert process.returncode == code, error
    assert "Traceback" not in error and (error.splitlines()[-1] == "interrupted") == bool(code)
    assert bool(re.search(rf"stopped by {number.name} in stage intra.* --restore resume", said)) != bool(code)
    position = checkpoints.load(small_model.path / "part/checkpoints/last.safetensors")["position"]
    assert 0 < position["step"] < 40
    assert small_model.train("part", *flags, "--restore", "resume", cfg="long.cfg") == 0
    assert different(small_model.weights("whole"), small_model.weights("part")) == set()


def test_a_run_bounded_in_time_goes_on_where_it_stopped(
    small_model: SmallModel, finished: SmallModel, capsys: pytest.CaptureFixture[str]
) -> None:
    """With no time at all it takes one step at each start."""
    flags: tuple[str, ...] = ("--max_minutes", "1e-9")
    for start in range(7):
        assert small_model.train("run", *flags) == 0
        position = checkpoints.load(small_model.path / "run/checkpoints/last.safetensors")["position"]
        assert position["total"] == start + 1
        stage = ("intra", "motion", "motion", "joint")[position["epoch"]]
        assert f"in stage {stage}, after step {position['step']} of" in capsys.readouterr().out
        flags = ("--max_minutes", "1e-9", "--restore", "resume")
    assert small_model.train("run", *flags) == 0
    assert "stopped" not in capsys.readouterr().out
    assert different(finished.weights("run"), small_model.weights("run")) == set()


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    """Until a file has a second line."""
    limit = time.monotonic() + 120
    while not (path.exists() and path.read_text().count("\n") > 1):
        assert process.poll() is None and time.monotonic() < limit, process.stderr
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("--lmda", "512"), "--lmda was 256.0 and is 512.0 now"),
        (("--seed", "7"), "--seed was 0 and is 7 now"),
        (("--precision", "bf16-mixed"), "--precision was None and is bf16-mixed now"),
        (("batch_size = 1", "batch_size = 2"), "batch_size of stage intra was 1 and is 2 now"),
        (("RNN = 1", "RNN = 2"), "RNN of stage joint was 1 and is 2 now"),
        (("[header]", "[header]\nlr.motion_codec = 1e-3"), "lr.motion_codec of stage intra was 0.0001 and is 0.001"),
        (("epochs = 2", "epochs = 3"), "epochs of stage motion was 2 and is 3 now"),
        (("[process: joint]", "[process: last]"), "stages of the train cfg was intra motion joint and is intra motion"),
        (("[header]", "[header]\noptimizer = sgd"), "optimizer of stage intra was adam and is sgd now"),
        (('"width": 6', '"width": 7'), "width of module intra_codec was 6 and is 7 now"),
    ],
)
def test_a_run_is_not_resumed_under_other_conditions(
    finished: SmallModel, change: tuple[str, str], named: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    last = finished.path / "run/checkpoints/last.safetensors"
    other = make_small_model(tmp_path / "other", finished.data)
    flags = change if change[0].startswith("--") else ()
    for name in () if flags else ("train.cfg", "intra.json"):
        text = (other.path / name).read_text()
        (other.path / name).write_text(text.replace(*change))
    assert other.train("run", *flags, "--restore", "resume", "--checkpoint", str(last)) == 2
    error = capsys.readouterr().err
    assert named in error and error.count("\n") == 1 and "cannot resume" in error


def test_a_run_is_not_resumed_on_other_data_of_the_same_name(
    finished: SmallModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Though on the same data wherever it is copied to."""
    text = (finished.path / "train.cfg").read_text().replace(f"data = {finished.data}", "data = clips")
    finished.write("named.cfg", text)
    for folder, clips in (("a", ("one.y4m", "two.mp4")), ("b", ("one.y4m", "two.mp4")), ("c", ("one.y4m",))):
        (tmp_path / folder / "clips").mkdir(parents=True)
        for clip in clips:
            (tmp_path / folder / "clips" / clip).symlink_to(finished.data / clip)
    flags = ("--restore", "resume", "--end_epoch")
    monkeypatch.setenv("DATASET", str(tmp_path / "a"))
    assert finished.train("named", "--end_epoch", "2", cfg="named.cfg") == 0
    monkeypatch.setenv("DATASET", str(tmp_path / "b"))
    assert finished.train("named", *flags, "3", cfg="named.cfg") == 0
    monkeypatch.setenv("DATASET", str(tmp_path / "c"))
    before = {path: path.read_bytes() for path in (finished.path / "named").rglob("*") if path.is_file()}
    capsys.readouterr()
    assert finished.train("named", *flags, "4", cfg="named.cfg") == 2
    assert re.search(r"cannot resume: data clips was clips \(2 clips, \w+\) and is clips \(1 clips, \w+\) now",
                     capsys.readouterr().err)
    assert {path: path.read_bytes() for path in (finished.path / "named").rglob("*") if path.is_file()} == before


def test_a_last_stage_made_longer_goes_on(finished: SmallModel) -> None:
    finished.write("longer.cfg", (finished.path / "train.cfg").read_text() + "epochs = 2\n")
    last = finished.path / "run/checkpoints/last.safetensors"
    flags = ("--restore", "resume", "--checkpoint", str(last))
    assert finished.train("longer", *flags, cfg="longer.cfg") == 0
    assert checkpoints.load(finished.path / "longer/checkpoints/last.safetensors")["position"]["epoch"] == 5


def test_stages_may_be_added_after_the_last_one(finished: SmallModel) -> None:
    more = (finished.path / "train.cfg").read_text() + "epochs = 2\n[process: more]\npmode = emcr\nimode = i\n"
    finished.write("more.cfg", more)
    flags = ("--restore", "resume", "--checkpoint", str(finished.path / "run/checkpoints/last.safetensors"))
    assert finished.train("more", *flags, cfg="more.cfg") == 0
    assert [row["stage"] for row in metrics(finished, "more") if row["loss"]] == ["joint", "more"]


def test_a_finished_run_resumed_elsewhere_is_whole_there(finished: SmallModel) -> None:
    last = finished.path / "run/checkpoints/last.safetensors"
    copy = finished.path / "copy.safetensors"
    flags = ("--restore", "resume", "--checkpoint", str(last), "--final_copy", str(copy))
    assert finished.train("elsewhere", *flags) == 0
    assert copy.read_bytes() == (finished.path / "elsewhere/checkpoints/last.safetensors").read_bytes()
    assert different(finished.weights("run"), finished.weights("elsewhere")) == set()


def test_a_new_run_sets_the_files_of_the_old_one_aside(small_model: SmallModel) -> None:
    for _ in range(2):
        assert small_model.train("run", "--end_epoch", "1") == 0
    run = small_model.path / "run"
    names = {path.name for path in run.iterdir()}
    assert {"checkpoints", "checkpoints-1", "run.json", "run-1.json", "metrics.csv", "metrics-1.csv"} <= names
    assert (run / "checkpoints-1/last.safetensors").exists() and (run / "checkpoints/last.safetensors").exists()


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
    fresh = start(finished)
    assert "intra_codec" not in different(fresh, finished.weights("without"))
    assert "motion_estimator" not in different(finished.weights("run"), finished.weights("without"))


# --- losses and optimizer


def stage_loss(model: SmallModel, text: str, *flags: str) -> dict[str, float]:
    """The scalars of a stage's loss on a fixed batch."""

    model.write("one.cfg", f"[process: one]\ndata = DATA\npatch_size = 64\nprecision = 32\n{text}\n")
    options = parse_trainer(model.train_flags("unused", *flags, cfg="one.cfg"))
    trainer = Trainer(options, *load_run(options.model_config, options.run_config, "train"))
    torch.manual_seed(5)
    stage = trainer.config.stages[0]
    batch = torch.rand(2, stage.frames, 3, 64, 64)
    frames = training_frames(stage.pairs, stage.frames, random.Random(0))
    distortion = load_distortion("ms_ssim" if options.ssim else "mse")
    loss = StageLoss(trainer.codec, stage, distortion, options.i_lmda / options.lmda)
    values = loss(batch, frames, torch.zeros(2, dtype=torch.int64), torch.full((2,), options.lmda * options.lmda_scale))
    return {name: value.item() for name, value in values.items()}


def test_the_loss_is_rate_plus_weighted_distortion(small_model: SmallModel) -> None:
    terms = "loss.R = motion_rate/0.5*residual_rate\nloss.D = distortion/0.1*mc_distortion"
    v = stage_loss(small_model, f"pmode = emcr\n{terms}")
    rate = v["motion_rate"] + 0.5 * v["residual_rate"]
    assert v["loss"] == pytest.approx(rate + 256 * (v["distortion"] + 0.1 * v["mc_distortion"]), rel=1e-4)
    assert v["rate"] == pytest.approx(v["motion_rate"] + v["residual_rate"], rel=1e-4)


def test_terms_can_be_left_out(small_model: SmallModel) -> None:
    only_d = stage_loss(small_model, "pmode = emc\nloss.R = None\nloss.D = mc_distortion")
    assert only_d["loss"] == pytest.approx(256 * only_d["mc_distortion"], rel=1e-4)
    only_r = stage_loss(small_model, "pmode = em\nloss.R = motion_rate\nonly_rate = true")
    assert only_r["loss"] == pytest.approx(only_r["motion_rate"], rel=1e-4)


def test_intra_frames_have_their_own_lagrangian(small_model: SmallModel) -> None:
    v = stage_loss(small_model, "imode = i\nframes = 1", "--i_lmda", "1024")
    assert v["loss"] == pytest.approx(v["rate"] + 1024 * v["distortion"], rel=1e-4)


def test_only_frames_that_train_something_count(small_model: SmallModel) -> None:
    """The loss of a P frame, whether or not a frozen intra codec makes its reference."""
    text = "imode = i\npmode = emcr\ntrain = emcr\nRNN = 1\nframes = 2"
    v = stage_loss(small_model, text)
    assert "intra_rate" not in v and v["loss"] == pytest.approx(v["rate"] + 256 * v["distortion"], rel=1e-4)


def test_a_share_of_clips_begins_with_grey(small_model: SmallModel) -> None:
    from torchDVC.training.trainer import Trainer

    text = TRAIN.split("[process")[0] + "[process: gray]\npmode = emcr\nframes = 3\ngray_intra = 0.25\n"
    small_model.write("gray.cfg", text)
    options = parse_trainer(small_model.train_flags("unused", cfg="gray.cfg"))
    trainer = Trainer(options, *load_run(options.model_config, options.run_config, "train"))
    training = trainer.enter(trainer.config.stages[0])
    seen: list[torch.Tensor] = []

    def loss(clip: torch.Tensor, *_: object, **__: object) -> dict[str, torch.Tensor]:
        seen.append(clip)
        weight = next(p for p in trainer.codec.parameters() if p.requires_grad)
        return {"loss": weight.sum(), "aux": weight.sum()}

    training.loss = loss  # type: ignore[assignment]
    for _ in range(25):
        training.step(torch.randint(0, 100, (16, 3, 3, 64, 64), dtype=torch.uint8))
    clips = torch.cat(seen)
    grey = (clips == 0.5).flatten(2).all(-1)
    assert not grey[:, 1:].any() and float(grey[:, 0].float().mean()) == pytest.approx(0.25, abs=0.06)


def test_ssim_is_the_distortion_when_asked_for(small_model: SmallModel) -> None:
    v = stage_loss(small_model, "imode = i\nframes = 1", "--ssim", "--ssim_factor", "0.5")
    assert v["loss"] == pytest.approx(v["rate"] + 128 * v["distortion"], rel=1e-4)
    assert 0 < v["distortion"] < 1 and v["distortion"] != stage_loss(small_model, "imode = i\nframes = 1")["distortion"]


def test_an_ssim_run_goes_through(small_model: SmallModel) -> None:
    trained(small_model, "--ssim", "--end_epoch", "1")


def test_learning_rates_decay_and_differ_by_module(small_model: SmallModel) -> None:
    text = "lr = 1e-3\nlr.motion_codec = 2e-3\nlr_decay = 0.5\naux_lr = 1e-2\nepochs = 2"
    small_model.write("lr.cfg", TRAIN.replace("[process: intra]", f"[process: intra]\n{text}"))
    assert small_model.train("run0", "--end_epoch", "2", cfg="lr.cfg") == 0
    groups = checkpoints.load(small_model.path / "run0/checkpoints/last.safetensors")["optimizer"]["param_groups"]
    rates = {group["name"]: group["lr"] for group in groups}
    assert rates["intra_codec"] == pytest.approx(5e-4) and rates["motion_codec"] == pytest.approx(1e-3)
    assert rates[AUX] == pytest.approx(5e-3)


def test_the_optimizers_state_outlives_freezing(finished: SmallModel) -> None:
    states = [
        checkpoints.load(finished.path / f"run/checkpoints/{name}.safetensors")["optimizer"]
        for name in ("01_intra", "02_motion", "03_joint")
    ]
    of_intra = states[0]["param_groups"][0]["params"][0]
    assert all(torch.equal(s["state"][of_intra]["exp_avg"], states[0]["state"][of_intra]["exp_avg"]) for s in states)
    of_motion = states[1]["param_groups"][2]["params"][0]
    assert (float(states[1]["state"][of_motion]["step"]), float(states[2]["state"][of_motion]["step"])) == (4.0, 6.0)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_a_change_of_layout_does_not_mix_up_the_optimizers_state(small_model: SmallModel, optimizer: str) -> None:
    weights = []
    for layouts in (("contiguous", "contiguous"), ("contiguous", "channels_last")):
        codec = small_model.codec()
        update = make_optimizer(codec, optimizer)
        for layout in layouts:
            set_memory_format(codec, update, layout)
            for group in update.param_groups:
                group["lr"] = 0.01
            for parameter in codec.parameters():
                parameter.grad = torch.zeros_like(parameter).copy_(parameter.detach().sin())
            update.step()
        weights.append(dict(codec.state_dict()))
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, msg=name)


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
