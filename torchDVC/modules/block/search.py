"""The encoder's choice of motion, by an estimate of rate and distortion."""

from __future__ import annotations

import numpy as np

from torchDVC.modules.block.compensation import (
    COLUMN_0,
    DIRECTION,
    KNOWN,
    MARGIN,
    REACH,
    ROW_0,
    fetch_luma,
)  # fmt: skip
from torchDVC.modules.block.kernel import kernel
from torchDVC.modules.block.macroblock import flag
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
from torchDVC.modules.block.space import COST, COST_BITS, SOURCE, STEP_Y
from torchDVC.modules.block.transform import STEP_BITS, forward

FIRST_STEP = 16


@kernel
def difference(source, quarter, top, left, size, y, x, enough):
    """Sum of absolute differences of a block and the reference at ``y, x`` of a phase; ends early beyond ``enough``."""
    total = np.int32(0)
    for i in range(size):
        a, b = source[top + i], quarter[y + i]
        for j in range(size):
            total += abs(np.int32(a[left + j]) - np.int32(b[x + j]))
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
        phase = quarters[4 * (y & 3) + (x & 3)]
        now = difference(source, phase, top, left, samples, top + MARGIN + (y >> 2), left + MARGIN + (x >> 2), best)
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
                phase = quarters[4 * (y & 3) + (x & 3)]
                y0, x0 = top + MARGIN + (y >> 2), left + MARGIN + (x >> 2)
                now = difference(source, phase, top, left, samples, y0, x0, best - rate)
                if now + rate < best:
                    best, best_y, best_x = now + rate, y, x
            if from_y == best_y and from_x == best_x:
                break
        step >>= 1
    return best, best_y, best_x


@kernel
def residual_cost(s, p, quarters, motion, b, c):
    """About what coding 8x8 luma samples costs that are predicted by a motion, in squared steps."""
    source, block, trade = p[0][SOURCE, 0], s.block, s.trades[0]
    factor = np.float32((1 << STEP_BITS) / s.params[STEP_Y])
    top, left = 8 * b, 8 * c
    fetched = s.fetched
    fetch_luma(quarters, motion, top, left, 8, fetched)
    total = np.int32(0)
    for y in range(8):
        for x in range(8):
            d = np.int32(source[top + y, left + x]) - fetched[y, x]
            total += d * d
            block[y, x] = d * factor
    none = total * factor * factor
    if none < 4 * trade:
        return none
    forward(block, 8, s.scratch, 0)
    some = 2 * trade
    for y in range(8):
        for x in range(8):
            energy = block[y, x] * block[y, x]
            if energy > 0.5:
                energy = min(energy, np.float32(0.08) + trade * (5 + np.log2(energy)))
            some += energy
    return min(none, some)


@kernel
def whole_cost(s, p, quarters, motion, b, c):
    """`residual_cost` of a macroblock."""
    total = residual_cost(s, p, quarters, motion, b, c) + residual_cost(s, p, quarters, motion, b, c + 1)
    return total + residual_cost(s, p, quarters, motion, b + 1, c) + residual_cost(s, p, quarters, motion, b + 1, c + 1)


@kernel
def counted(s, before):
    """Bits counted since ``before``."""
    return (s.cursor[COST] - before) / (1 << COST_BITS)


@kernel
def fill_starts(starts, candidates, count, reference, row, column):
    """Where a search begins: the predicted vector, none, and those of neighbours; returns how many."""
    starts[0, 0], starts[0, 1], starts[1, 0], starts[1, 1] = row, column, 0, 0
    for k in range(count):
        starts[2 + k, 0] = candidates[k, ROW_0 + 2 * reference]
        starts[2 + k, 1] = candidates[k, COLUMN_0 + 2 * reference]
    return 2 + count


