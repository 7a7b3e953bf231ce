"""Trains and tests codecs of the DVC family: what ``DVC/DVC.py`` runs."""

from __future__ import annotations

import logging
import os
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from torchDVC.dvc_front.coders import ROLES
from torchDVC.dvc_front.options import DVCOptions
from torchDVC.dvc_front.translation import Translation, test_options, train_options, translate, with_weights
from torchDVC.util.errors import run_command

_log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code. Configuration is checked before PyTorch is imported."""

    def run() -> int:
        if os.environ.get("DATAROOT"):
            os.environ["DATASET"] = os.environ["DATAROOT"]
        options, translation = translate(sys.argv[1:] if arguments is None else arguments)
        if options.show:
            from torchDVC.dvc_front.show import shown

            print(shown(options, translation))
            return 0
        return run_test(options, translation) if options.test else run_training(options, translation)

    return run_command(run)


def run_training(options: DVCOptions, translation: Translation) -> int:
    """Run the phases; returns the exit code."""
    from torchDVC.dvc_front.restore import experiment_key
    from torchDVC.training.trainer import Trainer

    restored, checkpoint = _restored(options)
    key = options.experiment_key or (experiment_key(restored) if restored and options.restore == "resume" else None)
    key = key or secrets.token_hex(16)
    translation = _weighted(options, translation)
    assert translation.train is not None
    estimator = translation.model.by_name(ROLES["ME"].name)
    if checkpoint is None and not estimator.weights and estimator.code not in translation.train.stages[0].train:
        _log.warning("%s starts untrained and frozen: give --ME_weights, or train ME first", options.MENet)
    engine = train_options(options, *_devices(options), checkpoint, key)
    trainer = Trainer(engine, translation.model, translation.train)
    trainer.fabric.print(f"experiment key {key}, in {engine.folder}")
    return trainer.run()


def run_test(options: DVCOptions, translation: Translation) -> int:
    """Measure the codec, and report each sequence; returns the exit code."""
    from torchDVC.dvc_front import tables
    from torchDVC.testing.tester import Tester

    _, checkpoint = _restored(options)
    translation = _weighted(options, translation)
    tester = Tester(test_options(options, *_devices(options), checkpoint), translation.model, translation.test)
    code = tester.run()
    print(tables.write(tester.folder / f"q{options.quality_level}", tester.results, options.lmda))
    return code


def _restored(options: DVCOptions) -> tuple[Path | None, Path | None]:
    """The folder of the run that ``--restore`` names, and its checkpoint."""
    from torchDVC.dvc_front.restore import checkpoint, find_run

    if options.restore == "none":
        return None, None
    own = options.save_dir if options.restore == "resume" else None
    run = find_run(options.restore_exp_key or str(own or options.codec), options.quality_level)
    return run, checkpoint(run, options.restore_exp_epoch)


def _weighted(options: DVCOptions, translation: Translation) -> Translation:
    """The translation with the weights that modules start from, unless a checkpoint gives all of them."""
    from torchDVC.dvc_front.intra_weights import intra_weights

    if options.restore != "none":
        return translation
    intra = intra_weights(options.intra_weights, options.quality_level, of_zoo=options.intra_coder_conf is None)
    model = with_weights(translation.model, intra_codec=intra, motion_estimator=options.ME_weights)
    return Translation(model, translation.train, translation.test)


def _devices(options: DVCOptions) -> tuple[int, str]:
    """Number of GPUs and device for the engine; that there is no GPU where one is asked for is said."""
    import torch

    if options.gpus == 0:
        return 1, "cpu"
    if options.gpus is not None and not torch.cuda.is_available():
        _log.warning("--gpus %d: no GPU here, running on the CPU", options.gpus)
        return 1, "cpu"
    return options.gpus or 1, "auto"
