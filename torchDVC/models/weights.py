"""A codec with the weights that it starts from, and the weights in checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from torchDVC.config import ModelConfig
from torchDVC.models import checkpoints
from torchDVC.models.codec import Codec
from torchDVC.util.errors import CheckpointError


def build_codec(model: ModelConfig) -> Codec:
    """The codec of a model csv, with the weights that its modules start from.

    A module that can start from another program's weights translates their names (``weights_from`` of its declaration).
    """
    codec = Codec(model)
    for spec in model.modules:
        if spec.weights is not None:
            module = codec.get_submodule(spec.name)
            tensors = _module_weights(spec.weights, spec.name)
            translate = getattr(module, spec.type.weights_from, dict)
            where = f"{spec.where}: {spec.weights}"
            try:
                tensors = translate(tensors)
            except CheckpointError as error:
                raise CheckpointError(f"{where}: {error}") from error
            checkpoints.load_weights(module, tensors, where)
    return codec


def _module_weights(path: Path, name: str) -> Mapping[str, Tensor]:
    """A module's tensors: a file or a folder of just them, or a run's checkpoint that holds a module of that name."""
    arrays = path.is_dir() and any(path.glob("*.npy"))
    tensors: Mapping[str, Tensor] = checkpoints.load_foreign(path if arrays else checkpoint_file(path))
    prefix = f"model.{name}."
    of_run = {key.removeprefix(prefix): x for key, x in tensors.items() if key.startswith(prefix)}
    return of_run or tensors


def checkpoint_file(path: Path) -> Path:
    """A checkpoint: the file itself, or the last one of a folder of checkpoints, or of a run."""
    return checkpoints.last(path) if path.is_dir() else path


def model_weights(path: Path, *, averaged: bool = False) -> Mapping[str, Tensor]:
    """The codec's tensors in a checkpoint of a run (a file, or the last one of a folder).

    ``averaged`` takes the moving averages that the run kept of its weights. Raises `CheckpointError` if it kept none.
    """
    state: Any = checkpoints.load(checkpoint_file(path))
    if not isinstance(state, dict) or "model" not in state:
        raise CheckpointError(f"{path}: holds no model; expected a checkpoint that trainer.py wrote")
    averages = state.get("ema", {})
    if averaged and not averages:
        raise CheckpointError(f"{path}: holds no averaged weights for --ema; expected one of a stage with ema")
    return {**state["model"], **averages} if averaged else state["model"]
