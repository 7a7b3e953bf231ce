"""When a run stops before its end: between two steps, all of its processes after the same one."""

from __future__ import annotations

import signal
import time

import torch
from lightning_fabric import Fabric

from torchDVC.util.interrupts import Interrupts

_TIME_IS_UP = 1
"""A vote of a process; 0 goes on, and a signal is voted for by one more than its number."""
_INTERRUPTING = {signal.SIGINT + 1, signal.SIGHUP + 1}


class Halt:
    """Collects what ends a run early: ``--max_minutes``, and signals of a user or of a batch system.

    Args:
        minutes: how long the run may take from now on; None for as long as it takes.
    """

    def __init__(self, minutes: float | None) -> None:
        self.minutes = minutes
        self._last = None if minutes is None else time.monotonic() + 60 * minutes
        self._vote = 0

    def due(self, interrupts: Interrupts, fabric: Fabric) -> bool:
        """Whether any process is to stop: then all do. To be called by all of them after each step."""
        late = self._last is not None and time.monotonic() >= self._last
        own = interrupts.number + 1 if interrupts.number else _TIME_IS_UP * late
        self._vote = own if fabric.world_size == 1 else _highest(own, fabric)
        return self._vote > 0

    @property
    def interrupts(self) -> bool:
        """A user at a terminal ends the run (Ctrl-C, or a terminal that is closed); else it ends as it was planned."""
        return self._vote in _INTERRUPTING

    def __str__(self) -> str:
        if self._vote == _TIME_IS_UP:
            return f"after {self.minutes:g} minutes"
        return f"by {signal.Signals(self._vote - 1).name}"


def _highest(vote: int, fabric: Fabric) -> int:
    votes = torch.tensor(vote, device=fabric.device)
    fabric.all_reduce(votes, reduce_op="max")  # in place
    return int(votes)
