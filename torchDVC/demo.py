"""A learned codec in a few minutes: ``make demo``, or ``python -m torchDVC.demo`` in a checkout.

It has no training or testing code of its own. It writes short versions of the shipped configuration and runs the
project's commands on them, each shown as a user would type it: train the baseline in its stages, adapt it to higher and
higher Lagrangians, test all of them, measure x264 on the same frames, draw the curves.
"""

from __future__ import annotations

import configparser
import csv
import io
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

from torchDVC.config.flags import flag, parse_flags
from torchDVC.config.problems import CONFIGS
from torchDVC.config.values import any_path, number
from torchDVC.util.errors import LCPError, run_command
from torchDVC.util.files import write_text

ROOT = Path(__file__).resolve().parents[1]
MODEL = "baseline.csv"

BASE_LMDA = 512
LMDAS = (128, 512, 2048)
SHORT = {"epochs": "2", "lr_decay": "0.3", "batch_size": "2", "aux_lr": "3e-2"}
"""What every stage has in place of the shipped values: short runs want many small steps and high learning rates."""
EPOCHS = int(SHORT["epochs"])
PROBE_STEPS = 3
PROBE_SHARE = 0.4
"""The most that the probe may take, of the time for training, which it comes on top of."""
SLACK = 1.2
"""A run is stopped after so many times its share, should the machine have become slower since the probe."""
MINIMUM_STEPS = 2
MAXIMUM_PATCH = 128


@dataclass(frozen=True)
class Part:
    """A stage's share of the demo's training time, and its learning rate."""

    share: float
    lr: float


TRAINING = {
    "intra": Part(0.14, 3e-4),
    "estimation": Part(0.16, 5e-4),
    "motion": Part(0.08, 3e-4),
    "compensation": Part(0.03, 4e-4),
    "residual": Part(0.11, 3e-4),
    "joint": Part(0.13, 3e-4),
    "reconstructed": Part(0.03, 2e-4),
    "through_time": Part(0.02, 1e-4),
}
"""The shipped stages, trained with `BASE_LMDA`."""
ADAPTING = {"intra": Part(0.055, 3e-4), "joint": Part(0.045, 3e-4)}
"""The stages that adapt the result to the first of `LMDAS`, and each result to the next."""

INTRA_PERIOD = 8
TEST_SEQUENCES = ("clip0", "clip1")
TEST_FRAMES = 16
TEST_PIXELS = 6_000_000
TRAIN_FRAMES = 96
TRAIN_PIXELS = 200_000_000
ANCHOR = "x264:veryfast"
ANCHOR_QUALITIES = (28, 34, 40, 46)


@dataclass(frozen=True)
class Pace:
    """What a stage is fastest in on this machine, and the seconds of a step."""

    seconds: float = 1.0
    precision: str = "auto"
    memory_format: str = "auto"


@dataclass(frozen=True)
class Clips:
    """What to train and test on: values for the cfg keys ``data``, ``frames`` and ``patch_size``, and test sets."""

    data: str = "procedural"
    test_sets: tuple[str, ...] = ("procedural",)
    test_sequences: tuple[str, ...] = TEST_SEQUENCES
    frames: int = TEST_FRAMES
    patch_size: int = MAXIMUM_PATCH


