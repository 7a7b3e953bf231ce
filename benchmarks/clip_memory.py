"""Memory of a training step by clip length: plain, and with truncated gradients and activations computed again.

    python benchmarks/clip_memory.py [--size N] [--batch N] [--frames N ...]

Each case is a process of its own, whose peak is what a step adds to what the process needs before it.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

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


def measured(frames: int, more: str, args: argparse.Namespace) -> int:
    """The same in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        cfg = Path(folder) / "clip.cfg"
        cfg.write_text(CFG.format(frames=frames, batch=args.batch, size=args.size, more=more))
        command = [sys.executable, __file__, "--of", str(cfg)]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit code is 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--frames", type=int, nargs="+", default=[5, 9, 17, 33])
    parser.add_argument("--of", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.of:
        print(peak_of_a_step(args.of))
        return 0
    base = 0
    print(f"{'MB of a step':<30}" + "".join(f"{frames:>8}" for frames in args.frames) + " frames")
    for name, more in CASES.items():
        peaks = [measured(frames, more, args) for frames in args.frames]
        base = base or peaks[0]
        print(f"{name:<30}" + "".join(f"{peak / 1e6:>8.0f}" for peak in peaks))
        print(f"{'  times plain of the first':<30}" + "".join(f"{peak / base:>8.2f}" for peak in peaks))
    return 0


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    sys.exit(main())
