"""Model files: everything a decoder needs, in one safetensors file that never executes anything.

A model file holds the module table with all arguments, the mode strings, the weights, and the integers that decide
symbols (`torchDVC.entropy.exact`), worked out once at export. Its hash is over all of these, so a stream names
the model that its pictures come from and not only one that reads its symbols.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from torchDVC.config import ModelConfig
from torchDVC.config.picture_formats import PICTURE_FORMATS, RGB
from torchDVC.config.records import Modes
from torchDVC.config.scan import load_class
from torchDVC.entropy.exact import ExactModule
from torchDVC.models import checkpoints
from torchDVC.models.codec import Codec
from torchDVC.models.module_table import OF_ENCODERS, plain_modes, plain_module, read_modes, read_modules
from torchDVC.util.errors import CheckpointError, ConfigError

FORMAT = 1
SHOWN_DIGITS = 12
"""Hexadecimal digits of a hash that messages and file names show."""
LEAST = 1024
"""Elements that a tensor counts for at least when a codec is made: many small ones take long."""
SLACK = 16
"""Making a codec may take so many times the memory of its weights, for how they start and what goes with them."""


@dataclass(frozen=True)
class Model:
    """A codec fixed to integers, with its modes.

    Attributes:
        hash: the SHA-256 of its content in hexadecimal.
        device: the only device that decodes its streams, in words; "" where every one does.
    """

    codec: Codec
    modes: Modes
    hash: str
    device: str = ""

    @property
    def name(self) -> str:
        """What the model csv was called."""
        return self.codec.config.name

    def __str__(self) -> str:
        return f"{self.name} ({self.hash[:SHOWN_DIGITS]}{', same device only' * bool(self.device)})"


def fixed(codec: Codec, modes: Modes) -> Model:
    """Fix a codec, in place, to the integers of its weights.

    Raises `CheckpointError` where weights are not finite, or too large for exact arithmetic.
    """
    _check_finite(codec.state_dict(), "weight")
    for path, module in _exact_modules(codec):
        try:
            module.fix(module.integers())
        except (CheckpointError, ValueError) as error:
            raise CheckpointError(f"{path}: {error}") from error
    return Model(codec.eval(), modes, content_hash(codec, modes))


def content_hash(codec: Codec, modes: Modes) -> str:
    """The hash that a model file of this codec has, or would have."""
    return _digest(_contents(codec, modes))


def save_model(path: Path, model: Model) -> None:
    """Write a model file, whole or not at all."""
    mark = {"device": model.device} if model.device else {}
    checkpoints.save(path, {**_contents(model.codec, model.modes), "hash": model.hash, **mark})


def load_model(path: Path) -> Model:
    """Read a model file, onto the CPU. Raises `CheckpointError` naming a missing, damaged or foreign file."""
    contents = _read(path)
    _check_finite(contents["model"], f"{path}: weight")
    config = ModelConfig(
        contents["name"], path, tuple(read_modules(contents["modules"], path)), contents.get("pictures", RGB)
    )
    codec = _make(config, contents["model"])
    checkpoints.load_weights(codec, contents["model"], str(path))
    integers = contents["integers"]
    for name, module in _exact_modules(codec):
        if name not in integers:
            raise CheckpointError(f"{path}: lacks the integers of {name}")
        try:
            module.fix({key: _whole_numbers(key, tensor) for key, tensor in integers[name].items()})
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {name}: {error}") from error
    return Model(codec.eval(), read_modes(contents["modes"], config), contents["hash"], str(contents.get("device", "")))


def _check_finite(weights: Mapping[str, Tensor], what: str) -> None:
    """Raises `CheckpointError` where weights are not finite: pictures made with them would be none."""
    for name, tensor in weights.items():
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{what} '{name}' is not finite; expected a trained model")


def stored_hash(path: Path) -> str:
    """The hash that a model file says it has; "" for any other file. It is only believed by `load_model`'s check."""
    try:
        return checkpoints.load_text(path, "hash")
    except CheckpointError:
        return ""


def is_intact(path: Path) -> bool:
    """Whether it is a model file whose contents match its hash."""
    try:
        _read(path)
    except CheckpointError:
        return False
    return True


# --- content


def _exact_modules(codec: Codec) -> Iterator[tuple[str, ExactModule]]:
    return ((path, module) for path, module in codec.named_modules() if isinstance(module, ExactModule))


