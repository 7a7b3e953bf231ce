"""How the motion of a macroblock is said: like a neighbour's, by vectors for all of it, or for each of its four blocks.

Kernels take ``(s, p)``, see `torchDVC.modules.block.space`, and the fields of this picture and of the one before, see
`torchDVC.modules.block.compensation`; ``ways`` (2, H / 16, W / 16) int32 says for both which way each macroblock took.

An encoder has put its choice for a macroblock into a plan (5, FIELDS): the motion of the whole and of each quarter, in
place of `KNOWN` the way, and of each quarter (of the whole: in the first) which candidate, -1 for vectors.
"""

from __future__ import annotations

import numpy as np

from torchDVC.modules.block.bits import flag, transfer
from torchDVC.modules.block.compensation import BOTH, COLUMN_0, DIRECTION, KNOWN, REACH, ROW_0, same_motion
from torchDVC.modules.block.kernel import kernel

VECTORS, LIKE_NEIGHBOUR, DIVIDED = range(3)
CANDIDATES = 5
M_LIKE, M_WHICH, M_DIVIDED, M_BOTH, M_SECOND, M_ZERO, M_DIGITS, M_QUARTER_LIKE, M_QUARTER_WHICH = range(64, 73)


@kernel
def clamp_motion(motion, b, c, size, rows, columns):
    """Keep a block of ``size`` units of 8 samples within `REACH` of the picture."""
    for k in range(2):
        low, high = -(8 * b + REACH) * 4, (8 * (rows - size - b) + REACH) * 4
        motion[ROW_0 + 2 * k] = min(max(motion[ROW_0 + 2 * k], low), high)
        low, high = -(8 * c + REACH) * 4, (8 * (columns - size - c) + REACH) * 4
        motion[COLUMN_0 + 2 * k] = min(max(motion[COLUMN_0 + 2 * k], low), high)


@kernel
def list_candidates(field, past, b, c, size, two, out):
    """Motions of neighbours in space and time, and none, without repetition, into ``out``; returns how many."""
    rows, columns = field.shape[0], field.shape[1]
    count = 0
    for k in range(7):
        if k == 0:
            y, x = b + size - 1, c - 1
        elif k == 1:
            y, x = b - 1, c + size - 1
        elif k == 2:
            y, x = b - 1, c + size
        elif k == 3:
            y, x = b + size - 1, c + size - 1
        elif k == 4:
            y, x = b - 1, c - 1
        else:
            y, x = b + size, c + size
        if k < 6 and not (0 <= y < rows and 0 <= x < columns):
            continue
        new = out[count]
        if k == 6:
            new[:] = 0
        elif k == 3 or k == 5:
            new[:] = past[y, x]
        elif field[y, x, KNOWN]:
            new[:] = field[y, x]
        else:
            continue
        if not two:
            new[DIRECTION] = 0
        clamp_motion(new, b, c, size, rows, columns)
        fresh = True
        for j in range(count):
            if same_motion(out[j], new):
                fresh = False
        if fresh:
            count += 1
            if count == CANDIDATES:
                break
    return count


@kernel
def predict_vector(field, b, c, size, reference):
    """The median of the vectors to the left, above and above to the right, and how far apart they are."""
    rows, columns = field.shape[0], field.shape[1]
    n = 0
    y0 = y1 = y2 = x0 = x1 = x2 = np.int32(0)
    for k in range(3):
        y, x = (b + size - 1, c - 1) if k == 0 else (b - 1, c + (size - 1 if k == 1 else size))
        if 0 <= y < rows and 0 <= x < columns and field[y, x, KNOWN]:
            row, column = field[y, x, ROW_0 + 2 * reference], field[y, x, COLUMN_0 + 2 * reference]
            if n == 0:
                y0, x0 = row, column
            elif n == 1:
                y1, x1 = row, column
            else:
                y2, x2 = row, column
            n += 1
    if n < 2:
        return y0, x0, 0
    if n == 2:
        return y0, x0, min(abs(y0 - y1) + abs(x0 - x1), 15)
    apart = max(y0, y1, y2) - min(y0, y1, y2) + max(x0, x1, x2) - min(x0, x1, x2)
    row = max(min(y0, y1), min(max(y0, y1), y2))
    return row, max(min(x0, x1), min(max(x0, x1), x2)), min(apart, 15)


@kernel
def code_difference(s, p, part, apart, value):
    """A difference from the predicted vector; ``part``: row or column, of which reference, at which block size."""
    if flag(s, p, M_ZERO, part, apart, 0, 0, 1 if value != 0 else 0) == 0:
        return 0
    rest = abs(value) - 1
    digits = 0
    while digits < 10:
        if flag(s, p, M_DIGITS, part, apart, digits, 0, 1 if (rest + 1) >> (digits + 1) else 0) == 0:
            break
        digits += 1
    number = 1
    for k in range(digits - 1, -1, -1):
        number = 2 * number + transfer(s, p[3], 32768, ((rest + 1) >> k) & 1)
    negative = transfer(s, p[3], 32768, 1 if value < 0 else 0)
    return -number if negative else number


