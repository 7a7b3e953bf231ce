"""Training by several processes: what one would learn, on one machine and on several, resumed too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import CHECKOUT
from tests.processes import free_port
from tests.small_model import TRAIN, SmallModel
from torchDVC.models import checkpoints

TORCHRUN = (sys.executable, "-m", "torch.distributed.run")
TRAINER = str(CHECKOUT / "torchDVC" / "trainer.py")


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1", **more}


def torchrun(model: SmallModel, run: str, *flags: str, cfg: str) -> None:
    """Two processes of one machine."""
    command = [*TORCHRUN, "--standalone", "--nproc_per_node", "2", TRAINER, *model.train_flags(run, *flags, cfg=cfg)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def write_cfgs(model: SmallModel) -> None:
    """``one.cfg`` for one process, ``two.cfg`` for two with the same batch together."""
    common = "lr = 1e-4\nsteps = 3\ngray_intra = 0.3\noptimizer = sgd"
    for name, size in (("one", 4), ("two", 2)):
        text = TRAIN.replace("steps = 2", common).replace("batch_size = 1", f"batch_size = {size}")
        model.write(f"{name}.cfg", text.replace("RNN = 1", "RNN = 2\ntruncate = 1\naccumulate = 2"))


def worst(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max()) for name in a if a[name].numel())


@pytest.mark.slow
def test_two_processes_learn_what_one_does_of_the_same_batch(small_model: SmallModel) -> None:
    write_cfgs(small_model)
    assert small_model.train("one", cfg="one.cfg") == 0
    torchrun(small_model, "two", cfg="two.cfg")
    assert worst(small_model.weights("one"), small_model.weights("two")) <= 1e-6
    fresh = small_model.codec().state_dict()
    assert worst(small_model.weights("one"), dict(fresh)) > 1e-4
    torchrun(small_model, "parts", "--end_epoch", "2", cfg="two.cfg")
    torchrun(small_model, "parts", "--restore", "resume", cfg="two.cfg")
    assert worst(small_model.weights("two"), small_model.weights("parts")) == 0


def programs(folder: Path) -> Path:
    """A folder with a ``srun`` that starts every task here, and a ``scontrol`` that names this machine."""
    folder.mkdir()
    (folder / "srun").write_text((CHECKOUT / "tests" / "srun_stand_in.sh").read_text())
    (folder / "scontrol").write_text("#!/bin/sh\necho localhost\n")
    for program in folder.iterdir():
        program.chmod(0o755)
    return folder


@pytest.mark.slow
def test_the_script_of_the_documentation_trains_on_two_nodes(small_model: SmallModel, tmp_path: Path) -> None:
    write_cfgs(small_model)
    path = os.pathsep.join(map(str, (programs(tmp_path / "bin"), Path(sys.executable).parent, os.environ["PATH"])))
    surroundings = environment(PATH=path, SLURM_JOB_ID="1", SLURM_NNODES="2", SLURM_GPUS_ON_NODE="1", PORT=free_port())
    command = ["bash", str(CHECKOUT / "docs/slurm.sh"), *small_model.train_flags("nodes", cfg="two.cfg")]
    done = subprocess.run(
        command, env=surroundings, capture_output=True, text=True, timeout=300, cwd=CHECKOUT / "torchDVC"
    )
    assert done.returncode == 0, done.stderr
    torchrun(small_model, "two", cfg="two.cfg")
    assert worst(small_model.weights("two"), small_model.weights("nodes")) == 0
    state = checkpoints.load(small_model.path / "nodes/checkpoints/last.safetensors")
    assert state["conditions"]["number of devices"] == "2"
