"""The time of a training step: the baseline's against compressai's ScaleSpaceFlow, and what our loop adds.

    python benchmarks/train_step.py [--repeats N] [--batch N] [--size N] [--threads N]

Every candidate takes its turn in each repeat, so that a machine that changes its speed changes it for all; ratios are
medians over the repeats. A step is a P frame of two: forward, backward, clipping and the optimizer's update.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from torchDVC.config.flags import flag, parse_flags
from torchDVC.config.values import whole
from torchDVC.util.errors import run_command

if TYPE_CHECKING:
    from torchDVC.training.stage import StageTraining

CFG = """\
[process: step]
data = procedural
cut = 1
pmode = emcr
frames = 2
batch_size = {batch}
patch_size = {size}
loss.D = distortion
precision = {precision}
memory_format = {memory_format}
"""
DEFAULT = ("auto", "auto")
OTHERS = (("32", "contiguous"), ("32", "channels_last"), ("bf16-mixed", "channels_last"))
MOST_OF_REFERENCE = 1.75
MOST_OVERHEAD = 1.03

Step = Callable[[], None]


def reference_step(batch: Tensor) -> Step:
    """ScaleSpaceFlow's P frame in plain fp32, from a given reference picture."""
    from benchmarks.packages import needed

    model = needed("compressai.models.video").ScaleSpaceFlow().train()
    parameters = [p for name, p in model.named_parameters() if not name.startswith("img_")]
    quantiles = [p for name, p in model.named_parameters() if name.endswith("quantiles")]
    optimizer = torch.optim.Adam([p for p in parameters if all(p is not q for q in quantiles)], lr=1e-5)

    def step() -> None:
        clip = batch.float() / 255
        recon, likelihoods = model.forward_inter(clip[:, 1], clip[:, 0])
        pixels = clip.shape[0] * clip.shape[-1] * clip.shape[-2]
        parts = [part for of_part in likelihoods.values() for part in of_part.values()]
        rate = sum(-part.log2().sum() for part in parts) / pixels
        loss = rate + 256 * (recon - clip[:, 1]).square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

    return step


def baseline_steps(batch: Tensor, precision: str, memory_format: str, folder: Path) -> tuple[Step, Step]:
    """The step of our loop, and the same forward, backward and update called bare."""
    from torchDVC.config import load_run
    from torchDVC.config.command_line import parse_trainer
    from torchDVC.training.trainer import Trainer

    cfg = folder / f"{precision}_{memory_format}.cfg"
    size = batch.shape[-1]
    cfg.write_text(CFG.format(batch=len(batch), size=size, precision=precision, memory_format=memory_format))
    options = parse_trainer([
        "--lmda", "256", "--model_config", "baseline.csv", "--run_config", str(cfg), "--save_dir", str(folder / "run"),
        "--no_comet", "--no_sanity", "--device", "cpu",
    ])
    model, config = load_run(options.model_config, options.run_config, "train")
    trainer = Trainer(options, model, config)
    stage = config.stages[0]
    training = trainer.enter(stage)
    return lambda: _discard(training.step(batch)), bare_step(training, batch)


def _discard(_: object) -> None:
    pass


def bare_step(training: StageTraining, batch: Tensor) -> Step:
    """Forward, backward, clipping and update of the trainer's own codec and optimizer, and nothing else."""
    from torchDVC.coding_structure import CodedFrame
    from torchDVC.models.distortions import mse
    from torchDVC.models.loss import StageLoss
    from torchDVC.util.device import autocast

    optimizer = training.updater.optimizer
    loss = StageLoss(training.codec, training.stage, mse)
    frames = [CodedFrame(0), CodedFrame(1, (0,))]
    quality = torch.zeros(len(batch), dtype=torch.int64)
    lmda = torch.full((len(batch),), 256.0)
    clipped = [p for group in optimizer.param_groups if group["name"] != "aux" for p in group["params"]]

    def step() -> None:
        with autocast(training.arithmetic.precision, batch.device):
            values = loss(batch.float() / 255, frames, quality, lmda)
        (values["loss"] + values["aux"]).backward()
        nn.utils.clip_grad_norm_([p for p in clipped if p.grad is not None], 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def measure(steps: dict[str, Step], repeats: int) -> dict[str, list[float]]:
    """Seconds of each repeat of each step, all in turn, after one of each that does not count."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for repeat in range(repeats + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if repeat:
                times[name].append(time.perf_counter() - start)
    return times


def ratio(times: dict[str, list[float]], name: str, to: str) -> float:
    """The median over the repeats of one step's time relative to another's."""
    return statistics.median(a / b for a, b in zip(times[name], times[to], strict=True))


def report(times: dict[str, list[float]]) -> str:
    """A line a candidate, and the two ratios that are bounded."""
    lines = [f"{'step':<34}{'seconds':>9}{'of ScaleSpaceFlow':>19}"]
    for name, values in times.items():
        lines.append(f"{name:<34}{statistics.median(values):>9.3f}{ratio(times, name, 'ScaleSpaceFlow fp32'):>19.2f}")
    default = f"baseline {' '.join(DEFAULT)}"
    overhead = ratio(times, default, f"{default}, bare")
    lines.append(f"our loop over bare steps: {overhead:.3f} (at most {MOST_OVERHEAD})")
    of_reference = ratio(times, default, "ScaleSpaceFlow fp32")
    lines.append(f"baseline over ScaleSpaceFlow: {of_reference:.2f} (at most {MOST_OF_REFERENCE})")
    return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class Options:
    """The command line."""

    repeats: int = flag(whole(1), "turns of each candidate", metavar="N", default=7)
    batch: int = flag(whole(1), "clips of a step", metavar="N", default=4)
    size: int = flag(whole(64), "side of the crops in pixels", metavar="N", default=256)
    threads: int = flag(whole(1), "to compute with", metavar="N", default=2)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    usage = "python benchmarks/train_step.py [flags]"
    return run_command(lambda: compare(parse_flags(Options, arguments, usage=usage, description=__doc__ or "")))


def compare(options: Options) -> None:
    """Measure, and print."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    batch = torch.randint(0, 256, (options.batch, 2, 3, options.size, options.size), dtype=torch.uint8)
    steps = {"ScaleSpaceFlow fp32": reference_step(batch)}
    with tempfile.TemporaryDirectory() as folder:
        for setting in (DEFAULT, *OTHERS):
            name = f"baseline {' '.join(setting)}"
            ours, bare = baseline_steps(batch, *setting, Path(folder))
            steps[name] = ours
            if setting == DEFAULT:
                steps[f"{name}, bare"] = bare
        print(report(measure(steps, options.repeats)))


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    sys.exit(main())
