"""The slot that a coder has for its latent codec.

A coder's json names the latent codec with its arguments, ``"latent": {"type": "Hyperprior", "width": 96}``; the coder
takes that as an argument annotated `Latent`, builds it once and calls it in one line::

    self.latent = build_latent(latent, Form(channels))
    …
    y_hat = self.latent(y, stream, state)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from torchDVC.config.problems import Report
from torchDVC.config.registry import LATENT
from torchDVC.config.scan import load_class, scan
from torchDVC.modules.frame_state import FrameState
from torchDVC.util.errors import nearest

Latent = Mapping[str, Any]
"""``{"type": name of a latent codec, …its arguments}``, checked where configuration is read."""
HYPERPRIOR: Latent = {"type": "Hyperprior"}
"""What coders use where their json names none."""


@dataclass(frozen=True)
class Form:
    """What a coder says of its latent.

    Attributes:
        channels: C.
        stride: from the picture's size to the latent's, a power of two of at most 16.
        spreads: standard deviation to expect of each channel of the untrained latent; None: 1.
    """

    channels: int
    stride: int = 16
    spreads: tuple[float, ...] | None = None

    @property
    def known_spreads(self) -> tuple[float, ...]:
        """One for each channel."""
        return self.spreads or (1.0,) * self.channels

    def shape(self, state: FrameState) -> tuple[int, int, int, int]:
        """(B, C, H / stride, W / stride) of the latent of a frame."""
        return state.batch, self.channels, state.height // self.stride, state.width // self.stride


def build_latent(latent: Latent, form: Form) -> nn.Module:
    """The latent codec that a slot names; `ValueError` where there is none of its type.

    It is called as ``(y, stream, state)``: ``y`` (B, C, h, w), or None where the stream reads; the state of the frame,
    or `FrameState.per_reference` where something is coded for each reference. It returns (B, C, h, w), the latent as
    the decoder has it.
    """
    arguments = dict(latent)
    name = arguments.pop("type", "")
    types = scan(Report(), LATENT)
    if name not in types:
        raise ValueError(f"unknown latent codec '{name}'{nearest(name, types)}")
    built: nn.Module = load_class(types[name])(form, **arguments)
    return built
