"""The flags of the DVC command line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torchDVC.config.command_line import TestOptions, TrainOptions
from torchDVC.config.flags import flag, parse_flags, same_flag, switch_flag
from torchDVC.config.values import Unexpected, choice, existing_file, existing_path, whole, words

LAMBDAS = (0.0018, 0.0035, 0.0067, 0.0130, 0.0250, 0.0483, 0.0932, 0.1800)
"""λ of quality levels 1 to 8, those of compressai's zoo: the loss is R + 255² λ D, with D on [0, 1]."""

LAGRANGIANS = {level: 255**2 * value for level, value in enumerate(LAMBDAS, start=1)}
"""By quality level, what the engine calls lmda."""

NAME = "DVC"
NO_WEIGHTS = "none"

_CODEC = "the codec"
_RUN = "what to do with it"
_RESTORE = "starting from an earlier run"


def _weights(text: str) -> Path | str:
    if text == NO_WEIGHTS:
        return NO_WEIGHTS
    try:
        return existing_path(text)
    except Unexpected:
        raise Unexpected(f"a file or folder that exists, or {NO_WEIGHTS}") from None


def level_name(codec: str, level: int) -> str:
    """The name of a codec's quality level."""
    return f"{codec}_q{level}"


@dataclass(frozen=True, kw_only=True)
class DVCOptions:
    """The command line of ``DVC.py``; flags that the engine has too mean the same."""

    MENet: str = flag(
        words, "motion estimator: SPy (default), PWC, or a module type", group=_CODEC, metavar="NAME", default="SPy"
    )
    motion_coder_conf: Path = flag(existing_file, "yml of the motion coder", group=_CODEC, metavar="YML")
    residual_coder_conf: Path = flag(existing_file, "yml of the residual coder", group=_CODEC, metavar="YML")
    intra_coder_conf: Path | None = flag(
        existing_file, "yml of the intra coder (default: that of compressai's zoo for the quality level)",
        group=_CODEC, metavar="YML", default=None,
    )  # fmt: skip
    intra_weights: Path | str | None = flag(
        _weights, "weights of the intra coder, or none (default: those of compressai's zoo)",
        group=_CODEC, metavar="PATH", default=None,
    )  # fmt: skip
    ME_weights: Path | str | None = flag(
        _weights, "weights of the motion estimator, or none: start untrained (default: those in ./models)",
        group=_CODEC, metavar="PATH", default=None,
    )  # fmt: skip
    Motion_weights: Path | None = flag(
        existing_path, "weights of the motion coder", group=_CODEC, metavar="PATH", default=None
    )
    MC_weights: Path | None = flag(
        existing_path, "weights of the motion compensator", group=_CODEC, metavar="PATH", default=None
    )
    Residual_weights: Path | None = flag(
        existing_path, "weights of the residual coder", group=_CODEC, metavar="PATH", default=None
    )
    quality_level: int = flag(
        whole(1, len(LAMBDAS)), f"1 to {len(LAMBDAS)}: the Lagrangian (default 6)", group=_CODEC, metavar="Q",
        short="q", default=6,
    )  # fmt: skip

    train_conf: Path | None = flag(
        existing_file, "json of the training phases", group=_RUN, metavar="JSON", default=None
    )
    test: bool = switch_flag("test instead of training", group=_RUN)
    gop: int = flag(whole(1), "with --test, frames from one I frame to the next", group=_RUN, metavar="N", default=12)
    gpus: int | None = flag(whole(0), "number of GPUs (default: one, where there is one)", group=_RUN, metavar="N",
                            default=None)
    show: bool = switch_flag("print the csv, json and cfg files that this amounts to, and do nothing", group=_RUN)

    restore: str = flag(
        choice("none", "load", "resume"), "load: start from the weights of an earlier run; resume: go on with it",
        group=_RESTORE, metavar="{none,load,resume}", default="none",
    )  # fmt: skip
    restore_exp_key: str | None = flag(
        words, "that run: its experiment key, its name, or its folder (default: that of --experiment_name)",
        group=_RESTORE, metavar="KEY", default=None,
    )  # fmt: skip
    restore_exp_epoch: int | None = flag(
        whole(1), "the epoch after which to take it (default: the last)", group=_RESTORE, metavar="N", default=None
    )

    project_name: str = same_flag(TrainOptions, "project_name")
    experiment_name: str | None = same_flag(TrainOptions, "experiment_name")
    experiment_key: str | None = same_flag(TrainOptions, "experiment_key")
    save_dir: Path | None = same_flag(TrainOptions, "save_dir")
    no_image: bool = same_flag(TrainOptions, "no_image")
    no_comet: bool = same_flag(TrainOptions, "no_comet")
    debug: bool = switch_flag("try something out: log nothing to Comet", group="results and logging")
    no_sanity: bool = same_flag(TrainOptions, "no_sanity")
    per_val: int = same_flag(TrainOptions, "per_val")
    per_save: int = same_flag(TrainOptions, "per_save")
    end_epoch: int | None = same_flag(TrainOptions, "end_epoch")
    patch_size: int | None = same_flag(TrainOptions, "patch_size")
    test_datasets: tuple[str, ...] = same_flag(TrainOptions, "test_datasets")
    test_seqs: tuple[str, ...] = same_flag(TrainOptions, "test_seqs")
    write_stream: bool = switch_flag(
        "with --test, write real bitstreams and decode them again (default)", group="results and logging", default=True
    )
    memory: bool = same_flag(TestOptions, "memory")
    print_model: bool = same_flag(TrainOptions, "print_model")
    precision: str | None = same_flag(TrainOptions, "precision")
    compile: bool = same_flag(TrainOptions, "compile")
    num_workers: int = flag(
        whole(0, 256), "processes that load data; 0 loads in the main one", group="machine", metavar="N", short="n",
        default=4,
    )  # fmt: skip
    seed: int = same_flag(TrainOptions, "seed")

    @property
    def lmda(self) -> float:
        """The Lagrangian of the quality level, for distortion on [0, 1]."""
        return LAGRANGIANS[self.quality_level]

    @property
    def codec(self) -> str:
        """What the codec is called, and the curve of its quality levels: ``--experiment_name``, or ``DVC``."""
        return self.experiment_name or NAME

    @property
    def name(self) -> str:
        """The name of the run that trains the quality level."""
        return level_name(self.codec, self.quality_level)

    def problems(self) -> Iterator[str]:
        """What is wrong with combinations of flags."""
        if self.train_conf is None and not self.test:
            yield "--train_conf is missing; expected json of the training phases, or --test"
        if self.test and self.restore == "resume":
            yield "--restore resume is for training; expected none or load with --test"
        if self.restore == "none":
            for name in ("restore_exp_key", "restore_exp_epoch"):
                if getattr(self, name) is not None:
                    yield f"--{name} has no use without --restore; expected --restore load"


_USAGE = """python DVC.py --MENet SPy --motion_coder_conf YML --residual_coder_conf YML --quality_level Q [flags]

  to train   --train_conf ./train_cfg/train.json
  to test    --test --gop 12 --restore load --restore_exp_key KEY --restore_exp_epoch N"""


def parse(arguments: Sequence[str]) -> DVCOptions:
    """Read the arguments of ``DVC.py`` (``sys.argv[1:]``). Raises `ConfigError` with all their problems."""
    description = (
        "Train or test a codec of the DVC family from yml and json files.\n"
        "Environment: DATAROOT, the folder of the data sets; LOG, the folder for results."
    )
    return parse_flags(DVCOptions, arguments, usage=_USAGE, description=description)
