"""From standard deviations in fixed point to rows of Gaussian tables, as CompressAI takes them.

A network that was trained for CompressAI says how wide a Gaussian is. Its ``GaussianConditional`` codes with the row of
the least scale that is not smaller: 6 % wider in the mean and never narrower, which counts where too little is said.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from torchDVC.entropy.exact import ExactModule, Integers, expect
from torchDVC.entropy.fixed_point import FRACTION_BITS
from torchDVC.entropy.lower_bound import lower_bound
from torchDVC.entropy.tables import log_spaced
from torchDVC.util.errors import CheckpointError

SCALES = log_spaced(0.11, 256.0)
"""CompressAI's standard deviations, one for each row."""
_STEP = math.log(SCALES[-1] / SCALES[0]) / (len(SCALES) - 1)


class ScaleRow(ExactModule):
    """The row of the least of `SCALES` that is not below a standard deviation; beyond the last, the last.

    Its integers are ``up_to`` (63,): the largest standard deviation of each row but the last, in 1024ths.
    """

    def __init__(self) -> None:
        super().__init__()
        self._use(self.work_out())

    def work_out(self) -> Integers:
        return {"up_to": np.floor(np.array(SCALES[:-1]) * 2**FRACTION_BITS).astype(np.int32)}

    def _use(self, integers: Integers) -> None:
        expect(integers, {"up_to": (len(SCALES) - 1,)})
        up_to = integers["up_to"].astype(np.float64)
        if (np.diff(up_to) < 0).any():
            raise CheckpointError("integers 'up_to' of the Gaussian rows: expected ascending ones")
        self.register_buffer("up_to", torch.from_numpy(up_to), persistent=False)

    def forward(self, scale: Tensor) -> Tensor:
        """Float64 multiples of 1/1024 to rows in float32, of the same shape.

        The value follows from integers only. The gradient is that of the scale's logarithm; below the least scale, only
        one that leads up passes.
        """
        row = torch.bucketize(scale.detach() * 2**FRACTION_BITS, self.get_buffer("up_to")).float()
        smooth = (lower_bound(scale, SCALES[0]).log() / _STEP).float()
        return row + (smooth - smooth.detach())
