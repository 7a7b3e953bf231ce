"""What a choice of training is worth: one run for each value of a key, side by side, for equal time or equal steps.

    python benchmarks/training_runs.py update=frame update=clip --minutes 10 --frames 5
    python benchmarks/training_runs.py precision=32 precision=bf16-mixed --steps 400 --seeds 0 1
    python benchmarks/training_runs.py … --data vimeo90k --test_datasets uvg

All runs of a seed train the same model on the same clips at the same time, on one thread each, and are then tested on
the same sequences, by real files. Printed are the mean loss of each quarter of the time (the loss curve), and what the
test gives. Its loss is the rate plus the Lagrangian times the squared error: the number to compare.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from torchDVC.config.flags import argument, flag, parse_flags
from torchDVC.config.values import Unexpected, number, whole, words
from torchDVC.results.rows import read_rows
from torchDVC.results.tables import markdown_table
from torchDVC.util.errors import DataError, run_command

FOLDER = Path(__file__).resolve().parents[1] / "torchDVC"
PARTS = 4
CFG = """\
[process: all]
data = {data}
imode = i
pmode = emcr
RNN = 2
frames = {frames}
batch_size = {batch}
patch_size = {size}
steps = {steps}
epochs = {epochs}
lr = {lr}
precision = 32
memory_format = channels_last
"""
FOR_EVER = 1_000_000


def setting(value: str) -> str:
    """KEY=VALUE of a stage."""
    if not all(part.strip() for part in value.partition("=")[::2]):
        raise Unexpected("KEY=VALUE")
    return value


@dataclass(frozen=True, kw_only=True)
class Options:
    """The command line."""

    settings: tuple[str, ...] = argument(setting, "what the runs differ in", metavar="KEY=VALUE", many=True)
    model_config: str = flag(words, "csv of the model", default="baseline.csv")
    lmda: float = flag(number(above=True), "Lagrangian", metavar="L", default=1024)
    minutes: float = flag(number(0), "to train for; 0: as many as --steps take", metavar="M", default=0)
    steps: int = flag(whole(1), "of each run, where no minutes are given", metavar="N", default=400)
    seeds: tuple[int, ...] = flag(whole(0), "a run of each setting for each", metavar="N", many=True, default=(0,))
    data: str = flag(words, "to train on", default="procedural")
    frames: int = flag(whole(2), "of a clip", metavar="N", default=3)
    batch: int = flag(whole(1), "clips of a step", metavar="N", default=2)
    size: int = flag(whole(64), "side of the crops in pixels", metavar="N", default=96)
    lr: float = flag(number(above=True), "learning rate", metavar="R", default=3e-4)
    test_datasets: tuple[str, ...] = flag(words, "to test on", metavar="NAME", many=True, default=("procedural",))
    test_frames: int = flag(whole(2), "of each sequence of the test", metavar="N", default=8)
    save_dir: Path = flag(Path, "where all of it is kept", default=Path("training_runs"))


def main() -> int:
    """The command line; returns the exit code."""
    usage = "python benchmarks/training_runs.py KEY=VALUE KEY=VALUE [flags]"
    return run_command(lambda: compare(parse_flags(Options, None, usage=usage, description=__doc__ or "")))


def compare(options: Options) -> None:
    """Train and test all, and print the table."""
    options.save_dir.mkdir(parents=True, exist_ok=True)
    timed = options.minutes > 0
    values = {name: getattr(options, name) for name in ("data", "frames", "batch", "size", "lr")}
    cfg = options.save_dir.resolve() / "stage.cfg"
    steps = {"steps": 100, "epochs": FOR_EVER} if timed else {"steps": options.steps, "epochs": 1}
    cfg.write_text(CFG.format(**values, **steps), encoding="utf-8")
    lines = []
    for seed in options.seeds:
        runs = [(value, options.save_dir.resolve() / f"{value}.{seed}") for value in options.settings]
        together([training(options, cfg, value, folder, seed) for value, folder in runs])
        together([testing(options, folder) for _, folder in runs])
        lines += [[value, str(seed), *curve(folder), *tested(options, folder)] for value, folder in runs]
    quarters = [f"loss {k + 1}/{PARTS}" for k in range(PARTS)]
    header = ["setting", "seed", "steps", "minutes", *quarters, "bpp", "PSNR-RGB", "test loss"]
    print(markdown_table(header, lines), end="")


def training(options: Options, cfg: Path, value: str, folder: Path, seed: int) -> list[str]:
    """The command line of one run."""
    bound = ["--max_minutes", str(options.minutes)] if options.minutes else []
    return [
        "trainer.py", *model_of(options), "--run_config", str(cfg), "--set", value, "--seed", str(seed),
        "--save_dir", str(folder), "--num_workers", "0", "--no_sanity", "--per_val", str(FOR_EVER),
        "--per_save", str(FOR_EVER), "--test_datasets", "procedural", *bound,
    ]  # fmt: skip


def testing(options: Options, folder: Path) -> list[str]:
    """The command line of the test of a run."""
    return [
        "tester.py", *model_of(options), "--run_config", "baseline.cfg", "--restore", "load", "--checkpoint",
        str(folder), "--save_dir", str(folder / "test"), "--test_datasets", *options.test_datasets, "--frames",
        str(options.test_frames), "--no-memory",
    ]  # fmt: skip


def model_of(options: Options) -> list[str]:
    """What both command lines say of the model, and that nothing is drawn or sent."""
    return ["--lmda", f"{options.lmda:g}", "--model_config", options.model_config, "--no_comet", "--no_image"]


def together(commands: Sequence[Sequence[str]]) -> None:
    """Run programs at the same time, on one thread each; the first that fails ends all with its last line."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    programs = [
        subprocess.Popen([sys.executable, *command], cwd=FOLDER, env=environment, stdout=subprocess.DEVNULL,
                         stderr=subprocess.PIPE, text=True)
        for command in commands
    ]  # fmt: skip
    try:
        for program in programs:
            _, said = program.communicate()
            if program.returncode:
                raise DataError(said.strip().splitlines()[-1] if said.strip() else f"exit code {program.returncode}")
    finally:
        for program in programs:
            program.terminate()


def curve(folder: Path) -> Iterator[str]:
    """Steps and minutes of a run, and the mean loss in each part of its time."""
    (path,) = folder.rglob("metrics.csv")
    with path.open(newline="", encoding="utf-8") as file:
        points = [(int(row["step"]), float(row["seconds"]), row["loss"]) for row in csv.DictReader(file)]
    trained = np.array([(seconds, float(loss)) for _, seconds, loss in points if loss])
    yield str(points[-1][0] + 1)
    yield f"{points[-1][1] / 60:.1f}"
    part = np.minimum(trained[:, 0] / trained[-1, 0] * PARTS, PARTS - 1).astype(int)
    for k in range(PARTS):
        yield f"{trained[part == k, 1].mean():.3f}" if (part == k).any() else ""


def tested(options: Options, folder: Path) -> Iterator[str]:
    """Mean rate, PSNR and loss of a test's sequences."""
    rows = read_rows(folder / "test" / "rd.csv")
    rates, quality = np.array([row.rate for row in rows]), np.array([row.psnr_rgb for row in rows])
    yield f"{rates.mean():.4f}"
    yield f"{quality.mean():.3f}"
    yield f"{(rates + options.lmda * 10 ** (-quality / 10)).mean():.4f}"


if __name__ == "__main__":
    sys.path[0] = str(FOLDER.parent)
    sys.exit(main())
