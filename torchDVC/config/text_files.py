"""Text of configuration files, and the sections of a cfg file with the line of every key.

`configparser` keeps no line numbers and stops at the first fault; this reads the same sections, keys and comments, and
reports every fault with its line. A key and its value stand on one line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from torchDVC.config.migration import HEADINGS, PAGE
from torchDVC.config.problems import Report, Where

_COMMENT = re.compile(r"""(?<![^\s=])("[^"]*"|'[^']*')|(?:^|\s)[#;].*""")
"""A comment, or quotes, in which its sign begins none."""


@dataclass(frozen=True)
class Entry:
    """``key = value`` and where it stands."""

    key: str
    value: str
    where: Where


@dataclass(frozen=True)
class Section:
    """A ``[title]`` and the entries below it, by key."""

    title: str
    where: Where
    entries: dict[str, Entry] = field(default_factory=dict)


def read_text(path: Path, report: Report) -> str | None:
    """The text of a UTF-8 file with lines ended by ``\\n``; None, and a note in ``report``, where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        report.add(Where(path), f"cannot be read: {(error.strerror or str(error)).lower()}")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        report.add(Where(path, line), "not UTF-8 text")
    return None


def read_lines(path: Path, report: Report) -> list[str]:
    """The lines of a text file; none, and a note in ``report``, where it cannot be read."""
    text = read_text(path, report)
    return text.split("\n") if text else []


def read_sections(path: Path, report: Report) -> list[Section]:
    """The sections of a cfg file in file order; lines that are neither section nor entry are noted in ``report``."""
    sections: list[Section] = []
    for line, text in enumerate(read_lines(path, report), start=1):
        where = Where(path, line)
        text = _COMMENT.sub(lambda found: found[1] or "", text).strip()
        if text.startswith("[") and text.endswith("]"):
            sections.append(Section(" ".join(text[1:-1].split()), where))
        elif "=" in text and sections:
            key, value = (part.strip() for part in text.split("=", 1))
            _add_entry(sections[-1], Entry(key, value, where), report)
        elif text in HEADINGS:
            report.add(where, f"'{text}' of Learned Codec Protocol; expected [header] and [process: NAME], see {PAGE}")
            return sections
        elif text:
            expected = "key = value or [section]" if sections else "a section such as [header] before it"
            report.add(where, f"'{text}'; expected {expected}{f', see {PAGE}' if ': ' in text else ''}")
    return sections


def _add_entry(section: Section, entry: Entry, report: Report) -> None:
    first = section.entries.setdefault(entry.key, entry)
    if first is not entry:
        report.add(entry.where, f"'{entry.key}' again; expected it once, it stands on line {first.where.line}")
