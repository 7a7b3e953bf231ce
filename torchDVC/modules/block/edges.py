"""Deblocking in exact integers: samples on both sides of an edge between blocks are brought nearer to one another.

Decisions and filters are those of HEVC (Norkin et al. 2012, "HEVC Deblocking Filter"), here of all planes and of edges
of 4x4 too. A plane is flat; an edge is said by the place of its first sample to the right of it or below it, and by how
far apart samples are over it (``across``) and ``along`` it: so that one kernel filters edges of both directions.
"""

from __future__ import annotations

import numpy as np

from torchDVC.modules.block.kernel import kernel
from torchDVC.modules.block.space import ENERGY, INTER, MODE, RECON, SIZE, SKIPPED


@kernel
def smooth_picture(pixels, cells, limits):
    """Filter a picture's edges between columns, then those between rows.

    ``cells`` (3, H / 4, W / 4, FIELDS) int32, see `torchDVC.modules.block.space`; ``limits`` (2, 2) int64, of luma and
    of chroma: by how much a sample may change, and how bent a line may be.
    """
    height, width = pixels.shape[2], pixels.shape[3]
    for plane in range(3):
        rows, columns = (height >> 3, width >> 3) if plane else (height >> 2, width >> 2)
        samples = pixels[RECON, plane].reshape(-1)
        most, bent = limits[1 if plane else 0]
        for down in range(2):
            smooth_edges(samples, width, cells[plane], rows, columns, down, most, bent)


@kernel
def smooth_edges(samples, width, cells, rows, columns, down, most, bent):
    """Filter the edges of a plane to the left of blocks, or those above them (``down``)."""
    across, along = (width, 1) if down else (1, width)
    for y in range(down, rows):
        for x in range(1 - down, columns):
            own, other = cells[y, x], cells[y - down, x - 1 + down]
            if (4 * (y if down else x)) & (own[SIZE] - 1) == 0 and is_seen(own, other):
                small = own[SIZE] == 4 or other[SIZE] == 4
                smooth_edge(samples, 4 * (y * width + x), across, along, most, bent, small)


@kernel
def is_seen(a, b):
    """Whether coding may have made an edge between blocks with these cells; not where samples are not transformed."""
    if a[SKIPPED] or b[SKIPPED]:
        return False
    return a[MODE] != INTER or b[MODE] != INTER or a[ENERGY] > 0 or b[ENERGY] > 0


@kernel
def bend(samples, at, away):
    """How far the three samples from a place on are from lying on a line."""
    return abs(np.int64(samples[at]) - 2 * np.int64(samples[at + away]) + np.int64(samples[at + 2 * away]))


@kernel
def smooth_edge(samples, at, across, along, most, bent, small):
    """Filter four samples of an edge where both sides are even; beside ``small`` blocks, only those next to it."""
    last = at + 3 * along
    low = bend(samples, at - across, -across) + bend(samples, last - across, -across)
    high = bend(samples, at, across) + bend(samples, last, across)
    if low + high >= bent:
        return
    flat = not small and is_flat(samples, at, across, most, bent) and is_flat(samples, last, across, most, bent)
    low_too, high_too = not small and 16 * low < 3 * bent, not small and 16 * high < 3 * bent
    for place in range(at, last + along, along):
        if flat:
            smooth_much(samples, place, across, most)
        else:
            smooth_little(samples, place, across, most, low_too, high_too)


@kernel
def is_flat(samples, at, across, most, bent):
    """Whether a line over an edge is so even that a step in it can only come from the blocks."""
    p3, p0 = np.int64(samples[at - 4 * across]), np.int64(samples[at - across])
    q0, q3 = np.int64(samples[at]), np.int64(samples[at + 3 * across])
    if 2 * abs(p0 - q0) > 5 * most or 8 * (abs(p3 - p0) + abs(q3 - q0)) >= bent:
        return False
    return 8 * (bend(samples, at - across, -across) + bend(samples, at, across)) < bent


@kernel
def smooth_much(samples, at, across, most):
    """Filter a line over an edge, three samples on either side."""
    p0, p1 = np.int64(samples[at - across]), np.int64(samples[at - 2 * across])
    q0, q1 = np.int64(samples[at]), np.int64(samples[at + across])
    smooth_side(samples, at - across, -across, q0, q1, 2 * most)
    smooth_side(samples, at, across, p0, p1, 2 * most)


@kernel
def smooth_side(samples, at, away, beyond, further, most):
    """Filter the three samples on one side; ``beyond`` and ``further`` lie on the other."""
    a, b = np.int64(samples[at]), np.int64(samples[at + away])
    c, d = np.int64(samples[at + 2 * away]), np.int64(samples[at + 3 * away])
    change(samples, at, ((further + 2 * (beyond + a + b) + c + 4) >> 3) - a, most)
    change(samples, at + away, ((beyond + a + b + c + 2) >> 2) - b, most)
    change(samples, at + 2 * away, ((beyond + a + b + 3 * c + 2 * d + 4) >> 3) - c, most)


@kernel
def smooth_little(samples, at, across, most, low_too, high_too):
    """Filter a line over an edge, one sample on either side, or two."""
    p0, p1 = np.int64(samples[at - across]), np.int64(samples[at - 2 * across])
    q0, q1 = np.int64(samples[at]), np.int64(samples[at + across])
    step = (9 * (q0 - p0) - 3 * (q1 - p1) + 8) >> 4
    if abs(step) >= 10 * most:
        return
    step = min(max(step, -most), most)
    if low_too:
        middle = (np.int64(samples[at - 3 * across]) + p0 + 1) >> 1
        change(samples, at - 2 * across, (middle - p1 + step) >> 1, most >> 1)
    if high_too:
        middle = (np.int64(samples[at + 2 * across]) + q0 + 1) >> 1
        change(samples, at + across, (middle - q1 - step) >> 1, most >> 1)
    change(samples, at - across, step, most)
    change(samples, at, -step, most)


@kernel
def change(samples, at, by, most):
    """Add to a sample, at most so much either way."""
    samples[at] = min(max(np.int64(samples[at]) + min(max(by, -most), most), 0), 255)
