"""Encode and decode real files: ``python codec.py {export,encode,decode,info} --help``."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code. Flags are checked before PyTorch is imported."""
    from torchDVC.util.errors import run_command

    return run_command(lambda: _run(sys.argv[1:] if arguments is None else arguments))


def _run(arguments: Sequence[str]) -> None:
    from torchDVC.bitstream.options import COMMANDS, USAGE, parse_codec
    from torchDVC.util.errors import ConfigError, did_you_mean

    command, *rest = arguments or ["--help"]
    if command in ("-h", "--help"):
        print(USAGE)
        return
    if command not in COMMANDS:
        near = did_you_mean(command, COMMANDS)
        raise ConfigError([f"unknown command '{command}'; expected {', '.join(COMMANDS)}{near}"])
    options = parse_codec(command, rest)
    from torchDVC.bitstream import commands

    commands.run(options)


def program() -> None:
    """The command line as this process's program."""
    from torchDVC.util.start import program

    program("torchDVC.codec")


if __name__ == "__main__":
    import os

    sys.path[0] = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    program()
