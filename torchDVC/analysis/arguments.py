"""Command lines of the analysis tools: argparse, with its complaints as one line like every other error."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from torchDVC.util.errors import ConfigError, nearest


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
