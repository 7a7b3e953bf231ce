"""A stage at work: what it sets when it is entered, the batches it takes, and its steps."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.utils.data import DataLoader

from torchDVC.config import Stage
from torchDVC.config.command_line import TrainOptions
from torchDVC.dataset.frame import ReadOptions
from torchDVC.dataset.training import TrainingClips, training_loader, training_set
from torchDVC.models.buffer import ClipBuffer
from torchDVC.models.distortions import load_distortion
from torchDVC.models.loss import StageLoss
from torchDVC.training.optimizers import enter_stage, set_learning_rates, set_memory_format
from torchDVC.training.position import check_data
from torchDVC.training.randomness import StepNoise, draw
from torchDVC.training.schedule import lr_factor
from torchDVC.training.state import RunState
from torchDVC.training.unrolling import Section, sections, weighted_means
from torchDVC.util.arithmetic import Arithmetic, candidates, fastest, timed
from torchDVC.util.device import autocast

GRAY = 0.5


@dataclass(frozen=True)
class _Part:
    """Clips (N, T, 3, P, P) in [0, 1] that are coded together, their quality levels (N,), references and noise."""

    clip: Tensor
    quality: Tensor
    buffer: ClipBuffer
    noise: StepNoise


class StageTraining:
    """Trains in one stage. Making one enters it: codec and optimizer are set as it says.

    Args:
        stage: the stage.
        options: the command line.
        state: the run's state, which every step moves.
        fabric: devices and processes.

    Attributes:
        loss: the stage's loss, over all processes.
        arithmetic: what it computes in.
    """

    def __init__(self, stage: Stage, options: TrainOptions, state: RunState, fabric: Fabric) -> None:
        self.stage, self.options, self.state, self.fabric = stage, options, state, fabric
        self.codec, self.updater, self.position = state.codec, state.updater, state.position
        self.updater.enter(stage)
        enter_stage(self.codec, self.updater.optimizer, stage, options.aux)
        self.codec.set_options(stage.options)
        self._set_lagrangians()
        distortion = load_distortion("ms_ssim" if options.ssim else stage.distortion)
        self.loss = fabric.setup_module(StageLoss(self.codec, stage, distortion, options.i_lmda / options.lmda))
        check_data(state.data, stage, str(options.folder))
        self.clips = self._training_set()
        self._set_arithmetic(self._choose_arithmetic())

    def _set_lagrangians(self) -> None:
        """The Lagrangian of each quality level, evenly spaced on a logarithmic scale."""
        ends = self.stage.lmda or (self.options.lmda, self.options.lmda)
        first, last = (math.log(value * self.options.lmda_scale) for value in ends)
        self.codec.lmdas.copy_(torch.linspace(first, last, self.codec.levels).exp())

    def _training_set(self) -> TrainingClips:
        stage, options = self.stage, self.options
        with self.fabric.rank_zero_first(local=True):  # which builds the cache for the others
            return training_set(
                stage.data, frames=stage.frames, patch_size=options.patch_size or stage.patch_size,
                seed=options.seed, cut=stage.cut, static_rate=options.static_rate, reverse_rate=stage.reverse_rate,
                frame_distance=stage.frame_distance, forth_and_back=stage.forth_and_back, brightness=stage.brightness,
                given=ReadOptions(**options.said),
            )

    def batches(self, num_workers: int) -> DataLoader[Tensor]:
        """The batches of the position's epoch that are still to come, (N, T, 3, P, P) uint8."""
        return training_loader(
            self.clips, batch_size=self.stage.batch_size, epoch=self.position.epoch, seed=self.options.seed,
            start_batch=self.position.step, steps=self.stage.steps, rank=self.fabric.global_rank,
            world_size=self.fabric.world_size, num_workers=num_workers,
            pin_memory=self.fabric.device.type == "cuda",  # so that copies run beside computation
        )

    def set_learning_rates(self, epoch: int, steps: int) -> None:
        """The rates of the next step, which is in an ``epoch`` of the stage; ``steps`` are in each epoch."""
        factor = lr_factor(self.stage, epoch, self.position.step, steps, self.state.plateau)
        set_learning_rates(self.updater.optimizer, self.stage, factor)

    # --- one step

    def step(self, batch: Tensor) -> dict[str, Tensor]:
        """Forward, backward and update on a batch (N, T, 3, P, P) uint8; returns the scalars of the loss."""
        stage = self.stage
        frames, levels, grey = draw(
            stage, self.position, self.options.seed, clips=len(batch), levels=self.codec.levels,
            rank=self.fabric.global_rank, processes=self.fabric.world_size,
        )
        parts = self._parts(batch, torch.tensor(levels), torch.tensor(grey))
        found = []
        for section in sections(frames, stage):
            of_section = [self._gradients(section, part, section.share / len(parts)) for part in parts]
            found += [(section.share, values) for values in of_section]
            if stage.update == "frame":
                self._update(of_section, batch)
        if stage.update == "clip":
            self._update([values for _, values in found], batch)
        self.position.step += 1
        self.position.total += 1
        return weighted_means(found)

    def _parts(self, batch: Tensor, levels: Tensor, grey: Tensor) -> list[_Part]:
        """The batch on the device, in as many parts as it is accumulated from."""
        count, device = self.stage.accumulate, self.fabric.device
        clip = self.codec.format.from_rgb(batch.to(device, non_blocking=True))
        clip[grey, 0] = GRAY
        parts = []
        for index, (clips, quality) in enumerate(zip(clip.chunk(count), levels.to(device).chunk(count), strict=True)):
            buffer = ClipBuffer(clips, self.stage.rnn, self.stage.rnn_grad_clip)
            place = self.fabric.global_rank * count + index, self.fabric.world_size * count
            parts.append(_Part(clips, quality, buffer, StepNoise(self.options.seed, self.position, *place)))
        return parts

    def _gradients(self, section: Section, part: _Part, share: float) -> dict[str, Tensor]:
        """Code frames of a part and add the gradients of their loss, of which ``share`` counts."""
        with autocast(self.arithmetic.precision, self.fabric.device):
            lmda = self.codec.lmdas[part.quality]
            values: dict[str, Tensor] = self.loss(
                part.clip, section.frames, part.quality, lmda, part.noise.stream, buffer=part.buffer
            )
        if values["loss"].requires_grad:  # else all that is trained learns by coding
            self.fabric.backward(self.updater.scaler.scale(self._total(values) * share))
        part.buffer.cut(section.needed)
        return {name: value.detach() for name, value in values.items()}

    def _total(self, values: dict[str, Tensor]) -> Tensor:
        return values["loss"] + values["aux"] if self.options.aux else values["loss"]

    def _update(self, found: list[dict[str, Tensor]], batch: Tensor) -> None:
        total = torch.stack([self._total(values) for values in found]).sum()
        self.fabric.all_reduce(total)  # in place: all skip a step or none
        self.updater.step(total, batch)

    # --- precision and memory layout

    def _set_arithmetic(self, arithmetic: Arithmetic) -> None:
        self.arithmetic = arithmetic
        set_memory_format(self.codec, self.updater.optimizer, arithmetic.layout)

    def _choose_arithmetic(self) -> Arithmetic:
        """What the cfg says; else what the run chose before, so that it resumes to the bit; else what is fastest."""
        choices = candidates(
            self.options.precision or self.stage.precision, self.stage.memory_format, self.fabric.device
        )
        if len(choices) == 1:
            return choices[0]
        if self.stage.name not in self.state.arithmetic:
            self.state.arithmetic[self.stage.name] = str(self._fastest(choices))
        return Arithmetic(*self.state.arithmetic[self.stage.name].split())

    def _fastest(self, choices: list[Arithmetic]) -> Arithmetic:
        """The fastest in some steps on the stage's first batch, which are then undone; said once."""
        before = copy.deepcopy(self.state.pack())

        def go_back() -> None:
            self.state.unpack(copy.deepcopy(before), "the state before the trial")

        batch = next(iter(self.batches(num_workers=0)))
        self.set_learning_rates(0, 1)

        def steps(arithmetic: Arithmetic, count: int) -> tuple[float, float]:
            go_back()
            self._set_arithmetic(arithmetic)
            for _ in range(count):
                measured = timed(lambda: self.step(batch)["loss"].item(), self.fabric.device)
            found = torch.tensor(measured, dtype=torch.float64, device=self.fabric.device)
            self.fabric.all_reduce(found)  # in place: all processes choose the same
            seconds, loss = found.tolist()
            return seconds, loss

        chosen, times = fastest(choices, steps)
        go_back()
        others = ", ".join(f"{choice} {seconds:.3f} s" for choice, seconds in times.items() if choice != chosen)
        self.fabric.print(f"stage {self.stage.name}: {chosen}, {times[chosen]:.3f} s a step ({others})")
        return chosen