@kernel
def code_vector(s, p, field, b, c, size, reference, motion):
    """A vector of a motion."""
    row, column, apart = predict_vector(field, b, c, size, reference)
    part = 2 * reference + 4 * (size - 1)
    at = ROW_0 + 2 * reference
    motion[at] = row + code_difference(s, p, part, apart, motion[at] - row)
    motion[at + 1] = column + code_difference(s, p, part + 1, apart, motion[at + 1] - column)


@kernel
def code_choice(s, p, tag, count, known, which):
    """Which of ``count`` candidates."""
    k = 0
    while k < count - 1:
        if flag(s, p, tag, k, known, count, 0, 1 if which > k else 0) == 0:
            break
        k += 1
    return k


@kernel
def code_vectors(s, p, field, b, c, two, motion):
    """Direction and vectors of a whole macroblock."""
    if two:
        beside = field[b, c - 1, DIRECTION] if c > 0 else 0
        above = field[b - 1, c, DIRECTION] if b > 0 else 0
        direction = motion[DIRECTION]
        if flag(s, p, M_BOTH, beside, above, 0, 0, 1 if direction == BOTH else 0):
            direction = BOTH
        else:
            direction = flag(s, p, M_SECOND, beside, above, 0, 0, 1 if direction == 1 else 0)
        motion[DIRECTION] = direction
    for reference in range(2):
        if reference != 1 - motion[DIRECTION]:
            code_vector(s, p, field, b, c, 2, reference, motion)
        else:
            row, column, _ = predict_vector(field, b, c, 2, reference)
            motion[ROW_0 + 2 * reference], motion[COLUMN_0 + 2 * reference] = row, column


@kernel
def way_contexts(ways, row, column):
    """The ways of the macroblocks to the left, above, and here in the picture before."""
    beside = ways[0, row, column - 1] if column > 0 else LIKE_NEIGHBOUR
    above = ways[0, row - 1, column] if row > 0 else LIKE_NEIGHBOUR
    return beside, above, ways[1, row, column]


@kernel
def set_motion(field, b, c, size, motion):
    """Write a motion to all blocks of a square."""
    for y in range(b, b + size):
        for x in range(c, c + size):
            field[y, x, :] = motion
            field[y, x, KNOWN] = 1


@kernel
def code_motion(s, p, field, past, ways, plan, row, column, two):
    """Code the motion of a macroblock; an encoder has put it into ``plan``."""
    b, c = 2 * row, 2 * column
    beside, above, before = way_contexts(ways, row, column)
    way, motion = plan[0, KNOWN], plan[0]
    if flag(s, p, M_LIKE, beside, above, before, 0, 1 if way == LIKE_NEIGHBOUR else 0):
        way = LIKE_NEIGHBOUR
        known = list_candidates(field, past, b, c, 2, two, s.candidates)
        set_motion(field, b, c, 2, s.candidates[code_choice(s, p, M_WHICH, known, 0, plan[1, KNOWN])])
    elif flag(s, p, M_DIVIDED, beside, above, before, 0, 1 if way == DIVIDED else 0):
        way = DIVIDED
        for k in range(4):
            code_quarter(s, p, field, past, b + (k >> 1), c + (k & 1), two, plan[1 + k, KNOWN], plan[1 + k])
    else:
        way = VECTORS
        if not two:
            motion[DIRECTION] = 0
        code_vectors(s, p, field, b, c, two, motion)
        clamp_motion(motion, b, c, 2, field.shape[0], field.shape[1])
        set_motion(field, b, c, 2, motion)
    ways[0, row, column] = way


@kernel
def code_quarter(s, p, field, past, b, c, two, which, motion):
    """Code the motion of one 8x8 block: like a neighbour's, or by a vector to the first reference."""
    candidates = s.candidates
    known = list_candidates(field, past, b, c, 1, two, candidates)
    if flag(s, p, M_QUARTER_LIKE, (b & 1) * 2 + (c & 1), 0, 0, 0, 1 if which >= 0 else 0):
        motion[:] = candidates[code_choice(s, p, M_QUARTER_WHICH, known, 0, which)]
    else:
        motion[DIRECTION] = 0
        code_vector(s, p, field, b, c, 1, 0, motion)
        row, column, _ = predict_vector(field, b, c, 1, 1)
        motion[ROW_0 + 2], motion[COLUMN_0 + 2] = row, column
        clamp_motion(motion, b, c, 1, field.shape[0], field.shape[1])
    set_motion(field, b, c, 1, motion)
