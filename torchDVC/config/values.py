"""Readers of single values, for configuration keys and command-line flags alike.

A reader takes a text and returns a value, or raises `Unexpected` saying what was expected; whoever called it knows the
key or the flag, and where it stands.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

from torchDVC.coding_structure import LAYERS, ByFrame
from torchDVC.util.errors import did_you_mean

MAX_OFFSET = 255
"""Quality levels differ by no more."""
Reader = Callable[[str], Any]

_SWITCH = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


class Unexpected(ValueError):
    """A value is not what was expected; ``str(error)`` completes the sentence "expected …"."""


def whole(least: int, most: int = 2**31 - 1) -> Reader:
    """A whole number from ``least`` to ``most``."""
    limits = f"of at least {least}" if most == 2**31 - 1 else f"from {least} to {most}"

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise Unexpected(f"a whole number {limits}")
        return value

    return read


def number(least: float = 0.0, most: float = math.inf, *, above: bool = False) -> Reader:
    """A finite number from ``least`` to ``most``; ``above``: greater than ``least``. 1/32 is read too."""
    limits = f"{'above' if above else 'of at least'} {least:g}" + (f", at most {most:g}" if most < math.inf else "")

    def read(text: str) -> float:
        try:
            value = float(Fraction(text)) if "/" in text else float(text)
        except (ValueError, ZeroDivisionError, OverflowError):
            value = math.nan
        if not (math.isfinite(value) and least <= value <= most and (value > least or not above)):
            raise Unexpected(f"a number {limits}")
        return value

    return read


def choice(*names: str) -> Reader:
    """One of ``names``."""

    def read(text: str) -> str:
        if text not in names:
            listed = ", ".join(names[:-1]) + " or " + names[-1]
            raise Unexpected(listed + did_you_mean(text, names))
        return text

    return read


def switch(text: str) -> bool:
    """True or false in the usual words."""
    if text.lower() not in _SWITCH:
        raise Unexpected("true or false")
    return _SWITCH[text.lower()]


def words(text: str) -> str:
    """Any text that is not empty."""
    if not text:
        raise Unexpected("a value")
    return text


def unquoted(text: str) -> str:
    """Any text that is not empty, without the quotes that it may stand in as a whole."""
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" and text[0] not in text[1:-1]
    return words(text[1:-1] if quoted else text)


def any_path(text: str) -> Path:
    """The path of a file or folder, whether it exists or not."""
    return Path(words(text)).expanduser()


def existing_path(text: str) -> Path:
    """The path of a file or folder that exists."""
    if not os.path.exists(any_path(text)):
        raise Unexpected("a file or folder that exists")
    return any_path(text)


def existing_file(text: str) -> Path:
    """The path of a file that exists."""
    if not os.path.isfile(any_path(text)):
        raise Unexpected("a file that exists")
    return any_path(text)


def by_frame(reader: Reader) -> Reader:
    """Values by position, ``0 2 1 2``, or by temporal layer, ``layer: 0 1 2``, as `ByFrame`."""

    def read(text: str) -> ByFrame:
        layers = text.startswith(LAYERS)
        words = text.removeprefix(LAYERS).split()
        if not words:
            raise Unexpected(f"values by position such as 1 0.5, or by temporal layer such as {LAYERS} 1 0.5")
        return ByFrame(tuple(map(reader, words)), layers)

    return read


def optional(reader: Reader, word: str) -> Reader:
    """What ``reader`` reads, or ``word`` for None."""

    def read(text: str) -> Any:
        if text.lower() == word.lower():
            return None
        try:
            return reader(text)
        except Unexpected as error:
            raise Unexpected(f"'{word}' or {error}") from None

    return read
