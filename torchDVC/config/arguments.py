"""Arguments of a type, against what its ``__init__`` takes: values, and types with arguments of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from torchDVC.config.annotations import MismatchError, fit
from torchDVC.config.problems import Report, Where
from torchDVC.config.registry import ModuleType, Parameter
from torchDVC.config.scan import scan
from torchDVC.util.errors import nearest

TYPE = "type"
DEEPEST = 8
"""So far slots within slots go."""
Places = Mapping[tuple[str, ...], Where]
"""Where each key stands, by the keys that lead to it."""


def check_arguments(
    values: Mapping[str, Any], places: Places, whole: Where, module_type: ModuleType, report: Report,
    path: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Arguments as the parameters of ``module_type`` expect them; unknown names, misfits and gaps go to ``report``.

    Args:
        places: where keys stand; ``whole`` is where they stand together, at the end of ``path``.
    """
    parameters = {parameter.name: parameter for parameter in module_type.parameters}
    arguments = {}
    for key, value in values.items():
        where = places.get((*path, key), whole)
        parameter = parameters.get(key)
        if parameter is None:
            report.add(where, f"{module_type.name} has no argument '{key}'{nearest(key, parameters)}")
        elif parameter.slot:
            arguments[key] = _filled(value, parameter, places, where, report, (*path, key))
        else:
            try:
                arguments[key] = fit(value, parameter.annotation, module_type.least(key))
            except MismatchError as error:
                report.add(where, f"{key} = {shown(value)}; expected {parameter.annotation}{error}")
    missing = [name for name, parameter in parameters.items() if parameter.required and name not in values]
    if missing:
        report.add(whole, f"{module_type.name} needs {', '.join(missing)}; expected it in this file")
    return arguments


def _filled(
    value: Any, parameter: Parameter, places: Places, where: Where, report: Report, path: tuple[str, ...]
) -> Any:
    """What fills a slot: ``{"type": …}`` and the arguments of that type."""
    types = scan(report, parameter.slot)
    if len(path) > DEEPEST:
        report.add(where, f"{parameter.name} is nested {len(path)} deep; expected at most {DEEPEST}")
        return value
    if not isinstance(value, Mapping) or not isinstance(value.get(TYPE), str):
        known = ", ".join(sorted(types))
        report.add(where, f'{parameter.name} = {shown(value)}; expected {{"type": …}}; known types: {known}')
        return value
    name = value[TYPE]
    if name not in types:
        report.add(places.get((*path, TYPE), where), f"{parameter.name}: unknown type '{name}'{nearest(name, types)}")
        return value
    given = {key: item for key, item in value.items() if key != TYPE}
    return {TYPE: name, **check_arguments(given, places, where, types[name], report, path)}


def levels_of(module_type: ModuleType, args: Mapping[str, Any]) -> Iterator[int]:
    """How many quality levels a type has with these arguments, and what fills its slots, where that is more than 1."""
    for parameter in module_type.parameters:
        value = args.get(parameter.name, parameter.default)
        if parameter.name == module_type.levels and value is not None and value > 1:
            yield value
        if parameter.slot and isinstance(value, Mapping):
            yield from levels_of(scan(Report(), parameter.slot)[value[TYPE]], value)


def shown(value: Any) -> str:
    """A value as JSON has it, not all of it where it is long."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:59] + "…"
