"""Train a codec in the stages of a train cfg: ``python trainer.py --help``."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code. Configuration is checked before PyTorch is imported."""
    from torchDVC.util.errors import run_command

    return run_command(lambda: _run(sys.argv[1:] if arguments is None else arguments))


def _run(arguments: Sequence[str]) -> int:
    from torchDVC.config import load_run
    from torchDVC.config.rate_points import parse_trainers

    points = parse_trainers(arguments)
    model, config = load_run(points[0].model_config, points[0].run_config, "train", points[0].set)
    from torchDVC.training.rate_points import train_all

    return train_all(points, model, config)


def program() -> None:
    """The command line as this process's program."""
    from torchDVC.util.start import program

    program("torchDVC.trainer")


if __name__ == "__main__":
    import os

    sys.path[0] = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    program()
