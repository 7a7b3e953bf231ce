"""Command lines from frozen records: each flag is one field, declared once with its reader, help text and default.

::

    @dataclass(frozen=True, kw_only=True)
    class Options:
        lmda: float = flag(number(above=True), "Lagrangian", group="rate")
        no_image: bool = switch_flag("write no pictures", group="results")

`parse_flags` turns an argument list into such a record, or raises one `ConfigError` with every problem of every flag.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, dataclass
from typing import Any, NoReturn, TypeVar

from torchDVC.config.values import Reader, Unexpected
from torchDVC.util.errors import ConfigError, did_you_mean

GROUP = "flags"
"""Under which `--help` shows the flags of programs that have few."""

_METADATA = "flag"
Options = TypeVar("Options")


@dataclass(frozen=True)
class Flag:
    """How a flag is read and described.

    ``read`` None makes a switch, ``many`` takes one or more values as a tuple, ``short`` is a letter for the same flag.
    """

    read: Reader | None
    help: str
    group: str
    metavar: str = ""
    many: bool = False
    short: str = ""
    positional: bool = False


def flag(
    read: Reader, text: str, *, group: str = GROUP, metavar: str = "", many: bool = False, short: str = "",
    default: Any = MISSING,
) -> Any:
    """A field that a flag of its name fills. Without a default the flag must be given."""
    return dataclasses.field(default=default, metadata={_METADATA: Flag(read, text, group, metavar, many, short)})


def argument(read: Reader, text: str, *, group: str = GROUP, metavar: str, many: bool = False) -> Any:
    """A field that the next value without a flag, or all of them, fills; it must be given."""
    return dataclasses.field(metadata={_METADATA: Flag(read, text, group, metavar, many, positional=True)})


def switch_flag(text: str, *, group: str = GROUP, default: bool = False) -> Any:
    """A field that a flag without a value sets; with ``default`` True, ``--no-<flag>`` clears it."""
    return dataclasses.field(default=default, metadata={_METADATA: Flag(None, text, group)})


def same_flag(options: type[Any], name: str) -> Any:
    """A field with the flag, and the default, that the field ``name`` of another record of flags has."""
    (field,) = (field for field in _fields(options) if field.name == name)
    return dataclasses.field(default=field.default, metadata=field.metadata)


def parse_flags(
    options: type[Options], arguments: Sequence[str] | None, *, usage: str, description: str, groups: Sequence[str] = ()
) -> Options:
    """Read an argument list into a record of flags; ``--help`` prints the flags by group and ends the program.

    Args:
        options: a dataclass of `flag` and `switch_flag` fields. Its method ``problems``, where it has one, yields what
            is wrong with a combination of flags.
        arguments: as in ``sys.argv[1:]``, which None stands for.
        usage: the form of a typical call.
        groups: the order in which ``--help`` shows the groups of flags; others follow.

    Raises:
        ConfigError: one line for each unknown flag, missing flag, unreadable value and contradiction.
    """
    parser = _parser(options, usage, description, groups)
    known, unknown = parser.parse_known_intermixed_args(sys.argv[1:] if arguments is None else list(arguments))
    problems = list(_unknown(unknown, options))
    values = {}
    for field in _fields(options):
        if getattr(known, field.name, []) != []:
            try:
                values[field.name] = _read(field.metadata[_METADATA], getattr(known, field.name))
            except Unexpected as error:
                problems.append(f"{_shown(field)} {_joined(getattr(known, field.name))}; expected {error}")
        elif field.default is MISSING:
            problems.append(f"{_shown(field)} is missing; expected {field.metadata[_METADATA].help}")
    if not problems:
        record = options(**values)
        problems = list(getattr(record, "problems", list)())
    if problems:
        raise ConfigError(problems)
    return record


def _fields(options: type[Any]) -> list[dataclasses.Field[Any]]:
    return [field for field in dataclasses.fields(options) if _METADATA in field.metadata]


def _shown(field: dataclasses.Field[Any]) -> str:
    """What a user calls a flag or an argument."""
    declared: Flag = field.metadata[_METADATA]
    return declared.metavar if declared.positional else f"--{field.name}"


def _read(declared: Flag, given: Any) -> Any:
    if declared.read is None:
        return given
    return tuple(map(declared.read, given)) if declared.many else declared.read(given)


def _joined(given: str | Sequence[str]) -> str:
    return f"'{given if isinstance(given, str) else ' '.join(given)}'"


def _unknown(arguments: Sequence[str], options: type[Any]) -> Iterator[str]:
    """A line for each flag that does not exist; what follows one is its value."""
    named = [field for field in _fields(options) if not field.metadata[_METADATA].positional]
    known = ["--help", *(f"--{field.name}" for field in named)]
    known += [f"--no-{field.name}" for field in _fields(options) if field.default is True]
    flags = [argument.partition("=")[0] for argument in arguments if argument.startswith("-")]
    for name in flags:
        yield f"unknown flag '{name}'{did_you_mean(name, known) or '; --help lists them'}"
    if arguments and not flags:
        yield f"unexpected argument '{arguments[0]}'; expected {_arguments(options)}, --help lists them"


def _arguments(options: type[Any]) -> str:
    """What may stand on a command line."""
    positional = [_shown(field) for field in _fields(options) if field.metadata[_METADATA].positional]
    return f"{' and '.join(positional)}, and flags" if positional else "flags only"


class _Parser(argparse.ArgumentParser):
    """Raises its complaints instead of printing them and ending the program."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError([message.removeprefix("argument ")])


def _parser(options: type[Any], usage: str, description: str, order: Sequence[str]) -> argparse.ArgumentParser:
    parser = _Parser(
        usage=usage,
        description=description,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=34, width=110),
    )
    groups: dict[str, Any] = {name: parser.add_argument_group(name) for name in order}
    for field in _fields(options):
        declared: Flag = field.metadata[_METADATA]
        if declared.group not in groups:
            groups[declared.group] = parser.add_argument_group(declared.group)
        _add(groups[declared.group], field, declared)
    return parser


def _add(group: Any, field: dataclasses.Field[Any], declared: Flag) -> None:
    name, text = f"--{field.name}", declared.help
    if declared.read is None:
        action = argparse.BooleanOptionalAction if field.default else "store_true"
        group.add_argument(name, action=action, help=text)
        return
    if field.default not in (MISSING, None, ()):
        text += f" (default {field.default})"
    metavar = declared.metavar or field.name.upper()
    if declared.positional:
        group.add_argument(field.name, nargs="*" if declared.many else "?", metavar=metavar, help=text)
        return
    names = [f"-{declared.short}", name] if declared.short else [name]
    group.add_argument(
        *names, dest=field.name, nargs="+" if declared.many else None, metavar=metavar, help=text.replace("%", "%%")
    )
