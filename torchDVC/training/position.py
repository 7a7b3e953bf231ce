"""Where a run is, what it needs to go on from there, and what must not have changed in between."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from torchDVC.util.command_line import TrainOptions
from torchDVC.util.configuration import ModelConfig, TrainConfig
from torchDVC.util.errors import CheckpointError


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


def conditions(options: TrainOptions, model: ModelConfig, config: TrainConfig) -> dict[str, str]:
    """Everything that decides what the next step does, as text, by a name that a user knows."""
    flags = (
        "lmda", "i_lmda", "ssim", "ssim_factor", "patch_size", "aux", "static_rate", "seed", "gpu", "precision",
        "compile",
    )
    found = {f"--{name}": str(getattr(options, name)) for name in flags}
    for spec in model.modules:
        found[f"module {spec.name} of the model csv"] = f"{spec.code} {spec.type.name} {dict(spec.args)}"
    for name in ("optimizer", "weight_decay", "grad_clip"):
        found[f"{name} of the train cfg"] = str(getattr(config, name))
    for stage in config.stages:
        left_out = ("where", "epochs") if stage is config.stages[-1] else ("where",)  # the last may be made longer
        values = {key: value for key, value in asdict(stage).items() if key not in left_out}
        found[f"stage {stage.name} of the train cfg"] = str(values)
    return found


def check_conditions(saved: dict[str, str], now: dict[str, str], where: str) -> None:
    """Raises `CheckpointError` naming the first thing that a run changed since its checkpoint."""
    for name in [*now, *saved]:
        if saved.get(name) != now.get(name):
            raise CheckpointError(
                f"{where}: cannot resume: {name} was {_short(saved.get(name))} and is {_short(now.get(name))} now; "
                "give it as it was, or start a new run with --restore load"
            )


def _short(value: Any) -> str:
    text = "absent" if value is None else str(value)
    return text if len(text) <= 100 else text[:97] + "..."
