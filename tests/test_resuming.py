"""Runs that go on where they stopped, to the same weights, or are refused."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from tests.processes import LIMIT, signalled
from tests.small_model import TRAIN, SmallModel, different, make_small_model, metrics
from torchDVC.models import checkpoints


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
    small_model.write("long.cfg", TRAIN.replace("steps = 2", "steps = 20").split("[process: motion]")[0])
    flags = ["--num_workers", str(workers)]
    assert small_model.train("whole", *flags, cfg="long.cfg") == 0
    step = "torchDVC.training.stage:StageTraining:step"
    process = signalled(number, step, 7, "trainer", *small_model.train_flags("part", *flags, cfg="long.cfg"))
    said, error = process.communicate(timeout=LIMIT)
    assert process.returncode == code, error
    assert "Traceback" not in error and (error.splitlines()[-1] == "interrupted") == bool(code)
    assert bool(re.search(rf"stopped by {number.name} in stage intra.* --restore resume", said)) != bool(code)
    position = checkpoints.load(small_model.path / "part/checkpoints/last.safetensors")["position"]
    assert position["step"] == 7
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
