"""Networks in exact integer arithmetic carried in floats.

Whatever turns decoded symbols into probability tables must give the same integers on every device, or a stream decodes
to noise (Ballé et al. 2019, "Integer networks for data compression with latent-variable models"). Here weights are
8-bit integers, activations 8-bit unsigned integers, and every partial sum stays below 2^24, so float32 (and TF32 or
bf16 factors with float32 accumulation) gives the same integers in any order of summation. Rescaling is by powers of
two, rounding half to even: each elementwise step is exact or correctly rounded, hence the same everywhere.

The network is trained as it runs: rounding passes gradients straight through. It is always the integer network; there
is no second, floating-point one to export from. A model file stores the integers, and a decoder only uses those.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchDVC.entropy.exact import ExactModule, Integers, expect
from torchDVC.entropy.streams import round_through
from torchDVC.util.errors import CheckpointError

EXACT = 2**24
"""float32 represents every integer up to here."""
WEIGHT_MAX = 127
ACTIVATION_MAX = 255
INPUT_MAX = 127
FRACTION_BITS = 4
"""Activations and outputs count sixteenths."""
SHIFT_MIN, SHIFT_MAX = -8, 14
"""Least and most fraction bits of integer weights."""

QUIET = 0.1
"""How small a hyper-synthesis starts: what it says of an untrained hyper-latent is noise, and costs bits."""
BIAS_GAIN = 16
"""Bias parameters count this much. Were biases slow, the rectified noise of hyper-latents would be made to serve as
bias in training, and be missing where hyper-latents are rounded."""


@dataclass
class Arithmetic:
    """How integer networks compute; the default is exact. `arithmetic` changes it for measurements."""

    rounding: bool = True
    carrier: torch.dtype = torch.float32


ARITHMETIC = Arithmetic()


@contextlib.contextmanager
def arithmetic(*, rounding: bool = True, carrier: torch.dtype = torch.float32) -> Iterator[None]:
    """For measurements: run integer networks without rounding (what the integers cost), or in another carrier."""
    before = (ARITHMETIC.rounding, ARITHMETIC.carrier)
    ARITHMETIC.rounding, ARITHMETIC.carrier = rounding, carrier
    try:
        yield
    finally:
        ARITHMETIC.rounding, ARITHMETIC.carrier = before


def _rounded(x: Tensor) -> Tensor:
    return round_through(x) if ARITHMETIC.rounding else x


class IntegerConv2d(ExactModule):
    """A convolution of integers with integer weights, stride 1, size kept; the result counts 2^-FRACTION_BITS.

    Parameters are real numbers (``bias`` in units of `BIAS_GAIN`); the weights of each output channel are scaled by the
    largest power of two for which they fit 8 bits and no partial sum can reach 2^24. The sum is a matrix product (a 3x3
    convolution may run as Winograd or FFT, which is not exact). Borders are repeated: at this size most of a training
    crop is border, and zeros there would teach it what larger pictures do not have. Fixed, it has integer ``weight``
    (outputs, inputs * k²), ``bias`` (outputs,) and ``shift`` (outputs,), the fraction bits of the weights.

    Args:
        inputs, outputs: channels.
        kernel_size: odd.
        input_bits: fraction bits of the input: 0 for symbols, `FRACTION_BITS` for activations.
    """

    def __init__(self, inputs: int, outputs: int, kernel_size: int = 3, input_bits: int = FRACTION_BITS) -> None:
        super().__init__()
        self.kernel_size, self.input_bits = kernel_size, input_bits
        self.weight = nn.Parameter(torch.empty(outputs, inputs * kernel_size**2))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.fixed_weight: Tensor | None
        self.fixed_bias: Tensor
        self.fixed_factor: Tensor
        for name in ("weight", "bias", "factor"):
            self.register_buffer(f"fixed_{name}", None, persistent=False)
        nn.init.kaiming_uniform_(self.weight, a=1.0)

    def shifts(self) -> Tensor:
        """Fraction bits of each output channel's integer weights, (outputs, 1)."""
        with torch.no_grad():
            size = self.weight.abs()
            budget = 0.9 * EXACT / ACTIVATION_MAX
            room = torch.minimum(WEIGHT_MAX / size.amax(1), budget / (size.sum(1) + size.shape[1]))
            return torch.log2(room.clamp(2.0**SHIFT_MIN, 2.0**SHIFT_MAX)).floor().to(torch.float32)[:, None]

    def scaled(self) -> tuple[Tensor, Tensor, Tensor]:
        """Weights (outputs, inputs * k²), biases and shifts (outputs, 1): integers in floats, gradients pass."""
        shift = self.shifts()
        weight = _rounded(self.weight * torch.exp2(shift)).clamp(-WEIGHT_MAX, WEIGHT_MAX)
        limit = 0.1 * EXACT
        bias = _rounded(BIAS_GAIN * self.bias[:, None] * torch.exp2(shift + self.input_bits)).clamp(-limit, limit)
        return weight, bias, shift

    @torch.no_grad()
    def work_out(self) -> Integers:
        weight, bias, shift = (t.cpu().numpy().astype(np.int32) for t in self.scaled())
        return {"weight": weight, "bias": bias[:, 0], "shift": shift[:, 0]}

    def _use(self, integers: Integers) -> None:
        outputs = self.weight.shape[0]
        expect(integers, {"weight": tuple(self.weight.shape), "bias": (outputs,), "shift": (outputs,)})
        weight, bias, shift = (integers[name].astype(np.int64) for name in ("weight", "bias", "shift"))
        largest = ACTIVATION_MAX * np.abs(weight).sum(1) + np.abs(bias)
        in_range = np.abs(weight).max() <= WEIGHT_MAX and SHIFT_MIN <= shift.min() <= shift.max() <= SHIFT_MAX
        if not in_range or largest.max() >= EXACT:
            raise CheckpointError(f"integers of a convolution reach {largest.max()}; expected sums below {EXACT}")
        factor = np.ldexp(1.0, FRACTION_BITS - self.input_bits - shift)
        for name, array in (("weight", weight), ("bias", bias[:, None]), ("factor", factor[:, None])):
            fixed = torch.from_numpy(array.astype(np.float32)).to(self.weight.device)
            self.register_buffer(f"fixed_{name}", fixed, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) integers to (N, outputs, H, W) integers, not yet clamped; all in float carriers."""
        n, _, height, width = x.shape
        weight, bias, factor = (t.to(ARITHMETIC.carrier) for t in self._operands())
        reach = self.kernel_size // 2
        padded = F.pad(x.to(ARITHMETIC.carrier), (reach, reach, reach, reach), mode="replicate")
        columns = F.unfold(padded, self.kernel_size)
        total = (torch.matmul(weight, columns) + bias) * factor
        return _rounded(total).reshape(n, -1, height, width)

    def _operands(self) -> tuple[Tensor, Tensor, Tensor]:
        """Weights, biases, and the power of two that takes sums to `FRACTION_BITS`."""
        if self.fixed_weight is not None:
            return self.fixed_weight, self.fixed_bias, self.fixed_factor
        weight, bias, shift = self.scaled()
        return weight, bias, torch.exp2(FRACTION_BITS - self.input_bits - shift)


class IntegerSynthesis(nn.Module):
    """Hyper-synthesis in exact integers: symbols in, integers that decide means and table rows out.

    Each layer but the last doubles height and width (3x3 convolution to four times the channels, then a pixel shuffle)
    and rectifies to [0, 255]. The last is a 3x3 convolution.

    Args:
        widths: channels of the input, of each hidden layer, and of the output.
    """

    def __init__(self, *widths: int) -> None:
        super().__init__()
        *hidden, outputs = widths
        bits = [0] + [FRACTION_BITS] * len(hidden)
        self.hidden = nn.ModuleList(
            IntegerConv2d(a, 4 * b, input_bits=bits[i]) for i, (a, b) in enumerate(pairwise(hidden))
        )
        self.last = IntegerConv2d(hidden[-1], outputs)
        with torch.no_grad():
            self.last.weight.mul_(QUIET)

    @torch.no_grad()
    def start_at(self, values: list[int]) -> None:
        """Before training: make this what a hyper-latent of zeros gives, an integer for each output channel."""
        self.last.bias.copy_(torch.tensor(values, dtype=torch.float32) / (BIAS_GAIN << FRACTION_BITS))

    def forward(self, symbols: Tensor) -> Tensor:
        """(N, widths[0], H, W) integer symbols to (N, widths[-1], H * 2^layers, W * 2^layers), in sixteenths."""
        with torch.autocast(symbols.device.type, enabled=False):
            x = symbols.float().clamp(-INPUT_MAX, INPUT_MAX)
            for layer in self.hidden:
                x = F.pixel_shuffle(layer(x).clamp(0, ACTIVATION_MAX), 2)
            return self.last(x).float()
