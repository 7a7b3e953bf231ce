"""Trainer: runs the stages of a train cfg."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from torchDVC.config import MODES, ModelConfig, Modes, Stage, TrainConfig
from torchDVC.config.command_line import TrainOptions
from torchDVC.dataset.training import TrainingClips, training_loader, training_set
from torchDVC.models import checkpoints
from torchDVC.models.loss import StageLoss, ms_ssim_loss, squared_error
from torchDVC.runner import Runner
from torchDVC.training.averages import Averages
from torchDVC.training.halt import Halt
from torchDVC.training.keeper import Keeper
from torchDVC.training.optimization import (
    AUX,
    Updater,
    enter_stage,
    make_optimizer,
    set_learning_rates,
    set_memory_format,
)
from torchDVC.training.plan import check_plan
from torchDVC.training.position import Position, check_data, conditions
from torchDVC.training.randomness import draw
from torchDVC.training.state import RunState
from torchDVC.training.validation import Validation
from torchDVC.util.device import autocast
from torchDVC.util.errors import ConfigError
from torchDVC.util.interrupts import Interrupts
from torchDVC.util.progress import Progress

_log = logging.getLogger(__name__)

LOG_EVERY = 20
"""Steps between two rows of metrics."""


class Trainer(Runner):
    """Trains a codec in stages.

    Args:
        options: the command line.
        model: the model csv.
        config: the train cfg.
    """

    parallel = True

    def __init__(self, options: TrainOptions, model: ModelConfig, config: TrainConfig) -> None:
        self.halt = Halt(options.max_minutes)
        super().__init__(options, model, config.stages)
        self.options: TrainOptions = options
        self.config = config
        self.end = options.end_epoch or config.epochs
        self._check_epochs()
        self.optimizer = make_optimizer(self.codec, config)
        self.updater = Updater(
            self.optimizer, config.grad_clip, torch.amp.GradScaler(self.device.type, enabled=self._uses_float16()),
            options.folder / "nonfinite_batch.safetensors",
        )
        self.position = Position(options.start_epoch)
        known = conditions(options, model, config, self.fabric.world_size)
        self.state = RunState(known, self.codec, self.updater, self.position)
        self.keeper = Keeper(options, self.state, writes=self.fabric.is_global_zero)
        self.keeper.restore()
        self._stage: Stage | None = None

    def run(self) -> int:
        """Train to the end, or to an interruption, which saves a checkpoint first; returns the exit code."""
        stages = self._stages_to_come()
        check_plan(stages, self.options, self.codec)
        if stages:
            self.enter(stages[0])
        self._open_folder()
        if not stages:
            self.keeper.save()
        with self.keeper, Interrupts() as interrupts:
            if not self.options.no_sanity and not self.keeper.resumed:
                self._validate(sanity=True)
            while self.position.epoch < self.end:
                if self._run_epoch(interrupts) and self.position.epoch < self.end:
                    self._stop()
                    return 0
        self.keeper.finish()
        return 0

    def _stop(self) -> None:
        """Save before the end, and say how to go on; `KeyboardInterrupt` where a user interrupted the run."""
        self.keeper.save()
        if self.halt.interrupts:
            raise KeyboardInterrupt
        stage = self.config.stages[self.config.stage_at(self.position.epoch)[0]]
        where = f"in stage {stage.name}, after step {self.position.step} of epoch {self.position.epoch}"
        self.fabric.print(f"stopped {self.halt} {where}; the same command with --restore resume goes on from there")

    # --- start

    def _check_epochs(self) -> None:
        """Raises `ConfigError` for flags that name epochs which the cfg does not have."""
        name, count = self.config.name, self.config.epochs
        if self.options.start_epoch >= count:
            raise ConfigError([f"--start_epoch {self.options.start_epoch}; {name} has epochs 0 to {count - 1}"])
        if self.end > count:
            raise ConfigError([f"--end_epoch {self.end}; expected at most {count}, the number of epochs of {name}"])

    def _stages_to_come(self) -> Sequence[Stage]:
        """From the stage of the next step to that of the last one."""
        if self.position.epoch >= self.end:
            return ()
        first, last = (self.config.stage_at(epoch)[0] for epoch in (self.position.epoch, self.end - 1))
        return self.config.stages[first : last + 1]

    def _open_folder(self) -> None:
        self.fabric.barrier()
        configuration = {"options": self.options, "model": self.model, "train": self.config}
        self.keeper.open(configuration, str(self.device))
        if self.fabric.is_global_zero:
            self.note_complexity(self.options.folder, whole_codec(self.config))

    # --- stages and epochs

    def enter(self, stage: Stage) -> None:
        """Everything that a stage sets, once."""
        self._stage = stage
        enter_stage(self.codec, self.optimizer, stage, self.options.aux)
        set_memory_format(self.codec, self.optimizer, stage.memory_format)
        self._set_lagrangians(stage)
        distortion = ms_ssim_loss if self.options.ssim else squared_error
        ratio = self.options.i_lmda / self.options.lmda
        self.loss = self.fabric.setup_module(StageLoss(self.codec, stage, distortion, ratio))
        check_data(self.state.data, stage, str(self.options.folder))
        self.clips = self._training_set(stage)
        self.validation = Validation(self.options, stage, self.device)

    def _set_lagrangians(self, stage: Stage) -> None:
        """The Lagrangian of each quality level, evenly spaced on a logarithmic scale."""
        ends = stage.lmda or (self.options.lmda, self.options.lmda)
        first, last = (math.log(value * self.options.lmda_scale) for value in ends)
        self.codec.lmdas.copy_(torch.linspace(first, last, self.codec.levels).exp())

    def _training_set(self, stage: Stage) -> TrainingClips:
        with self.fabric.rank_zero_first(local=True):  # which builds the cache for the others
            return training_set(
                stage.data, frames=stage.frames, patch_size=self.options.patch_size or stage.patch_size,
                seed=self.options.seed, cut=stage.cut, static_rate=self.options.static_rate,
                reverse_rate=stage.reverse_rate,
            )

    def _run_epoch(self, interrupts: Interrupts) -> bool:
        """Go on with the epoch to its end; True where it, or what follows it, is to stop."""
        index, epoch = self.config.stage_at(self.position.epoch)
        stage = self.config.stages[index]
        if stage is not self._stage:
            self.enter(stage)
        set_learning_rates(self.optimizer, stage, epoch)
        batches = self._batches(stage)
        title = f"{stage.name} {epoch + 1}/{stage.epochs}"
        averages = Averages(self._total)
        with Progress(len(batches) + self.position.step, title, done=self.position.step) as progress:
            for left, batch in zip(reversed(range(len(batches))), batches, strict=True):
                values = self.step(stage, batch)
                averages.add(values)
                progress.update(1, **averages.shown())
                if self.position.total % LOG_EVERY == 0:
                    self._log_training(stage, averages.take())
                if self.halt.due(interrupts, self.fabric) and left:
                    return True
        if not averages.empty:
            self._log_training(stage, averages.take())
        self._close_epoch(index, epoch)
        return self.halt.due(interrupts, self.fabric)

    def _total(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor of every process, on the CPU."""
        if self.fabric.world_size == 1:
            return tensor
        return cast(Tensor, self.fabric.all_reduce(tensor.to(self.device), reduce_op="sum")).cpu()

    def _batches(self, stage: Stage) -> Any:
        """The batches of this epoch that are still to come."""
        return training_loader(
            self.clips, batch_size=stage.batch_size, epoch=self.position.epoch, seed=self.options.seed,
            start_batch=self.position.step, steps=stage.steps, rank=self.fabric.global_rank,
            world_size=self.fabric.world_size, num_workers=self.options.num_workers,
        )

    def _close_epoch(self, index: int, epoch: int) -> None:
        stage = self.config.stages[index]
        self.position.epoch += 1
        self.position.step = 0
        last = self.position.epoch == self.end
        kept = [f"{index + 1:02}_{stage.name}"] if epoch + 1 == stage.epochs else []
        if self.options.per_keep and self.position.epoch % self.options.per_keep == 0:
            kept.append(checkpoints.epoch_name(self.position.epoch))
        if self.position.epoch % self.options.per_save == 0 or last or kept:
            self.keeper.save()
        for name in kept:
            self.keeper.keep(name)
        if self.position.epoch % self.options.per_val == 0 or last:
            self._validate()

    # --- one step

    def step(self, stage: Stage, batch: Tensor) -> dict[str, Tensor]:
        """Forward, backward and update on a uint8 batch (N, T, 3, P, P)."""
        clip = self.codec.format.from_rgb(batch.to(self.device, non_blocking=True))
        frames, levels = draw(
            stage, self.position, self.options.seed, clips=len(clip), levels=self.codec.levels,
            rank=self.fabric.global_rank, processes=self.fabric.world_size,
        )
        quality = torch.tensor(levels, device=self.device)
        with autocast(self.precision(stage.precision), self.device):
            values = self.loss(clip, frames, quality, self.codec.lmdas[quality])
        total = values["loss"] + values["aux"] if self.options.aux else values["loss"]
        self.fabric.backward(self.updater.scaler.scale(total))
        self.fabric.all_reduce(total.detach())  # in place: all skip a step or none
        self.updater.step(total, batch)
        self.position.step += 1
        self.position.total += 1
        return values

    def _uses_float16(self) -> bool:
        return any(self.precision(stage.precision) == "16-mixed" for stage in self.config.stages)

    # --- what is measured

    def _log_training(self, stage: Stage, values: dict[str, float]) -> None:
        lr = max(group["lr"] for group in self.optimizer.param_groups if group["name"] != AUX)
        extra = {"epoch": self.position.epoch, "lr": lr, "skipped": self.updater.skipped}
        self.keeper.log(stage.name, {**values, **extra})

    def _validate(self, sanity: bool = False) -> None:
        values = self.validation.run(self.codec, self.loss, sanity=sanity)
        if sanity:
            return
        self.keeper.log(self.validation.stage.name, values)
        if not math.isfinite(values["val_loss"]):
            _log.warning("validation of stage %s: the loss is not finite", self.validation.stage.name)


def whole_codec(config: TrainConfig) -> Modes:
    """The longest mode string of each frame type over all stages."""
    longest = {mode: max((getattr(stage, mode) for stage in config.stages), key=len) for mode in MODES}
    return Modes(config.name, **longest)
