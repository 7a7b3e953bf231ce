"""Reads the values of a cfg file's sections: which keys there are, how each is read, and what stands in for it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torchDVC.config.migration import KEYS, of_a_module, renamed
from torchDVC.config.problems import Report, Where
from torchDVC.config.text_files import Entry, Section, read_sections
from torchDVC.config.values import Reader, Unexpected
from torchDVC.util.errors import did_you_mean, nearest

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_SAID = Where(Path("--set"))


@dataclass(frozen=True)
class Key:
    """A key of a cfg file: the field of the record that its value goes to, and how it is read."""

    field: str
    read: Reader


@dataclass
class Values:
    """The values of one section, read: by field, with where each key stands."""

    section: Section
    fields: dict[str, Any] = field(default_factory=dict)
    where: dict[str, Where] = field(default_factory=dict)
    sound: bool = True

    def place(self, key: str) -> Where:
        """Where ``key`` stands, or the section's title where it is not given."""
        return self.where.get(key, self.section.where)

    def over(self, defaults: Values) -> Values:
        """These values, with those of ``defaults`` (the header) where they give none."""
        fields, where = {**defaults.fields, **self.fields}, {**defaults.where, **self.where}
        return Values(self.section, fields, where, self.sound and defaults.sound)


def read_values(section: Section, keys: Mapping[str, Key], report: Report) -> Values:
    """Read the entries of a section. Unknown keys and unreadable values are noted and make the result unsound."""
    values = Values(section)
    for entry in section.entries.values():
        key = keys.get(entry.key)
        if key is None:
            hint = renamed(entry.key, KEYS) or of_a_module(entry.key) or nearest(entry.key, keys)
            report.add(entry.where, f"unknown key '{entry.key}' in [{section.title}]{hint}")
            values.sound = False
            continue
        values.where[entry.key] = entry.where
        try:
            values.fields[key.field] = key.read(entry.value)
        except Unexpected as error:
            report.add(entry.where, f"{entry.key} = '{entry.value}'; expected {error}")
            values.sound = False
    return values


def header_and_processes(path: Path, report: Report, said: Sequence[str] = ()) -> tuple[Section, dict[str, Section]]:
    """The ``[header]`` of a cfg file (empty where there is none) and its ``[process: NAME]`` sections by name.

    What ``--set`` said, ``key=value`` each, stands in the header, and no section says otherwise.
    """
    header: Section | None = None
    processes: dict[str, Section] = {}
    for section in read_sections(path, report):
        word, _, name = (part.strip() for part in section.title.partition(":"))
        if section.title == "header":
            first = header = header or section
        elif word == "process" and _NAME.fullmatch(name):
            first = processes.setdefault(name, section)
        else:
            suggestion = did_you_mean(word, ["header", "process"]) if word != "process" else ""
            expected = "[header] or [process: NAME], NAME of letters, digits, _ and -"
            report.add(section.where, f"section [{section.title}]; expected {expected}{suggestion}")
            continue
        if first is not section:
            report.add(section.where, f"[{section.title}] again; it stands on line {first.where.line}")
    if not processes and not report.concerns(path):
        report.add(Where(path), "no [process: NAME] section; expected at least one")
    header = header or Section("header", Where(path))
    for text in said:
        key, _, value = (part.strip() for part in text.partition("="))
        for section in processes.values():
            section.entries.pop(key, None)
        header.entries[key] = Entry(key, value, _SAID)
    return header, processes