@kernel
def choose_motion(s, p, quarters, field, past, ways, row, column, two):
    """Choose the motion of a macroblock, into ``s.choices`` and ``s.motions``; the field is as it was."""
    choices, motions, candidates, starts, trial = s.choices, s.motions, s.candidates, s.starts, s.trial
    b, c = 2 * row, 2 * column
    rows, columns = field.shape[0], field.shape[1]
    trade, source = s.trades[0], p[0][SOURCE, 0]
    weight = np.sqrt(0.85) * 1.2 * 0.4 * s.params[STEP_Y] / (1 << STEP_BITS)
    beside, above, before = way_contexts(ways, row, column)
    count = list_candidates(field, past, b, c, 2, two, candidates)
    least = np.float64(1e30)
    for k in range(count):
        start = s.cursor[COST]
        flag(s, p, M_LIKE, beside, above, before, 0, 1)
        code_choice(s, p, M_WHICH, count, 0, k)
        now = whole_cost(s, p, quarters, candidates[k], b, c) + trade * counted(s, start)
        if now < least:
            least = now
            choices[0], choices[1] = LIKE_NEIGHBOUR, k
            motions[0, :] = candidates[k]
        if least < 4 * trade:
            return
    if least < 8 * trade:
        return
    start = s.cursor[COST]
    flag(s, p, M_LIKE, beside, above, before, 0, 0)
    unlike = trade * counted(s, start)
    trial[0, :] = 0
    for reference in range(2 if two else 1):
        y0, x0, _ = predict_vector(field, b, c, 2, reference)
        n = fill_starts(starts, candidates, count, reference, y0, x0)
        if reference == 1:
            starts[n, 0], starts[n, 1] = 2 * trial[0, ROW_0], 2 * trial[0, COLUMN_0]
            n += 1
        _, y, x = search_vector(source, quarters[reference], b, c, 2, rows, columns, y0, x0, starts, n, weight)
        trial[0, ROW_0 + 2 * reference], trial[0, COLUMN_0 + 2 * reference] = y, x
    for direction in range(3 if two else 1):
        trial[1, :] = trial[0]
        trial[1, DIRECTION] = direction
        start = s.cursor[COST]
        flag(s, p, M_DIVIDED, beside, above, before, 0, 0)
        code_vectors(s, p, field, b, c, two, trial[1])
        clamp_motion(trial[1], b, c, 2, rows, columns)
        now = unlike + trade * counted(s, start) + whole_cost(s, p, quarters, trial[1], b, c)
        if now < least:
            least = now
            choices[0] = VECTORS
            motions[0, :] = trial[1]
    if least < 16 * trade:
        return
    start = s.cursor[COST]
    flag(s, p, M_DIVIDED, beside, above, before, 0, 1)
    divided = unlike + trade * counted(s, start)
    for k in range(4):
        divided += choose_quarter_motion(
            s, p, quarters, field, past, b + (k >> 1), c + (k & 1), two, k, weight
        )
        if divided > least:
            break
    for k in range(4):
        field[b + (k >> 1), c + (k & 1), KNOWN] = 0
    if divided < least:
        choices[0] = DIVIDED
        for k in range(4):
            choices[1 + k] = trial[2 + k, KNOWN]
            motions[1 + k, :] = trial[2 + k]


@kernel
def choose_quarter_motion(s, p, quarters, field, past, b, c, two, k, weight):
    """Choose the motion of an 8x8 block, into ``s.trial[2 + k]``, its candidate as `KNOWN`; returns its cost."""
    candidates, starts, trial = s.candidates, s.starts, s.trial
    trade = s.trades[0]
    count = list_candidates(field, past, b, c, 1, two, candidates)
    place = (b & 1) * 2 + (c & 1)
    best = trial[2 + k]
    least = np.float64(1e30)
    start = s.cursor[COST]
    flag(s, p, M_QUARTER_LIKE, place, 0, 0, 0, 1)
    like = trade * counted(s, start)
    for j in range(count):
        start = s.cursor[COST]
        code_choice(s, p, M_QUARTER_WHICH, count, 0, j)
        now = like + trade * counted(s, start) + residual_cost(s, p, quarters, candidates[j], b, c)
        if now < least:
            least = now
            best[:] = candidates[j]
            best[KNOWN] = j
    y0, x0, _ = predict_vector(field, b, c, 1, 0)
    n = fill_starts(starts, candidates, count, 0, y0, x0)
    starts[n, 0], starts[n, 1] = trial[0, ROW_0], trial[0, COLUMN_0]
    rows, columns = field.shape[0], field.shape[1]
    _, y, x = search_vector(p[0][SOURCE, 0], quarters[0], b, c, 1, rows, columns, y0, x0, starts, n + 1, weight)
    new = trial[6]
    new[:] = 0
    new[ROW_0], new[COLUMN_0] = y, x
    start = s.cursor[COST]
    code_quarter(s, p, field, past, b, c, two, -1, new)
    now = trade * counted(s, start) + residual_cost(s, p, quarters, new, b, c)
    if now < least:
        least = now
        best[:] = new
        best[KNOWN] = -1
    chosen = best[KNOWN]
    set_motion(field, b, c, 1, best)
    best[KNOWN] = chosen
    return least
