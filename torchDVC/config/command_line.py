"""The command lines of ``trainer.py`` and ``tester.py``: every flag, once, as a field of a frozen record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torchDVC.config.flags import flag, parse_flags, switch_flag
from torchDVC.config.run_flags import GROUPS, RATE, RESULTS, TESTING, TRAINING, RunOptions
from torchDVC.config.values import any_path, number, whole
from torchDVC.util.files import environment_folder


@dataclass(frozen=True, kw_only=True)
class TrainOptions(RunOptions):
    """The command line of ``trainer.py``. ``static_rate`` is 0 without ``--static``."""

    start_epoch: int = flag(
        whole(0),
        "first epoch, counted over all stages; enters the stage it falls into",
        group=TRAINING,
        metavar="N",
        default=0,
    )
    end_epoch: int | None = flag(
        whole(1),
        "epoch to stop before (default: the end of the last stage)",
        group=TRAINING,
        metavar="N",
        default=None,
    )
    max_minutes: float | None = flag(
        number(above=True),
        "save and end after this time, to go on later with --restore resume",
        group=TRAINING,
        metavar="N",
        default=None,
    )
    patch_size: int | None = flag(
        whole(16),
        "side of the training crops in pixels (default: what the cfg says)",
        group=TRAINING,
        metavar="N",
        default=None,
    )
    aux: bool = switch_flag("optimise the entropy bottlenecks' quantiles too", group=TRAINING, default=True)
    static: bool = switch_flag("mix in clips that repeat one frame", group=TRAINING)
    static_rate: float = flag(number(0, 1), "with --static, their share", group=TRAINING, metavar="F", default=0.1)
    per_val: int = flag(whole(1), "epochs from one validation to the next", group=TRAINING, metavar="N", default=1)
    per_save: int = flag(whole(1), "epochs from one checkpoint to the next", group=TRAINING, metavar="N", default=1)
    per_keep: int | None = flag(
        whole(1),
        "epochs from one checkpoint that is kept to the next (default: those that end a stage)",
        group=TRAINING,
        metavar="N",
        default=None,
    )
    no_sanity: bool = switch_flag("skip the short validation before training", group=TRAINING)
    final_copy: Path | None = flag(
        any_path, "copy the last checkpoint to this file or folder", group=RESULTS, metavar="PATH", default=None
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.static:
            object.__setattr__(self, "static_rate", 0.0)

    @property
    def folder(self) -> Path:
        """Where the run goes: ``--save_dir``, else ``$LOG/<name>`` (``./log/<name>`` without ``LOG``)."""
        return self.save_dir or environment_folder("LOG", "log") / self.name

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        if self.restore == "resume" and self.start_epoch:
            yield f"--start_epoch {self.start_epoch} has no use with --restore resume, which goes on where the run was"
        if self.end_epoch is not None and self.end_epoch <= self.start_epoch:
            yield f"--end_epoch {self.end_epoch}; expected more than --start_epoch {self.start_epoch}"


@dataclass(frozen=True, kw_only=True)
class TestOptions(RunOptions):
    """The command line of ``tester.py``."""

    __test__ = False

    lmda: float = flag(
        number(above=True), "Lagrangian that the results stand under", group=RATE, metavar="L", default=0.0
    )
    quality: tuple[int, ...] = flag(
        whole(0, 255),
        "quality levels of a variable-rate model, a rate point each (default: that of --lmda)",
        group=RATE,
        metavar="N",
        many=True,
        default=(),
    )
    rdoq: float | None = flag(
        number(),
        "choose latents by rate too: squared quantisation steps that a bit is worth, 0: none (default: what the cfg,"
        " or the model file, says)",
        group=RATE,
        metavar="L",
        default=None,
    )
    frames: int | None = flag(
        whole(1),
        "test at most so many frames of each clip (default: what the cfg says)",
        group=TESTING,
        metavar="N",
        default=None,
    )
    write_stream: bool = switch_flag("write real bitstreams and decode them again", group=RESULTS)
    memory: bool = switch_flag("measure peak memory, in processes of their own", group=RESULTS, default=True)

    @property
    def folder(self) -> Path:
        """Where results go: ``--save_dir``, else ``$LOG/results/<name>`` (``./results/<name>`` without ``LOG``)."""
        return self.save_dir or environment_folder("LOG", ".") / "results" / self.name

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        if self.restore == "resume":
            yield "--restore resume is for trainer.py; expected none or load"
        if not self.lmda and not self.quality:
            yield "--lmda is missing; expected it, or --quality with the levels of a variable-rate model"
        if len(set(self.quality)) < len(self.quality):
            yield f"--quality {' '.join(map(str, self.quality))}: a level stands there twice; expected each once"


_TRAIN_USAGE = """python trainer.py --lmda L --model_config CSV --run_config CFG [flags]

  python trainer.py --lmda 2048 --model_config baseline.csv --run_config baseline/scratch.cfg
  python trainer.py --lmda 2048 --model_config baseline.csv --run_config baseline/scratch.cfg --restore resume"""
_TEST_USAGE = """python tester.py --lmda L --model_config CSV --run_config CFG [flags]

  python tester.py --lmda 2048 --model_config baseline.csv --run_config baseline.cfg --restore load --checkpoint PATH"""
_ENVIRONMENT = "Environment: DATASET, the folder of the data sets; LOG, the folder for results."


def parse_trainer(arguments: Sequence[str]) -> TrainOptions:
    """Read the arguments of ``trainer.py`` (``sys.argv[1:]``). Raises `ConfigError` with all their problems."""
    description = f"Train a learned video codec in the stages of a train cfg.\n{_ENVIRONMENT}"
    return parse_flags(TrainOptions, arguments, groups=GROUPS, usage=_TRAIN_USAGE, description=description)


def parse_tester(arguments: Sequence[str]) -> TestOptions:
    """Read the arguments of ``tester.py`` (``sys.argv[1:]``). Raises `ConfigError` with all their problems."""
    description = f"Measure the rate and distortion of a learned video codec on test clips.\n{_ENVIRONMENT}"
    return parse_flags(TestOptions, arguments, groups=GROUPS, usage=_TEST_USAGE, description=description)