def own_clips(video: Path, folder: Path) -> Clips:
    """Cut a video into ``test.y4m``, its first frames, and ``train.y4m``, the next ones (all, if it is short)."""
    from torchDVC.dataset.video import open_video, open_writer

    reader = open_video(video)
    width, height = reader.info.width, reader.info.height
    tested = max(3, min(TEST_FRAMES, TEST_PIXELS // (width * height)))
    trained = max(TEST_FRAMES, min(TRAIN_FRAMES, TRAIN_PIXELS // (width * height)))
    frames = list(islice(reader, tested + trained))
    parts = {"test": frames[:tested], "train": frames[tested:] if len(frames) >= 2 * tested else frames}
    for name, part in parts.items():
        with open_writer(folder / f"{name}.y4m", reader.info) as writer:
            for frame in part:
                writer.write(frame)
    patch = max(32, min(MAXIMUM_PATCH, *(side // 32 * 32 for side in (width, height))))
    return Clips(str(folder / "train.y4m"), (str(folder / "test.y4m"),), (), len(parts["test"]), patch)


@dataclass(frozen=True)
class Demo:
    """One run of the demo.

    Args:
        out: folder of everything it writes.
        minutes: how long training takes; the probe before it and testing take a little more.
        clips: what to train and test on.
    """

    out: Path
    minutes: float
    clips: Clips

    def run(self) -> tuple[Path, Path]:
        """Train, test, compare, draw and report; returns the paths of the figure and of the report page."""
        paces = self._probe()
        self._train("base", BASE_LMDA, self._train_cfg("train", TRAINING, paces), *self._bound(TRAINING))
        adapt = self._train_cfg("adapt", ADAPTING, paces)
        before = "base"
        for lmda in LMDAS:
            start = ("--restore", "load", "--checkpoint", str(self.checkpoint(before)))
            self._train(f"{lmda}", lmda, adapt, *start, *self._bound(ADAPTING))
            before = f"{lmda}"
        for lmda in LMDAS:
            self._test(lmda)
        self._anchor()
        return self._draw(), self._report()

    def checkpoint(self, run: str) -> Path:
        """The last checkpoint of a run, which is named by its Lagrangian, or ``base``."""
        return self.out / "train" / run / "checkpoints" / "last.safetensors"

    def _bound(self, parts: Mapping[str, Part]) -> tuple[str, ...]:
        return "--max_minutes", f"{SLACK * self.minutes * sum(part.share for part in parts.values()):.4g}"

    def _probe(self) -> dict[str, Pace]:
        """The pace of each stage on this machine, by running a few steps; each stage's last epoch counts.

        Stages that the probe has no time for are taken to be as slow as the slowest, in what is chosen when they run.
        """
        cfg = self._train_cfg("probe", TRAINING, {})
        self._train("probe", BASE_LMDA, cfg, "--per_save", "1000", "--max_minutes", f"{PROBE_SHARE * self.minutes:.4g}")
        with open(self.out / "train" / "probe" / "metrics.csv", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["loss"]]
        ends = {(row["stage"], row["epoch"]): row for row in rows}
        paces = {}
        for before, after in pairwise(ends.values()):
            seconds = (float(after["seconds"]) - float(before["seconds"])) / PROBE_STEPS
            paces[after["stage"]] = Pace(seconds, *after["arithmetic"].split())
        slowest = Pace(max((pace.seconds for pace in paces.values()), default=Pace.seconds))
        return {stage: paces.get(stage, slowest) for stage in TRAINING}

    def _steps(self, part: Part, pace: Pace) -> int:
        """Steps in each epoch of a stage that fill its share of the time."""
        return max(MINIMUM_STEPS, int(part.share * self.minutes * 60 / pace.seconds / EPOCHS))

    def _train_cfg(self, name: str, parts: Mapping[str, Part], paces: Mapping[str, Pace]) -> Path:
        """A train cfg of the shipped stages ``parts`` at their paces; stages of none have `PROBE_STEPS` in an epoch."""
        common = {**SHORT, "patch_size": str(self.clips.patch_size), "data": self.clips.data}
        stages = {}
        for stage, part in parts.items():
            pace = paces.get(stage, Pace())
            steps = self._steps(part, pace) if stage in paces else PROBE_STEPS
            own = {"lr": part.lr, "lr.motion_estimator": part.lr, "steps": steps, "precision": pace.precision,
                   "memory_format": pace.memory_format}
            stages[stage] = common | {key: str(value) for key, value in own.items()}
        return write_cfg(CONFIGS / "train" / "baseline" / "scratch.cfg", self.out / f"{name}.cfg", {}, stages)

    def _train(self, name: str, lmda: float, cfg: Path, *flags: str) -> None:
        run("-m", "torchDVC.trainer", *self._flags(lmda, cfg), "--save_dir", self.out / "train" / name,
            "--no_sanity", "--per_val", "1000", "--num_workers", "0", *flags)

    def _test(self, lmda: float) -> None:
        header = {"frames": str(self.clips.frames)}
        cfg = write_cfg(CONFIGS / "test" / "baseline.cfg", self.out / "test.cfg", header, {"baseline": {}})
        run("-m", "torchDVC.tester", *self._flags(lmda, cfg), "--experiment_name", "baseline",
            "--save_dir", self.out / "results" / f"baseline_{lmda}",
            "--restore", "load", "--checkpoint", self.checkpoint(f"{lmda}"))

    def _flags(self, lmda: float, cfg: Path) -> list[object]:
        """The flags of both trainer and tester."""
        sequences = ["--test_seqs", *self.clips.test_sequences] if self.clips.test_sequences else []
        return ["--lmda", lmda, "--intra_period", INTRA_PERIOD, "--gop_size", 1, "--model_config", MODEL,
                "--run_config", cfg, "--no_comet", "--test_datasets", *self.clips.test_sets, *sequences]

    def _anchor(self) -> None:
        sequences = ["--seqs", *self.clips.test_sequences] if self.clips.test_sequences else []
        run("-m", "torchDVC.anchors", "--datasets", *self.clips.test_sets, *sequences,
            "--codecs", ANCHOR, "--qualities", *ANCHOR_QUALITIES, "--frames", self.clips.frames,
            "--intra_period", INTRA_PERIOD, "--save_dir", self.out / "results" / "x264")

    def _draw(self) -> Path:
        figure = self.out / "rd.png"
        names = [*(f"baseline_{lmda}" for lmda in LMDAS), "x264"]
        run(ROOT / "plots" / "plot.py", *(self.out / "results" / name / "rd.csv" for name in names), "--out", figure)
        return figure

    def _report(self) -> Path:
        page = self.out / "report.html"
        run("-m", "torchDVC.report", self.out / "results", "--out", page)
        return page


def write_cfg(shipped: Path, path: Path, header: Mapping[str, str], stages: Mapping[str, Mapping[str, str]]) -> Path:
    """Write a shipped cfg with other values in its header, and of its stages only ``stages``, with these values."""
    cfg = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=("#",))
    cfg.optionxform = str  # type: ignore[assignment,method-assign]
    cfg.read(shipped, encoding="utf-8")
    cfg["header"].update(header)
    for section in cfg.sections()[1:]:
        name = section.removeprefix("process:").strip()
        if name in stages:
            cfg[section].update(stages[name])
        else:
            del cfg[section]
    text = io.StringIO()
    cfg.write(text)
    write_text(path, text.getvalue())
    return path


def run(*arguments: object) -> None:
    """Show a Python command line and run it; raises `LCPError` when it fails, having said why itself."""
    words = [str(argument) for argument in arguments]
    print(f"\n$ python {shlex.join(words)}", flush=True)
    code = subprocess.run([sys.executable, *words], check=False).returncode
    if code:
        raise LCPError(f"the demo stops: this command ended with exit code {code}")


@dataclass(frozen=True, kw_only=True)
class DemoOptions:
    """The command line of ``python -m torchDVC.demo``."""

    video: Path | None = flag(any_path, "your own clip (default: embedded clips)", metavar="FILE", default=None)
    minutes: float = flag(number(above=True), "training time", metavar="M", default=5.0)
    out: Path = flag(any_path, "folder for everything", metavar="DIR", default=Path("demo"))


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run_command(lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> None:
    usage = "python -m torchDVC.demo [flags]"
    args = parse_flags(DemoOptions, argv, usage=usage, description=(__doc__ or "").partition("\n")[0])
    if not (ROOT / "plots" / "plot.py").is_file():
        raise LCPError(f"{ROOT}: no plots/plot.py here; expected the demo to run in a checkout")
    clips = own_clips(args.video, args.out) if args.video else Clips()
    demo = Demo(args.out, args.minutes, clips)
    figure, page = demo.run()
    print(f"\nthe R-D curve: {figure}\nthe report page: {page}")
    print(f"their numbers: {args.out / 'results'}/*/rd.csv, with pictures beside them")
    print(f"the codec: {demo.checkpoint(str(LMDAS[-1]))}")
    print("Minutes of training make a codec that works; one that wins takes days.")


if __name__ == "__main__":
    sys.exit(main())
