"""The PWC-Net motion estimator: its cost volume against brute force, any size, and as a part of a codec."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from torchDVC.coding_structure import FrameInfo
from torchDVC.entropy.symbol_streams import EstimatingStream
from torchDVC.modules.frame_state import FrameState
from torchDVC.modules.layers import warp
from torchDVC.modules.motion.pwcnet import PWCNet, cost_volume


def small(seed: int = 0) -> PWCNet:
    torch.manual_seed(seed)
    return PWCNet(widths=(4, 6, 8), radius=2, decoder=(8, 6)).eval()


def brute_force(a: Tensor, b: Tensor, radius: int) -> Tensor:
    """Every product by itself."""
    batch, channels, height, width = a.shape
    side = 2 * radius + 1
    out = torch.zeros(batch, side**2, height, width, dtype=a.dtype)
    for n, dy, dx, y, x in itertools.product(range(batch), range(side), range(side), range(height), range(width)):
        v, u = y + dy - radius, x + dx - radius
        if 0 <= v < height and 0 <= u < width:
            out[n, dy * side + dx, y, x] = sum(a[n, c, y, x] * b[n, c, v, u] for c in range(channels)) / channels
    return out


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 2), st.integers(1, 3), st.integers(1, 5), st.integers(1, 5), st.integers(0, 2), st.integers(0, 9))
def test_the_cost_volume_equals_brute_force(n: int, c: int, h: int, w: int, radius: int, seed: int) -> None:
    a, b = torch.randn(2, n, c, h, w, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    torch.testing.assert_close(cost_volume(a, b, radius), brute_force(a, b, radius))


def test_the_cost_is_largest_at_the_displacement() -> None:
    a = torch.nn.functional.normalize(torch.randn(1, 64, 12, 12, generator=torch.Generator().manual_seed(0)), dim=1)
    costs = cost_volume(a, torch.roll(a, (1, -2), (2, 3)), radius=3)[:, :, 4:8, 4:8]
    assert (costs.argmax(1) == (1 + 3) * 7 + (-2 + 3)).all()


@pytest.mark.parametrize("size", [(64, 64), (37, 51), (8, 90), (1, 1)])
def test_any_size_has_a_flow_of_that_size(size: tuple[int, int]) -> None:
    frame, ref = torch.rand(2, 2, 3, *size, generator=torch.Generator().manual_seed(0))
    flow = small().estimate(frame, ref)
    assert flow.shape == (2, 2, *size) and flow.dtype == torch.float32 and bool(flow.isfinite().all())


def test_each_reference_has_a_flow_of_its_own() -> None:
    frame, left, right = torch.rand(3, 1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    net = small()
    state = FrameState(FrameInfo(1, (0,)), 1, 64, 64, torch.zeros(1, dtype=torch.int64))
    state.update(frame=frame, refs=torch.stack((left, right), 1))
    with torch.no_grad():
        written = net(state, EstimatingStream())
        alone = [net.estimate(frame, ref) for ref in (left, right)]
    torch.testing.assert_close(written["flow"], torch.stack(alone, 1))
    warped = [warp(ref, flow) for ref, flow in zip((left, right), alone, strict=True)]
    torch.testing.assert_close(written["flow_warped"], torch.stack(warped).mean(0))


def test_it_learns_a_shift() -> None:
    """Trained on one moving texture, the error of the warped reference falls to less than half."""
    torch.manual_seed(0)
    texture = torch.nn.functional.interpolate(torch.rand(1, 3, 12, 12), size=(80, 80), mode="bicubic").clamp(0, 1)
    ref, frame = texture[..., 8:72, 8:72], texture[..., 10:74, 11:75]
    net = small()
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    errors = []
    for _ in range(60):
        error = (warp(ref, net.estimate(frame, ref)) - frame).square().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(float(error.detach()))
    assert errors[-1] < 0.5 * errors[0]
