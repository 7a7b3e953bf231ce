"""Where a run is, what it needs to go on from there, and what must not have changed in between."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torchDVC.config import ModelConfig, Stage, TrainConfig
from torchDVC.config.command_line import TrainOptions
from torchDVC.config.train_cfg import LR_PREFIX, OPTION_PREFIX, STAGE_KEYS
from torchDVC.dataset.training import data_identity
from torchDVC.util.errors import CheckpointError

STAGES = "stages of the train cfg"


@dataclass
class Position:
    """The next step to take.

    Attributes:
        epoch: counted over all stages.
        step: steps of the epoch that are done.
        total: steps of the run that are done.
    """

    epoch: int = 0
    step: int = 0
    total: int = 0


def conditions(options: TrainOptions, model: ModelConfig, config: TrainConfig, devices: int) -> dict[str, str]:
    """Everything that decides what the next step does, as text, by a name that a user knows."""
    flags = (
        "lmda", "i_lmda", "ssim", "ssim_factor", "patch_size", "aux", "static_rate", "seed", "precision", "compile",
        "size", "pix_fmt",
    )
    found = {f"--{name}": str(getattr(options, name)) for name in flags}
    found["number of devices"] = str(devices)
    for spec in model.modules:
        found[f"module {spec.name} of the model csv"] = f"{spec.code} {spec.type.name}"
        found |= {f"{name} of module {spec.name}": value for name, value in _arguments(spec.args)}
    found[STAGES] = " ".join(stage.name for stage in config.stages)
    for stage in config.stages:
        found |= {_of_stage(key, stage.name): value for key, value in _values(stage).items()}
    return found


def _arguments(args: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Arguments with their values, those of a latent codec as ``latent.width``."""
    for name, value in args.items():
        if isinstance(value, Mapping):
            yield from _arguments(value, f"{before}{name}.")
        else:
            yield before + name, str(value)


def check_data(known: dict[str, str], stage: Stage, where: str) -> None:
    """Note in ``known`` which clips a stage has; raises `CheckpointError` where its ``data`` meant others before."""
    name = f"data {stage.data}" + (f", cut {stage.cut}" if stage.cut else "")
    found = {name: data_identity(stage.data, stage.cut)}
    check_conditions({name: known.setdefault(name, found[name])}, found, where)


def _of_stage(key: str, stage: str) -> str:
    return f"{key} of stage {stage}"


def _values(stage: Stage) -> dict[str, str]:
    """What a stage says, by the keys of its cfg."""
    values = {key: str(getattr(stage, read.field)) for key, read in STAGE_KEYS.items() if key != "lr"}
    values["train"] = " ".join([stage.train, *stage.parts])
    values |= {OPTION_PREFIX + name: str(value) for name, value in stage.options.items()}
    return values | {LR_PREFIX + module: str(rate) for module, rate in stage.lr.items()}


def check_conditions(saved: Mapping[str, str], now: Mapping[str, str], where: str) -> None:
    """Raises `CheckpointError` naming the first thing that a run changed since its checkpoint.

    Its last stage may have become longer, and more stages may follow it.
    """
    for name, was in saved.items():
        if not _continues(name, was, now.get(name), saved):
            raise CheckpointError(
                f"{where}: cannot resume: {name} was {_short(was)} and is {_short(now.get(name))} now; "
                "give it as it was, or start a new run with --restore load"
            )


def _continues(name: str, was: str, found: str | None, saved: Mapping[str, str]) -> bool:
    """Whether a run that began with a condition may go on with what is found now."""
    stages = saved.get(STAGES, "").split()
    if found is not None and name == STAGES:
        return found.split()[: len(stages)] == stages
    if found is not None and stages and name == _of_stage("epochs", stages[-1]):
        return int(found) >= int(was)
    return found == was


def _short(value: str | None) -> str:
    text = "absent" if value is None else value
    return text if len(text) <= 100 else text[:97] + "..."
