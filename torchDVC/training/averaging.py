"""Moving average of the weights, smoother than any step's."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MovingAverage:
    """Exponential moving average of all parameters, as Polyak & Juditsky 1992 propose a plain one.

    Attributes:
        weights: by parameter name, after each step ``decay * weights + (1 - decay) * parameter``; none without a decay.
    """

    def __init__(self) -> None:
        self.weights: dict[str, Tensor] = {}
        self._decay = 0.0
        self._parameters: dict[str, nn.Parameter] = {}

    def enter(self, codec: nn.Module, decay: float) -> None:
        """Go on with a stage's decay, from the weights as they are where there was none; 0 ends the average."""
        self._decay, self._parameters = decay, dict(codec.named_parameters())
        if not decay:
            self.weights = {}
        elif not self.weights:
            self.weights = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}
        self.weights = {name: weight.to(self._parameters[name].device) for name, weight in self.weights.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Follow the parameters by a step."""
        if self.weights:
            now: list[Tensor] = [self._parameters[name] for name in self.weights]
            torch._foreach_lerp_(list(self.weights.values()), now, 1 - self._decay)
