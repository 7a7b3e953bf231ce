"""The guarded update: what happens to weights between two forward passes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from torchDVC.config import Stage
from torchDVC.models import checkpoints
from torchDVC.models.codec import Codec
from torchDVC.training.averaging import MovingAverage
from torchDVC.training.optimizers import AUX, make_optimizer
from torchDVC.util.errors import NonFiniteError


class Updater:
    """Applies gradients, unless they are not finite.

    A step whose loss or gradients, the quantiles' among them, are not finite is skipped and counted; `PATIENCE` of
    them in a row save the batch and stop the run.

    Args:
        codec: whose weights are updated.
        scaler: loss scaling, for 16-bit floats.
        dump: where to save the offending batch.

    Attributes:
        optimizer: that of the stage entered last; its state lasts for as long as stages have one of the same kind.
        average: the moving average of the weights, where the stage keeps one.
    """

    PATIENCE = 10

    def __init__(self, codec: Codec, kind: str, scaler: torch.amp.GradScaler, dump: Path) -> None:
        self.codec, self.scaler, self.dump = codec, scaler, dump
        self.average = MovingAverage()
        self.skipped = self._in_a_row = 0
        self._grad_clip = math.inf
        self._make(kind)

    def _make(self, kind: str) -> None:
        self.kind, self.optimizer = kind, make_optimizer(self.codec, kind)

    def enter(self, stage: Stage) -> None:
        """Take a stage's optimizer, with what the one before knows where it is of the same kind."""
        if stage.optimizer != self.kind:
            self._make(stage.optimizer)
        for group in self.optimizer.param_groups:
            group["weight_decay"] = stage.weight_decay
        self._grad_clip = stage.grad_clip or math.inf
        self.average.enter(self.codec, stage.ema)

    def step(self, loss: Tensor, batch: Tensor) -> bool:
        """Update the weights from the gradients that ``loss`` left; False if the step was skipped.

        Raises `NonFiniteError` when steps stay non-finite.
        """
        self.scaler.unscale_(self.optimizer)
        finite = bool(torch.isfinite(loss.detach() + self._norms()).all())
        if finite:
            self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if finite:
            self.average.update()
        self._count(finite, batch)
        return finite

    def _norms(self) -> Tensor:
        """The norms of the quantiles' gradients and of all others, which ``grad_clip`` bounds; together, (2,)."""
        quantiles: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for group in self.optimizer.param_groups:
            found = quantiles if group["name"] == AUX else others
            found += [p for p in group["params"] if p.grad is not None]
        bounds = ((quantiles, math.inf), (others, self._grad_clip))
        return torch.stack([nn.utils.clip_grad_norm_(parameters, most) for parameters, most in bounds])

    def _count(self, finite: bool, batch: Tensor) -> None:
        if finite or (self.scaler.is_enabled() and self.scaler.get_scale() > 1):
            self._in_a_row = 0
            self.skipped += not finite
            return
        self.skipped += 1
        self._in_a_row += 1
        if self._in_a_row >= self.PATIENCE:
            checkpoints.save(self.dump, {"batch": batch})
            raise NonFiniteError(
                f"loss or gradients were not finite {self.PATIENCE} times in a row; the last batch is in {self.dump}; "
                "try a lower learning rate, grad_clip, or --precision 32"
            )

    def pack(self) -> dict[str, Any]:
        """The optimizer, its scaler, the moving average and the count, for a checkpoint."""
        return {
            "skipped": self.skipped,
            "optimizer_kind": self.kind,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "ema": self.average.weights,
        }

    def unpack(self, packed: dict[str, Any]) -> None:
        """Be what `pack` gave."""
        self.skipped = packed["skipped"]
        self._make(packed["optimizer_kind"])
        self.optimizer.load_state_dict(packed["optimizer"])
        if packed["scaler"]:  # empty where no stage had used it yet
            self.scaler.load_state_dict(packed["scaler"])
        self.average.weights = packed["ema"]
