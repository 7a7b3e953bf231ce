"""A lower bound that does not trap what it bounds."""

from __future__ import annotations

import torch
from torch import Tensor


class _LowerBound(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, bound: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.bound = bound
        return x.clamp(min=bound)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return gradient * ((x >= ctx.bound) | (gradient < 0)), None


def lower_bound(x: Tensor, bound: float) -> Tensor:
    """``max(x, bound)``; below the bound only gradients that would raise ``x`` pass (Ballé et al. 2018)."""
    return _LowerBound.apply(x, bound)
