"""The module table and the modes of a model as plain values, and back from what may be anything."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torchDVC.coding_structure import MAX_REFERENCES
from torchDVC.config import ModelConfig, ModuleSpec, Process
from torchDVC.config.arguments import TYPE, check_arguments
from torchDVC.config.modes import check_modes
from torchDVC.config.problems import Report, Where
from torchDVC.config.records import MODES, Modes
from torchDVC.config.registry import ModuleType
from torchDVC.config.scan import load_class, scan
from torchDVC.config.values import MAX_OFFSET, Unexpected, by_frame, number, whole
from torchDVC.util.errors import CheckpointError, nearest

HANDED_ON = {
    "references": whole(1, MAX_REFERENCES), "feature_reset": whole(0),
    "quality_offsets": by_frame(whole(-MAX_OFFSET, MAX_OFFSET)), "rdoq": number(),
}  # fmt: skip
"""What modes have beside mode strings; written as text, read by these."""
OF_ENCODERS = ("rdoq",)
"""What of it a decoder need not know: models that differ in it decode one another's streams."""


def plain_module(spec: ModuleSpec) -> dict[str, Any]:
    """A line of the module table."""
    args = json.loads(json.dumps(_completed(spec.type, spec.args)))
    return {"code": spec.code, "name": spec.name, "type": spec.type.name, "args": args}


def _completed(module_type: ModuleType, args: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments with the defaults of those that were not given, which may change some day; also of what fills slots."""
    signature = inspect.signature(load_class(module_type))
    defaults = {name: p.default for name, p in signature.parameters.items() if p.default is not p.empty}
    complete = {**defaults, **args}
    for parameter in module_type.parameters:
        if parameter.slot:
            given = dict(complete[parameter.name])
            name = given.pop(TYPE)
            complete[parameter.name] = {TYPE: name, **_completed(scan(Report(), parameter.slot)[name], given)}
    return complete


def plain_modes(modes: Modes) -> dict[str, Any]:
    """The mode strings, and what else is not as it usually is."""
    return {key: getattr(modes, key) for key in MODES} | {
        key: str(getattr(modes, key)) for key in HANDED_ON if getattr(modes, key) != getattr(Modes, key)
    }


def read_modules(rows: list[Any], path: Path) -> Iterator[ModuleSpec]:
    """The module table; every type must be installed and take the arguments."""
    report = Report()
    types = scan(report)
    report.raise_if_any()
    for row in rows:
        match row:
            case {"code": str(code), "name": str(name), "type": str(type_name), "args": dict(args)}:
                where = f"{path}: module {name}"
            case _:
                raise CheckpointError(f"{path}: damaged: {row!r:.60} is not a module")
        if type_name not in types:
            raise CheckpointError(f"{where}: its type '{type_name}' is not installed{nearest(type_name, types)}")
        if not name.isidentifier() or name.startswith("_"):
            raise CheckpointError(f"{where}: expected a name such as motion_codec")
        yield ModuleSpec(code, name, types[type_name], _arguments(args, types[type_name], where), where=where)


def _arguments(args: Mapping[str, Any], module_type: ModuleType, where: str) -> dict[str, Any]:
    report = Report()
    fitted = check_arguments(args, {}, Where(Path("arguments")), module_type, report)
    for problem in report.lines():
        raise CheckpointError(f"{where}: {problem}")
    return fitted


def read_modes(modes: Mapping[str, Any], config: ModelConfig) -> Process:
    """The mode strings and what goes with them, checked against the module table."""
    codes = {key: mode for key, mode in modes.items() if key in MODES and isinstance(mode, str)}
    if codes.keys() != MODES.keys():
        raise CheckpointError(f"{config.path}: damaged: it lacks a mode string of {', '.join(MODES)}")
    others: dict[str, Any] = {}
    for key in modes.keys() - MODES.keys():
        try:
            others[key] = HANDED_ON[key](str(modes[key]))
        except (KeyError, Unexpected) as error:
            raise CheckpointError(f"{config.path}: damaged: {key} is {modes[key]!r:.60}") from error
    process = Process(config.name, **{**codes, **others}, where=str(config.path))
    for _, problem in check_modes(process, config):
        raise CheckpointError(f"{config.path}: {problem}")
    return process
