"""Memory of a training step by clip length: plain, and with truncated gradients and activations computed again.

    python benchmarks/clip_memory.py [--size N] [--batch N] [--frames N ...]

Each case is a process of its own, whose peak is what a step adds to what the process needs before it.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torchDVC.config.flags import flag, parse_flags
from torchDVC.config.values import existing_file, whole
from torchDVC.util.errors import run_command

CFG = """\
[process: clip]
data = procedural
cut = 1
imode = i
pmode = emcr
RNN = 2
frames = {frames}
batch_size = {batch}
patch_size = {size}
precision = 32
memory_format = channels_last
forth_and_back = true
{more}
"""
CASES = {"plain": "", "checkpointing, truncate = 4": "checkpointing = true\ntruncate = 4"}


def peak_of_a_step(cfg: Path) -> int:
    """Bytes that a step adds to the process's peak."""
    import torch

    from torchDVC.config import load_run
    from torchDVC.config.command_line import parse_trainer
    from torchDVC.training.trainer import Trainer

    options = parse_trainer([
        "--lmda", "256", "--model_config", "baseline.csv", "--run_config", str(cfg),
        "--save_dir", str(cfg.parent / "run"), "--no_comet", "--no_sanity", "--device", "cpu",
    ])
    trainer = Trainer(options, *load_run(options.model_config, options.run_config, "train"))
    stage = trainer.config.stages[0]
    training = trainer.enter(stage)
    torch.manual_seed(0)
    batch = torch.randint(0, 256, (stage.batch_size, stage.frames, 3, stage.patch_size, stage.patch_size)).byte()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    training.step(batch)
    return 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


def measured(frames: int, more: str, options: Options) -> int:
    """The same in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        cfg = Path(folder) / "clip.cfg"
        cfg.write_text(CFG.format(frames=frames, batch=options.batch, size=options.size, more=more))
        command = [sys.executable, __file__, "--of", str(cfg)]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


@dataclass(frozen=True, kw_only=True)
class Options:
    """The command line."""

    size: int = flag(whole(1), "side of the clip's pictures in pixels", metavar="N", default=128)
    batch: int = flag(whole(1), "clips in a batch", metavar="N", default=1)
    frames: tuple[int, ...] = flag(whole(3), "lengths of the clip", many=True, metavar="N", default=(5, 9, 17, 33))
    of: Path | None = flag(
        existing_file, "print the bytes of a step of this train cfg alone", metavar="CFG", default=None
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    usage = "python benchmarks/clip_memory.py [flags]"
    return run_command(lambda: compare(parse_flags(Options, arguments, usage=usage, description=__doc__ or "")))


def compare(options: Options) -> None:
    """Measure and print."""
    if options.of:
        print(peak_of_a_step(options.of))
        return
    base = 0
    print(f"{'MB of a step':<30}" + "".join(f"{frames:>8}" for frames in options.frames) + " frames")
    for name, more in CASES.items():
        peaks = [measured(frames, more, options) for frames in options.frames]
        base = base or peaks[0]
        print(f"{name:<30}" + "".join(f"{peak / 1e6:>8.0f}" for peak in peaks))
        print(f"{'  times plain of the first':<30}" + "".join(f"{peak / base:>8.2f}" for peak in peaks))


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    sys.exit(main())
