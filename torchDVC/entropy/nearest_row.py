"""From standard deviations in fixed point to rows of the Gaussian tables."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from torchDVC.entropy.exact import ExactModule, Integers, expect
from torchDVC.entropy.fixed_point import FRACTION_BITS
from torchDVC.entropy.lower_bound import lower_bound
from torchDVC.entropy.tables import BETWEEN_SCALES, GAUSSIAN_SCALES
from torchDVC.util.errors import CheckpointError

_STEP = math.log(GAUSSIAN_SCALES[-1] / GAUSSIAN_SCALES[0]) / (len(GAUSSIAN_SCALES) - 1)


class NearestRow(ExactModule):
    """The row of the Gaussian tables whose scale is nearest, on a logarithmic scale, to a standard deviation.

    Its integers are ``between`` (63,): from which scale on, in 1024ths, the next row is the nearer one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._use(self.work_out())

    def work_out(self) -> Integers:
        return {"between": np.ceil(BETWEEN_SCALES * 2**FRACTION_BITS).astype(np.int32)}

    def _use(self, integers: Integers) -> None:
        expect(integers, {"between": (len(GAUSSIAN_SCALES) - 1,)})
        between = integers["between"].astype(np.float64)
        if (np.diff(between) < 0).any():
            raise CheckpointError("integers 'between' of the Gaussian rows: expected ascending ones")
        self.register_buffer("between", torch.from_numpy(between), persistent=False)

    def forward(self, scale: Tensor) -> Tensor:
        """Float64 multiples of 1/1024 to rows in float32, of the same shape.

        The value follows from integers only. The gradient is that of the scale's logarithm; below the least scale, only
        one that leads up passes.
        """
        between = self.get_buffer("between")
        row = torch.bucketize(scale.detach() * 2**FRACTION_BITS, between, right=True).float()
        smooth = (lower_bound(scale, GAUSSIAN_SCALES[0]).log() / _STEP).float()
        return row + (smooth - smooth.detach())
