"""JSON files of module arguments, with the line on which each key stands."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torchDVC.config.arguments import check_arguments, shown
from torchDVC.config.problems import Report, Where
from torchDVC.config.registry import ModuleType
from torchDVC.config.text_files import read_text

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
        report.add(Where(path, 1), f"holds {shown(values)}; expected an object {{…}} of arguments")
    return {}


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number of JSON")


def _checked(path: Path, text: str, values: dict[str, Any], module_type: ModuleType, report: Report) -> dict[str, Any]:
    """The values as the parameters expect them; duplicates are noted too."""
    places: dict[tuple[str, ...], Where] = {}
    for keys, line, first in _keys(text):
        if first:
            report.add(Where(path, line), f"'{keys[-1]}' again; expected it once, it stands on line {first}")
        places[keys] = Where(path, line)
    return check_arguments(values, places, Where(path, 1), module_type, report)


def _keys(text: str) -> Iterator[tuple[tuple[str, ...], int, int]]:
    """Every key of a valid JSON text: the keys that lead to it, its line, that of the same key before it, else 0."""
    line, word, word_line = 1, "", 0
    open_objects: list[dict[str, int]] = []
    path: list[str] = []
    for token in _TOKEN.findall(text):
        if token == "\n":
            line += 1
        elif token in "{[":
            open_objects.append({})
            path.append("")
        elif token in "}]":
            open_objects.pop()
            path.pop()
        elif token == ":":
            path[-1] = json.loads(word)
            yield tuple(path), word_line, open_objects[-1].get(path[-1], 0)
            open_objects[-1].setdefault(path[-1], word_line)
        else:
            word, word_line = token, line
