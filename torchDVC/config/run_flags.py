"""The flags that ``trainer.py`` and ``tester.py`` share, and the groups in which ``--help`` shows all of theirs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torchDVC.config import migration
from torchDVC.config.clip_flags import CLIPS, ClipFlags
from torchDVC.config.flags import flag, switch_flag
from torchDVC.config.modes import mode_string
from torchDVC.config.values import Unexpected, any_path, choice, existing_path, number, whole, words

RUN = "what to run"
RATE = "rate and distortion"
STRUCTURE = "coding structure"
TRAINING = "training"
TESTING = "test clips"
RESTORE = "starting from a checkpoint"
RESULTS = "results and logging"
MACHINE = "machine"
GROUPS = (RUN, RATE, STRUCTURE, TRAINING, TESTING, CLIPS, RESTORE, RESULTS, MACHINE)


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


def _experiment_key(text: str) -> str:
    if not re.fullmatch(r"[0-9A-Za-z]{32,50}", text):
        raise Unexpected("32 to 50 letters and digits")
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

    model_config: str = flag(words, "model csv: a name under configs/model, or a path", group=RUN, metavar="CSV")
    run_config: str = flag(
        words, "train or test cfg: a name under configs/train or configs/test, or a path", group=RUN, metavar="CFG"
    )
    set: tuple[str, ...] = flag(
        _assignment, "keys of the cfg, in every stage: --set data=clips steps=20", group=RUN, metavar="KEY=VALUE",
        many=True, default=(),
    )
    print_model: bool = switch_flag("print parameters and kMAC/pixel of every module", group=RUN)

    lmda: float = flag(
        number(above=True), "Lagrangian: the loss is R + lmda * D; several make a curve", group=RATE, metavar="L"
    )
    i_lmda: float = flag(
        number(above=True), "Lagrangian of I frames (default: that of --lmda)", group=RATE, metavar="L", default=None
    )
    ssim: bool = switch_flag("distortion is 1 - MS-SSIM instead of the squared error", group=RATE)
    ssim_factor: float = flag(
        number(above=True), "with --ssim, multiplies every Lagrangian", group=RATE, metavar="F", default=1 / 32
    )

    intra_period: int = flag(
        whole(0), "distance of I frames; 0: only the first is one", group=STRUCTURE, metavar="N", default=32
    )
    gop_size: int = flag(
        _power_of_two, "1: low-delay P; 2, 4, 8, …: hierarchical B", group=STRUCTURE, metavar="N", default=1
    )

    test_datasets: tuple[str, ...] = flag(
        words,
        "UVG, HEVC-B … HEVC-E, MCL-JCV, procedural, or any folder or file (default: what the cfg says)",
        group=TESTING,
        metavar="NAME",
        many=True,
        default=(),
    )
    test_seqs: tuple[str, ...] = flag(
        words, "only these sequences of them", group=TESTING, metavar="NAME", many=True, default=()
    )

    restore: str = flag(
        _restore,
        "load: take the weights of --checkpoint; resume: go on with the run it is of",
        group=RESTORE,
        metavar="{none,load,resume}",
        default="none",
    )
    checkpoint: Path | None = flag(
        existing_path, "checkpoint to start from", group=RESTORE, metavar="PATH", default=None
    )
    ema: bool = switch_flag("load the moving averages of the weights that a stage with ema kept", group=RESTORE)
    new_modules: str = flag(
        mode_string,
        "codes of modules that the checkpoint of --restore load may lack; they start as the csv has them",
        group=RESTORE,
        metavar="CODES",
        default="",
    )
    not_load_I: bool = switch_flag("leave the intra codec's weights out of what is loaded", group=RESTORE)

    experiment_name: str | None = flag(
        _folder_name,
        "name of the run, its folder and its curve (default: model and lmda)",
        group=RESULTS,
        metavar="NAME",
        default=None,
    )
    experiment_key: str | None = flag(
        _experiment_key, "key of a Comet experiment to go on with", group=RESULTS, metavar="KEY", default=None
    )
    project_name: str = flag(words, "Comet project", group=RESULTS, metavar="NAME", default="torchDVC")
    save_dir: Path | None = flag(any_path, "folder for the results", group=RESULTS, metavar="DIR", default=None)
    no_image: bool = switch_flag("write no pictures", group=RESULTS)
    no_comet: bool = switch_flag("log nothing to Comet, not even offline", group=RESULTS)

    device: str = flag(
        choice("auto", "cpu", "cuda"),
        "where to compute; auto takes a GPU where there is one",
        group=MACHINE,
        metavar="{auto,cpu,cuda}",
        default="auto",
    )
    gpu: int = flag(whole(1), "number of GPUs, each with batches of its own", group=MACHINE, metavar="N", default=1)
    precision: str | None = flag(
        choice("auto", "32", "bf16-mixed", "16-mixed"),
        "arithmetic of the networks (default: what the cfg says)",
        group=MACHINE,
        metavar="{auto,32,bf16-mixed,16-mixed}",
        default=None,
    )
    compile: bool = switch_flag("compile the networks (torch.compile)", group=MACHINE)
    num_workers: int = flag(
        whole(0, 256), "processes that load data; 0 loads in the main one", group=MACHINE, metavar="N", default=2
    )
    seed: int = flag(whole(0), "of everything random", group=MACHINE, metavar="N", default=0)

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
