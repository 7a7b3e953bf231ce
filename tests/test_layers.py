"""Building blocks against other implementations, and against what they must do to a known picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from compressai.layers import GDN as ReferenceGDN
from compressai.ops import LowerBound
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from torchDVC.dataset.procedural import Scene, procedural_clip
from torchDVC.entropy.lower_bound import lower_bound
from torchDVC.modules.layers import GDN, fold, unfold, warp
from torchDVC.modules.motion.spynet import SPyNet


@pytest.mark.parametrize("inverse", [False, True])
def test_gdn_equals_compressais_with_the_same_weights(inverse: bool) -> None:
    torch.manual_seed(0)
    own, reference = GDN(7, inverse), ReferenceGDN(7, inverse)
    with torch.no_grad():
        for parameter in own.parameters():
            parameter.add_(torch.rand_like(parameter) - 0.3)
        reference.beta.copy_(own.beta)
        reference.gamma.copy_(own.gamma)
    x = torch.randn(2, 7, 5, 6, requires_grad=True)
    torch.testing.assert_close(own(x), reference(x))
    layers = (own, reference)
    gradients = [torch.autograd.grad(layer(x).square().sum(), [x, layer.beta, layer.gamma]) for layer in layers]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_gdn_starts_as_compressais() -> None:
    own, reference = GDN(5), ReferenceGDN(5)
    assert torch.equal(own.beta, reference.beta) and torch.equal(own.gamma, reference.gamma)


@given(st.lists(st.floats(-4, 4, width=32), min_size=1, max_size=9), st.floats(-2, 2, width=32))
def test_lower_bound_equals_compressais(values: list[float], bound: float) -> None:
    results = []
    for function in (lambda x: lower_bound(x, bound), LowerBound(bound)):
        x = torch.tensor(values, requires_grad=True)
        y = function(x)
        (gradient,) = torch.autograd.grad((y * torch.linspace(-1, 1, len(values))).sum(), x)
        results.append((y.detach(), gradient))
    torch.testing.assert_close(results[0], results[1])


@settings(max_examples=20, deadline=None)
@given(st.integers(-3, 3), st.integers(-3, 3), st.integers(1, 12), st.integers(1, 12))
def test_whole_pixel_shifts_move_pixels(dx: int, dy: int, height: int, width: int) -> None:
    picture = torch.rand(1, 2, height, width)
    flow = torch.tensor([dx, dy], dtype=torch.float32).view(1, 2, 1, 1).expand(1, 2, height, width)
    rows = (np.arange(height) + dy).clip(0, height - 1)
    columns = (np.arange(width) + dx).clip(0, width - 1)
    expected = picture[:, :, rows][:, :, :, columns]
    torch.testing.assert_close(warp(picture, flow), expected, rtol=0, atol=1e-5)


def test_half_a_pixel_is_the_mean_of_two() -> None:
    picture = torch.rand(1, 1, 4, 9)
    flow = torch.tensor([0.5, 0.0]).view(1, 2, 1, 1).expand(1, 2, 4, 9)
    expected = (picture[..., :-1] + picture[..., 1:]) / 2
    torch.testing.assert_close(warp(picture, flow)[..., :-1], expected, rtol=0, atol=1e-5)


def test_warping_by_the_known_flow_of_a_clip_gives_the_next_frame() -> None:
    clip = torch.from_numpy(procedural_clip(3, 2, (160, 96))).float() / 255
    flow = torch.from_numpy(Scene(3, (160, 96)).flow(1))[None]
    before, now = clip[:1], clip[1:]
    left = (warp(before, flow) - now).square().mean()
    assert left < 0.3 * (before - now).square().mean()


def test_warping_stays_in_float32_under_autocast() -> None:
    picture, flow = torch.rand(1, 3, 8, 8), torch.randn(1, 2, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = warp(picture, flow)
    assert under.dtype == torch.float32 and torch.equal(under, warp(picture, flow))


def test_folding_references_is_undone_by_unfolding() -> None:
    x = torch.rand(3, 2, 4, 5, 6)
    assert torch.equal(unfold(fold(x), 3), x)
    assert torch.equal(fold(x)[1], x[0, 1])


def test_a_motion_estimator_learns_a_known_shift() -> None:
    torch.manual_seed(0)
    estimator = SPyNet(levels=2, kernel_size=3, widths=(8, 8))
    smooth = F.interpolate(torch.rand(4, 3, 8, 8), size=(32, 32), mode="bicubic").clamp(0, 1)
    ref, frame = smooth[..., :-2], smooth[..., 2:]
    optimizer = torch.optim.Adam(estimator.parameters(), 3e-3)
    errors = []
    for _ in range(60):
        flow = estimator.estimate(frame, ref)
        error = (warp(ref, flow) - frame)[..., 4:-4].square().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(error.item())
    assert errors[-1] < 0.3 * errors[0]
    assert flow[:, 0].median().item() > 0.8


def test_the_flow_is_zero_before_training() -> None:
    frame, ref = torch.rand(2, 1, 3, 64, 128, generator=torch.Generator().manual_seed(0))
    assert torch.equal(SPyNet().estimate(frame, ref), torch.zeros(1, 2, 64, 128))


def test_the_estimators_flow_grows_with_the_picture() -> None:
    estimator = SPyNet(levels=3, finest=1, kernel_size=3, widths=(4,))
    flow = estimator.estimate(torch.rand(1, 3, 64, 128), torch.rand(1, 3, 64, 128))
    assert flow.shape == (1, 2, 64, 128)
