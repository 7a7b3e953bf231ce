"""Measure the rate and distortion of a codec on test clips: ``python tester.py --help``."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code. Configuration is checked before PyTorch is imported."""
    from torchDVC.util.errors import run_command

    return run_command(lambda: _run(sys.argv[1:] if arguments is None else arguments))


def _run(arguments: Sequence[str]) -> int:
    from torchDVC.config import load_run
    from torchDVC.config.rate_points import parse_testers

    points = parse_testers(arguments)
    model, config = load_run(points[0].model_config, points[0].run_config, "test", points[0].set)
    from torchDVC.testing.tester import Tester

    return max(Tester(options, model, config).run() for options in points)


def program() -> None:
    """The command line as this process's program."""
    from torchDVC.util.start import program

    program("torchDVC.tester")


if __name__ == "__main__":
    import os

    sys.path[0] = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    program()
