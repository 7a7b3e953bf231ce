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


if __name__ == "__main__":
    import pathlib

    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])
    from torchDVC.codec import main

    sys.exit(main())
