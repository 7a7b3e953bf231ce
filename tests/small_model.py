"""A model of the baseline's types with a few channels, and its configuration, in a folder of its own."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from torchDVC.config import load_model_config, load_run
from torchDVC.config.command_line import parse_trainer
from torchDVC.models.codec import Codec
from torchDVC.models.weights import model_weights

CSV = """\
code,name,type,args,weights
i,intra_codec,IntraCodec,intra.json,
e,motion_estimator,SPyNet,estimator.json,
m,motion_codec,FlowCodec,motion.json,
c,motion_compensator,Refinement,refinement.json,
r,residual_codec,ResidualCodec,residual.json,
"""
TRANSFORMS = '{"width": 6, "channels": 8, "kernel_size": 3, "latent": LATENT}\n'
HYPERPRIOR = '{"type": "Hyperprior", "width": 6}'
ARGUMENTS = {
    "intra.json": TRANSFORMS,
    "motion.json": TRANSFORMS,
    "residual.json": TRANSFORMS,
    "estimator.json": '{"levels": 2, "kernel_size": 3, "widths": [4, 4]}\n',
    "refinement.json": '{"width": 4}\n',
}
TRAIN = """\
[header]
data = DATA
steps = 2
batch_size = 1
patch_size = 64
precision = 32
memory_format = contiguous

[process: intra]
imode = i
loss.R = intra_rate

[process: motion]
epochs = 2
pmode = em
loss.R = motion_rate
loss.D = warped_distortion

[process: joint]
imode = i
pmode = emcr
train = mcr
RNN = 1
frames = 3
"""
TEST = """\
[header]
data = DATA
frames = 3
ms_ssim = no

[process: small]
imode = i
pmode = emcr
bmode = emcr
"""


@dataclass
class SmallModel:
    """A folder with ``model.csv``, ``train.cfg`` and ``test.cfg``, and the command lines that use them."""

    path: Path
    data: Path

    def write(self, name: str, text: str) -> Path:
        """Write a file; ``DATA`` in it stands for the clips."""
        path = self.path / name
        path.write_text(text.replace("DATA", str(self.data)), encoding="utf-8")
        return path

    def codec(self, seed: int = 0) -> Codec:
        """The codec with random weights, in eval mode."""
        torch.manual_seed(seed)
        return Codec(load_model_config(str(self.path / "model.csv"))).eval()

    def train_flags(self, run: str, *flags: str, cfg: str = "train.cfg") -> list[str]:
        """Arguments of ``trainer.py`` for a run in the folder ``run``, quick ones before ``flags``."""
        return [
            "--lmda", "256", "--model_config", str(self.path / "model.csv"), "--run_config", str(self.path / cfg),
            "--save_dir", str(self.path / run), "--test_datasets", str(self.data / "one.y4m"), "--per_val", "100",
            "--no_sanity", "--no_comet", "--num_workers", "0", "--device", "cpu", *flags,
        ]

    def test_flags(self, run: str, *flags: str, cfg: str = "test.cfg") -> list[str]:
        """Arguments of ``tester.py``."""
        return [
            "--lmda", "256", "--model_config", str(self.path / "model.csv"), "--run_config", str(self.path / cfg),
            "--save_dir", str(self.path / run), "--device", "cpu", "--no-memory", *flags,
        ]

    def train(self, run: str, *flags: str, cfg: str = "train.cfg") -> int:
        """Run ``trainer.py`` in this process; its exit code."""
        from torchDVC.trainer import main

        return main(self.train_flags(run, *flags, cfg=cfg))

    def test(self, run: str, *flags: str, cfg: str = "test.cfg") -> int:
        """Run ``tester.py`` in this process; its exit code."""
        from torchDVC.tester import main

        return main(self.test_flags(run, *flags, cfg=cfg))

    def weights(self, run: str, name: str = "last") -> dict[str, Tensor]:
        """The codec's tensors in a checkpoint of a run."""
        return dict(model_weights(self.path / run / "checkpoints" / f"{name}.safetensors"))

    def start(self) -> dict[str, Tensor]:
        """The codec's tensors that a run starts from."""
        from torchDVC.training.trainer import Trainer

        options = parse_trainer(self.train_flags("unused"))
        return dict(Trainer(options, *load_run(options.model_config, options.run_config, "train")).codec.state_dict())

    def trained(self, *flags: str) -> dict[str, Tensor]:
        """The codec's tensors after a run of its own."""
        name = f"run{len(list(self.path.glob('run*')))}"
        assert self.train(name, *flags) == 0
        return self.weights(name)


def make_small_model(folder: Path, data: Path, levels: int = 1) -> SmallModel:
    """Write the files of the model below ``folder``; ``data`` is the folder of clips it is trained and tested on."""
    folder.mkdir(parents=True, exist_ok=True)
    model = SmallModel(folder, data)
    gained = f'{{"type": "Gain", "levels": {levels}, "latent": {HYPERPRIOR}}}'
    files = {"model.csv": CSV, "train.cfg": TRAIN, "test.cfg": TEST, **ARGUMENTS}
    for name, text in files.items():
        model.write(name, text.replace("LATENT", HYPERPRIOR if levels == 1 else gained))
    return model


def different(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """The modules any of whose tensors differ, to the bit."""
    assert before.keys() == after.keys()
    return {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}


def metrics(model: SmallModel, run: str) -> list[dict[str, str]]:
    """The rows that a run wrote while it trained."""
    with open(model.path / run / "metrics.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
