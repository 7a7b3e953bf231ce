"""Checkpoints of the DVC ancestor, ``epoch=N.pth.tar``, as checkpoints of this framework.

Only weights are taken, and by PyTorch's restricted reader: nothing in such a file runs. The intra codec is left as it
is, as the ancestor itself does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchDVC.config import ModelConfig
from torchDVC.dvc_front.coders import ROLES
from torchDVC.util.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

SUFFIX = ".pth.tar"
ESTIMATOR_WEIGHTS = Path("models/spy_net-sintel-final.pytorch")
"""Where the ancestor's README has its users put SPyNet's, from the folder of ``DVC.py``."""
NAMES = {"ME": "MENet", "Motion": "Motion", "MC": "MCNet", "Residual": "Residual"}
"""What the ancestor calls the module of each role that it saves and loads."""
_KEPT_BESIDE = re.compile(
    r"_reparam\.|lower_bound|gaussian_conditional\.|\.(target|_offset|_quantized_cdf|_cdf_length)$|^(mean|std)$"
)
_LAST = "g_s.6"


def is_one(path: Path) -> bool:
    """Whether a checkpoint is the ancestor's, by its name."""
    return path.name.endswith(SUFFIX)


def converted(path: Path, model: ModelConfig) -> Path:
    """The checkpoint of this framework that stands beside the ancestor's, written anew.

    Raises `CheckpointError` where the weights do not fit the model.
    """
    from torchDVC.models import checkpoints
    from torchDVC.models.weights import build_codec

    codec = build_codec(model)
    state = checkpoints.load_foreign(path)
    tensors: Mapping[str, Any] = state.get("state_dict", {}) if isinstance(state, Mapping) else {}
    if not tensors:
        raise CheckpointError(f"{path}: holds no state_dict; expected a checkpoint of the DVC ancestor")
    for role, name in NAMES.items():
        own = ROLES[role].name
        checkpoints.load_weights(codec.get_submodule(own), _of_module(tensors, name, codec, own), f"{path}: {name}")
    new = path.with_name(path.name.removesuffix(SUFFIX) + checkpoints.SUFFIX)
    checkpoints.save(new, {"model": codec.state_dict()})
    return new


def _of_module(tensors: Mapping[str, Tensor], name: str, codec: Any, own: str) -> Mapping[str, Tensor]:
    """The weights of a module by the names that they have here; its files say ``Motion.module.g_a.0.weight``."""
    prefix = re.compile(rf"^{name}\.(module\.)?")
    found = {prefix.sub("", key): x for key, x in tensors.items() if prefix.match(key)}
    found = {key: x for key, x in found.items() if not _KEPT_BESIDE.search(key)}
    module = codec.get_submodule(own)
    if own == ROLES["ME"].name:
        return dict(module.translate_weights(found))
    return _of_coder(found, module) if hasattr(module, "g_a") else found


def _of_coder(tensors: Mapping[str, Tensor], coder: Any) -> dict[str, Tensor]:
    """A coder's weights; the factor that flows or residuals have here is taken into the first and last layer."""
    gain = float(coder.gain)
    renamed = {_renamed(name, coder): x for name, x in tensors.items()}
    factors = {"g_a.0.weight": 1 / gain, f"{_LAST}.weight": gain, f"{_LAST}.bias": gain}
    return {name: x * factors[name] if name in factors else x for name, x in renamed.items()}


def _renamed(name: str, coder: Any) -> str:
    if name.startswith(("g_a.", "g_s.")):
        return name
    density = "density" if hasattr(coder.latent, "density") else "entropy_bottleneck"
    return f"latent.{name.replace('entropy_bottleneck', density, 1)}"
