"""Networks of floating-point weights that decide symbols, run in exact fixed-point arithmetic carried in float64.

Weights that were trained elsewhere, in floating point, cannot drive entropy coding as they are: another machine would
get other tables from them. Here weights become integers of 16 bits, activations integers of 24, and every partial sum
stays below 2^53, so float64 holds it exactly whatever the order of summation. Unlike the 8-bit networks of
`torchDVC.entropy.integer` this needs neither training nor calibration, at the price of float64 products; such a
network runs at 1/16 of the picture's size and below.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchDVC.entropy.exact import ExactModule, Integers, expect
from torchDVC.entropy.streams import round_through
from torchDVC.util.errors import CheckpointError

FRACTION_BITS = 10
"""Activations and outputs count 1024ths."""
ACTIVATION_MAX = 2**24 - 1
WEIGHT_MAX = 2**15
SHIFT_MAX = 24
MAX_TERMS = 2**13
"""Products that a sum may have: with these bits it stays below 2^52, and so does the bias."""
SLOPE_BITS = 16
"""Slopes of leaky ReLUs count 2^-16ths."""

Weighted = nn.Conv2d | nn.ConvTranspose2d | nn.Linear
Plain = nn.ReLU | nn.LeakyReLU | nn.Hardtanh | nn.PixelShuffle
"""Layers without weights."""


class FixedPoint(ExactModule):
    """A stack of (transposed) convolutions, ReLUs, leaky and bounded ones, and pixel shuffles in exact arithmetic.

    Linear layers stand for convolutions of 1x1.

    Parameters are named as those of ``nn.Sequential(*layers)``. Each layer's output is rounded to 1024ths, half to
    even, and limited to +-2^14; gradients pass straight through the rounding. The integers of layer ``i`` are
    ``i.weight`` (of the weights' shape), ``i.bias`` in 1024ths, and ``i.shift`` (1,), the fraction bits of the weights.

    Args:
        layers: convolutions with a bias, square kernels and at most `MAX_TERMS` products in a sum, whose weights are
            masked by their buffer ``mask`` where they have one; layers without weights; and ``nn.Sequential`` of such.
            `TypeError` for others.
    """

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self._layers: dict[str, Weighted | Plain] = {}
        for index, layer in enumerate(layers):
            self._layers |= dict(_leaves(str(index), layer))
            self.add_module(str(index), layer)
        self._given: dict[str, tuple[Tensor, Tensor, Tensor]] = {}

    @property
    def _weighted(self) -> Iterator[tuple[str, Weighted]]:
        return ((name, layer) for name, layer in self._layers.items() if isinstance(layer, Weighted))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) multiples of 1/1024 in any floating type to float64 multiples of 1/1024."""
        with torch.autocast(x.device.type, enabled=False):
            x = _in_1024ths(x)
            for name, layer in self._layers.items():
                x = self._convolved(name, layer, x) if isinstance(layer, Weighted) else _plain(layer, x)
            return x * 2.0**-FRACTION_BITS

    def _convolved(self, name: str, layer: Weighted, x: Tensor) -> Tensor:
        given = self._given.get(name)
        weight, bias, shift = scaled(layer) if given is None else (tensor.to(x.device) for tensor in given)
        factor = torch.exp2(shift)
        total = _product(layer, weight, x) + (bias * factor)[:, None, None]
        return _limited(round_through(total / factor))

    @torch.no_grad()
    def work_out(self) -> Integers:
        return {
            f"{layer_name}.{name}": tensor.cpu().numpy().astype(np.int32)
            for layer_name, layer in self._weighted
            for name, tensor in zip(("weight", "bias", "shift"), scaled(layer), strict=True)
        }

    def _use(self, integers: Integers) -> None:
        for index, layer in self._weighted:
            assert layer.bias is not None
            shapes = {"weight": tuple(layer.weight.shape), "bias": tuple(layer.bias.shape), "shift": (1,)}
            expect(integers, {f"{index}.{name}": shape for name, shape in shapes.items()})
            weight, bias, shift = (integers[f"{index}.{name}"].astype(np.float64) for name in shapes)
            for name, array, most in (("weight", weight, WEIGHT_MAX), ("bias", bias, ACTIVATION_MAX)):
                if np.abs(array).max() > most:
                    raise CheckpointError(f"integers '{index}.{name}' reach {np.abs(array).max():g}; expected {most}")
            if not 0 <= shift[0] <= SHIFT_MAX:
                raise CheckpointError(f"integers '{index}.shift': {shift[0]:g}; expected 0 to {SHIFT_MAX}")
            self._given[index] = (torch.from_numpy(weight), torch.from_numpy(bias), torch.from_numpy(shift))


def scaled(layer: Weighted) -> tuple[Tensor, Tensor, Tensor]:
    """Weights, biases in 1024ths and the weights' fraction bits (1,): integers in float64, gradients pass."""
    mask = getattr(layer, "mask", None)
    weight = layer.weight.double() if mask is None else layer.weight.double() * mask
    with torch.no_grad():
        largest = weight.abs().amax()
        shift = (15 - torch.frexp(largest).exponent).clamp(0, SHIFT_MAX).double().reshape(1)
    weight = round_through(weight * torch.exp2(shift)).clamp(-WEIGHT_MAX, WEIGHT_MAX)
    assert layer.bias is not None
    return weight, _limited(round_through(layer.bias.double() * 2**FRACTION_BITS)), shift


def _leaves(name: str, layer: nn.Module) -> Iterator[tuple[str, Weighted | Plain]]:
    """The layers of a stack, by their names in it."""
    if isinstance(layer, nn.Sequential):
        for own, child in layer.named_children():
            yield from _leaves(f"{name}.{own}", child)
    else:
        yield name, _expected(layer)


def _expected(layer: nn.Module) -> Weighted | Plain:
    if isinstance(layer, Plain):
        return layer
    if not isinstance(layer, Weighted) or layer.bias is None:
        raise TypeError(f"{layer}: expected a convolution with a bias, a transposed one, ReLU or PixelShuffle")
    terms = layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels * math.prod(layer.kernel_size)
    if terms > MAX_TERMS:
        raise TypeError(f"{layer}: expected at most {MAX_TERMS} products in a sum")
    return layer


def _plain(layer: nn.Module, x: Tensor) -> Tensor:
    """A layer without weights, on integers."""
    if isinstance(layer, nn.PixelShuffle):
        return F.pixel_shuffle(x, layer.upscale_factor)
    if isinstance(layer, nn.LeakyReLU):
        slope = round(layer.negative_slope * 2**SLOPE_BITS) * 2.0**-SLOPE_BITS
        return torch.where(x < 0, round_through(x * slope), x)
    if isinstance(layer, nn.Hardtanh):
        return x.clamp(round(layer.min_val * 2**FRACTION_BITS), round(layer.max_val * 2**FRACTION_BITS))
    return F.relu(x)


def rounded(x: Tensor) -> Tensor:
    """The nearest multiples of 1/1024 within +-2^14, in float64; gradients pass."""
    return _in_1024ths(x) * 2.0**-FRACTION_BITS


def _in_1024ths(x: Tensor) -> Tensor:
    return _limited(round_through(x.double() * 2**FRACTION_BITS))


def _limited(x: Tensor) -> Tensor:
    return x.clamp(-ACTIVATION_MAX, ACTIVATION_MAX)


def _product(layer: nn.Module, weight: Tensor, x: Tensor) -> Tensor:
    """What a layer makes of integers, without its bias."""
    if isinstance(layer, nn.Linear):
        return torch.matmul(weight, x.flatten(2)).unflatten(2, x.shape[2:])
    return (_scattered if isinstance(layer, nn.ConvTranspose2d) else _gathered)(layer, weight, x)


def _gathered(layer: nn.Module, weight: Tensor, x: Tensor) -> Tensor:
    """A convolution as a matrix product: a library may run it as Winograd or FFT, which is not exact."""
    assert isinstance(layer, nn.Conv2d)
    kernel, padding, stride = layer.kernel_size[0], int(layer.padding[0]), layer.stride[0]
    columns = F.unfold(x, kernel, padding=padding, stride=stride)
    size = [(side + 2 * padding - kernel) // stride + 1 for side in x.shape[2:]]
    return torch.matmul(weight.flatten(1), columns).unflatten(2, size)


def _scattered(layer: nn.Module, weight: Tensor, x: Tensor) -> Tensor:
    """A transposed convolution as a matrix product, whose columns are then added where they overlap."""
    assert isinstance(layer, nn.ConvTranspose2d)
    kernel, padding, stride = layer.kernel_size[0], int(layer.padding[0]), layer.stride[0]
    size = tuple((side - 1) * stride - 2 * padding + kernel + layer.output_padding[0] for side in x.shape[2:])
    columns = torch.matmul(weight.flatten(1).T, x.flatten(2))
    return F.fold(columns, size, kernel, padding=padding, stride=stride)
