"""Modules without weights that the first phase freezes are trained before it, each in a phase of its own.

Epochs are counted from the first phase of the json on, so that they mean what they meant there.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from torchDVC.config import LossExpression, ModelConfig, Stage, TrainConfig
from torchDVC.config.problems import Report, Where
from torchDVC.config.stage_checks import check_stage
from torchDVC.dvc_front.coders import ROLES

NAME = "pretrain_"
STEPS = 2000
RATE = 1e-4

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pretraining:
    """How a module is trained by itself.

    Attributes:
        imode, pmode, loss_r, loss_d: as of a stage.
        flag: what gives weights instead.
    """

    epochs: int
    frames: int
    imode: str
    pmode: str
    loss_r: LossExpression
    loss_d: LossExpression
    flag: str


PRETRAININGS = {
    "I": Pretraining(20, 1, "i", "", ((1.0, "rate"),), ((1.0, "distortion"),), "--intra_weights"),
    "ME": Pretraining(3, 2, "", "e", (), ((1.0, "flow_warped_distortion"),), "--ME_weights"),
}
"""By role; epochs of `STEPS` steps, as ``baseline/scratch.cfg`` trains them."""


def untrained(model: ModelConfig, train: TrainConfig, started: Collection[str]) -> list[str]:
    """The roles that begin frozen and without weights.

    Args:
        started: names of modules that may begin untrained, or have their weights from elsewhere.
    """
    frozen = {role: ROLES[role] for role in PRETRAININGS if ROLES[role].code not in train.stages[0].train}
    return [role for role, part in frozen.items() if part.name not in started and not model.by_name(part.name).weights]


def pretrained(train: TrainConfig, model: ModelConfig, roles: Iterable[str]) -> TrainConfig:
    """The training with a phase before it for each of these roles. Raises `ConfigError` where a module cannot be."""
    report = Report()
    before = []
    for role in roles:
        stage = _stage(role, train.stages[0])
        for _, problem in check_stage(stage, model, ()):
            module = model.by_name(ROLES[role].name)
            needed = f"cannot be trained by itself; expected {PRETRAININGS[role].flag}"
            report.add(Where(Path(module.where)), f"{module.type.name} has no weights and {needed} ({problem})")
        before.append(stage)
    report.raise_if_any()
    return replace(train, stages=(*before, *train.stages))


def announce(train: TrainConfig) -> None:
    """Say which modules are trained first, and what would give weights instead."""
    for role, how in PRETRAININGS.items():
        stage = next((stage for stage in train.stages if stage.name == NAME + ROLES[role].name), None)
        if stage is not None:
            _log.warning(
                "%s has no weights: it is trained by itself first, %d epochs of %d steps; %s names a file of some",
                ROLES[role].name, stage.epochs, stage.steps, how.flag,
            )  # fmt: skip


def epochs_before(train: TrainConfig) -> int:
    """Epochs of the phases that were put before those of the json."""
    return sum(stage.epochs for stage in train.stages if stage.name.startswith(NAME))


def _stage(role: str, first: Stage) -> Stage:
    """The phase that trains a role's module, on the data of the first phase of the json."""
    how, part = PRETRAININGS[role], ROLES[role]
    return replace(
        first, name=NAME + part.name, imode=how.imode, pmode=how.pmode, train=part.code, epochs=how.epochs,
        steps=first.steps or STEPS, frames=how.frames, rnn=0, loss_r=how.loss_r, loss_d=how.loss_d,
        lr={other.name: RATE for other in ROLES.values()},
    )  # fmt: skip
