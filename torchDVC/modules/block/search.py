"""The encoder's choice of motion, by an estimate of rate and distortion. Contexts do not learn meanwhile."""

from __future__ import annotations

import numpy as np

from torchDVC.modules.block.bits import bits_since, flag_costs
from torchDVC.modules.block.compensation import (
    COLUMN_0,
    DIRECTION,
    KNOWN,
    MARGIN,
    REACH,
    ROW_0,
    fetch_luma,
)  # fmt: skip
from torchDVC.modules.block.estimates import coded_cost
from torchDVC.modules.block.kernel import kernel
from torchDVC.modules.block.motion import (
    DIVIDED,
    LIKE_NEIGHBOUR,
    M_DIVIDED,
    M_LIKE,
    M_QUARTER_LIKE,
    M_QUARTER_WHICH,
    M_WHICH,
    VECTORS,
    clamp_motion,
    code_choice,
    code_quarter,
    code_vectors,
    list_candidates,
    predict_vector,
    set_motion,
    way_contexts,
)  # fmt: skip
from torchDVC.modules.block.space import COST, SOURCE, STEP_Y
from torchDVC.modules.block.transform import STEP_BITS

FIRST_STEP = 16
GOOD_CANDIDATE, GOOD_LIKE, GOOD_WHOLE = 4, 8, 16
"""Costs in bits' worth under which the next candidates, vectors, and the division of a macroblock are not tried."""


@kernel
def difference(source, quarters, top, left, size, y, x, enough):
    """Sum of absolute differences of a block and a reference moved by a vector; ends early beyond ``enough``."""
    y0, x0 = top + MARGIN + (y >> 2), left + MARGIN + (x >> 2)
    a, b = source[top : top + size, left : left + size], quarters[4 * (y & 3) + (x & 3), y0 : y0 + size, x0 : x0 + size]
    total = np.int32(0)
    for i in range(size):
        line = np.int32(0)
        for j in range(size):
            line = np.int32(line + abs(np.int32(np.int32(a[i, j]) - np.int32(b[i, j]))))
        total += line
        if total > enough:
            break
    return total


@kernel
def vector_bits(value):
    """About the bits of a difference between vectors."""
    value = abs(value)
    digits = 0
    while value > 1:
        value >>= 1
        digits += 1
        if digits > 12:
            break
    return 1 if value == 0 and digits == 0 else 2 * digits + 3


