"""Trains the runs of several Lagrangians, one after the other or side by side."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from torchDVC.config import ModelConfig, Stage, TrainConfig, load_run
from torchDVC.config.command_line import TrainOptions
from torchDVC.training.claim import only_trainer
from torchDVC.training.keeper import last_checkpoint
from torchDVC.training.side_by_side import run_all, shares
from torchDVC.training.trainer import Trainer


def train_all(points: Sequence[TrainOptions], model: ModelConfig, config: TrainConfig) -> int:
    """Run them in order, or side by side on the GPUs there are; returns the exit code.

    All is within the time of ``--max_minutes``. Where a stage of the cfg is marked ``adapt``, the runs after the first
    begin there, with the first's weights. When one is resumed, so are the others, as far as they were begun.
    """
    start = time.monotonic()

    def begin(options: TrainOptions) -> TrainOptions:
        first = options is points[0]
        return options if first else _following(options, points[0], config, time.monotonic() - start)

    gpus = shares(points[0]) if len(points) > 1 else []
    if gpus:
        begins = [partial(begin, options) for options in points]
        return run_all(_load_and_train, begins, gpus, first_alone=_adapted(config) is not None)
    for options in points:
        trainer, code = _train(begin(options), model, config)
        if code or trainer.stopped:
            return code
    return 0


def _train(options: TrainOptions, model: ModelConfig, config: TrainConfig) -> tuple[Trainer, int]:
    with only_trainer(options.folder):
        trainer = Trainer(options, model, config)
        return trainer, trainer.run()


def _load_and_train(options: TrainOptions) -> int:
    return _train(options, *load_run(options.model_config, options.run_config, "train", options.set))[1]


def _adapted(config: TrainConfig) -> Stage | None:
    """The stage that the runs after the first begin at."""
    return next((stage for stage in config.stages if stage.adapt), None)


def _following(options: TrainOptions, first: TrainOptions, config: TrainConfig, seconds: float) -> TrainOptions:
    """How a run after the first begins, so many seconds after that."""
    if options.max_minutes is not None:
        options = replace(options, max_minutes=max(0.0, options.max_minutes - seconds / 60))
    if options.restore == "resume":
        if last_checkpoint(options.folder).exists():
            return options
        options = replace(options, restore="none", checkpoint=None)
    stage = _adapted(config)
    if stage is None:
        return options
    epoch = config.first_epoch(stage)
    return replace(options, restore="load", checkpoint=last_checkpoint(first.folder), start_epoch=epoch)
