"""MS-SSIM, differentiable."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the five scales, finest first (Wang, Simoncelli, Bovik: Multiscale structural similarity, 2003)."""

WINDOW = 11
SIGMA = 1.5
K1, K2 = 0.01, 0.03


def ms_ssim(a: Tensor, b: Tensor) -> Tensor:
    """MS-SSIM of each picture, (N,) in [0, 1], from (N, C, H, W) in [0, 1]; the mean over channels.

    Gaussian window of 11 with sigma 1.5 and no padding, five scales halved by a 2x2 mean, as in the literature. A
    picture whose shorter side is below 161 holds fewer scales than five: the coarsest are left out and the exponents
    of the others divided by their sum; below 11 the one scale's window shrinks to the side. Computed in float32,
    whatever autocast says.
    """
    with torch.autocast(a.device.type, enabled=False):
        a, b = a.float(), b.float()
        scales = ms_ssim_scales(min(a.shape[-2:]))
        weights = a.new_tensor(MS_SSIM_WEIGHTS[:scales])
        window = _gaussian(min(WINDOW, *a.shape[-2:]), a)
        terms = []
        for scale in range(scales):
            luminance, contrast = _ssim_terms(a, b, window)
            last = scale == scales - 1
            terms.append((luminance * contrast if last else contrast).mean((-2, -1)))
            if not last:
                a, b = _halve(a), _halve(b)
        return _weighted_product(torch.stack(terms), weights / weights.sum()).mean(1)


def ms_ssim_scales(side: int) -> int:
    """How many of the five scales a picture with this shorter side (pixels) holds: each needs 11 of its pixels."""
    return max(1, sum(side > (WINDOW - 1) << scale for scale in range(len(MS_SSIM_WEIGHTS))))


def _gaussian(size: int, like: Tensor) -> Tensor:
    """The window's one-dimensional factor: ``size`` weights that add up to 1."""
    offsets = torch.arange(size, dtype=like.dtype, device=like.device) - (size - 1) / 2
    weights = torch.exp(-offsets.square() / (2 * SIGMA**2))
    return weights / weights.sum()


def _blur(x: Tensor, window: Tensor) -> Tensor:
    """Windowed local means of each channel, without padding: (N, C, H, W) -> (N, C, H - k + 1, W - k + 1).

    As a depthwise convolution in channels_last, 20 times as fast on a CPU as one channel at a time.
    """
    channels, size = x.shape[1], len(window)
    kernel = window.expand(channels, 1, 1, size)
    x = F.conv2d(x.contiguous(memory_format=torch.channels_last), kernel.transpose(2, 3), groups=channels)
    return F.conv2d(x, kernel, groups=channels)


def _ssim_terms(a: Tensor, b: Tensor, window: Tensor) -> tuple[Tensor, Tensor]:
    """The luminance and the contrast-structure map of SSIM for values in [0, 1]."""
    means = _blur(torch.cat([a, b, a * a, b * b, a * b], 1), window)
    mean_a, mean_b, square_a, square_b, product = means.chunk(5, 1)
    luminance = (2 * mean_a * mean_b + K1**2) / (mean_a.square() + mean_b.square() + K1**2)
    covariance = product - mean_a * mean_b
    variances = square_a - mean_a.square() + square_b - mean_b.square()
    return luminance, (2 * covariance + K2**2) / (variances + K2**2)


def _weighted_product(terms: Tensor, exponents: Tensor) -> Tensor:
    """Product over the scales of (scales, N, C) terms to their exponents: 0, with gradient 0, where one is negative."""
    powers = terms.clamp_min(torch.finfo(terms.dtype).tiny).pow(exponents.view(-1, 1, 1))
    return (powers * (terms > 0)).prod(0)


def _halve(x: Tensor) -> Tensor:
    """2x2 means; an odd side is first padded by one row or column of zeros at either end, as public code does."""
    return F.avg_pool2d(x, 2, padding=(x.shape[-2] % 2, x.shape[-1] % 2))
