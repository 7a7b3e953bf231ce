"""Pictures as tensors hold them, to and from planes of 8-bit codes.

A picture (3, H, W) float32 holds codes / 255, its chroma repeated 2x2; in planes (3, h, w) uint8 chroma fills a quarter
of its own.
"""

from __future__ import annotations

import numpy as np

from torchDVC.modules.block.kernel import kernel


@kernel
def take(picture, planes):
    """Take as much of a picture as the planes hold; what is below 0 counts as 0, above 1 as 1."""
    for plane in range(3):
        size = 2 if plane else 1
        for y in range(planes.shape[1] // size):
            source, target = picture[plane, size * y], planes[plane, y]
            for x in range(planes.shape[2] // size):
                value = min(max(source[size * x], np.float32(0)), np.float32(1))
                target[x] = np.uint8(np.int32(value * np.float32(255) + np.float32(0.5)))


@kernel
def give(planes, picture):
    """Fill a picture, with the last row and column of the planes repeated as far as needed."""
    height, width = planes.shape[1:]
    for plane in range(3):
        for y in range(height):
            target = picture[plane, y]
            if plane == 0:
                for x in range(width):
                    target[x] = np.float32(planes[0, y, x]) / np.float32(255)
            else:
                for x in range(width // 2):
                    value = np.float32(planes[plane, y // 2, x]) / np.float32(255)
                    target[2 * x] = value
                    target[2 * x + 1] = value
            target[width:] = target[width - 1]
        picture[plane, height:] = picture[plane, height - 1]
