"""Optimizer, freezing and the guarded update: what happens to weights between two forward passes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from torchDVC.config import Stage, TrainConfig
from torchDVC.models import checkpoints
from torchDVC.models.codec import Codec
from torchDVC.util.errors import NonFiniteError

_OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
_QUANTILES = "quantiles"
AUX = "(aux)"
"""Name of the parameter group of all quantiles; no module can have it."""


def make_optimizer(codec: Codec, config: TrainConfig) -> torch.optim.Optimizer:
    """One optimizer for the whole run: a parameter group for each module, and one for all quantiles.

    A frozen module's parameters have no gradients, so its state stays as it was until it is thawed.
    """
    groups: list[dict[str, Any]] = [
        {"name": spec.name, "params": [p for n, p in _named(codec, spec.name) if not n.endswith(_QUANTILES)]}
        for spec in codec.config.modules
    ]
    groups.append({"name": AUX, "params": [p for n, p in codec.named_parameters() if n.endswith(_QUANTILES)]})
    groups = [group for group in groups if group["params"]]
    return _OPTIMIZERS[config.optimizer](groups, lr=0.0, weight_decay=config.weight_decay, fused=True)


def _named(codec: Codec, module: str) -> list[tuple[str, nn.Parameter]]:
    return list(codec.get_submodule(module).named_parameters())


def enter_stage(codec: Codec, optimizer: torch.optim.Optimizer, stage: Stage, aux: bool) -> None:
    """Thaw the modules that the stage trains and freeze the others (eval mode, no gradients, no statistics)."""
    trained = {codec.config.by_code(code).name for code in stage.train}
    codec.eval()
    for spec in codec.config.modules:
        module = codec.get_submodule(spec.name)
        module.train(spec.name in trained)
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(spec.name in trained and (aux or not name.endswith(_QUANTILES)))
    optimizer.zero_grad(set_to_none=True)


def set_memory_format(codec: Codec, optimizer: torch.optim.Optimizer, memory_format: str) -> None:
    """Lay the weights out as ``contiguous`` or ``channels_last``, and the optimizer's state as its weights.

    A fused optimizer goes through memory and would pair the wrong elements otherwise.
    """
    channels_last = memory_format == "channels_last"
    codec.to(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter).copy_(value)


def set_learning_rates(optimizer: torch.optim.Optimizer, stage: Stage, epoch: int) -> None:
    """The rates of an epoch of a stage (counted within it)."""
    decay = stage.lr_decay**epoch
    for group in optimizer.param_groups:
        base = stage.aux_lr if group["name"] == AUX else stage.lr[group["name"]]
        group["lr"] = base * decay


class Updater:
    """Applies gradients, unless they are not finite.

    A step whose loss or gradients, the quantiles' among them, are not finite is skipped and counted; `PATIENCE` of
    them in a row save the batch and stop the run.

    Args:
        optimizer: as `make_optimizer` built it.
        grad_clip: bound on the norm of all gradients but the quantiles'; 0 for none.
        scaler: loss scaling, for 16-bit floats.
        dump: where to save the offending batch.
    """

    PATIENCE = 10

    def __init__(
        self, optimizer: torch.optim.Optimizer, grad_clip: float, scaler: torch.amp.GradScaler, dump: Path
    ) -> None:
        self.optimizer, self.scaler, self.dump = optimizer, scaler, dump
        self.skipped = self._in_a_row = 0
        groups = optimizer.param_groups
        self._bounded = [
            ([p for g in groups if g["name"] != AUX for p in g["params"]], grad_clip or math.inf),
            ([p for g in groups if g["name"] == AUX for p in g["params"]], math.inf),
        ]

    def step(self, loss: Tensor, batch: Tensor) -> bool:
        """Update the weights from the gradients that ``loss`` left; False if the step was skipped.

        Raises `NonFiniteError` when steps stay non-finite.
        """
        self.scaler.unscale_(self.optimizer)
        norms = [nn.utils.clip_grad_norm_([p for p in ps if p.grad is not None], most) for ps, most in self._bounded]
        finite = bool(torch.isfinite(sum(norms, loss.detach())))
        if finite:
            self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self._count(finite, batch)
        return finite

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
