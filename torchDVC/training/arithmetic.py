"""In which precision and memory layout a stage computes: what its cfg says, or for ``auto`` what is fastest here."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from torchDVC.config import Stage
from torchDVC.util.device import native_bf16

AUTO = "auto"
STRAY = 0.02
"""A precision whose loss differs by more than this share from float32's, after the same steps, is no candidate."""
HOPELESS = 1.3
"""A candidate that takes so many times as long as the fastest is not timed again."""


@dataclass(frozen=True)
class Arithmetic:
    """``32``, ``bf16-mixed`` or ``16-mixed``, with weights that are ``contiguous`` or ``channels_last``."""

    precision: str
    memory_format: str

    def __str__(self) -> str:
        return f"{self.precision} {self.memory_format}"


def candidates(stage: Stage, precision: str | None, device: torch.device) -> list[Arithmetic]:
    """What a stage may compute in, float32 first; ``precision`` is the flag, which goes before the cfg."""
    precisions, formats = [precision or stage.precision], [stage.memory_format]
    if precisions == [AUTO]:
        precisions = ["32", "bf16-mixed"] if native_bf16(device) else ["32"]
    if formats == [AUTO]:
        formats = ["contiguous", "channels_last"]
    return [Arithmetic(p, f) for p in precisions for f in formats]


@dataclass
class _Trial:
    """Seconds of a candidate's steps but its first, and the loss after them."""

    seconds: list[float] = field(default_factory=list)
    loss: float = math.nan


def fastest(
    choices: Sequence[Arithmetic], step: Callable[[Arithmetic, int], tuple[float, float]]
) -> tuple[Arithmetic, Mapping[Arithmetic, float]]:
    """The candidate with the shortest steps, and the seconds of each that may be taken.

    Each has two steps, the first of which does not count; those near the fastest have another turn, so that a machine
    that was busy for a moment does not decide.

    Args:
        step: takes so many steps from the state that training is in, and gives the seconds of the last one, and the
            loss there, with the same random numbers for every candidate.
    """
    trials: dict[Arithmetic, _Trial] = {choice: _Trial() for choice in choices}
    for _ in range(2):
        best = min((min(t.seconds) for t in trials.values() if t.seconds), default=math.inf)
        for choice, trial in trials.items():
            if not trial.seconds or min(trial.seconds) < HOPELESS * best:
                seconds, trial.loss = step(choice, 2)
                trial.seconds.append(seconds)
    reference = trials[choices[0]].loss
    times = {c: min(t.seconds) for c, t in trials.items() if c == choices[0] or _follows(t.loss, reference)}
    return min(times, key=times.__getitem__), times


def _follows(loss: float, reference: float) -> bool:
    return abs(loss - reference) <= STRAY * abs(reference)


def timed(action: Callable[[], float], device: torch.device) -> tuple[float, float]:
    """Seconds that an action takes on a device, and what it returns."""
    _wait_for(device)
    start = time.perf_counter()
    value = action()
    _wait_for(device)
    return time.perf_counter() - start, value


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
