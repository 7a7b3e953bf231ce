"""Learning rates over a stage: a factor on all of them, step by step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torchDVC.config import Stage


@dataclass
class Plateau:
    """How validation went in a stage so far, for ``lr_schedule = plateau``.

    Attributes:
        best: the least validation loss.
        waited: validations since then.
        factor: what learning rates are multiplied by.
    """

    best: float = math.inf
    waited: int = 0
    factor: float = 1.0

    def validated(self, loss: float, stage: Stage) -> None:
        """Lower the factor after ``lr_patience`` validations in a row that were no better than the best."""
        self.waited = 0 if loss < self.best else self.waited + 1
        self.best = min(self.best, loss)
        if self.waited >= stage.lr_patience:
            self.waited, self.factor = 0, self.factor * stage.lr_decay


def lr_factor(stage: Stage, epoch: int, step: int, steps: int, plateau: Plateau) -> float:
    """What every learning rate of a stage is multiplied by in one step.

    Args:
        epoch: counted within the stage, from 0.
        step: within the epoch, from 0; ``steps`` are in each.
    """
    done = epoch * steps + step
    warm = min(1.0, (done + 1) / (stage.lr_warmup + 1))
    return warm * _scheduled(stage, epoch, done / (stage.epochs * steps), plateau)


def _scheduled(stage: Stage, epoch: int, share: float, plateau: Plateau) -> float:
    match stage.lr_schedule:
        case "cosine":
            return stage.lr_final + (1 - stage.lr_final) * (1 + math.cos(math.pi * share)) / 2
        case "step":
            return stage.lr_decay ** sum(epoch >= milestone for milestone in stage.lr_steps)
        case "plateau":
            return plateau.factor
        case _:
            return stage.lr_decay**epoch
