"""The command lines of ``trainer.py`` and ``tester.py``: every flag, once, as a field of a frozen record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torchDVC.config import migration
from torchDVC.config.clip_flags import CLIPS, ClipFlags
from torchDVC.config.flags import flag, parse_flags, switch_flag
from torchDVC.config.modes import mode_string
from torchDVC.config.values import Unexpected, any_path, choice, existing_path, number, whole, words
from torchDVC.util.files import environment_folder

_RUN = "what to run"
_RATE = "rate and distortion"
_STRUCTURE = "coding structure"
_TRAINING = "training"
_TESTING = "test clips"
_RESTORE = "starting from a checkpoint"
_RESULTS = "results and logging"
_MACHINE = "machine"
_GROUPS = (_RUN, _RATE, _STRUCTURE, _TRAINING, _TESTING, CLIPS, _RESTORE, _RESULTS, _MACHINE)


def _power_of_two(text: str) -> int:
    expected = "1 (low-delay P) or a power of two (hierarchical B)"
    try:
        value = whole(1)(text)
    except Unexpected:
        value = 0
    if value < 1 or value & (value - 1):
        raise Unexpected(expected)
    return int(value)


def _restore(text: str) -> str:
    if text == migration.RESTORE:
        raise Unexpected(f"load, with --new_modules for what the checkpoint lacks, see {migration.PAGE}")
    return str(choice("none", "load", "resume")(text))


def _assignment(text: str) -> str:
    if not text.partition("=")[0].strip() or "=" not in text:
        raise Unexpected("KEY=VALUE, a key of the cfg and its value")
    return text


def _folder_name(text: str) -> str:
    if Path(words(text)).name != text or text == "..":
        raise Unexpected("a name without '/', since results go to a folder of that name")
    return text


@dataclass(frozen=True, kw_only=True)
class RunOptions(ClipFlags):
    """Flags that training and testing share.

    ``i_lmda`` is ``lmda`` where it is not given. `lmda_scale` is what ``--ssim`` multiplies every Lagrangian by.
    """

    model_config: str = flag(words, "model csv: a name under configs/model, or a path", group=_RUN, metavar="CSV")
    run_config: str = flag(
        words, "train or test cfg: a name under configs/train or configs/test, or a path", group=_RUN, metavar="CFG"
    )
    set: tuple[str, ...] = flag(
        _assignment, "keys of the cfg, in every stage: --set data=clips steps=20", group=_RUN, metavar="KEY=VALUE",
        many=True, default=(),
    )
    print_model: bool = switch_flag("print parameters and kMAC/pixel of every module", group=_RUN)

    lmda: float = flag(
        number(above=True), "Lagrangian: the loss is R + lmda * D; several make a curve", group=_RATE, metavar="L"
    )
    i_lmda: float = flag(
        number(above=True), "Lagrangian of I frames (default: that of --lmda)", group=_RATE, metavar="L", default=None
    )
    ssim: bool = switch_flag("distortion is 1 - MS-SSIM instead of the squared error", group=_RATE)
    ssim_factor: float = flag(
        number(above=True), "with --ssim, multiplies every Lagrangian", group=_RATE, metavar="F", default=1 / 32
    )

    intra_period: int = flag(
        whole(0), "distance of I frames; 0: only the first is one", group=_STRUCTURE, metavar="N", default=32
    )
    gop_size: int = flag(
        _power_of_two, "1: low-delay P; 2, 4, 8, …: hierarchical B", group=_STRUCTURE, metavar="N", default=1
    )

    test_datasets: tuple[str, ...] = flag(
        words,
        "UVG, HEVC-B … HEVC-E, MCL-JCV, procedural, or any folder or file (default: what the cfg says)",
        group=_TESTING,
        metavar="NAME",
        many=True,
        default=(),
    )
    test_seqs: tuple[str, ...] = flag(
        words, "only these sequences of them", group=_TESTING, metavar="NAME", many=True, default=()
    )

    restore: str = flag(
        _restore,
        "load: take the weights of --checkpoint; resume: go on with the run it is of",
        group=_RESTORE,
        metavar="{none,load,resume}",
        default="none",
    )
    checkpoint: Path | None = flag(
        existing_path, "checkpoint to start from", group=_RESTORE, metavar="PATH", default=None
    )
    ema: bool = switch_flag("load the moving averages of the weights that a stage with ema kept", group=_RESTORE)
    new_modules: str = flag(
        mode_string,
        "codes of modules that the checkpoint of --restore load may lack; they start as the csv has them",
        group=_RESTORE,
        metavar="CODES",
        default="",
    )
    not_load_I: bool = switch_flag("leave the intra codec's weights out of what is loaded", group=_RESTORE)

    experiment_name: str | None = flag(
        _folder_name,
        "name of the run, its folder and its curve (default: model and lmda)",
        group=_RESULTS,
        metavar="NAME",
        default=None,
    )
    experiment_key: str | None = flag(
        words, "key of a Comet experiment to go on with", group=_RESULTS, metavar="KEY", default=None
    )
    project_name: str = flag(words, "Comet project", group=_RESULTS, metavar="NAME", default="torchDVC")
    save_dir: Path | None = flag(any_path, "folder for the results", group=_RESULTS, metavar="DIR", default=None)
    no_image: bool = switch_flag("write no pictures", group=_RESULTS)
    no_comet: bool = switch_flag("log nothing to Comet, not even offline", group=_RESULTS)

    device: str = flag(
        choice("auto", "cpu", "cuda"),
        "where to compute; auto takes a GPU where there is one",
        group=_MACHINE,
        metavar="{auto,cpu,cuda}",
        default="auto",
    )
    gpu: int = flag(whole(1), "number of GPUs, each with batches of its own", group=_MACHINE, metavar="N", default=1)
    precision: str | None = flag(
        choice("auto", "32", "bf16-mixed", "16-mixed"),
        "arithmetic of the networks (default: what the cfg says)",
        group=_MACHINE,
        metavar="{auto,32,bf16-mixed,16-mixed}",
        default=None,
    )
    compile: bool = switch_flag("compile the networks (torch.compile)", group=_MACHINE)
    num_workers: int = flag(
        whole(0, 256), "processes that load data; 0 loads in the main one", group=_MACHINE, metavar="N", default=2
    )
    seed: int = flag(whole(0), "of everything random", group=_MACHINE, metavar="N", default=0)

    def __post_init__(self) -> None:
        if not self.i_lmda:
            object.__setattr__(self, "i_lmda", self.lmda)

    @property
    def lmda_scale(self) -> float:
        """What every Lagrangian is multiplied by: ``ssim_factor`` with ``--ssim``, else 1."""
        return self.ssim_factor if self.ssim else 1.0

    @property
    def name(self) -> str:
        """The run's name: ``--experiment_name``, or model and Lagrangian."""
        rate = f"_{self.lmda:g}" if self.lmda else ""
        return self.experiment_name or Path(self.model_config).stem + rate + "_ssim" * self.ssim

    def problems(self) -> Iterator[str]:
        """What is wrong with combinations of flags."""
        if self.restore == "load" and self.checkpoint is None:
            yield "--restore load needs --checkpoint; expected the path of one"
        if self.restore == "none" and self.checkpoint is not None:
            yield "--checkpoint has no use without --restore; expected --restore load"
        if self.restore != "load" and self.ema:
            yield "--ema has no use without --restore load; expected both or neither"
        if self.restore != "load" and self.new_modules:
            yield "--new_modules has no use without --restore load; expected both or neither"
        if self.restore != "load" and self.not_load_I:
            yield "--not_load_I has no use without --restore load; expected both or neither"


