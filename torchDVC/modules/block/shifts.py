"""How far much of a picture has moved as one: what scrolls or pans, found at any distance."""

from __future__ import annotations

import numpy as np
import torch

SHIFTS = 2
"""How many are looked for."""
STILL = 2.0
"""Pictures that differ by less, in codes, are not looked at."""
BESIDE = 1
"""Samples around a shift within which there is no other."""


def find_shifts(source: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Vectors into a reference that fit most of a picture, best first, (SHIFTS, 2) rows and columns in quarter samples.

    Whole samples, by phase correlation (Kuglin & Hines 1975); zeros where pictures hardly differ.

    Args:
        source, reference: (H, W) uint8.
    """
    found = np.zeros((SHIFTS, 2), np.int64)
    if np.abs(np.subtract(source, reference, dtype=np.int16)).mean() < STILL:
        return found
    here, there = (torch.from_numpy(np.float32(plane)) for plane in (source, reference))
    cross = torch.fft.rfft2(there) * torch.fft.rfft2(here).conj()
    fit = torch.fft.irfft2(cross / cross.abs().clamp(min=1e-6), s=here.shape)
    _forget(fit, (0, 0))
    for shift in found:
        place = divmod(int(fit.argmax()), fit.shape[1])
        _forget(fit, place)
        shift[:] = [4 * (at - size if 2 * at > size else at) for at, size in zip(place, fit.shape, strict=True)]
    return found


def _forget(fit: torch.Tensor, place: tuple[int, int]) -> None:
    """Leave out a shift and those beside it."""
    near = torch.arange(-BESIDE, BESIDE + 1)
    rows, columns = ((near + at) % size for at, size in zip(place, fit.shape, strict=True))
    fit[rows[:, None], columns] = 0
