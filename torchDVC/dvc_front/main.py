"""Trains and tests codecs of the DVC family: what ``DVC/DVC.py`` runs."""

from __future__ import annotations

import logging
import os
import secrets
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from torchDVC.config import ModelConfig, TrainConfig
from torchDVC.config.command_line import RunOptions, TestOptions, TrainOptions
from torchDVC.dvc_front import ancestor, pretraining
from torchDVC.dvc_front.coders import ROLES
from torchDVC.dvc_front.options import NO_WEIGHTS, DVCOptions
from torchDVC.dvc_front.restore import CHECKPOINTS, LAST, checkpoint, experiment_key, find_run, stages
from torchDVC.dvc_front.translation import Translation, test_options, train_options, translate, with_weights
from torchDVC.util.errors import run_command

_log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code. Configuration is checked before PyTorch is imported."""

    def run() -> int:
        if os.environ.get("DATAROOT"):
            os.environ["DATASET"] = os.environ["DATAROOT"]
        options, translation = translate(sys.argv[1:] if arguments is None else arguments)
        translation = weighted(options, translation)
        make = _tester_options if options.test else _trainer_options
        engine: RunOptions = make(options, translation)
        if options.show:
            from torchDVC.dvc_front.show import shown

            print(shown([engine, *_afterwards(options, engine)], translation))
            return 0
        if isinstance(engine, TrainOptions):
            return run_training(options, engine, translation)
        assert isinstance(engine, TestOptions)
        return run_test(options, engine, translation)

    return run_command(run)


def _trainer_options(options: DVCOptions, translation: Translation) -> TrainOptions:
    """The options of the engine's trainer; a run that is resumed goes on in its folder, under its experiment key."""
    assert translation.train is not None
    run, checkpoint = _restored(options)
    engine = train_options(options, *_devices(options), _of_engine(checkpoint, translation.model))
    if engine.end_epoch is not None:
        engine = replace(engine, end_epoch=engine.end_epoch + pretraining.epochs_before(translation.train))
    if run is None or options.restore != "resume":
        return engine
    key = options.experiment_key or experiment_key(run)
    return replace(engine, save_dir=options.save_dir or run, experiment_key=key)


def _tester_options(options: DVCOptions, translation: Translation) -> TestOptions:
    _, checkpoint = _restored(options)
    return test_options(options, *_devices(options), _of_engine(checkpoint, translation.model))


def _of_engine(checkpoint: Path | None, model: ModelConfig) -> Path | None:
    """The checkpoint, or where it is the ancestor's, one that the engine reads."""
    if checkpoint is None or not ancestor.is_one(checkpoint):
        return checkpoint
    return ancestor.converted(checkpoint, model)


def _afterwards(options: DVCOptions, engine: RunOptions) -> Iterator[TestOptions]:
    """The test of what a training run leaves."""
    if isinstance(engine, TrainOptions):
        last = engine.folder / CHECKPOINTS / LAST
        yield replace(test_options(options, engine.gpu, engine.device, last), restore="load", save_dir=None)


def run_training(options: DVCOptions, engine: TrainOptions, translation: Translation) -> int:
    """Run the phases; returns the exit code."""
    from torchDVC.training.claim import only_trainer
    from torchDVC.training.trainer import Trainer

    assert translation.train is not None
    pretraining.announce(translation.train)
    engine = replace(engine, experiment_key=engine.experiment_key or secrets.token_hex(16))
    with only_trainer(engine.folder):
        trainer = Trainer(engine, translation.model, translation.train)
        trainer.fabric.print(f"experiment key {engine.experiment_key}, in {engine.folder}")
        return trainer.run()


def run_test(options: DVCOptions, engine: TestOptions, translation: Translation) -> int:
    """Measure the codec, and report each sequence; returns the exit code."""
    from torchDVC.dvc_front import tables
    from torchDVC.testing.tester import Tester

    tester = Tester(engine, translation.model, translation.test)
    code = tester.run()
    print(tables.write(tester.folder / f"q{options.quality_level}", tester.results, options.lmda))
    return code


def _restored(options: DVCOptions) -> tuple[Path | None, Path | None]:
    """The folder of the run that ``--restore`` names, and its checkpoint."""
    if options.restore == "none":
        return None, None
    own = options.save_dir if options.restore == "resume" else None
    run = find_run(options.restore_exp_key or str(own or options.codec), options.quality_level)
    return run, checkpoint(run, options.restore_exp_epoch)


def _of_ancestor(options: DVCOptions) -> bool:
    _, checkpoint = _restored(options)
    return checkpoint is not None and ancestor.is_one(checkpoint)


def weighted(options: DVCOptions, translation: Translation) -> Translation:
    """The translation with the weights that modules start from, unless a checkpoint gives all of them."""
    from torchDVC.dvc_front.intra_weights import intra_weights

    model, train = translation.model, translation.train
    if options.restore == "none" or _of_ancestor(options):
        intra = intra_weights(options.intra_weights, options.quality_level, of_zoo=options.intra_coder_conf is None)
        model = with_weights(
            model, intra_codec=intra, motion_estimator=_estimator_weights(options), motion_codec=options.Motion_weights,
            motion_compensator=options.MC_weights, residual_codec=options.Residual_weights,
        )  # fmt: skip
    if train is not None:
        train = pretraining.pretrained(train, model, _pretrained_roles(options, model, train))
    return Translation(model, train, translation.test)


def _pretrained_roles(options: DVCOptions, model: ModelConfig, train: TrainConfig) -> list[str]:
    """What is to be trained before the phases of the json: in a resumed run, what was."""
    if options.restore == "resume":
        run, _ = _restored(options)
        return [role for role in pretraining.PRETRAININGS if run and pretraining.NAME + ROLES[role].name in stages(run)]
    if options.restore == "load":
        return []
    given = {"intra_codec": options.intra_weights, "motion_estimator": options.ME_weights}
    return pretraining.untrained(model, train, [name for name, weights in given.items() if weights == NO_WEIGHTS])


def _estimator_weights(options: DVCOptions) -> Path | None:
    """The file of ``--ME_weights``; without it SPyNet's, where they stand as they do beside the ancestor's scripts."""
    beside = ancestor.ESTIMATOR_WEIGHTS
    if options.ME_weights is None and options.MENet == DVCOptions.MENet and beside.is_file():
        return beside
    return _file(options.ME_weights)


def _file(weights: Path | str | None) -> Path | None:
    """The file of a flag that may say `NO_WEIGHTS`."""
    return None if weights in (None, NO_WEIGHTS) else Path(weights or "")


def _devices(options: DVCOptions) -> tuple[int, str]:
    """Number of GPUs and device for the engine; that there is no GPU where one is asked for is said."""
    import torch

    if options.gpus == 0:
        return 1, "cpu"
    if options.gpus is not None and not torch.cuda.is_available():
        _log.warning("--gpus %d: no GPU here, running on the CPU", options.gpus)
        return 1, "auto"
    return options.gpus or 1, "auto"
