"""JSON files of module arguments, with the line on which each key stands."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torchDVC.config.annotations import MismatchError, fit
from torchDVC.config.problems import Report, Where
from torchDVC.config.registry import ModuleType
from torchDVC.config.text_files import read_text
from torchDVC.util.errors import nearest

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:]|\n')


def read_arguments(path: Path, module_type: ModuleType, report: Report) -> dict[str, Any]:
    """Arguments for ``module_type`` from a JSON object; what does not fit its ``__init__`` is noted in ``report``."""
    text = read_text(path, report)
    if text is None:
        return {}
    try:
        values = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        report.add(Where(path, error.lineno), f"not JSON: {error.msg} (column {error.colno})")
    except (ValueError, RecursionError) as error:
        report.add(Where(path), f"not JSON: {error}")
    else:
        if isinstance(values, dict):
            return _checked(path, text, values, module_type, report)
        report.add(Where(path, 1), f"holds {_shown(values)}; expected an object {{…}} of arguments")
    return {}


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number of JSON")


def _checked(path: Path, text: str, values: dict[str, Any], module_type: ModuleType, report: Report) -> dict[str, Any]:
    """The values as the parameters expect them; duplicates are noted too."""
    lines: dict[str, int] = {}
    for depth, key, line, first in _keys(text):
        if first:
            report.add(Where(path, line), f"'{key}' again; expected it once, it stands on line {first}")
        if depth == 1:
            lines[key] = line
    places = {key: Where(path, line) for key, line in lines.items()}
    return check_arguments(values, places, Where(path, 1), module_type, report)


def check_arguments(
    values: Mapping[str, Any], places: Mapping[str, Where], whole: Where, module_type: ModuleType, report: Report
) -> dict[str, Any]:
    """Arguments as the parameters of ``module_type`` expect them; unknown names, misfits and gaps go to ``report``.

    Args:
        places: where each of ``values`` stands; ``whole`` is where they stand together.
    """
    parameters = {parameter.name: parameter for parameter in module_type.parameters}
    arguments = {}
    for key, value in values.items():
        where = places[key]
        if key not in parameters:
            report.add(where, f"{module_type.name} has no argument '{key}'{nearest(key, parameters)}")
            continue
        annotation = parameters[key].annotation
        try:
            arguments[key] = fit(value, annotation, module_type.least(key))
        except MismatchError as error:
            report.add(where, f"{key} = {_shown(value)}; expected {annotation}{error}")
    missing = [name for name, parameter in parameters.items() if parameter.required and name not in values]
    if missing:
        report.add(whole, f"{module_type.name} needs {', '.join(missing)}; expected it in this file")
    return arguments


def _keys(text: str) -> Iterator[tuple[int, str, int, int]]:
    """Every key of a valid JSON text: (depth, key, line, line of the same key before it in its object, else 0)."""
    line, word, word_line = 1, "", 0
    open_objects: list[dict[str, int]] = []
    for token in _TOKEN.findall(text):
        if token == "\n":
            line += 1
        elif token in "{[":
            open_objects.append({})
        elif token in "}]":
            open_objects.pop()
        elif token == ":":
            key = json.loads(word)
            yield len(open_objects), key, word_line, open_objects[-1].get(key, 0)
            open_objects[-1].setdefault(key, word_line)
        else:
            word, word_line = token, line


def _shown(value: Any) -> str:
    shown = json.dumps(value, ensure_ascii=False)
    return shown if len(shown) <= 60 else shown[:59] + "…"
