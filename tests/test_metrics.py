"""PSNR and MS-SSIM against independent implementations and hand-computed values."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torchDVC.dataset.frame import Frame
from torchDVC.models.ms_ssim import MS_SSIM_WEIGHTS, ms_ssim, ms_ssim_scales
from torchDVC.results.metrics import PSNR_OF_IDENTICAL, picture_metrics, plane_psnr


def noisy_pair(height: int, width: int, sigma: float = 12, seed: int = 0) -> list[np.ndarray]:
    """A smooth uint8 picture (3, H, W) and the same with noise."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [128 + 90 * np.sin(x / (7 + c) + c) * np.cos(y / (11 - c)) for c in range(3)]
    source = np.stack(waves)
    noise = random.normal(0, sigma, source.shape)
    return [np.clip(np.round(p), 0, 255).astype(np.uint8) for p in (source, source + noise)]


def as_tensor(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(picture)[None].float() / 255


def test_psnr_by_hand():
    # MSE 4 -> 20 log10(255) - 10 log10(4) = 42.1102...
    a = np.full((3, 8, 8), 100, np.uint8)
    assert plane_psnr(a, a + 2) == pytest.approx(42.110203695399477, abs=1e-12)


def test_psnr_of_identical_pictures_is_the_cap():
    a, _ = noisy_pair(32, 32)
    assert plane_psnr(a, a) == PSNR_OF_IDENTICAL


def test_plane_psnr_refuses_other_shapes():
    with pytest.raises(ValueError, match="different shapes"):
        plane_psnr(np.zeros((4, 4), np.uint8), np.zeros((4, 5), np.uint8))


def test_psnr_matches_scikit_image_at_extreme_differences():
    metrics = pytest.importorskip("skimage.metrics")
    random = np.random.default_rng(1)
    a, b = random.integers(0, 256, (2, 3, 40, 50), dtype=np.uint8)
    assert plane_psnr(a, b) == pytest.approx(metrics.peak_signal_noise_ratio(a, b), abs=1e-9)
    assert plane_psnr(b, a) == plane_psnr(a, b)


@pytest.mark.parametrize("size", [(176, 176), (161, 200), (217, 255), (240, 320)])
def test_ms_ssim_matches_pytorch_msssim(size):
    reference = pytest.importorskip("pytorch_msssim")
    a, b = (as_tensor(p) for p in noisy_pair(*size))
    expected = reference.ms_ssim(a, b, data_range=1, size_average=False)
    torch.testing.assert_close(ms_ssim(a, b), expected, atol=1e-5, rtol=0)


def test_one_scale_matches_scikit_image():
    """Between 11 and 20 pixels one scale is left: plain SSIM with a Gaussian window, away from the border."""
    metrics = pytest.importorskip("skimage.metrics")
    a, b = noisy_pair(20, 17)
    _, full = metrics.structural_similarity(
        a / 255, b / 255, data_range=1, channel_axis=0, gaussian_weights=True, use_sample_covariance=False, full=True
    )
    expected = full[:, 5:-5, 5:-5].mean()
    assert float(ms_ssim(as_tensor(a), as_tensor(b))) == pytest.approx(expected, abs=1e-5)


def test_fewer_scales_match_the_references_terms():
    """At 144 lines four scales are left, with their exponents divided by their sum."""
    reference = pytest.importorskip("pytorch_msssim.ssim")
    a, b = pair = [as_tensor(p) for p in noisy_pair(144, 176)]
    window = reference._fspecial_gauss_1d(11, 1.5).repeat(3, 1, 1, 1)
    expected = torch.ones(1, 3)
    for scale in range(4):
        ssim, contrast = reference._ssim(*pair, 1, window)
        expected *= (ssim if scale == 3 else contrast) ** (MS_SSIM_WEIGHTS[scale] / sum(MS_SSIM_WEIGHTS[:4]))
        pair = [torch.nn.functional.avg_pool2d(p, 2) for p in pair]
    torch.testing.assert_close(ms_ssim(a, b), expected.mean(1), atol=1e-5, rtol=0)


def test_scales_by_size():
    assert [ms_ssim_scales(side) for side in (1, 10, 11, 20, 21, 40, 41, 80, 81, 160, 161, 1080)] == (
        [1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    )


@given(st.integers(1, 64), st.integers(1, 64))
@settings(max_examples=25, deadline=None)
def test_ms_ssim_of_any_size(height, width):
    a, b = (as_tensor(p) for p in noisy_pair(height, width))
    assert float(ms_ssim(a, a)) == pytest.approx(1, abs=1e-5)
    assert 0 <= float(ms_ssim(a, b)) <= 1


def test_ms_ssim_falls_with_noise_and_is_per_picture():
    pairs = [noisy_pair(176, 176, sigma) for sigma in (4, 12, 40)]
    a, b = (torch.cat([as_tensor(pair[i]) for pair in pairs]) for i in (0, 1))
    values = ms_ssim(a, b)
    assert values.shape == (3,)
    assert all(x > y for x, y in pairwise(values.tolist()))
    torch.testing.assert_close(values[1], ms_ssim(a[1:2], b[1:2])[0])


def test_gradients_are_finite_even_for_opposite_pictures():
    a, _ = noisy_pair(176, 176)
    x = as_tensor(a)
    y = (1 - x).requires_grad_()
    (1 - ms_ssim(x, y)).sum().backward()
    assert torch.isfinite(y.grad).all()


def test_autocast_does_not_change_ms_ssim():
    a, b = (as_tensor(p) for p in noisy_pair(64, 64))
    with torch.autocast("cpu", torch.bfloat16):
        under_autocast = ms_ssim(a, b)
    assert torch.equal(under_autocast, ms_ssim(a, b))


def test_picture_metrics_of_planes_by_hand():
    """Y off by 1, U by 2, V by 4: 48.13, 42.11 and 36.09 dB, and 6:1:1 of them."""
    luma, chroma = np.full((6, 8), 100, np.uint8), np.full((3, 4), 100, np.uint8)
    source, recon = Frame(yuv=(luma, chroma, chroma)), Frame(yuv=(luma + 1, chroma + 2, chroma + 4))
    values = picture_metrics(source, recon)
    y, u, v = (10 * np.log10(255**2 / d**2) for d in (1, 2, 4))
    assert (values["psnr_y"], values["psnr_u"], values["psnr_v"]) == pytest.approx((y, u, v), abs=1e-9)
    assert values["psnr_yuv"] == pytest.approx((6 * y + u + v) / 8, abs=1e-9)
    assert values["psnr_rgb"] == plane_psnr(source.rgb, recon.rgb)


def test_picture_metrics_of_rgb_uses_the_sources_matrix():
    source_rgb, recon_rgb = noisy_pair(24, 32)
    for matrix, value_range in (("bt601", "full"), ("bt709", "limited")):
        source = Frame(rgb=source_rgb, matrix=matrix, value_range=value_range)
        recon = Frame(rgb=recon_rgb, matrix=matrix, value_range=value_range)
        assert picture_metrics(source, recon_rgb) == picture_metrics(source, recon)
    assert "ms_ssim_rgb" not in picture_metrics(source, recon_rgb, ms_ssim=False)


def test_yuv_psnr_matches_ffmpegs_filter(tmp_path: Path):
    """The psnr filter of FFmpeg, through PyAV, on the same planes."""
    av = pytest.importorskip("av")
    random = np.random.default_rng(3)
    shapes = ((48, 64), (24, 32), (24, 32))
    a = [random.integers(16, 236, s, dtype=np.uint8) for s in shapes]
    b = [np.clip(p + random.normal(0, 5, p.shape), 0, 255).astype(np.uint8) for p in a]
    values = picture_metrics(Frame(yuv=(a[0], a[1], a[2])), Frame(yuv=(b[0], b[1], b[2])), ms_ssim=False)
    measured = ffmpeg_psnr(av, a, b, tmp_path / "psnr.txt")
    assert [values["psnr_y"], values["psnr_u"], values["psnr_v"]] == pytest.approx(measured, abs=0.0051)


def ffmpeg_psnr(av, a: list[np.ndarray], b: list[np.ndarray], statistics: Path) -> list[float]:
    """PSNR of Y, U, V (dB, two decimals) as FFmpeg's psnr filter writes it to its file of statistics."""
    graph = av.filter.Graph()
    height, width = a[0].shape
    sources = [
        graph.add_buffer(width=width, height=height, format="yuv420p", time_base=Fraction(1, 25)) for _ in range(2)
    ]
    compare, sink = graph.add("psnr", f"stats_file={statistics}"), graph.add("buffersink")
    for pad, source in enumerate(sources):
        source.link_to(compare, 0, pad)
    compare.link_to(sink)
    graph.configure()
    for source, planes in zip(sources, (a, b), strict=True):
        packed = np.concatenate([p.reshape(-1) for p in planes]).reshape(-1, width)
        frame = av.VideoFrame.from_ndarray(packed, format="yuv420p")
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        source.push(frame)
    sink.pull()
    del graph, sources, compare, sink  # closes the file
    line = dict(part.split(":") for part in statistics.read_text().split())
    return [float(line[f"psnr_{plane}"]) for plane in "yuv"]