@dataclass(frozen=True, kw_only=True)
class TrainOptions(RunOptions):
    """The command line of ``trainer.py``. ``static_rate`` is 0 without ``--static``."""

    start_epoch: int = flag(
        whole(0),
        "first epoch, counted over all stages; enters the stage it falls into",
        group=_TRAINING,
        metavar="N",
        default=0,
    )
    end_epoch: int | None = flag(
        whole(1),
        "epoch to stop before (default: the end of the last stage)",
        group=_TRAINING,
        metavar="N",
        default=None,
    )
    max_minutes: float | None = flag(
        number(above=True),
        "save and end after this time, to go on later with --restore resume",
        group=_TRAINING,
        metavar="N",
        default=None,
    )
    patch_size: int | None = flag(
        whole(16),
        "side of the training crops in pixels (default: what the cfg says)",
        group=_TRAINING,
        metavar="N",
        default=None,
    )
    aux: bool = switch_flag("optimise the entropy bottlenecks' quantiles too", group=_TRAINING, default=True)
    static: bool = switch_flag("mix in clips that repeat one frame", group=_TRAINING)
    static_rate: float = flag(number(0, 1), "with --static, their share", group=_TRAINING, metavar="F", default=0.1)
    per_val: int = flag(whole(1), "epochs from one validation to the next", group=_TRAINING, metavar="N", default=1)
    per_save: int = flag(whole(1), "epochs from one checkpoint to the next", group=_TRAINING, metavar="N", default=1)
    per_keep: int | None = flag(
        whole(1),
        "epochs from one checkpoint that is kept to the next (default: those that end a stage)",
        group=_TRAINING,
        metavar="N",
        default=None,
    )
    no_sanity: bool = switch_flag("skip the short validation before training", group=_TRAINING)
    final_copy: Path | None = flag(
        any_path, "copy the last checkpoint to this file or folder", group=_RESULTS, metavar="PATH", default=None
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
        number(above=True), "Lagrangian that the results stand under", group=_RATE, metavar="L", default=0.0
    )
    quality: tuple[int, ...] = flag(
        whole(0, 255),
        "quality levels of a variable-rate model, a rate point each (default: that of --lmda)",
        group=_RATE,
        metavar="N",
        many=True,
        default=(),
    )
    rdoq: float | None = flag(
        number(),
        "choose latents by rate too: squared quantisation steps that a bit is worth, 0: none (default: what the cfg,"
        " or the model file, says)",
        group=_RATE,
        metavar="L",
        default=None,
    )
    frames: int | None = flag(
        whole(1),
        "test at most so many frames of each clip (default: what the cfg says)",
        group=_TESTING,
        metavar="N",
        default=None,
    )
    write_stream: bool = switch_flag("write real bitstreams and decode them again", group=_RESULTS)
    memory: bool = switch_flag("measure peak memory, in processes of their own", group=_RESULTS, default=True)

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
    return parse_flags(TrainOptions, arguments, groups=_GROUPS, usage=_TRAIN_USAGE, description=description)


def parse_tester(arguments: Sequence[str]) -> TestOptions:
    """Read the arguments of ``tester.py`` (``sys.argv[1:]``). Raises `ConfigError` with all their problems."""
    description = f"Measure the rate and distortion of a learned video codec on test clips.\n{_ENVIRONMENT}"
    return parse_flags(TestOptions, arguments, groups=_GROUPS, usage=_TEST_USAGE, description=description)
