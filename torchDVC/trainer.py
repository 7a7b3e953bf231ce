"""Train a codec in the stages of a train cfg: ``python trainer.py --help``."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code. Configuration is checked before PyTorch is imported."""
    from torchDVC.config import load_run
    from torchDVC.config.command_line import parse_trainer
    from torchDVC.util.errors import run_command

    def run() -> int:
        options = parse_trainer(sys.argv[1:] if arguments is None else arguments)
        model, config = load_run(options.model_config, options.run_config, "train")
        from torchDVC.training.claim import only_trainer

        with only_trainer(options.folder):
            from torchDVC.training.trainer import Trainer

            return Trainer(options, model, config).run()

    return run_command(run)


if __name__ == "__main__":
    import pathlib

    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])
    from torchDVC.trainer import main

    sys.exit(main())
