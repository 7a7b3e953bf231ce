"""What the README of *Learned Codec Protocol* tells its users to do, done in a checkout of their own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from torchDVC.results.rows import read_rows

CHECKOUT = Path(__file__).resolve().parents[1]
TRAIN = (
    "python trainer.py --lmda 2048 --intra_period 32 --gop_size 1 --model_config baseline.csv "
    "--run_config baseline/scratch.cfg --start_epoch 0"
)
TEST = (
    "python tester.py --lmda 2048 --intra_period 32 --gop_size 1 --model_config baseline.csv --run_config baseline.cfg "
    "--no_image --save_dir XXX --restore load --checkpoint XXX"
)
FILTER = '''

import torch.nn as nn


@codec_module(reads="recon", writes="recon")
class MyFilter(nn.Module):
    """A loop filter of the user's own."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 3, 3, padding=1))

    def forward(self, state, stream):
        return {"recon": state["recon"] + self.body(state["recon"] - 0.5)}


class Forgotten(nn.Module):
    pass
'''
SMALL = {"width": 6, "channels": 8, "kernel_size": 3, "latent": {"type": "Hyperprior", "width": 6}}
NO_COMET_SERVER = {
    "COMET_URL_OVERRIDE": "http://127.0.0.1:9/", "COMET_HTTP_SESSION_RETRY_TOTAL": "0",
    "COMET_GET_OR_ADD_EXPERIMENT_RETRY_TOTAL": "0",
}  # fmt: skip
"""No server, and no half a minute of asking it again."""
NARROW = {
    "intra/hyperprior.json": SMALL,
    "motion/hyperprior.json": SMALL,
    "residual/hyperprior.json": SMALL,
    "motion/spynet.json": {"levels": 2, "kernel_size": 3, "widths": [4, 4]},
    "mc/refinement.json": {"width": 4},
}


class Clone:
    """A copy of the checkout with narrow networks and with short stages, in float32; nothing else differs."""

    def __init__(self, folder: Path, clips: Path) -> None:
        self.package = folder / "torchDVC"
        shutil.copytree(CHECKOUT / "torchDVC", self.package, ignore=shutil.ignore_patterns("keys.json"))
        for name, arguments in NARROW.items():
            (self.package / "configs/module" / name).write_text(json.dumps(arguments))
        cfg = self.package / "configs/train/baseline/scratch.cfg"
        text = re.sub(r"(?m)^(epochs|batch_size) = \d+", r"\1 = 1", cfg.read_text())
        text = text.replace("steps = 2000", "steps = 1").replace("patch_size = 256", "patch_size = 64")
        text = text.replace("precision = auto", "precision = 32").replace("format = auto", "format = contiguous")
        cfg.write_text(text.replace("data = default", f"data = {clips}"))
        self.replace("test/baseline.cfg", "data = procedural", f"data = {clips / 'one.y4m'}\nframes = 3")

    def replace(self, config: str, before: str, after: str) -> None:
        """Edit a file under ``configs``."""
        path = self.package / "configs" / config
        assert before in path.read_text()
        path.write_text(path.read_text().replace(before, after))

    def run(self, command: str, expected: int = 0) -> str:
        """Run a command in the folder where users run theirs; what it said."""
        environment = {**os.environ, "PYTHONPATH": str(self.package.parent), **NO_COMET_SERVER}
        finished = subprocess.run(
            [sys.executable, *command.split()[1:]], cwd=self.package, env=environment, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert finished.returncode == expected, finished.stderr
        return finished.stdout + finished.stderr


@pytest.fixture
def clone(tmp_path: Path, clip_folder: Path) -> Clone:
    return Clone(tmp_path, clip_folder)


@pytest.mark.slow
def test_the_commands_verbatim(clone: Clone) -> None:
    """With a keys.json of its form, whose workspace no server here knows."""
    (clone.package / "configs/keys.json").write_text('{\n    "api_key": "XXXXXXXX",\n    "workspace": "XXXXX"\n}\n')
    said = clone.run(TRAIN)
    assert "keeping an offline experiment (comet_offline.zip) instead" in said
    last = clone.package / "log/baseline_2048/checkpoints/last.safetensors"
    clone.run(TEST.replace("--save_dir XXX", "--save_dir results").replace("--checkpoint XXX", f"--checkpoint {last}"))
    (row,) = read_rows(clone.package / "results/rd.csv")
    assert (row.sequence, row.frames, row.intra_period, row.gop_size, row.lmda) == ("one", 3, 32, 1, 2048)


@pytest.mark.slow
def test_the_development_process(clone: Clone) -> None:
    """A class in advance_modules.py, its json, a model csv and a process that use it."""
    with open(clone.package / "advance_modules.py", "a", encoding="utf-8") as file:
        file.write(FILTER)
    configs = clone.package / "configs"
    (configs / "module/my_filter.json").write_text('{"width": 4}')
    lines = (configs / "model/baseline.csv").read_text() + "f,loop_filter,MyFilter,my_filter.json,\n"
    (configs / "model/filtered.csv").write_text(lines)
    stage = (configs / "train/baseline/scratch.cfg").read_text().partition("[process: intra]")[0]
    stage += "[process: filter]\nimode = if\ntrain = f\nframes = 1\nloss.R = None\n"
    (configs / "train/filtered.cfg").write_text(stage)
    clone.run("python trainer.py --lmda 2048 --model_config filtered.csv --run_config filtered.cfg --no_comet")
    assert (clone.package / "log/filtered_2048/checkpoints/last.safetensors").is_file()
    (configs / "model/filtered.csv").write_text(lines.replace("MyFilter", "Forgotten"))
    said = clone.run("python trainer.py --lmda 2048 --model_config filtered.csv --run_config filtered.cfg", expected=2)
    line = (clone.package / "advance_modules.py").read_text().splitlines().index("class Forgotten(nn.Module):") + 1
    assert said.splitlines()[0].endswith(
        f"unknown module type 'Forgotten'; advance_modules.py:{line} has a class of this name, "
        "which needs @codec_module(reads=…, writes=…)"
    )


def test_utils_gives_what_scripts_import() -> None:
    from torchDVC import utils

    model, train = utils.load_run("baseline.csv", "baseline/scratch.cfg", "train")
    assert model.by_code("r").name == "residual_codec" and train.stages[0].name == "intra"
    assert all(callable(getattr(utils, name)) for name in utils.__all__)
