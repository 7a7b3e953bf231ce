"""Picture quality of 8-bit pictures: PSNR and MS-SSIM."""

from __future__ import annotations

import numpy as np
import torch

from torchDVC.dataset.frame import Frame
from torchDVC.dataset.picture_format import PLANE_WEIGHTS
from torchDVC.models.ms_ssim import ms_ssim as ms_ssim_of

PSNR_OF_IDENTICAL = 100.0
"""dB; reported for identical pictures, whose PSNR is infinite, and the most that any picture gets."""


def psnr_of_mse(mse: float, peak: float = 255.0) -> float:
    """PSNR in dB of a mean squared error, at most `PSNR_OF_IDENTICAL`."""
    if mse <= 0:
        return PSNR_OF_IDENTICAL
    return min(PSNR_OF_IDENTICAL, float(10 * np.log10(peak * peak / mse)))


def plane_psnr(a: np.ndarray, b: np.ndarray, bits: int = 8) -> float:
    """PSNR in dB of two arrays of samples of so many bits, of equal shape."""
    if a.shape != b.shape:
        raise ValueError(f"pictures of different shapes: {a.shape} and {b.shape}")
    error = np.square(a.astype(np.int32) - b)
    return psnr_of_mse(float(np.mean(error, dtype=np.float64)), 2.0**bits - 1)


def picture_metrics(source: Frame, recon: Frame | np.ndarray, ms_ssim: bool = True) -> dict[str, float]:
    """Quality of one decoded picture in the depth of its source, under the names of the columns of the results.

    ``recon`` is a `Frame`, or uint8 RGB (3, H, W), whose YUV is then made with the matrix and range of ``source``.
    Returns psnr_rgb, psnr_y, psnr_u, psnr_v and psnr_yuv (6:1:1 mean of the three) in dB, and
    ms_ssim_rgb where asked for; RGB has 8 bits always.
    """
    if isinstance(recon, np.ndarray):
        recon = Frame(rgb=recon, matrix=source.matrix, value_range=source.range)
    pairs = zip(source.planes(source.bits), recon.planes(source.bits), strict=True)
    planes = [plane_psnr(a, b, source.bits) for a, b in pairs]
    values = {"psnr_rgb": plane_psnr(source.rgb, recon.rgb)}
    if ms_ssim:
        values["ms_ssim_rgb"] = picture_ms_ssim(source.rgb, recon.rgb)
    values.update(zip(("psnr_y", "psnr_u", "psnr_v"), planes, strict=True))
    values["psnr_yuv"] = float(np.dot(PLANE_WEIGHTS, planes))
    return values


def picture_ms_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """MS-SSIM of two uint8 pictures (C, H, W)."""
    with torch.no_grad():
        x, y = (torch.from_numpy(np.ascontiguousarray(p))[None].float() / 255 for p in (a, b))
        return float(ms_ssim_of(x, y))
