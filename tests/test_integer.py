"""Integer networks: the floats carry exactly what integers would give, whatever the weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torchDVC.entropy.integer import (
    ACTIVATION_MAX,
    EXACT,
    FRACTION_BITS,
    INPUT_MAX,
    WEIGHT_MAX,
    IntegerConv2d,
    IntegerSynthesis,
    arithmetic,
)


def convolved(layer: IntegerConv2d, x: np.ndarray) -> np.ndarray:
    """What a layer gives for int64 (N, C, H, W), in whole numbers throughout; half-way cases to even."""
    integers = {name: array.astype(np.int64) for name, array in layer.integers().items()}
    k, (n, channels, height, width) = layer.kernel_size, x.shape
    padded = np.pad(x, ((0, 0), (0, 0), (k // 2,) * 2, (k // 2,) * 2), mode="edge")
    weight = integers["weight"].reshape(-1, channels, k, k)
    total = np.zeros((n, len(weight), height, width), np.int64)
    for dy in range(k):
        for dx in range(k):
            seen = padded[:, :, dy : dy + height, dx : dx + width]
            total += np.einsum("oc,nchw->nohw", weight[:, :, dy, dx], seen)
    total += integers["bias"][:, None, None]
    down = (integers["shift"] + layer.input_bits - FRACTION_BITS)[:, None, None]
    up = np.maximum(-down, 0)
    down = np.maximum(down, 0)
    quotient, rest, half = total >> down, total & ((1 << down) - 1), (1 << down) >> 1
    roundup = (rest > half) | ((rest == half) & (half > 0) & (quotient % 2 == 1))
    return (quotient + roundup) << up


def random_layer(seed: int, scale: float, channels: int = 5, bits: int = FRACTION_BITS) -> IntegerConv2d:
    torch.manual_seed(seed)
    layer = IntegerConv2d(channels, 4, input_bits=bits)
    with torch.no_grad():
        layer.weight.copy_(torch.randn_like(layer.weight) * scale)
        layer.bias.copy_(torch.randn_like(layer.bias) * scale)
    return layer


SEEDS, SCALES = st.integers(0, 10**6), st.floats(-6, 4).map(lambda power: 10.0**power)


@settings(max_examples=60, deadline=None)
@given(SEEDS, SCALES, st.sampled_from([0, FRACTION_BITS]))
def test_a_layer_equals_whole_numbers_exactly(seed: int, scale: float, bits: int) -> None:
    layer = random_layer(seed, scale, bits=bits)
    low, high = (0, ACTIVATION_MAX) if bits else (-INPUT_MAX, INPUT_MAX)
    x = np.random.default_rng(seed).integers(low, high + 1, (2, 5, 6, 7))
    with torch.no_grad():
        found = layer(torch.from_numpy(x).float()).numpy()
    assert np.array_equal(found, convolved(layer, x))


@settings(max_examples=60, deadline=None)
@given(SEEDS, SCALES, st.integers(1, 200))
def test_no_sum_can_leave_the_exact_range(seed: int, scale: float, channels: int) -> None:
    integers = random_layer(seed, scale, channels).integers()
    assert np.abs(integers["weight"]).max() <= WEIGHT_MAX
    largest = ACTIVATION_MAX * np.abs(integers["weight"].astype(np.int64)).sum(1) + np.abs(integers["bias"])
    assert largest.max() <= EXACT


def test_one_large_weight_leaves_the_other_channels_their_precision() -> None:
    layer = random_layer(0, 0.1)
    before = layer.integers()
    with torch.no_grad():
        layer.weight[0, 0] = 50.0
    after = layer.integers()
    assert after["shift"][0] < before["shift"][0]
    assert np.array_equal(after["weight"][1:], before["weight"][1:])


@pytest.mark.parametrize("scale", [0.02, 1.0])
def test_integer_weights_are_the_real_ones_to_half_a_step(scale: float) -> None:
    layer = random_layer(1, scale)
    integers = layer.integers()
    real = layer.weight.detach().numpy()
    steps = 2.0 ** -integers["shift"].astype(float)[:, None]
    assert np.abs(integers["weight"] * steps - real).max() <= steps.max() / 2 + 1e-7


def synthesised(symbols: torch.Tensor) -> list[torch.Tensor]:
    torch.manual_seed(0)
    network = IntegerSynthesis(6, 8, 8, 10)
    with torch.no_grad():
        found = [network(symbols), torch.cat([network(one[None]) for one in symbols])]
        found.append(network(symbols.contiguous(memory_format=torch.channels_last)))
        with arithmetic(carrier=torch.float64):
            found.append(network(symbols))
        with torch.autocast("cpu", dtype=torch.bfloat16), torch.backends.mkldnn.flags(enabled=False):
            found.append(network(symbols))
    return found


def test_the_synthesis_is_the_same_in_every_batch_layout_and_carrier() -> None:
    symbols = torch.from_numpy(np.random.default_rng(0).integers(-300, 300, (3, 6, 4, 5)))
    first, *others = synthesised(symbols.float())
    assert first.shape == (3, 10, 16, 20)
    assert torch.equal(first, first.round()) and first.abs().max() > 0
    for other in others:
        assert torch.equal(first, other)


def test_an_untrained_synthesis_starts_where_it_is_told_to() -> None:
    network, values = IntegerSynthesis(6, 8, 8, 10), [0] * 5 + [-16, -3, 0, 7, 40]
    network.start_at(values)
    with torch.no_grad():
        found = network(torch.zeros(1, 6, 2, 3))
    assert torch.equal(found, torch.tensor(values).reshape(1, 10, 1, 1).expand(1, 10, 8, 12).float())


def test_rounding_is_a_small_part_of_what_the_network_gives() -> None:
    torch.manual_seed(0)
    network, symbols = IntegerSynthesis(6, 8, 8, 10), torch.randint(-20, 20, (1, 6, 4, 4)).float()
    with torch.no_grad():
        exact = network(symbols)
        with arithmetic(rounding=False):
            real = network(symbols)
    assert not torch.equal(exact, real)
    assert (exact - real).abs().mean() < 0.05 * real.abs().mean() + 1


def test_every_parameter_is_trained_through_the_rounding() -> None:
    torch.manual_seed(0)
    network = IntegerSynthesis(3, 4, 4, 5)
    network(torch.randint(-20, 20, (1, 3, 4, 4)).float()).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
