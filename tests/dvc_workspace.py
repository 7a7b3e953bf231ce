"""A folder laid out as ``DVC/``, with a small codec and short phases, for the tests of the DVC command line."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from torchDVC.util.arithmetic import Arithmetic

CODER = """\
model_architecture: ARCHITECTURE
model_params:
  in_channels: CHANNELS
  out_channels: CHANNELS
  kernel_size: 3
  num_filters: 6
  num_features: 8
  num_hyperpriors: 6
"""
CODEC = ("--MENet SPy --motion_coder_conf ./config/DVC_motion.yml --residual_coder_conf ./config/DVC_inter.yml")
TRAIN_COMMAND = (
    f"{CODEC} --train_conf ./train_cfg/train.json -n 4 --quality_level 6 --gpus 1 --project_name Video_Compression "
    "--experiment_name DVC"
)
TEST_COMMAND = (
    f"{CODEC} -n 4 --quality_level 6 --gpus 1 --project_name Video_Compression --experiment_name DVC "
    "--restore load --restore_exp_key xxx --restore_exp_epoch 22 --gop 12 --test"
)
"""The commands of the ancestor's README."""
LEVEL = 6
TRAINING = ("--train_conf", "./train_cfg/train.json", "--no_sanity", "--per_val", "100")
UNTRAINED = ("--intra_weights", "none", "--ME_weights", "none")
INTRA = "model_architecture: ScaleHyperpriorIntra\nmodel_params: {width: 6, channels: 8}\n"
NORMALISED = '''
from __future__ import annotations
import torch
from torch import nn
from torchDVC.config.registry import codec_module

@codec_module(reads="refs", encoder_reads="frame", writes="flow", encoder_only=True)
class NormalisedEstimator(nn.Module):
    """An estimator with statistics of its batches."""
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(6, 2, 3, padding=1), nn.BatchNorm2d(2))

    def forward(self, state, stream):
        return {"flow": self.net(torch.cat((state["frame"], state["refs"][:, 0]), 1))[:, None]}
'''
PHASE: dict[str, Any] = {
    "batch_size": 1,
    "lr": 1e-3,
    "strategy": {"stage": "2frames", "random": True},
    "mode": "residual",
    "frozen_modules": ["ME"],
    "loss_on": {"R": "rate", "D": "distortion/0.5*mc_distortion"},
    "steps": 2,
    "patch_size": 64,
    "precision": "32",
    "memory_format": "contiguous",
}
FULL_GOP = {
    **PHASE, "strategy": {"stage": "fullgop", "max_num_Pframe": 2}, "lr": {"default": 1e-3, "ME": 1e-4},
    "frozen_modules": [],
}  # fmt: skip


@dataclass
class DVCFolder:
    """A folder with ``config/*.yml`` and ``train_cfg/train.json``; the current folder."""

    path: Path
    data: Path

    def write(self, name: str, text: str) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def coder(self, name: str, channels: int, architecture: str = "GoogleHyperPrior") -> None:
        """Write the yml of a small coder."""
        text = CODER.replace("ARCHITECTURE", architecture).replace("CHANNELS", str(channels))
        self.write(f"config/{name}.yml", text)

    def phases(self, ends: dict[str, int], **phases: dict[str, Any]) -> None:
        """Write ``train_cfg/train.json``."""
        own = {name: {"data": str(self.data), **phase} for name, phase in phases.items()}
        self.write("train_cfg/train.json", json.dumps({"phase": ends, **own}, indent=1))

    def flags(self, *flags: str, estimator: str = "SPy") -> list[str]:
        """A command line that describes the codec, then ``flags``."""
        return [
            "--MENet", estimator, "--motion_coder_conf", "./config/DVC_motion.yml",
            "--residual_coder_conf", "./config/DVC_inter.yml", "--intra_coder_conf", "config/intra.yml",
            "--quality_level", str(LEVEL), "-n", "0", *UNTRAINED, *flags,
        ]  # fmt: skip

    def bare(self, *flags: str, estimator: str = "SPy") -> int:
        """Run the command line without saying that modules may start untrained."""
        from torchDVC.dvc_front.main import main

        described = self.flags(estimator=estimator)[: -len(UNTRAINED)]
        return main([*described, *self.quick, *flags])

    @property
    def quick(self) -> tuple[str, ...]:
        """Flags of every run: what is not needed is left out."""
        return ("--no_comet", "--no_image", "--no-memory", "--test_datasets", str(self.data / "one.y4m"), "--gpus", "0")

    def run(self, *flags: str, estimator: str = "SPy") -> int:
        """Run the command line in this process; its exit code."""
        from torchDVC.dvc_front.main import main

        return main(self.flags(*self.quick, *flags, estimator=estimator))

    def train(self, *flags: str, estimator: str = "SPy") -> int:
        """Train without validation."""
        return self.run(*TRAINING, *flags, estimator=estimator)

    def checkpoint(self, run: str, name: str = "last") -> dict[str, Any]:
        """What a checkpoint of a codec's run, or of another run, holds."""
        from torchDVC.models import checkpoints

        folders = (self.path / "log" / folder for folder in (f"{run}_q{LEVEL}", run))
        folder = next(folder for folder in folders if folder.exists())
        state: dict[str, Any] = checkpoints.load(folder / "checkpoints" / f"{name}.safetensors")
        return state


def make_dvc_folder(path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> DVCFolder:
    """Write the files below ``path``, and go there; ``data`` is the folder of clips to train and test on.

    Every stage computes in float32, contiguous, not in what is fastest at the moment.
    """
    monkeypatch.setattr("torchDVC.training.stage.candidates", lambda *_: [Arithmetic("32", "contiguous")])
    folder = DVCFolder(path, data)
    folder.coder("DVC_motion", 2)
    folder.coder("DVC_inter", 3)
    folder.write("config/intra.yml", INTRA)
    folder.phases({"two": 1, "gop": 2}, two=PHASE, gop=FULL_GOP)
    monkeypatch.chdir(path)
    for name in ("LOG", "DATASET", "DATAROOT"):
        monkeypatch.delenv(name, raising=False)
    return folder


def shown(dvc: DVCFolder, capsys: pytest.CaptureFixture[str], *flags: str) -> list[list[str]]:
    """Write the files that ``--show`` prints; the commands, without the script's name."""
    capsys.readouterr()
    assert dvc.run(*flags, "--show") == 0
    text, _, commands = capsys.readouterr().out.partition("==> commands <==\n")
    for name, content in re.findall(r"==> (\S+) <==\n(.*?)\n(?===>|\Z)", text, re.DOTALL):
        dvc.write(name, content)
    return [shlex.split(command)[2:] for command in commands.splitlines()]


def moved(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    """Modules any of whose tensors, quantiles and statistics included, differ between two checkpoints."""
    own = before["model"], after["model"]
    return {name.split(".")[0] for name in own[0] if not torch.equal(own[0][name], own[1][name])} - {"lmdas"}
