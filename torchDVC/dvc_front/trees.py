"""Reads yml and json files into values that know the line they stand on."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchDVC.config.problems import Report, Where
from torchDVC.config.text_files import read_text
from torchDVC.config.values import Reader, Unexpected
from torchDVC.util.errors import nearest

DEEPEST = 20
MOST_DIGITS = 50
_TAG = "tag:yaml.org,2002:"
_CONSTRUCTED = ("null", "bool", "int", "float")
_KINDS = (*_CONSTRUCTED, "str", "timestamp", "merge", "value", "map", "seq")
"""What YAML takes a value for by itself."""


@dataclass(frozen=True)
class Item:
    """A value and where it stands; ``value`` is plain, or a mapping or tuple of items."""

    value: Any
    where: Where

    def plain(self) -> Any:
        """The value without lines: plain values, dicts and lists."""
        if isinstance(self.value, Mapping):
            return {key: item.plain() for key, item in self.value.items()}
        return [item.plain() for item in self.value] if isinstance(self.value, tuple) else self.value

    def text(self) -> str:
        """The value as a file would show it."""
        return self.value if isinstance(self.value, str) else json.dumps(self.plain(), ensure_ascii=False)

    def shown(self) -> str:
        """The value in a message, not all of it where it is long."""
        text = self.text()
        return text if len(text) <= 60 else text[:59] + "…"


Table = Mapping[str, Item]


def read_tree(path: Path, report: Report) -> Item | None:
    """The mapping that a yml or json file holds; None, and a note in ``report``, where it holds none."""
    text = read_text(path, report)
    if text is None:
        return None
    try:
        if path.suffix == ".json":
            _check_json(text)
            text = text.replace("\t", " ")
        root = _compose(text)
        found = _item(root, path, report) if root is not None else None
    except _SyntaxProblem as problem:
        report.add(Where(path, problem.line), str(problem))
        return None
    if found is None or not isinstance(found.value, Mapping):
        report.add(Where(path, 1), "holds no keys and values")
        return None
    return found


class _SyntaxProblem(Exception):
    def __init__(self, what: str, line: int) -> None:
        super().__init__(what)
        self.line = line


def _check_json(text: str) -> None:
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        raise _SyntaxProblem(f"not JSON: {error.msg} (column {error.colno})", error.lineno) from None
    except (ValueError, RecursionError):
        pass  # a number of too many digits, or nesting too deep: JSON all the same, and noted with its line elsewhere


def _compose(text: str) -> Any:
    import yaml

    try:
        _check_nesting(text)
        return yaml.compose(text, yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise _SyntaxProblem(f"cannot be read: {what}", mark.line + 1 if mark else 0) from None


def _check_nesting(text: str) -> None:
    """Only plain values may be repeated by an alias: more might never end."""
    import yaml

    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        line = event.start_mark.line + 1
        opens = isinstance(event, yaml.CollectionStartEvent)
        depth += opens - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise _SyntaxProblem(f"nested more than {DEEPEST} deep; expected less", line)
        if opens and event.anchor:
            raise _SyntaxProblem(f"&{event.anchor} names keys and values, or a list; expected a plain value", line)


def _item(node: Any, path: Path, report: Report) -> Item:
    where = Where(path, node.start_mark.line + 1)
    if node.tag.removeprefix(_TAG) not in _KINDS:
        raise _SyntaxProblem(f"tag {node.tag.replace(_TAG, '!!')}; expected a value without a tag", where.line)
    if node.id == "sequence":
        return Item(tuple(_item(child, path, report) for child in node.value), where)
    if node.id != "mapping":
        return Item(_scalar(node), where)
    table: dict[str, Item] = {}
    for key_node, child in node.value:
        key, line = key_node.value, Where(path, key_node.start_mark.line + 1)
        if key_node.id != "scalar":
            raise _SyntaxProblem("a key that is no plain text; expected a name", line.line)
        if key in table:
            report.add(line, f"'{key}' again; expected it once, it stands on line {table[key].where.line}")
        table.setdefault(key, Item(_item(child, path, report).value, line))
    return Item(table, where)


def _scalar(node: Any) -> Any:
    """A plain value: quoted texts as they are, else what JSON takes it for (1e-4 is a number), else what YAML does.

    What YAML takes for a date is a text here, and so is a number of more digits than any value has.
    """
    import yaml

    if node.style:
        return node.value
    with suppress(ValueError):
        return json.loads(node.value)
    if node.tag.removeprefix(_TAG) in _CONSTRUCTED and len(node.value) <= MOST_DIGITS:
        with suppress(ValueError, LookupError):
            return yaml.SafeLoader("").construct_object(node)
    return node.value


class TableReader:
    """Takes known keys from a table; notes those that are unknown, missing, or of a value that was not expected.

    Args:
        item: the table; nothing at all is an empty table, a value of another kind is noted and read as one.
        name: what messages call it.
        known: its keys.
    """

    def __init__(self, item: Item, name: str, known: Collection[str], report: Report) -> None:
        self.name, self.report, self.where = name, report, item.where
        self.items: Table = item.value if isinstance(item.value, Mapping) else {}
        if not isinstance(item.value, Mapping | None):
            report.add(item.where, f"{name} is {item.shown()}; expected keys and values: {', '.join(known)}")
        for key, found in self.items.items():
            if key not in known:
                report.add(found.where, f"unknown key '{key}' in {name}{nearest(key, known)}")

    def place(self, key: str) -> Where:
        """Where a key stands, or the table where it has no such key."""
        return self.items[key].where if key in self.items else self.where

    def take(self, key: str, read: Reader, default: Any = None, *, needed: bool = False) -> Any:
        """The value of a key, read by a reader of texts; ``default`` where it is missing or not as expected."""
        item = self.items.get(key)
        if item is None:
            if needed:
                self.report.add(self.where, f"{self.name} has no '{key}'; expected it")
            return default
        try:
            return read(item.text())
        except Unexpected as error:
            self.report.add(item.where, f"{key} = {item.shown()}; expected {error}")
            return default

    def names(self, key: str, known: Collection[str]) -> tuple[str, ...]:
        """The value of a key that is a list of some of the ``known`` names."""
        item = self.items.get(key)
        if item is None:
            return ()
        if not isinstance(item.value, tuple):
            self.report.add(item.where, f"{key} = {item.shown()}; expected a list of {', '.join(known)}")
            return ()
        return tuple(self._known(key, item.value, known))

    def _known(self, key: str, items: tuple[Item, ...], known: Collection[str]) -> Iterator[str]:
        for item in items:
            if item.text() in known:
                yield item.text()
            else:
                self.report.add(item.where, f"{key} has '{item.shown()}'{nearest(item.text(), known)}")
