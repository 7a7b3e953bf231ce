"""Trainer: runs the stages of a train cfg."""

from __future__ import annotations

import math
import random
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from torchDVC.coding_structure import training_frames
from torchDVC.dataset.training import TrainingClips, training_loader, training_set
from torchDVC.models.loss import StageLoss, ms_ssim_loss, squared_error
from torchDVC.runner import Runner, checkpoint_file
from torchDVC.training.averages import Averages
from torchDVC.training.optimization import (
    Updater,
    enter_stage,
    make_optimizer,
    set_learning_rates,
    set_memory_format,
)
from torchDVC.training.position import Position, check_conditions, conditions
from torchDVC.training.validation import Validation
from torchDVC.util import checkpoints
from torchDVC.util.command_line import TrainOptions
from torchDVC.util.configuration import MODES, ModelConfig, Modes, Stage, TrainConfig
from torchDVC.util.device import autocast
from torchDVC.util.errors import CheckpointError, ConfigError
from torchDVC.util.files import atomic_path
from torchDVC.util.interrupts import Interrupts
from torchDVC.util.logging import MetricsLogger
from torchDVC.util.progress import Progress
from torchDVC.util.run_folder import RunFolder

LOG_EVERY = 20
"""Steps between two rows of metrics."""


class Trainer(Runner):
    """Trains a codec in stages.

    Args:
        options: the command line.
        model: the model csv.
        config: the train cfg.
    """

    def __init__(self, options: TrainOptions, model: ModelConfig, config: TrainConfig) -> None:
        super().__init__(options, model, config.stages)
        self.options: TrainOptions = options
        self.config = config
        self.folder = options.folder
        self.end = min(options.end_epoch or config.epochs, config.epochs)
        if options.start_epoch >= config.epochs:
            last = config.epochs - 1
            raise ConfigError([f"--start_epoch {options.start_epoch}; {config.name} has epochs 0 to {last}"])
        self.optimizer = make_optimizer(self.codec, config)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self._uses_float16())
        self.updater = Updater(
            self.optimizer, config.grad_clip, self.scaler, self.folder / "nonfinite_batch.safetensors"
        )
        self.position = Position(options.start_epoch)
        self.resumed = self._resume() if options.restore == "resume" else False
        self._stage: Stage | None = None

    def run(self) -> int:
        """Train to the end, or to an interruption, which saves a checkpoint first; returns the exit code."""
        self._start_run()
        with self.logger, Interrupts() as interrupts:
            if not self.options.no_sanity and not self.resumed:
                self._validate(sanity=True)
            while self.position.epoch < self.end:
                self._run_epoch(interrupts)
                if interrupts.requested:
                    self._save("last")
                    raise KeyboardInterrupt
        self._finish()
        return 0

    # --- start and end

    def _start_run(self) -> None:
        options = self.options
        if self.fabric.is_global_zero:
            self.run_folder = RunFolder(self.folder, sys.argv, self._configuration(), options.seed, str(self.device))
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
        self.clips = self._training_set(stage)
        self.validation = Validation(self.options, stage, self.device)

    def _set_lagrangians(self, stage: Stage) -> None:
        """The Lagrangian of each quality level, evenly spaced on a logarithmic scale."""
        low, high = stage.lmda or (self.options.lmda, self.options.lmda)
        if low != high and self.codec.levels == 1:
            raise ConfigError([f"{stage.where}: lmda {low:g}:{high:g} needs modules with quality levels; see 'levels'"])
        first, last = (math.log(value * self.options.lmda_scale) for value in (low, high))
        self.codec.lmdas.copy_(torch.linspace(first, last, self.codec.levels).exp())

    def _training_set(self, stage: Stage) -> TrainingClips:
        return training_set(
            stage.data, frames=stage.frames, patch_size=self.options.patch_size or stage.patch_size,
            seed=self.options.seed, cut=stage.cut, static_rate=self.options.static_rate,
            reverse_rate=stage.reverse_rate,
        )

    def _run_epoch(self, interrupts: Interrupts) -> None:
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
                    self._log(stage, averages.take())
                if interrupts.requested:
                    return
        if not averages.empty:
            self._log(stage, averages.take())
        self._close_epoch(index, epoch)

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
        if self.position.epoch % self.options.per_val == 0 or last:
            self._validate()
        kept = [f"{index + 1:02}_{stage.name}"] if last_of_stage else []
        if self.options.per_keep and self.position.epoch % self.options.per_keep == 0:
            kept.append(checkpoints.epoch_name(self.position.epoch))
        if self.position.epoch % self.options.per_save == 0 or last or kept:
            self._save("last")
        if self.fabric.is_global_zero:
            for name in kept:
                self._copy_last(self.checkpoint_path(name))

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
        self.updater.step(values["loss"], batch)
        self.position.step += 1
        self.position.total += 1
        return values

    def _uses_float16(self) -> bool:
        return any(self.precision(stage.precision) == "16-mixed" for stage in self.config.stages)

    # --- what is written

    def _log(self, stage: Stage, values: dict[str, float]) -> None:
        if self.fabric.is_global_zero:
            lr = max(group["lr"] for group in self.optimizer.param_groups if group["name"] != "aux")
            extra = {"epoch": self.position.epoch, "stage": stage.name, "lr": lr, "skipped": self.updater.skipped}
            self.logger.log(self.position.total, {**values, **extra})

    def _validate(self, sanity: bool = False) -> None:
        stage = self.config.stages[self.config.stage_at(min(self.position.epoch, self.end - 1))[0]]
        if stage is not self._stage and sanity:
            self.enter(stage)
        assert self._stage is not None
        values = self.validation.run(self.codec, self.loss, sanity=sanity)
        if not sanity and self.fabric.is_global_zero:
            self.logger.log(self.position.total, {"stage": self._stage.name, **values})

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
            "conditions": conditions(self.options, self.model, self.config),
            "position": asdict(self.position),
            "skipped": self.updater.skipped,
            "model": self.codec.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "rng": checkpoints.rng_state(),
        }

    def _resume(self) -> bool:
        """Continue exactly where a checkpoint was; the newest of the run's folder where none is named."""
        path = checkpoint_file(self.options.checkpoint or self.folder / "checkpoints")
        state = checkpoints.load(path)
        if not isinstance(state, dict) or "position" not in state:
            raise CheckpointError(f"{path}: not a checkpoint of a training run; expected one that trainer.py wrote")
        check_conditions(state["conditions"], conditions(self.options, self.model, self.config), str(path))
        checkpoints.load_weights(self.codec, state["model"], str(path))
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.position = Position(**state["position"])
        self.updater.skipped = state["skipped"]
        checkpoints.set_rng_state(state["rng"])
        return True


def whole_codec(config: TrainConfig) -> Modes:
    """The longest mode string of each frame type over all stages."""
    longest = {mode: max((getattr(stage, mode) for stage in config.stages), key=len) for mode in MODES}
    return Modes(config.name, **longest)
