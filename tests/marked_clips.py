"""Clips whose pixels tell where they are from, for the tests of training data and of its cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from torchDVC.dataset.pictures import write_png


def marked_clip(number: int, frames: int, width: int, height: int) -> np.ndarray:
    """A clip whose pixels tell where they are from: red the clip and frame, green the column, blue the row."""
    clip = np.empty((frames, 3, height, width), np.uint8)
    clip[:, 0] = (np.arange(frames, dtype=np.uint8) + 16 * number)[:, None, None]
    clip[:, 1] = np.arange(width, dtype=np.uint8)
    clip[:, 2] = np.arange(height, dtype=np.uint8)[:, None]
    return clip


def write_pictures(folder: Path, clip: np.ndarray, name: str = "im{}.png") -> Path:
    folder.mkdir(parents=True)
    for number, rgb in enumerate(clip, start=1):
        write_png(folder / name.format(number), rgb)
    return folder
