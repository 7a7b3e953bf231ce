"""Optimizers, freezing, memory layouts and learning rates: what a stage sets about the weights."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from torchDVC.config import Stage
from torchDVC.models.codec import Codec

_OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
_QUANTILES = "quantiles"
AUX = "(aux)"
"""Name of the parameter group of all quantiles; no module can have it."""


def make_optimizer(codec: Codec, kind: str) -> torch.optim.Optimizer:
    """An ``adam``, ``adamw`` or ``sgd`` with a parameter group for each module, and one for all quantiles.

    A frozen module's parameters have no gradients, so its state stays as it was until it is thawed. Of a codec without
    any, which learns by coding alone, it has nothing to do.
    """
    groups: list[dict[str, Any]] = [
        {"name": spec.name, "params": [p for n, p in _named(codec, spec.name) if not n.endswith(_QUANTILES)]}
        for spec in codec.config.modules
    ]
    groups.append({"name": AUX, "params": [p for n, p in codec.named_parameters() if n.endswith(_QUANTILES)]})
    groups = [group for group in groups if group["params"]] or groups[:1]
    return _OPTIMIZERS[kind](groups, lr=0.0, fused=True)


def _named(codec: Codec, module: str) -> list[tuple[str, nn.Parameter]]:
    return list(codec.get_submodule(module).named_parameters())


def enter_stage(codec: Codec, optimizer: torch.optim.Optimizer, stage: Stage, aux: bool) -> None:
    """Thaw what the stage trains and freeze the rest; modules it does not train are in eval mode (no statistics)."""
    learning = trained_parameters(codec, stage)
    codec.eval()
    for spec in codec.config.modules:
        codec.get_submodule(spec.name).train(spec.code in stage.train)
    for name, parameter in codec.named_parameters():
        parameter.requires_grad_(name in learning and (aux or not name.endswith(_QUANTILES)))
    optimizer.zero_grad(set_to_none=True)


def trained_parameters(codec: Codec, stage: Stage) -> dict[str, nn.Parameter]:
    """What a stage trains, by name: the parameters of its modules, or of parts, but those that ``freeze`` names."""
    learning = {f"{codec.config.by_code(code).name}." for code in stage.train if code not in _in_parts(stage)}
    learning |= {f"{full_name(codec, part)}." for part in stage.parts}
    frozen = [full_name(codec, pattern) for pattern in stage.freeze]
    return {
        name: parameter
        for name, parameter in codec.named_parameters()
        if any(f"{name}.".startswith(prefix) for prefix in learning) and not any(map(named_by(name), frozen))
    }


def named_by(parameter: str) -> Callable[[str], bool]:
    """Whether a pattern names a parameter, or what it is a part of: ``r.latent`` names all of ``r.latent.hyper``."""
    parts = parameter.split(".")
    names = [".".join(parts[: end + 1]) for end in range(len(parts))]
    return lambda pattern: bool(fnmatch.filter(names, pattern))


def full_name(codec: Codec, given: str) -> str:
    """A part, or a pattern, that begins with a module's code, as names of parameters begin; others as they are.

    A part is named as it is called there, or by the type that fills a slot: ``r.latent`` may be ``r.hyperprior``.
    """
    code, _, path = given.partition(".")
    module = next((spec.name for spec in codec.config.modules if spec.code == code), None)
    if module is None or hasattr(codec, code):
        return given
    part, *rest = path.split(".")
    return ".".join(filter(None, (module, parts_of(codec, module).get(part, part), *rest)))


def parts_of(codec: Codec, module: str) -> dict[str, str]:
    """Where the parts of a module are that have parameters, by all that they may be called."""
    whole = codec.get_submodule(module)
    own = {name.split(".")[0] for name, _ in whole.named_parameters()}
    below = reversed([(name, part) for name, part in whole.named_modules() if name])
    of_types = {type(part).__name__.lower(): name for name, part in below if hasattr(part, "module_type")}
    return of_types | {name: name for name in own}


def _in_parts(stage: Stage) -> set[str]:
    return {part[0] for part in stage.parts}


def set_memory_format(codec: Codec, optimizer: torch.optim.Optimizer, layout: torch.memory_format) -> None:
    """Lay the weights out so, and the optimizer's state as its weights.

    A fused optimizer goes through memory and would pair the wrong elements otherwise.
    """
    codec.to(memory_format=layout)
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter).copy_(value)


def set_learning_rates(optimizer: torch.optim.Optimizer, stage: Stage, factor: float) -> None:
    """Every group's rate of a stage, times a factor."""
    for group in optimizer.param_groups:
        group["lr"] = factor * (stage.aux_lr if group["name"] == AUX else stage.lr[group["name"]])
