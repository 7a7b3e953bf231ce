"""Reads a model csv: header line, then one module a line; ``#`` starts a comment.

A line with `PROPERTY` in place of a code says something of the whole codec: ``-,format,yuv420`` is its picture format.
"""

from __future__ import annotations

import csv
import keyword
from collections.abc import Mapping
from pathlib import Path

from torchDVC.config.json_files import read_arguments
from torchDVC.config.lookup import find_arguments, find_weights
from torchDVC.config.migration import COLUMNS as OLD_COLUMNS
from torchDVC.config.migration import TYPES, renamed
from torchDVC.config.picture_formats import PICTURE_FORMATS, RGB
from torchDVC.config.problems import Report, Where
from torchDVC.config.records import ModelConfig, ModuleSpec, levels_said
from torchDVC.config.registry import ModuleType
from torchDVC.config.scan import undeclared
from torchDVC.config.text_files import read_lines
from torchDVC.util.errors import nearest

COLUMNS = ("code", "name", "type", "args", "weights")
PROPERTY = "-"
FORMAT = "format"


def read_model_csv(path: Path, types: Mapping[str, ModuleType], report: Report) -> ModelConfig:
    """Read a model csv and the JSON files it names. Problems go to ``report``; lines that have some are left out."""
    modules = []
    taken: dict[str, int] = {}
    rows = _rows(path, report)
    picture_format = _format(rows, taken, report)
    for where, row in rows:
        if row["code"] == PROPERTY:
            continue
        _check_names(row, where, taken, report)
        module_type = types.get(row["type"])
        if module_type is None:
            hint = undeclared(row["type"]) or renamed(row["type"], TYPES) or nearest(row["type"], types)
            report.add(where, f"unknown module type '{row['type']}'{hint}")
            continue
        if picture_format not in module_type.formats:
            report.add(where, f"{module_type.name} works in {', '.join(module_type.formats)}, not in {picture_format}")
        modules.append(_module(row, module_type, path, where, taken, report))
    model = ModelConfig(path.stem, path, tuple(modules), picture_format)
    if not report and len(levels := model.levels) > 1:
        report.add(Where(path), f"modules of unequal quality levels: {levels_said(levels)}; expected the same of all")
    return model


def _format(rows: list[tuple[Where, dict[str, str]]], taken: dict[str, int], report: Report) -> str:
    """The picture format that the lines of properties give; RGB where none does."""
    picture_format = RGB
    for where, row in rows:
        if row["code"] == PROPERTY:
            _claim(row["name"], where, taken, report)
            if row["name"] != FORMAT:
                report.add(where, f"unknown property '{row['name']}'; expected {PROPERTY},{FORMAT},…")
            elif row["type"] not in PICTURE_FORMATS:
                report.add(where, f"unknown picture format '{row['type']}'{nearest(row['type'], PICTURE_FORMATS)}")
            else:
                picture_format = row["type"]
    return picture_format


def _rows(path: Path, report: Report) -> list[tuple[Where, dict[str, str]]]:
    """The lines below the header, as column -> text."""
    lines = []
    for number, line in enumerate(read_lines(path, report), start=1):
        text = line.partition("#")[0].strip()
        if text:
            lines.append((Where(path, number), _fields(text)))
    if not lines:
        if not report.concerns(path):
            report.add(Where(path), f"holds nothing to read; expected the header {','.join(COLUMNS)}")
        return []
    (where, header), *rows = lines
    if tuple(header) != COLUMNS:
        old = next((renamed(column, OLD_COLUMNS) for column in header if column in OLD_COLUMNS), "")
        report.add(where, f"header '{','.join(header)}'; expected {','.join(COLUMNS)}{old}")
        return []
    if not rows:
        report.add(where, "no line below the header; expected at least one module")
    return [(where, row) for where, fields in rows if (row := _row(fields, where, report))]


def _fields(text: str) -> list[str]:
    try:
        return [item.strip() for item in next(csv.reader([text]))]
    except csv.Error:
        return [text]


def _row(fields: list[str], where: Where, report: Report) -> dict[str, str]:
    if not 3 <= len(fields) <= len(COLUMNS):
        report.add(where, f"{len(fields)} columns; expected {','.join(COLUMNS)} (args and weights may be empty)")
        return {}
    return dict(zip(COLUMNS, [*fields, "", ""], strict=False))


def _check_names(row: Mapping[str, str], where: Where, taken: dict[str, int], report: Report) -> None:
    """Code and name must be of the right form and not stand on an earlier line; ``taken`` keeps who has them."""
    code, name = row["code"], row["name"]
    if not (len(code) == 1 and code.isascii() and code.isalpha()):
        report.add(where, f"code '{code}'; expected one letter")
    if not (name.isascii() and name.isidentifier() and not name.startswith("_") and not keyword.iskeyword(name)):
        report.add(where, f"name '{name}'; expected a Python identifier, such as motion_codec")
    _claim(f"code '{code}'", where, taken, report)
    _claim(f"name '{name}'", where, taken, report)


def _claim(what: str, where: Where, taken: dict[str, int], report: Report) -> None:
    first = taken.setdefault(what, where.line)
    if first != where.line:
        report.add(where, f"{what} is taken by line {first}; expected another")


def _module(
    row: Mapping[str, str], module_type: ModuleType, path: Path, where: Where, taken: dict[str, int], report: Report
) -> ModuleSpec:
    args_path = find_arguments(row["args"], path, where, report) if row["args"] else None
    args = read_arguments(args_path, module_type, report) if args_path else {}
    required = [p.name for p in module_type.parameters if p.required]
    if required and not row["args"]:
        report.add(where, f"{module_type.name} needs {', '.join(required)}; expected an args file that gives it")
    weights = find_weights(row["weights"], path, where, report) if row["weights"] else None
    spec = ModuleSpec(row["code"], row["name"], module_type, args, weights, str(where))
    if module_type.codes:
        _claim(f"rate label '{spec.label}'", where, taken, report)
    return spec
