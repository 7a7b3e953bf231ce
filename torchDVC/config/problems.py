"""Where a problem stands in a user's file, and the collection of all problems that one error reports together."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from torchDVC.util.errors import ConfigError

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
"""The folder of the shipped configuration: ``model``, ``module``, ``train`` and ``test`` lie in it."""


def short_path(path: Path) -> str:
    """A path as a user would write it: from its folder of `CONFIGS`, from the current folder, else whole."""
    path = Path(os.path.abspath(path))
    if path.is_relative_to(CONFIGS):
        inside = path.relative_to(CONFIGS)
        return str(Path(*inside.parts[1:]) if len(inside.parts) > 1 else inside)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


@dataclass(frozen=True)
class Where:
    """A line of a file; ``line`` 0 means the file as a whole. Prints as ``file:line``."""

    path: Path
    line: int = 0

    def __str__(self) -> str:
        return f"{short_path(self.path)}:{self.line}" if self.line else short_path(self.path)


class Report:
    """Problems found so far, in whatever order the checks came to them."""

    def __init__(self) -> None:
        self._problems: list[tuple[Where, str]] = []

    def __bool__(self) -> bool:
        return bool(self._problems)

    def concerns(self, path: Path) -> bool:
        """Whether something is wrong with this file."""
        return any(where.path == path for where, _ in self._problems)

    def add(self, where: Where, what: str) -> None:
        """Note a problem: ``what`` was found there, what was expected instead, and the nearest valid name."""
        self._problems.append((where, what))

    def lines(self) -> list[str]:
        """One line per problem: files in the order they were first complained about, each from its top down."""
        files = list(dict.fromkeys(where.path for where, _ in self._problems))
        ordered = sorted(self._problems, key=lambda problem: (files.index(problem[0].path), problem[0].line))
        return list(dict.fromkeys(f"{where}: {_one_line(what)}" for where, what in ordered))

    def raise_if_any(self) -> None:
        """Raise one `ConfigError` with every problem, if there is one."""
        if self._problems:
            raise ConfigError(self.lines())


def _one_line(text: str) -> str:
    """Show control characters that a damaged file may have put into a message as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
