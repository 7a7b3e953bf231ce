"""In which precision and memory layout networks compute: what is said, or for ``auto`` what is fastest here."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

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

    @property
    def layout(self) -> torch.memory_format:
        """PyTorch's name of the layout."""
        return torch.channels_last if self.memory_format == "channels_last" else torch.contiguous_format


CODING = Arithmetic("32", "contiguous")
"""What codecs code in where nothing was measured. In channels_last, which is faster, pictures were seen to differ with
the number of threads. Symbols do not depend on it."""


def candidates(precision: str, memory_format: str, device: torch.device) -> list[Arithmetic]:
    """What may be computed in, float32 first: both as they are said, of ``auto`` all that there are."""
    precisions, formats = [precision], [memory_format]
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
    choices: Sequence[Arithmetic], step: Callable[[Arithmetic, int], tuple[float, float]], stray: float = STRAY
) -> tuple[Arithmetic, Mapping[Arithmetic, float]]:
    """The candidate with the shortest steps, and the seconds of each that may be taken.

    Each has two steps, the first of which does not count; those near the fastest have another turn, so that a machine
    that was busy for a moment does not decide.

    Args:
        step: takes so many steps from the state that training is in, and gives the seconds of the last one, and the
            loss there, with the same random numbers for every candidate.
        stray: share of the first one's loss by which that of a candidate may differ.
    """
    trials: dict[Arithmetic, _Trial] = {choice: _Trial() for choice in choices}
    for _ in range(2):
        best = min((min(t.seconds) for t in trials.values() if t.seconds), default=math.inf)
        for choice, trial in trials.items():
            if not trial.seconds or min(trial.seconds) < HOPELESS * best:
                seconds, trial.loss = step(choice, 2)
                trial.seconds.append(seconds)
    reference = trials[choices[0]].loss
    following = {c: abs(t.loss - reference) <= stray * abs(reference) for c, t in trials.items()}
    times = {c: min(t.seconds) for c, t in trials.items() if c == choices[0] or following[c]}
    return min(times, key=times.__getitem__), times


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