def _contents(codec: Codec, modes: Modes) -> dict[str, Any]:
    """What a model file holds beside its hash."""
    return {
        "format": FORMAT,
        "name": codec.config.name,
        **({} if codec.format.name == RGB else {"pictures": codec.format.name}),
        "modules": [plain_module(spec) for spec in codec.config.modules],
        "modes": plain_modes(modes),
        "model": {name: tensor.detach().cpu() for name, tensor in codec.state_dict().items()},
        "integers": {
            path: {name: torch.tensor(array, dtype=torch.int32) for name, array in module.integers().items()}
            for path, module in _exact_modules(codec)
        },
    }


def _digest(contents: Mapping[str, Any]) -> str:
    """SHA-256 of the module table, arguments and modes, then of every tensor: name, form and bytes."""
    table = {key: contents[key] for key in ("format", "pictures", "modules", "modes") if key in contents}
    table["modes"] = {key: value for key, value in table["modes"].items() if key not in OF_ENCODERS}
    digest = hashlib.sha256(json.dumps(table, sort_keys=True).encode())
    for name, tensor in _tensors(contents):
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _tensors(contents: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """Every tensor, by name."""
    yield from sorted(contents["model"].items())
    for path, integers in sorted(contents["integers"].items()):
        yield from ((f"{path}:{name}", tensor) for name, tensor in sorted(integers.items()))


# --- reading what may be anything


def _read(path: Path) -> dict[str, Any]:
    """The content of a file, checked against its hash."""
    contents = checkpoints.load(path)
    match contents:
        case {"format": int(), "name": str(), "modules": list(), "modes": dict(), "hash": str(),
              "model": dict(weights), "integers": dict(integers)}:
            named = all(isinstance(key, str) for key in integers)
            sound = named and all(map(_holds_tensors, [weights, *integers.values()]))
        case _:
            raise CheckpointError(f"{path}: not a model file; 'codec.py export' makes one of a checkpoint")
    if not _is_plain(contents["name"]):
        raise CheckpointError(f"{path}: called {contents['name']!r:.60}; expected a plain name such as baseline")
    if contents["format"] != FORMAT:
        raise CheckpointError(f"{path}: a model file of format {contents['format']}; expected {FORMAT}")
    if contents.get("pictures", RGB) not in PICTURE_FORMATS:
        raise CheckpointError(f"{path}: works in {contents['pictures']!r:.60}; known: {', '.join(PICTURE_FORMATS)}")
    if not sound or contents["hash"] != _digest(contents):
        raise CheckpointError(f"{path}: damaged: its contents do not match their hash")
    return dict(contents)


def _is_plain(name: str) -> bool:
    """Whether files may be called so, and messages print it as it is."""
    return name.isprintable() and Path(name).name == name and not name.startswith(".") and "\\" not in name


def _holds_tensors(value: Any) -> bool:
    """Whether it is tensors by name."""
    return isinstance(value, dict) and all(isinstance(k, str) and isinstance(t, Tensor) for k, t in value.items())


def _make(config: ModelConfig, weights: Mapping[str, Tensor]) -> Codec:
    """The codec of a module table. It is made without memory first, as arguments may claim any amount of it.

    What cannot be made so, since it looks at values, says what is wrong with it when it is made with memory.
    """
    for spec in config.modules:
        load_class(spec.type)  # with what its file makes when it is imported in memory
    with suppress(ConfigError), torch.device("meta"), _Allowance(weights, str(config.path)):
        Codec(config)
    return Codec(config)


class _Allowance(TorchFunctionMode):
    """Ends the making of a codec whose arguments claim far more memory than its weights take."""

    def __init__(self, weights: Mapping[str, Tensor], where: str) -> None:
        super().__init__()
        self._left = SLACK * (2**20 + sum(tensor.numel() for tensor in weights.values()))
        self._where = where

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and not any(result is given for given in args):
            self._left -= max(result.numel(), LEAST)
        if self._left < 0:
            raise CheckpointError(f"{self._where}: damaged: its arguments claim far more memory than its weights take")
        return result


def _whole_numbers(name: str, tensor: Tensor) -> np.ndarray:
    if tensor.dtype != torch.int32:
        raise CheckpointError(f"'{name}': {tensor.dtype}; expected torch.int32")
    return tensor.numpy()
