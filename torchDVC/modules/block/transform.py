"""Integer cosine transforms of 4x4, 8x8 and 16x16 samples, quantiser steps and scan orders."""

from __future__ import annotations

from typing import Any

import numpy as np

from torchDVC.modules.block.kernel import kernel

PRECISION = 10
"""Fractional bits of the basis; with two passes a reconstruction is the real-valued one to a few hundredths."""
STEP_BITS = 6
"""Fractional bits of a quantiser step."""
LARGEST = 16


def _basis(size: int) -> np.ndarray:
    """Rows of the orthonormal DCT-II in units of 2**-PRECISION."""
    k, x = np.mgrid[:size, :size]
    rows = np.cos(np.pi * (2 * x + 1) * k / (2 * size)) * np.sqrt((2 - (k == 0)) / size)
    return np.rint(rows * 2**PRECISION).astype(np.int32)


BASIS_4, BASIS_8, BASIS_16 = (_basis(size) for size in (4, 8, 16))
def _zigzag(size: int) -> np.ndarray:
    """Positions ``row << 4 | column`` by diagonals, each in the direction opposite to the last."""
    cells = [(u + v, u if (u + v) % 2 else v, u << 4 | v) for u in range(size) for v in range(size)]
    return np.array([position for _, _, position in sorted(cells)], np.int32)


SCAN_4, SCAN_8, SCAN_16 = (_zigzag(size) for size in (4, 8, 16))
STEPS = np.rint(0.625 * 2 ** (np.arange(-12, 124) / 12) * 2**STEP_BITS).astype(np.int64)
"""Quantiser steps in units of 2**-STEP_BITS by half steps of QP, from QP -6 on; doubles every 6 QP."""


def step_of(qp: float) -> int:
    """The quantiser step in units of 2**-STEP_BITS, where 6 more of ``qp`` is twice the step; halves are told apart."""
    return int(STEPS[min(max(int(round(2 * qp)) + 12, 0), STEPS.size - 1)])


@kernel
def scan_of(size):
    """The scan order of a block."""
    return SCAN_4 if size == 4 else (SCAN_8 if size == 8 else SCAN_16)


def _forward_of(size: int) -> Any:
    """The transform of one size in place, (size, size) float32: loops of known length run eight numbers at once."""
    basis = np.ascontiguousarray(_basis(size).astype(np.float32) / 2**PRECISION)
    transposed = np.ascontiguousarray(basis.T)

    @kernel
    def transform(block, scratch):
        for u in range(size):
            for x in range(size):
                total = np.float32(0)
                for y in range(size):
                    total += basis[u, y] * block[y, x]
                scratch[u, x] = total
        for u in range(size):
            for v in range(size):
                total = np.float32(0)
                for x in range(size):
                    total += scratch[u, x] * transposed[x, v]
                block[u, v] = total

    return transform


_forward_4, _forward_8, _forward_16 = (_forward_of(size) for size in (4, 8, 16))


@kernel
def forward(block, size, scratch):
    """Transform (size, size) float32 in place."""
    if size == 4:
        _forward_4(block, scratch)
    elif size == 8:
        _forward_8(block, scratch)
    else:
        _forward_16(block, scratch)


@kernel
def inverse(levels, top, left, size, step, skip, block, scratch):
    """Residual (size, size) int32 of the levels at ``top, left`` of a plane, rounded."""
    if skip:
        for y in range(size):
            for x in range(size):
                block[y, x] = (levels[top + y, left + x] * step + (1 << (STEP_BITS - 1))) >> STEP_BITS
        return
    matrix = BASIS_4 if size == 4 else (BASIS_8 if size == 8 else BASIS_16)
    for y in range(size):
        for v in range(size):
            scratch[y, v] = 0
    for u in range(size):
        for v in range(size):
            level = np.int64(levels[top + u, left + v])
            if level != 0:
                level *= step
                for y in range(size):
                    scratch[y, v] += level * matrix[u, y]
    half = np.int64(1) << (2 * PRECISION + STEP_BITS - 1)
    for y in range(size):
        for x in range(size):
            total = half
            for v in range(size):
                total += scratch[y, v] * matrix[v, x]
            block[y, x] = total >> (2 * PRECISION + STEP_BITS)
