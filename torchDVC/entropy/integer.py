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
from collections.abc import Iterator, Sequence
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
"""Bias parameters count this much on the way from a hyper-latent, and where means and indexes come out. Were biases
slow, the rectified noise of hyper-latents would be made to serve as bias in training, and be missing where these are
rounded. Between rectified features they count 1: fast ones would silence their channels for good."""


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
    """A convolution of integers with integer weights; the result counts 2^-FRACTION_BITS.

    Parameters are real numbers (``bias`` in units of ``bias_gain``); the weights of each output channel are scaled by
    the largest power of two for which they fit 8 bits and no partial sum can reach 2^24. The sum is a matrix product (a
    3x3 convolution may run as Winograd or FFT, which is not exact). Borders are repeated: at this size most of a
    training crop is border, and zeros there would teach it what larger pictures do not have. Fixed, it has integer
    ``weight`` (outputs, inputs * k²), ``bias`` (outputs,) and ``shift`` (outputs,), the fraction bits of the weights.

    Args:
        inputs, outputs: channels.
        kernel_size: odd.
        input_bits: fraction bits of the input: 0 for symbols, `FRACTION_BITS` for activations.
        stride: height and width are divided by it, rounded up.
        bias_gain: what the bias parameters count.
        mask: (kernel_size, kernel_size) of zeros and ones: what it may look at. Its border is zero then: a repeated one
            would show what is not decoded yet.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel_size: int = 3, input_bits: int = FRACTION_BITS, stride: int = 1,
        bias_gain: int = 1, mask: Tensor | None = None,
    ) -> None:
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size {kernel_size}; expected an odd number")
        self.kernel_size, self.input_bits, self.stride, self.bias_gain = kernel_size, input_bits, stride, bias_gain
        self.mask: Tensor | None
        self.register_buffer("mask", None if mask is None else mask.float().flatten().repeat(inputs), persistent=False)
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
            size = self._seen(self.weight).abs()
            budget = 0.9 * EXACT / ACTIVATION_MAX
            room = torch.minimum(WEIGHT_MAX / size.amax(1), budget / (size.sum(1) + size.shape[1]))
            return torch.log2(room.clamp(2.0**SHIFT_MIN, 2.0**SHIFT_MAX)).floor().to(torch.float32)[:, None]

    def scaled(self) -> tuple[Tensor, Tensor, Tensor]:
        """Weights (outputs, inputs * k²), biases and shifts (outputs, 1): integers in floats, gradients pass."""
        shift = self.shifts()
        weight = _rounded(self._seen(self.weight) * torch.exp2(shift)).clamp(-WEIGHT_MAX, WEIGHT_MAX)
        limit = 0.1 * EXACT
        bias = _rounded(self.bias_gain * self.bias[:, None] * torch.exp2(shift + self.input_bits)).clamp(-limit, limit)
        return weight, bias, shift

    def _seen(self, weight: Tensor) -> Tensor:
        return weight if self.mask is None else weight * self.mask

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
        if self.mask is not None and (weight[:, self.mask.cpu().numpy() == 0] != 0).any():
            raise CheckpointError("integers of a convolution: weights where its mask is 0")
        factor = np.ldexp(1.0, FRACTION_BITS - self.input_bits - shift)
        for name, array in (("weight", weight), ("bias", bias[:, None]), ("factor", factor[:, None])):
            fixed = torch.from_numpy(array.astype(np.float32)).to(self.weight.device)
            self.register_buffer(f"fixed_{name}", fixed, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) integers to (N, outputs, H, W) integers, not yet clamped; all in float carriers.

        Raises `ValueError` where a fixed layer is given what is not whole, or beyond ±`ACTIVATION_MAX`.
        """
        if self.fixed_weight is not None:
            _check_range(x)
        height, width = (-(-side // self.stride) for side in x.shape[2:])
        weight, bias, factor = (t.to(ARITHMETIC.carrier) for t in self._operands())
        reach = self.kernel_size // 2
        border = "replicate" if self.mask is None else "constant"
        with torch.autocast(x.device.type, enabled=False):
            padded = F.pad(x.to(ARITHMETIC.carrier), (reach, reach, reach, reach), mode=border)
            columns = F.unfold(padded, self.kernel_size, stride=self.stride)
            total = (torch.matmul(weight, columns) + bias) * factor
        return _rounded(total).reshape(len(x), -1, height, width)

    def _operands(self) -> tuple[Tensor, Tensor, Tensor]:
        """Weights, biases, and the power of two that takes sums to `FRACTION_BITS`."""
        if self.fixed_weight is not None:
            return self.fixed_weight, self.fixed_bias, self.fixed_factor
        weight, bias, shift = self.scaled()
        return weight, bias, torch.exp2(FRACTION_BITS - self.input_bits - shift)


def _check_range(x: Tensor) -> None:
    if not bool(((x.abs() <= ACTIVATION_MAX) & (x == x.round())).all()):
        most = float(x.abs().max())
        raise ValueError(f"integer layer given values up to {most:g}; expected integers of at most {ACTIVATION_MAX}")


class IntegerStack(nn.Module):
    """Convolutions of integers at one size, each but the last rectified to [0, 255]: context into means and indexes.

    A linear convolution beside them, zero to begin with, lets means follow decoded neighbours from the first steps on.

    Args:
        widths: channels of the input, of each hidden layer, and of the output.
        kernel_size: of the first layer and of the linear one; the others are 1x1.
    """

    def __init__(self, *widths: int, kernel_size: int = 1) -> None:
        super().__init__()
        sizes = [kernel_size] + [1] * (len(widths) - 2)
        pairs = zip(pairwise(widths), sizes, strict=True)
        self.layers = nn.ModuleList(IntegerConv2d(a, b, size) for (a, b), size in pairs)
        self.last.bias_gain = BIAS_GAIN
        self.direct = IntegerConv2d(widths[0], widths[-1], kernel_size)
        with torch.no_grad():
            self.last.weight.mul_(QUIET)
            self.direct.weight.zero_()

    @property
    def last(self) -> IntegerConv2d:
        """The layer that gives the output."""
        layer = self.layers[-1]
        assert isinstance(layer, IntegerConv2d)
        return layer

    def start_at(self, values: Sequence[int]) -> None:
        """Before training: make this what zeros give, an integer for each output channel."""
        start_at(self.last, values)

    def forward(self, x: Tensor) -> Tensor:
        """(N, widths[0], H, W) integers within ±255, in sixteenths, to (N, widths[-1], H, W) integers in sixteenths."""
        *hidden, last = self.layers
        linear = self.direct(x)
        for layer in hidden:
            x = layer(x).clamp(0, ACTIVATION_MAX)
        return (last(x) + linear).float()


@torch.no_grad()
def start_at(layer: IntegerConv2d, values: Sequence[int]) -> None:
    """Before training: make these integers, one for each output channel, what a layer gives for zeros."""
    layer.bias.copy_(torch.tensor(values, dtype=torch.float32) / (layer.bias_gain << FRACTION_BITS))


class IntegerSynthesis(nn.Module):
    """Hyper-synthesis in exact integers: symbols in, integers that decide means and table rows out.

    Each layer but the last doubles height and width (3x3 convolution to four times the channels, then a pixel shuffle)
    and rectifies to [0, 255]. The last is a 3x3 convolution.

    Args:
        widths: channels of the input, of each hidden layer, and of the output.
        features: the output is rectified and goes to further networks.
    """

    def __init__(self, *widths: int, features: bool = False) -> None:
        super().__init__()
        *hidden, outputs = widths
        bits = [0] + [FRACTION_BITS] * len(hidden)
        pairs = enumerate(pairwise(hidden))
        self.hidden = nn.ModuleList(IntegerConv2d(a, 4 * b, 3, bits[i], bias_gain=BIAS_GAIN) for i, (a, b) in pairs)
        self.last = IntegerConv2d(hidden[-1], outputs, bias_gain=1 if features else BIAS_GAIN)
        self._features = features
        if not features:
            with torch.no_grad():
                self.last.weight.mul_(QUIET)

    def start_at(self, values: Sequence[int]) -> None:
        """Before training: make this what a hyper-latent of zeros gives, an integer for each output channel."""
        start_at(self.last, values)

    def forward(self, symbols: Tensor) -> Tensor:
        """(N, widths[0], H, W) integer symbols to (N, widths[-1], H * 2^layers, W * 2^layers), in sixteenths."""
        x = symbols.float().clamp(-INPUT_MAX, INPUT_MAX)
        for layer in self.hidden:
            x = F.pixel_shuffle(layer(x).clamp(0, ACTIVATION_MAX), 2)
        x = self.last(x).float()
        return x.clamp(0, ACTIVATION_MAX) if self._features else x
