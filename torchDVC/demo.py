"""The codec in the box in a few minutes: ``make demo``, or ``python -m torchDVC.demo`` in a checkout.

It has no training or testing code of its own: it runs the project's commands, each shown as a user would type it. First
it tests that codec with real files beside x264 and x265, draws their curves and writes the report page. Then it
trains it for the minutes asked, on clips that it has not seen, tests it again, and writes both anew.
"""

from __future__ import annotations

if __name__ == "__main__":
    from torchDVC.util.start import program

    program("torchDVC.demo")

import configparser
import contextlib
import io
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from torchDVC.config.flags import flag, parse_flags
from torchDVC.config.problems import CONFIGS
from torchDVC.config.values import any_path, number
from torchDVC.util.errors import LCPError, run_command
from torchDVC.util.files import write_text

ROOT = Path(__file__).resolve().parents[1]
PRETRAINED = ROOT / "torchDVC" / "pretrained"

QUALITIES = (20, 30, 40, 50)
INTRA_PERIOD = 32
TEST_SEQUENCES = ("clip0", "clip1")
TEST_FRAMES = 24
TEST_PIXELS = 6_000_000
TRAIN_FRAMES = 96
TRAIN_PIXELS = 200_000_000
MAXIMUM_PATCH = 256
FURTHER = {"epochs": "1000", "steps": "20", "lr": "5e-4", "lr_decay": "1"}
"""What the last of the shipped stages has in its place, for training that ends when its time is up."""
ANCHORS = ("x264:medium", "x265:medium")
ANCHOR_QUALITIES = (20, 25, 30, 36)


@dataclass(frozen=True)
class Start:
    """The codec that the demo begins with: model csv, test cfg, train cfg, weights (None: as it is made), levels."""

    model: str
    test: str
    train: str
    weights: Path | None
    qualities: tuple[int, ...] = QUALITIES

    @property
    def name(self) -> str:
        return Path(self.model).stem


def in_the_box() -> Start:
    """The codec in the box, with the weights that it comes with, if it does."""
    weights = sorted(PRETRAINED.glob("*.safetensors"))
    return Start("box.csv", "box.cfg", "box/scratch.cfg", weights[-1] if weights else None)


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
        minutes: how long training takes; testing takes a little more.
        clips: what to train and test on.
        start: the codec to show and to train on.
    """

    out: Path
    minutes: float
    clips: Clips
    start: Start

    def show(self) -> None:
        """Test the codec as it is beside the anchors."""
        anchors = ["-m", "torchDVC.anchors", "--datasets", *self.clips.test_sets, *self._sequences("--seqs"),
                   "--codecs", *ANCHORS, "--qualities", *ANCHOR_QUALITIES, "--tune", "psnr", "--frames",
                   self.clips.frames, "--intra_period", INTRA_PERIOD, "--save_dir", self.results / "anchors"]
        with beside(*anchors):
            self._test(self.start.name, self.start.weights)
        self._draw()

    def train(self) -> None:
        """Train the codec on, and test what comes of it."""
        stage = {"data": self.clips.data, "patch_size": str(self.clips.patch_size), **FURTHER}
        cfg = write_last_stage(CONFIGS / "train" / self.start.train, self.out / "train.cfg", stage)
        run("-m", "torchDVC.trainer", "--lmda", 1, *self._common, "--run_config", cfg, "--save_dir", self.training,
            *self._restored(self.start.weights), "--max_minutes", self.minutes, "--no_sanity", "--num_workers", 0)
        self._test(f"{self.start.name} trained on", self.checkpoint)
        self._draw()

    @property
    def results(self) -> Path:
        return self.out / "results"

    @property
    def training(self) -> Path:
        return self.out / "train"

    @property
    def checkpoint(self) -> Path:
        """What training ends with."""
        return self.training / "checkpoints" / "last.safetensors"

    @property
    def figure(self) -> Path:
        return self.out / "rd.png"

    @property
    def page(self) -> Path:
        return self.out / "report.html"

    def _test(self, name: str, weights: Path | None) -> None:
        run("-m", "torchDVC.tester", "--quality", *self.start.qualities, *self._common,
            "--run_config", self.start.test, "--frames", self.clips.frames, "--experiment_name", name,
            "--save_dir", self.results / name.replace(" ", "_"), "--write_stream", "--no-memory",
            *self._restored(weights))

    @staticmethod
    def _restored(weights: Path | None) -> list[object]:
        return ["--restore", "load", "--checkpoint", weights] if weights else []

    @property
    def _common(self) -> list[object]:
        """The flags of both trainer and tester."""
        return ["--intra_period", INTRA_PERIOD, "--gop_size", 1, "--model_config", self.start.model, "--no_comet",
                "--test_datasets", *self.clips.test_sets, *self._sequences("--test_seqs")]

    def _sequences(self, name: str) -> list[str]:
        return [name, *self.clips.test_sequences] if self.clips.test_sequences else []

    def _draw(self) -> None:
        run(ROOT / "plots" / "plot.py", self.results, "--out", self.figure)
        trained = [self.training] if (self.training / "metrics.csv").is_file() else []
        run("-m", "torchDVC.report", self.results, *trained, "--out", self.page)


def write_last_stage(shipped: Path, path: Path, values: Mapping[str, str]) -> Path:
    """Write the last stage of a shipped cfg, with other values in it."""
    cfg = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=("#",))
    cfg.optionxform = str  # type: ignore[assignment,method-assign]
    cfg.read(shipped, encoding="utf-8")
    *others, last = cfg.sections()[1:]
    for section in others:
        del cfg[section]
    cfg[last].update(values)
    text = io.StringIO()
    cfg.write(text)
    write_text(path, text.getvalue())
    return path


def run(*arguments: object) -> None:
    """Show a Python command line and run it; raises `LCPError` when it fails, having said why itself."""
    _check(subprocess.run(_command(arguments), env=_environment(), check=False).returncode)


@contextlib.contextmanager
def beside(*arguments: object) -> Iterator[None]:
    """Show a Python command line and run it while the body runs; what it says comes when both have ended.

    Raises `LCPError` when it fails; it ends where the body fails.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
        command = _command(arguments, " &")
        with subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, env=_environment()) as process:
            try:
                yield
            except BaseException:
                process.terminate()
                raise
        said.seek(0)
        print(f"\n{said.read().rstrip()}", flush=True)
    _check(process.returncode)


def _command(arguments: Sequence[object], mark: str = "") -> list[str]:
    """A Python command line, shown as it would be typed."""
    words = [str(argument) for argument in arguments]
    print(f"\n$ python {shlex.join(words)}{mark}", flush=True)
    return [sys.executable, *words]


def _environment() -> dict[str, str]:
    """Threads that wait for others sleep, as two commands share the processor."""
    return {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}


def _check(code: int) -> None:
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
    start = in_the_box()
    clips = own_clips(args.video, args.out) if args.video else Clips()
    demo = Demo(args.out, args.minutes, clips, start)
    demo.show()
    print(f"\nthe codec in the box beside x264 and x265: {demo.figure}, and the report page: {demo.page}")
    print(f"now it is trained for {args.minutes:g} minutes", flush=True)
    demo.train()
    print(f"\nthe R-D curves: {demo.figure}\nthe report page: {demo.page}")
    print(f"their numbers: {demo.results}/*/rd.csv, with streams and pictures beside them")
    print(f"the codec that was trained on: {demo.checkpoint}")
