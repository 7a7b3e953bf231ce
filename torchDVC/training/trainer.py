"""Trainer: runs the stages of a train cfg."""

from __future__ import annotations

import contextlib
import logging
import math
import random
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from torchDVC.coding_structure import training_frames
from torchDVC.config import MODES, ModelConfig, Modes, Stage, TrainConfig
from torchDVC.config.command_line import TrainOptions
from torchDVC.dataset.training import TrainingClips, training_loader, training_set
from torchDVC.models import checkpoints
from torchDVC.models.loss import StageLoss, ms_ssim_loss, squared_error
from torchDVC.results.run_folder import RunFolder, set_aside
from torchDVC.runner import Runner, checkpoint_file
from torchDVC.training.averages import Averages
from torchDVC.training.logging import MetricsLogger
from torchDVC.training.optimization import (
    AUX,
    Updater,
    enter_stage,
    make_optimizer,
    set_learning_rates,
    set_memory_format,
)
from torchDVC.training.plan import check_plan
from torchDVC.training.position import Position, check_conditions, check_data, conditions
from torchDVC.training.validation import Validation
from torchDVC.util.device import autocast
from torchDVC.util.errors import CheckpointError, ConfigError
from torchDVC.util.files import atomic_path
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
        super().__init__(options, model, config.stages)
        self.options: TrainOptions = options
        self.config = config
        self.folder = options.folder
        self.end = options.end_epoch or config.epochs
        self._check_epochs()
        self.optimizer = make_optimizer(self.codec, config)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self._uses_float16())
        self.updater = Updater(
            self.optimizer, config.grad_clip, self.scaler, self.folder / "nonfinite_batch.safetensors"
        )
        self.position = Position(options.start_epoch)
        self.data: dict[str, str] = {}
        self.resumed = self._resume() if options.restore == "resume" else False
        self.logger: MetricsLogger | None = None
        self._stage: Stage | None = None

    def run(self) -> int:
        """Train to the end, or to an interruption, which saves a checkpoint first; returns the exit code."""
        stages = self._stages_to_come()
        check_plan(stages, self.options, self.codec)
        if stages:
            self.enter(stages[0])
        self._start_run()
        if not stages:
            self._save("last")
        with self.logger or contextlib.nullcontext(), Interrupts() as interrupts:
            if not self.options.no_sanity and not self.resumed:
                self._validate(sanity=True)
            while self.position.epoch < self.end:
                if self._run_epoch(interrupts):
                    self._save("last")
                    raise KeyboardInterrupt
        self._finish()
        return 0

    # --- start and end

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

    def _start_run(self) -> None:
        """Make the run's folder its own; what another run left there is set aside, unless this one continues it."""
        options = self.options
        self.fabric.barrier()
        if not self.fabric.is_global_zero:
            return
        self.run_folder = RunFolder(self.folder, sys.argv, self._configuration(), options.seed, str(self.device))
        if not self.resumed:
            set_aside(self.folder / "checkpoints")
        self.note_complexity(self.folder, whole_codec(self.config))
        self.logger = MetricsLogger(
            self.folder, project=options.project_name, name=options.name, key=options.experiment_key,
            comet=not options.no_comet, resume_step=self.position.total if self.resumed else None,
            configuration={name: str(value) for name, value in asdict(options).items()},
        )

    def _configuration(self) -> dict[str, Any]:
        return {"options": self.options, "model": self.model, "train": self.config}

    def _finish(self) -> None:
        if self.options.final_copy is not None and self.fabric.is_global_zero:
            target = self.options.final_copy
            if target.suffix != checkpoints.SUFFIX:
                target = target / f"{self.options.name}{checkpoints.SUFFIX}"
            self._copy_last(target)

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
        check_data(self.data, stage, str(self.folder))
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
        """Go on with the epoch to its end; True where it, or what follows it, is to be interrupted."""
        index, epoch = self.config.stage_at(self.position.epoch)
        stage = self.config.stages[index]
        if stage is not self._stage:
            self.enter(stage)
        set_learning_rates(self.optimizer, stage, epoch)
        batches = self._batches(stage)
        title = f"{stage.name} {epoch + 1}/{stage.epochs}"
        averages = Averages()
        with Progress(len(batches) + self.position.step, title, done=self.position.step) as progress:
            for batch in batches:
                values = self.step(stage, batch)
                averages.add(values)
                progress.update(1, **averages.shown())
                if self.position.total % LOG_EVERY == 0:
                    self._log_training(stage, averages.take())
                if self._agreed(interrupts.requested):
                    return True
        if not averages.empty:
            self._log_training(stage, averages.take())
        self._close_epoch(index, epoch)
        return self._agreed(interrupts.requested)

    def _agreed(self, requested: bool) -> bool:
        """Whether any process is to stop: then all do, after the same step."""
        if self.fabric.world_size == 1:
            return requested
        votes = torch.tensor(float(requested), device=self.device)
        return bool(self.fabric.all_reduce(votes, reduce_op="sum"))

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
        last_of_stage = epoch + 1 == stage.epochs
        last = self.position.epoch == self.end
        kept = [f"{index + 1:02}_{stage.name}"] if last_of_stage else []
        if self.options.per_keep and self.position.epoch % self.options.per_keep == 0:
            kept.append(checkpoints.epoch_name(self.position.epoch))
        if self.position.epoch % self.options.per_save == 0 or last or kept:
            self._save("last")
        if self.fabric.is_global_zero:
            for name in kept:
                self._copy_last(self.checkpoint_path(name))
        if self.position.epoch % self.options.per_val == 0 or last:
            self._validate()

    # --- one step

    def step(self, stage: Stage, batch: Tensor) -> dict[str, Tensor]:
        """Forward, backward and update on a uint8 batch (N, T, 3, P, P)."""
        clip = batch.to(self.device, non_blocking=True).float() / 255
        rng = random.Random(f"{self.options.seed} {self.position.epoch} {self.position.step}")
        frames = training_frames(stage.pairs, stage.frames, rng)
        levels = [rng.randrange(self.codec.levels) for _ in range(len(clip))]
        quality = torch.tensor(levels, device=self.device)
        with autocast(self.precision(stage.precision), self.device):
            values = self.loss(clip, frames, quality, self.codec.lmdas[quality])
        total = values["loss"] + values["aux"] if self.options.aux else values["loss"]
        self.fabric.backward(self.scaler.scale(total))
        self.fabric.all_reduce(total.detach())  # in place: all skip a step or none
        self.updater.step(total, batch)
        self.position.step += 1
        self.position.total += 1
        return values

    def _uses_float16(self) -> bool:
        return any(self.precision(stage.precision) == "16-mixed" for stage in self.config.stages)

    # --- what is written

    def _log_training(self, stage: Stage, values: dict[str, float]) -> None:
        lr = max(group["lr"] for group in self.optimizer.param_groups if group["name"] != AUX)
        extra = {"epoch": self.position.epoch, "lr": lr, "skipped": self.updater.skipped}
        self._log(stage, {**values, **extra})

    def _log(self, stage: Stage, values: dict[str, float]) -> None:
        if self.logger is not None:
            self.logger.log(self.position.total, {"stage": stage.name, **values})

    def _validate(self, sanity: bool = False) -> None:
        values = self.validation.run(self.codec, self.loss, sanity=sanity)
        if sanity:
            return
        self._log(self.validation.stage, values)
        if not math.isfinite(values["val_loss"]):
            _log.warning("validation of stage %s: the loss is not finite", self.validation.stage.name)

    def checkpoint_path(self, name: str) -> Path:
        """Where the checkpoint of a name stands."""
        return self.folder / "checkpoints" / f"{name}{checkpoints.SUFFIX}"

    def _save(self, name: str) -> None:
        if self.fabric.is_global_zero:
            checkpoints.save(self.checkpoint_path(name), self._state())

    def _copy_last(self, target: Path) -> None:
        with atomic_path(target) as temporary:
            shutil.copyfile(self.checkpoint_path("last"), temporary)

    def _state(self) -> dict[str, Any]:
        return {
            "conditions": self._conditions(),
            "data": self.data,
            "position": asdict(self.position),
            "skipped": self.updater.skipped,
            "model": self.codec.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "rng": checkpoints.rng_state(),
        }

    def _conditions(self) -> dict[str, str]:
        return conditions(self.options, self.model, self.config, self.fabric.world_size)

    def _resume(self) -> bool:
        """Continue exactly where a checkpoint was; the newest of the run's folder where none is named."""
        path = checkpoint_file(self.options.checkpoint or self.folder / "checkpoints")
        state = checkpoints.load(path)
        if not isinstance(state, dict) or "position" not in state:
            raise CheckpointError(f"{path}: not a checkpoint of a training run; expected one that trainer.py wrote")
        check_conditions(state["conditions"], self._conditions(), str(path))
        checkpoints.load_weights(self.codec, state["model"], str(path))
        self.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"]:  # empty where no stage had used it yet
            self.scaler.load_state_dict(state["scaler"])
        self.position = Position(**state["position"])
        self.data = dict(state.get("data", {}))
        self.updater.skipped = state["skipped"]
        checkpoints.set_rng_state(state["rng"])
        return True


def whole_codec(config: TrainConfig) -> Modes:
    """The longest mode string of each frame type over all stages."""
    longest = {mode: max((getattr(stage, mode) for stage in config.stages), key=len) for mode in MODES}
    return Modes(config.name, **longest)
