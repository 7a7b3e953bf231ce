"""Starts of a run: refused ones change nothing, and each way to start several processes does what it should."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT
from tests.marked_clips import marked_clip, write_pictures
from tests.processes import free_port
from tests.small_model import SmallModel, make_small_model
from torchDVC.models import checkpoints
from torchDVC.training import comet

OF_LAUNCHERS = ("SLURM", "RANK", "LOCAL_", "WORLD_SIZE", "GROUP_RANK", "MASTER_", "TORCHELASTIC")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, clip_folder: Path) -> SmallModel:
    """A model whose run ``run`` has one epoch."""
    model = make_small_model(tmp_path_factory.mktemp("started"), clip_folder)
    assert model.train("run", "--end_epoch", "1") == 0
    return model


def contents(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def damaged_clip(folder: Path) -> Path:
    """Pictures of which the first says its size and is cut short, which shows when it is read."""
    write_pictures(folder, marked_clip(0, 9, 96, 80))
    first = min(folder.iterdir())
    first.write_bytes(first.read_bytes()[:-100])
    return folder


def test_refused_starts_change_nothing(
    trained: SmallModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = damaged_clip(tmp_path / "damaged")
    keys = tmp_path / "keys.json"
    keys.write_text("{")
    monkeypatch.setattr(comet, "KEYS_FILE", keys)
    monkeypatch.delenv("COMET_API_KEY", raising=False)
    before = contents(trained.path / "run")
    plain = [flag for flag in trained.train_flags("run") if flag not in ("--no_comet", "--no_sanity")]
    for flags, said in (
        ([*plain, "--no_comet", "--experiment_key", "short"], "--experiment_key 'short'"),
        (plain, "keys.json: expected JSON"),
        ([*plain, "--no_comet", "--test_datasets", str(clip)], "not a picture"),
        ([*plain, "--restore", "resume", "--seed", "5"], "cannot resume: --seed"),
    ):
        from torchDVC.trainer import main

        assert main(flags) == 2
        assert said in capsys.readouterr().err.splitlines()[-1]
        assert contents(trained.path / "run") == before
        assert main([*flags, "--save_dir", str(tmp_path / "new/run")]) == 2
        assert not (tmp_path / "new").exists()


# --- launchers


def environment(**variables: object) -> dict[str, str]:
    """That of a process which was started in some way, and in no other."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(OF_LAUNCHERS)}
    return {**own, **{name: str(value) for name, value in variables.items()}}


def start(command: list[str], variables: dict[str, str]) -> subprocess.Popen[str]:
    words = [sys.executable, *command]
    pipe = subprocess.PIPE
    return subprocess.Popen(words, cwd=CHECKOUT, env=variables, stdout=pipe, stderr=pipe, text=True)


def devices(model: SmallModel, run: str) -> str:
    """How many a run had."""
    state = checkpoints.load(model.path / run / "checkpoints/last.safetensors")
    return str(state["conditions"]["number of devices"])


JOB = {"SLURM_JOB_ID": 77, "SLURM_JOB_NAME": "train", "SLURM_NTASKS": 2, "SLURM_NNODES": 1}


@pytest.mark.slow
def test_a_job_of_several_tasks_without_srun_is_one_process_and_says_so(trained: SmallModel) -> None:
    flags = trained.train_flags("batch", "--end_epoch", "1")
    process = start(["torchDVC/trainer.py", *flags], environment(**JOB, SLURM_PROCID=0, SLURM_LOCALID=0))
    error = process.communicate(timeout=200)[1]
    assert process.returncode == 0, error
    assert "one process, of a Slurm job of 2 tasks; srun starts one for each" in error.splitlines()
    assert devices(trained, "batch") == "1"


@pytest.mark.slow
def test_processes_of_srun_and_of_torchrun_train_one_run(trained: SmallModel) -> None:
    step = {"SLURM_STEP_NUM_TASKS": 2, "SLURM_STEP_NUM_NODES": 1, "MASTER_PORT": free_port()}
    flags = ["torchDVC/trainer.py", *trained.train_flags("srun", "--end_epoch", "1")]
    ranks = [{"SLURM_PROCID": rank, "SLURM_LOCALID": rank, "SLURM_NODEID": 0} for rank in range(2)]
    processes = [start(flags, environment(**JOB, **step, MASTER_ADDR="127.0.0.1", **rank)) for rank in ranks]
    said = [process.communicate(timeout=200)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert "intra 1/1" in said[0] and "intra 1/1" not in said[1]
    torchrun = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", free_port()]
    process = start([*torchrun, *flags, "--save_dir", str(trained.path / "torchrun")], environment())
    assert process.wait(200) == 0, process.communicate()
    assert devices(trained, "srun") == devices(trained, "torchrun") == "2"


@pytest.mark.slow
def test_what_does_not_fit_the_launcher_is_one_line(trained: SmallModel) -> None:
    step = {"SLURM_STEP_NUM_TASKS": 2, "SLURM_STEP_NUM_NODES": 1, "SLURM_PROCID": 0, "SLURM_LOCALID": 0}
    process = start(["torchDVC/trainer.py", *trained.train_flags("new", "--gpu", "3")], environment(**JOB, **step))
    error = process.communicate(timeout=200)[1]
    assert process.returncode == 2
    assert error == "--gpu 3 under srun; expected as many as its processes here, 2\n"
    assert not (trained.path / "new").exists()
