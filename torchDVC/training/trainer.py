"""Trainer: runs the stages of a train cfg."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from torchDVC.config import MODES, ModelConfig, Modes, Stage, TrainConfig
from torchDVC.config.command_line import TrainOptions
from torchDVC.models import checkpoints
from torchDVC.runner import Runner
from torchDVC.training.averages import Averages, Rate
from torchDVC.training.halt import Halt
from torchDVC.training.keeper import Keeper
from torchDVC.training.metrics_file import Value
from torchDVC.training.optimizers import AUX
from torchDVC.training.plan import check_plan
from torchDVC.training.position import Position, conditions
from torchDVC.training.schedule import Plateau
from torchDVC.training.stage import StageTraining
from torchDVC.training.state import RunState
from torchDVC.training.updater import Updater
from torchDVC.training.validation import Validation
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

    Attributes:
        stopped: the run ended before its last epoch, as it was told to.
    """

    parallel = True

    def __init__(self, options: TrainOptions, model: ModelConfig, config: TrainConfig) -> None:
        self.halt = Halt(options.max_minutes)
        super().__init__(options, model, config.stages)
        self.options: TrainOptions = options
        self.config = config
        self.end = options.end_epoch or config.epochs
        self._check_epochs()
        uses_float16 = any((options.precision or stage.precision) == "16-mixed" for stage in config.stages)
        scaler = torch.amp.GradScaler(self.device.type, enabled=uses_float16)
        dump = options.folder / "nonfinite_batch.safetensors"
        self.updater = Updater(self.codec, config.stages[0].optimizer, scaler, dump)
        self.position = Position(options.start_epoch)
        known = conditions(options, model, config, self.fabric.world_size)
        self.state = RunState(known, self.codec, self.updater, self.position)
        self.keeper = Keeper(options, self.state, writes=self.fabric.is_global_zero)
        self.keeper.restore()
        self.training: StageTraining | None = None
        self.stopped = False

    def run(self) -> int:
        """Train to the end, or to an interruption, which saves a checkpoint first; returns the exit code."""
        stages = self._stages_to_come()
        check_plan(stages, self.options, self.codec)
        if stages:
            self.enter(stages[0])
        if stages and not self.options.no_sanity and not self.keeper.resumed:
            self._validate(sanity=True)
        self._open_folder()
        if not stages:
            self.keeper.save()
        with self.keeper, Interrupts() as interrupts:
            while self.position.epoch < self.end:
                if self._run_epoch(interrupts) and self.position.epoch < self.end:
                    self.stopped = True
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

    def enter(self, stage: Stage) -> StageTraining:
        """Set everything that a stage sets, once."""
        self.training = StageTraining(stage, self.options, self.state, self.fabric)
        self.validation = Validation(self.options, stage, self.device)
        return self.training

    def _run_epoch(self, interrupts: Interrupts) -> bool:
        """Go on with the epoch to its end; True where it, or what follows it, is to stop."""
        index, epoch = self.config.stage_at(self.position.epoch)
        stage = self.config.stages[index]
        if self.training is None or self.training.stage is not stage:
            self.enter(stage)
        assert self.training is not None
        if not epoch and not self.position.step:
            vars(self.state.plateau).update(vars(Plateau()))
        batches = self.training.batches(self.options.num_workers)
        steps = len(batches) + self.position.step
        title = f"{stage.name} {epoch + 1}/{stage.epochs}"
        averages, clips = Averages(self._total), Rate()
        with Progress(steps, title, done=self.position.step) as progress:
            for left, batch in zip(reversed(range(len(batches))), batches, strict=True):
                self.training.set_learning_rates(epoch, steps)
                averages.add(self.training.step(batch))
                clips.add(len(batch) * self.fabric.world_size)
                progress.update(1, **averages.shown())
                stops = self.halt.due(interrupts, self.fabric)
                if self.position.total % LOG_EVERY == 0 or stops or not left:
                    self._log_training(self.training, averages.take(), clips.take())
                if stops and left:
                    return True
        self._close_epoch(index, epoch)
        return self.halt.due(interrupts, self.fabric)

    def _total(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor of every process, on the CPU."""
        if self.fabric.world_size == 1:
            return tensor
        return cast(Tensor, self.fabric.all_reduce(tensor.to(self.device), reduce_op="sum")).cpu()

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
            if stage.lr_schedule == "plateau":  # which a validation moves
                self.keeper.save()

    # --- what is measured

    def _log_training(self, training: StageTraining, values: dict[str, float], clips_per_second: float) -> None:
        lr = max(group["lr"] for group in self.updater.optimizer.param_groups if group["name"] != AUX)
        extra: dict[str, Value] = {"epoch": self.position.epoch, "lr": lr, "skipped": self.updater.skipped}
        extra |= {"clips_per_second": round(clips_per_second, 3), "arithmetic": str(training.arithmetic)}
        self.keeper.log(training.stage.name, {**values, **extra})

    def _validate(self, sanity: bool = False) -> None:
        assert self.training is not None
        values = self.validation.run(self.codec, self.training.loss, sanity=sanity)
        if sanity:
            return
        self.state.plateau.validated(values["val_loss"], self.validation.stage)
        self.keeper.log(self.validation.stage.name, values)
        if self.fabric.is_global_zero and not self.options.no_image:
            self.keeper.picture(self.validation.picture(self.codec))
        if not math.isfinite(values["val_loss"]):
            _log.warning("validation of stage %s: the loss is not finite", self.validation.stage.name)


def whole_codec(config: TrainConfig) -> Modes:
    """The longest mode string of each frame type over all stages."""
    longest = {mode: max((getattr(stage, mode) for stage in config.stages), key=len) for mode in MODES}
    return Modes(config.name, **longest)
