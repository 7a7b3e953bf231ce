"""The memory of a coder of blocks: a record of everything of fixed size, and planes of pictures.

Kernels take ``(s, p)``: ``s``, a record of `SPACE`, and ``p``, the planes ``(pixels, levels, cells, data)``:

- pixels (3, 3, H, W) uint8 by role (`SOURCE`, `RECON`, `PREDICTED`) and plane; chroma fills a quarter of its planes
- levels (3, H, W) int32
- cells (2, 3, H / 4, W / 4, FIELDS) int32 by role (`DONE`, `PLANNED`): what each 4x4 samples of a plane hold
- data uint32: rANS operations (``start | frequency << 16``) where writing, words of 16 bits where reading

H and W are multiples of 16.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from torchDVC.modules.block.shifts import SHIFTS

SOURCE, RECON, PREDICTED = range(3)
DONE, PLANNED = range(2)
FIELDS = 5
SIZE, MODE, ENERGY, SKIPPED, MOTION = range(FIELDS)
"""Of a cell: size of its block (0: not coded yet), intra mode, levels, whether not transformed, class of motion."""
INTER = -1

INPUTS = 7
SLOT_BITS = 16
SLOTS = 1 << SLOT_BITS
WEIGHT_SETS = 1024

WRITING, READING, COSTING = range(3)
TASK, COUNT, POSITION, ERROR, COST = range(5)
"""Places in ``cursor``: what the tape does, decisions so far, words read, damage, cost in 2**-COST_BITS bits."""
COST_BITS = 10

STEP_Y, STEP_C, IS_INTER, QUALITY, LANES, HINT = range(6)
"""Places in ``params``: quantiser steps, whether other pictures predict, quality class, rANS states, and what is known
of a block beside its neighbours."""

LOGIT_LIMIT = 2047
"""Logits are in units of 2**-8 and at most so large."""
LIMIT = 255
"""A context's adaptation slows down until it has seen so many decisions."""

SPACE = np.dtype(
    [
        ("squash", np.int32, 2 * LOGIT_LIMIT + 2),
        ("stretch", np.int16, 4096),
        ("rates", np.int64, LIMIT + 1),
        ("level_bits", np.float32, 64),
        ("logit_costs", np.float32, 2 * LOGIT_LIMIT + 2),
        ("known", np.int16, (INPUTS, SLOTS)),
        ("slots", np.uint32, (INPUTS, SLOTS)),
        ("weights", np.int32, (WEIGHT_SETS, INPUTS)),
        ("cursor", np.int64, 5),
        ("states", np.int64, 8),
        ("params", np.int64, 8),
        ("trades", np.float32, 3),
        ("scales", np.float32, 3),
        ("contexts", np.int64, INPUTS),
        ("logits", np.int64, INPUTS),
        ("seen", np.int64, 3),
        ("block", np.float32, (16, 16)),
        ("scratch", np.float32, (16, 16)),
        ("residual", np.int64, (16, 16)),
        ("wide", np.int64, (16, 16)),
        ("pred", np.int64, (16, 16)),
        ("fetched", np.int32, (8, 8)),
        ("border", np.int64, 80),
        ("smoothed", np.int64, 80),
        ("line", np.int64, 80),
        ("best", np.int64, 2),
        ("candidates", np.int32, (5, 6)),
        ("starts", np.int64, (10, 2)),
        ("shifts", np.int64, (SHIFTS, 2)),
        ("trial", np.int32, (7, 6)),
        ("kept_levels", np.int32, (5, 3, 16, 16)),
        ("kept_pixels", np.uint8, (5, 3, 16, 16)),
        ("kept_cells", np.int32, (5, 3, 4, 4, FIELDS)),
    ]
)


def new_space() -> np.ndarray:
    """A record with untaught contexts."""
    return _untaught().copy()


@cache
def _untaught() -> np.ndarray:
    space = np.zeros(1, SPACE)
    space["slots"] = (1 << 21) << 10
    space["weights"] = 10000
    logits = np.arange(-LOGIT_LIMIT - 1, LOGIT_LIMIT + 1)
    space["squash"] = np.rint(65536 / (1 + np.exp(-logits / 256))).clip(24, 65536 - 24)
    chances = (np.arange(4096) + 0.5) / 4096
    space["stretch"] = np.rint(256 * np.log(chances / (1 - chances))).clip(-LOGIT_LIMIT, LOGIT_LIMIT)
    space["rates"] = 65536 / (np.arange(LIMIT + 1) + 1.6)
    space["level_bits"] = 5 + np.log2(np.arange(64) + 0.5)
    space["logit_costs"] = 16 - np.log2(space["squash"])
    return space
