"""Command lines of the analysis tools: argparse, with its complaints as one line like every other error."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from typing import Any, NoReturn

from torchDVC.util.errors import ConfigError, nearest


def positive(text: str) -> float:
    """The value of an argument that is a finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}; expected a number above 0")
    return value


class Parser(argparse.ArgumentParser):
    """An argument parser that raises `ConfigError` instead of printing its usage and ending the program."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        raise ConfigError([message.removeprefix("argument ")])

    def parse(self, arguments: Sequence[str] | None) -> argparse.Namespace:
        """Read an argument list, or the program's own; an unknown flag is named with the nearest known one."""
        known, unknown = self.parse_known_args(arguments)
        if unknown:
            flags = [name for action in self._actions for name in action.option_strings]
            raise ConfigError([f"unknown argument '{unknown[0]}'{nearest(unknown[0], flags)}"])
        return known
