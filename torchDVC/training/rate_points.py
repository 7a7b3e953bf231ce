"""Trains the runs of several Lagrangians, one after the other."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from torchDVC.config import ModelConfig, TrainConfig
from torchDVC.config.command_line import TrainOptions
from torchDVC.training.claim import only_trainer
from torchDVC.training.keeper import last_checkpoint
from torchDVC.training.trainer import Trainer


def train_all(points: Sequence[TrainOptions], model: ModelConfig, config: TrainConfig) -> int:
    """Run them in order, all within the time of ``--max_minutes``; returns the exit code.

    Where a stage of the cfg is marked ``adapt``, the runs after the first begin there, with the first's weights. When
    one is resumed, so are the others, as far as they were begun.
    """
    start = time.monotonic()
    for number, options in enumerate(points):
        if number:
            options = _following(options, points[0], config, time.monotonic() - start)
        with only_trainer(options.folder):
            trainer = Trainer(options, model, config)
            code = trainer.run()
        if code or trainer.stopped:
            return code
    return 0


def _following(options: TrainOptions, first: TrainOptions, config: TrainConfig, seconds: float) -> TrainOptions:
    """How a run after the first begins, so many seconds after that."""
    if options.max_minutes is not None:
        options = replace(options, max_minutes=max(0.0, options.max_minutes - seconds / 60))
    if options.restore == "resume":
        if last_checkpoint(options.folder).exists():
            return options
        options = replace(options, restore="none", checkpoint=None)
    stage = next((stage for stage in config.stages if stage.adapt), None)
    if stage is None:
        return options
    epoch = config.first_epoch(stage)
    return replace(options, restore="load", checkpoint=last_checkpoint(first.folder), start_epoch=epoch)