@kernel
def search_vector(source, quarters, b, c, size, rows, columns, row, column, starts, count, weight):
    """The vector of least difference plus rate: the best of ``starts``, then steps of falling size from it."""
    top, left, samples = 8 * b, 8 * c, 8 * size
    low_y, high_y = -(top + REACH) * 4, (8 * (rows - size - b) + REACH) * 4
    low_x, high_x = -(left + REACH) * 4, (8 * (columns - size - c) + REACH) * 4
    best, best_y, best_x = np.float64(1e30), 0, 0
    for k in range(count):
        y, x = min(max(starts[k, 0], low_y), high_y), min(max(starts[k, 1], low_x), high_x)
        now = difference(source, quarters, top, left, samples, y, x, best)
        now = now + weight * (vector_bits(y - row) + vector_bits(x - column))
        if now < best:
            best, best_y, best_x = now, y, x
    step = FIRST_STEP
    while step:
        for _ in range(10 if step >= 4 else 2):
            from_y, from_x = best_y, best_x
            for k in range(8):
                k9 = k if k < 4 else k + 1
                y, x = from_y + (k9 // 3 - 1) * step, from_x + (k9 % 3 - 1) * step
                if y < low_y or y > high_y or x < low_x or x > high_x:
                    continue
                rate = weight * (vector_bits(y - row) + vector_bits(x - column))
                if rate >= best:
                    continue
                now = difference(source, quarters, top, left, samples, y, x, best - rate)
                if now + rate < best:
                    best, best_y, best_x = now + rate, y, x
            if from_y == best_y and from_x == best_x:
                break
        step >>= 1
    return best_y, best_x


@kernel
def residual_cost(s, p, quarters, motion, b, c):
    """About what coding 8x8 luma samples costs that are predicted by a motion, in squared steps."""
    block, fetched = s.block, s.fetched
    factor = np.float32((1 << STEP_BITS) / s.params[STEP_Y])
    top, left = 8 * b, 8 * c
    source = p[0][SOURCE, 0, top : top + 8, left : left + 8]
    fetch_luma(quarters, motion, top, left, 8, fetched)
    for y in range(8):
        for x in range(8):
            block[y, x] = np.float32(np.int32(source[y, x]) - fetched[y, x]) * factor
    return coded_cost(s, 8)


@kernel
def whole_cost(s, p, quarters, motion, b, c):
    """`residual_cost` of a macroblock."""
    total = residual_cost(s, p, quarters, motion, b, c) + residual_cost(s, p, quarters, motion, b, c + 1)
    return total + residual_cost(s, p, quarters, motion, b + 1, c) + residual_cost(s, p, quarters, motion, b + 1, c + 1)


@kernel
def start_at(starts, n, row, column):
    """Let a search begin at a vector as well; returns the number of starts."""
    starts[n, 0], starts[n, 1] = row, column
    return n + 1


@kernel
def fill_starts(s, count, reference, row, column):
    """Where a search begins: the predicted vector, none, those of neighbours and of the picture; returns how many."""
    starts, candidates, shifts = s.starts, s.candidates, s.shifts
    n = start_at(starts, start_at(starts, 0, row, column), 0, 0)
    for k in range(count):
        n = start_at(starts, n, candidates[k, ROW_0 + 2 * reference], candidates[k, COLUMN_0 + 2 * reference])
    if reference == 0:
        for k in range(len(shifts)):
            n = start_at(starts, n, shifts[k, 0], shifts[k, 1])
    return n


@kernel
def search_weight(s):
    """What a bit is worth in absolute differences."""
    return np.sqrt(0.85) * 1.2 * 0.4 * s.params[STEP_Y] / (1 << STEP_BITS)


@kernel
def try_candidates(s, p, quarters, count, b, c, like, plan):
    """The best motion of a neighbour; returns its cost."""
    trade, least = s.trades[0], np.float64(1e30)
    for k in range(count):
        start = s.cursor[COST]
        code_choice(s, p, M_WHICH, count, 0, k)
        cost = whole_cost(s, p, quarters, s.candidates[k], b, c) + trade * (like + bits_since(s, start))
        if cost < least:
            least = cost
            plan[0, :], plan[0, KNOWN], plan[1, KNOWN] = s.candidates[k], LIKE_NEIGHBOUR, k
        if least < GOOD_CANDIDATE * trade:
            break
    return least


@kernel
def try_vectors(s, p, quarters, field, count, b, c, two, spent, least, plan):
    """The best vectors of the whole macroblock and, of the two and their mean, the best direction; the least cost."""
    trade, trial, starts, rows, columns = s.trades[0], s.trial, s.starts, field.shape[0], field.shape[1]
    source, weight = p[0][SOURCE, 0], search_weight(s)
    trial[0, :] = 0
    for reference in range(2 if two else 1):
        row, column, _ = predict_vector(field, b, c, 2, reference)
        n = fill_starts(s, count, reference, row, column)
        if reference == 1:
            n = start_at(starts, n, 2 * trial[0, ROW_0], 2 * trial[0, COLUMN_0])
        y, x = search_vector(source, quarters[reference], b, c, 2, rows, columns, row, column, starts, n, weight)
        trial[0, ROW_0 + 2 * reference], trial[0, COLUMN_0 + 2 * reference] = y, x
    for direction in range(3 if two else 1):
        motion = trial[1]
        motion[:] = trial[0]
        motion[DIRECTION] = direction
        start = s.cursor[COST]
        code_vectors(s, p, field, b, c, two, motion)
        clamp_motion(motion, b, c, 2, rows, columns)
        cost = spent + trade * bits_since(s, start) + whole_cost(s, p, quarters, motion, b, c)
        if cost < least:
            least = cost
            plan[0, :] = motion
            plan[0, KNOWN] = VECTORS
    return least


@kernel
def try_quarters(s, p, quarters, field, past, b, c, two, spent, least, plan):
    """The best motions of the four blocks; into ``plan`` where they cost less together than ``least``."""
    trial = s.trial
    cost = spent
    for k in range(4):
        y, x = b + (k >> 1), c + (k & 1)
        cost += choose_quarter_motion(s, p, quarters, field, past, y, x, two, trial[2 + k])
        if cost > least:
            break
        set_motion(field, y, x, 1, trial[2 + k])
    set_known(field, b, c, 0)
    if cost < least:
        plan[0, KNOWN] = DIVIDED
        plan[1:] = trial[2:6]


@kernel
def set_known(field, b, c, known):
    """Say whether the motions of a macroblock are known."""
    field[b : b + 2, c : c + 2, KNOWN] = known


@kernel
def choose_quarter_motion(s, p, quarters, field, past, b, c, two, best):
    """Choose the motion of an 8x8 block, into ``best``, its candidate as `KNOWN`; returns its cost."""
    candidates, starts, trial, trade = s.candidates, s.starts, s.trial, s.trades[0]
    count = list_candidates(field, past, b, c, 1, two, candidates)
    _, like = flag_costs(s, M_QUARTER_LIKE, (b & 1) * 2 + (c & 1), 0, 0, 0)
    least = np.float64(1e30)
    for k in range(count):
        start = s.cursor[COST]
        code_choice(s, p, M_QUARTER_WHICH, count, 0, k)
        cost = trade * (like + bits_since(s, start)) + residual_cost(s, p, quarters, candidates[k], b, c)
        if cost < least:
            least = cost
            best[:] = candidates[k]
            best[KNOWN] = k
    row, column, _ = predict_vector(field, b, c, 1, 0)
    n = start_at(starts, fill_starts(s, count, 0, row, column), trial[0, ROW_0], trial[0, COLUMN_0])
    rows, columns, source, new = field.shape[0], field.shape[1], p[0][SOURCE, 0], trial[6]
    y, x = search_vector(source, quarters[0], b, c, 1, rows, columns, row, column, starts, n, search_weight(s))
    new[:] = 0
    new[ROW_0], new[COLUMN_0] = y, x
    start = s.cursor[COST]
    code_quarter(s, p, field, past, b, c, two, -1, new)
    cost = trade * bits_since(s, start) + residual_cost(s, p, quarters, new, b, c)
    if cost < least:
        least = cost
        best[:] = new
        best[KNOWN] = -1
    return least


@kernel
def choose_motion(s, p, quarters, field, past, ways, plan, row, column, two):
    """Choose the motion of a macroblock, into ``plan``, and write it to the field."""
    b, c, trade = 2 * row, 2 * column, s.trades[0]
    beside, above, before = way_contexts(ways, row, column)
    unlike, like = flag_costs(s, M_LIKE, beside, above, before, 0)
    count = list_candidates(field, past, b, c, 2, two, s.candidates)
    least = try_candidates(s, p, quarters, count, b, c, like, plan)
    if least >= GOOD_LIKE * trade:
        whole, divided = flag_costs(s, M_DIVIDED, beside, above, before, 0)
        least = try_vectors(s, p, quarters, field, count, b, c, two, trade * (unlike + whole), least, plan)
        if least >= GOOD_WHOLE * trade:
            try_quarters(s, p, quarters, field, past, b, c, two, trade * (unlike + divided), least, plan)
    ways[0, row, column] = plan[0, KNOWN]
    for k in range(4):
        motion = plan[1 + k] if plan[0, KNOWN] == DIVIDED else plan[0]
        set_motion(field, b + (k >> 1), c + (k & 1), 1, motion)
