"""Decisions of adaptive models in the frame's rANS stream: what a kernel writes on, or reads from.

A model that adapts to every decision cannot say all table rows beforehand. Its kernel is given a tape: writing, it
appends an operation ``start | frequency << 16`` for each decision (frequencies sum to 2**16), which the encoder codes
last first; reading, it advances the states of the decoder itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Tape:
    """A part of a frame.

    Attributes:
        reading: decisions come from ``states`` and ``words``.
        count: symbols of the frame so far; the next belongs to state ``count % len(states)``.
        states: int64, those of the decoder.
        words: uint32, each of 16 bits; the next is at ``position``.
        operations: uint32, what was written.
        damaged: the words have ended too early.
    """

    reading: bool = False
    count: int = 0
    states: np.ndarray = field(default_factory=lambda: np.zeros(1, np.int64))
    words: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint32))
    position: int = 0
    operations: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint32))
    damaged: bool = False

    def bits(self) -> np.ndarray:
        """Bits of each operation, float64."""
        return 16 - np.log2(np.maximum(self.operations >> 16, 1).astype(np.float64))
