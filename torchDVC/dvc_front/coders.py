"""The codec that flags and yml files describe, as the module table of the engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torchDVC.config.arguments import TYPE, check_arguments
from torchDVC.config.problems import Report, Where
from torchDVC.config.records import ModuleSpec
from torchDVC.config.registry import ModuleType
from torchDVC.config.values import whole, words
from torchDVC.dvc_front.trees import Item, TableReader, read_tree
from torchDVC.util.errors import nearest

Types = Mapping[str, ModuleType]


@dataclass(frozen=True)
class Role:
    """A part of a DVC codec: its code and name in the module table, and the channels of what it codes."""

    code: str
    name: str
    channels: int = 0


ROLES = {
    "I": Role("i", "intra_codec", 3),
    "ME": Role("e", "motion_estimator"),
    "Motion": Role("m", "motion_codec", 2),
    "MC": Role("c", "motion_compensator"),
    "Residual": Role("r", "residual_codec", 3),
}
"""By the names that ``frozen_modules`` uses, in the order in which they run."""

ESTIMATORS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "SPy": ("SPyNet", {"levels": 5, "finest": 0, "imagenet": True}),
    "PWC": ("PWCNet", {}),
}
"""Module type and arguments of the estimators whose published weights are used."""
COMPENSATOR = "UNetCompensation"


@dataclass(frozen=True)
class Architecture:
    """A ``model_architecture``: the latent codec of each role's coder, and what its ``model_params`` are called there.

    ``latent`` are the parameters that are arguments of the latent codec.
    ``unused`` are parameters that the architecture accepts, so that a yml file serves several, and has no use for.
    """

    roles: tuple[str, ...]
    latent_type: str
    latent: Mapping[str, str] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    channels: tuple[str, ...] = field(default=("in_channels", "out_channels"))

    @property
    def parameters(self) -> tuple[str, ...]:
        """Every name of ``model_params``."""
        return tuple(dict.fromkeys((*self.channels, *TRANSFORMS, *self.latent, *self.unused)))


CODERS = {"I": "IntraCodec", "Motion": "FlowCodec", "Residual": "ResidualCodec"}
TRANSFORMS = {"kernel_size": "kernel_size", "num_filters": "width", "num_features": "channels"}
ARCHITECTURES = {
    "GoogleHyperPrior": Architecture(
        tuple(CODERS), "ScaleHyperprior", {"num_hyperpriors": "width", "num_filters": "hidden"}
    ),
    "GoogleFactorizedPrior": Architecture(("Motion", "Residual"), "Factorized", unused=("num_hyperpriors",)),
}

ZOO_ARGUMENTS = ({"width": 128, "channels": 192}, {"width": 192, "channels": 320})
"""Of compressai's bmshj2018-hyperprior, for quality levels 1 to 5 and 6 to 8."""


def estimator(name: str, types: Types, report: Report) -> ModuleSpec | None:
    """The motion estimator that ``--MENet`` names: `ESTIMATORS`, or a module type that runs in the encoder only."""
    known = {**{t: (t, {}) for t in types if types[t].encoder_only}, **ESTIMATORS}
    if name not in known:
        report.add(Where(Path("--MENet")), f"'{name}'{nearest(name, known)}")
        return None
    type_name, arguments = known[name]
    return _spec("ME", types[type_name], arguments, "--MENet")


def compensator(types: Types) -> ModuleSpec:
    """The motion compensator, which has no configuration."""
    return _spec("MC", types[COMPENSATOR], {}, "")


def zoo_intra(quality: int, types: Types) -> ModuleSpec:
    """The intra codec of compressai's zoo for a quality level."""
    return _spec("I", types["ScaleHyperpriorIntra"], ZOO_ARGUMENTS[quality > 5], "--quality_level")


def read_coder(path: Path, role: str, types: Types, report: Report) -> ModuleSpec | None:
    """The coder that a yml file describes, for ``I``, ``Motion`` or ``Residual``; None where that cannot be read."""
    tree = read_tree(path, report)
    if tree is None:
        return None
    table = TableReader(tree, "the file", ("model_architecture", "model_params"), report)
    name = table.take("model_architecture", words, needed=True)
    params = table.items.get("model_params", Item({}, table.where))
    if name is None:
        return None
    architecture = ARCHITECTURES.get(name)
    known = _known(role, types)
    if name not in known:
        what = f"unknown model_architecture '{name}' of the {role} coder{nearest(name, known)}"
        report.add(table.place("model_architecture"), what)
        return None
    if architecture is None:
        module_type, arguments = types[name], _arguments(types[name], params, report)
    else:
        module_type, arguments = types[CODERS[role]], _translated(name, architecture, role, params, report)
    return _spec(role, module_type, arguments, str(table.place("model_architecture")))


def _known(role: str, types: Types) -> list[str]:
    """The architectures that a role may have: those of `ARCHITECTURES`, and types that write what theirs do."""
    own = [name for name, architecture in ARCHITECTURES.items() if role in architecture.roles]
    written = set(types[CODERS[role]].writes)
    return [*own, *(name for name in types if types[name].codes and written <= set(types[name].writes))]


def _arguments(module_type: ModuleType, params: Item, report: Report) -> dict[str, Any]:
    """The parameters as the arguments of a module type that they are."""
    names = [parameter.name for parameter in module_type.parameters]
    items = TableReader(params, f"model_params of {module_type.name}", names, report).items
    values = {key: item.plain() for key, item in items.items() if key in names}
    return check_arguments(values, dict(_places(items)), params.where, module_type, report)


def _places(items: Mapping[str, Item], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Where]]:
    """Where each key stands, by the keys that lead to it."""
    for key, item in items.items():
        yield (*path, key), item.where
        if isinstance(item.value, Mapping):
            yield from _places(item.value, (*path, key))


def _translated(name: str, architecture: Architecture, role: str, params: Item, report: Report) -> dict[str, Any]:
    """The parameters of an architecture by the names of the module type's arguments."""
    channels = ROLES[role].channels
    table = TableReader(params, f"model_params of {name}", architecture.parameters, report)
    for key in architecture.channels:
        item = table.items.get(key)
        if item is not None and item.value != channels:
            report.add(item.where, f"{key} = {item.shown()}; expected {channels}, which is what the {role} coder codes")
    latent = {TYPE: architecture.latent_type, **_renamed(table, architecture.latent)}
    return {**_renamed(table, TRANSFORMS), "latent": latent}


def _renamed(table: TableReader, names: Mapping[str, str]) -> dict[str, int]:
    """Those of the numbers that are given, by their new names."""
    given = {new: table.take(old, whole(1)) for old, new in names.items()}
    return {new: value for new, value in given.items() if value is not None}


def _spec(role: str, module_type: ModuleType, arguments: Mapping[str, Any], where: str) -> ModuleSpec:
    return ModuleSpec(ROLES[role].code, ROLES[role].name, module_type, dict(arguments), where=where)
