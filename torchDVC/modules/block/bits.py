"""Binary decisions under adaptive, mixed contexts: exact integers, the same in encoder and decoder.

Each decision is predicted by `INPUTS` contexts at once. A context is a slot of a table and holds the probability of a
one, learned as it is coded; the logits of all are added with weights that are learned as well (logistic mixing: Mahoney
2005, "Adaptive weighing of context models for lossless data compression"). The frame's rANS coder codes the decision.

Kernels take a model ``(slots, weights)`` and a tape ``(cursor, operations, states, words)``, see `Tape`.
"""

from __future__ import annotations

import numpy as np

from torchDVC.entropy.rans import FLOOR, LOW
from torchDVC.modules.block.kernel import kernel
from torchDVC.modules.block.space import (
    COST,
    COST_BITS,
    COSTING,
    COUNT,
    ERROR,
    INPUTS,
    LANES,
    LIMIT,
    LOGIT_LIMIT,
    POSITION,
    SLOTS,
    TASK,
    WRITING,
)  # fmt: skip

DAMAGED = 1

@kernel
def predict(s, first, second):
    """Probability of a one in 2**-16; ``first`` and ``second`` select the weights, ``logits`` receives the inputs."""
    slots, weights, contexts, logits = s.slots, s.weights, s.contexts, s.logits
    total = np.int64(0)
    for k in range(INPUTS):
        logit = s.stretch[slots[k, contexts[k]] >> 20]
        logits[k] = logit
        total += logit * (np.int64(weights[first, k]) + weights[second, k])
    total >>= 16
    total = min(max(total, -LOGIT_LIMIT), LOGIT_LIMIT)
    return np.int64(s.squash[total + LOGIT_LIMIT + 1])


@kernel
def costs(s, first, second):
    """Bits that a decision would take as far as an encoder has learned: of a zero, and of a one."""
    known, weights, contexts = s.known, s.weights, s.contexts
    total = np.int64(0)
    for k in range(INPUTS):
        total += known[k, contexts[k]] * (np.int64(weights[first, k]) + weights[second, k])
    logit = min(max(total >> 16, -LOGIT_LIMIT), LOGIT_LIMIT)
    return s.logit_costs[LOGIT_LIMIT + 1 - logit], s.logit_costs[LOGIT_LIMIT + 1 + logit]


@kernel
def learn(s, first, second, p, bit):
    """Adapt slots and weights to a decision that was predicted with ``p``."""
    slots, weights, contexts, logits = s.slots, s.weights, s.contexts, s.logits
    error = (np.int64(bit) << 16) - p
    for k in range(INPUTS):
        change = (logits[k] * error * 3 + (1 << 19)) >> 20
        weights[first, k] += change
        weights[second, k] += change
        slot = np.int64(slots[k, contexts[k]])
        seen = slot & 1023
        value = slot >> 10
        value += (((np.int64(bit) << 22) - value) * s.rates[seen]) >> 16
        value = min(max(value, 1 << 6), (1 << 22) - (1 << 6))
        slots[k, contexts[k]] = np.uint32((value << 10) | min(seen + 1, LIMIT))
        if s.cursor[TASK] == WRITING:
            s.known[k, contexts[k]] = s.stretch[value >> 10]


@kernel
def know(s):
    """Work out the logits of all slots, for an encoder; it keeps them as it learns."""
    for k in range(INPUTS):
        for i in range(SLOTS):
            s.known[k, i] = s.stretch[s.slots[k, i] >> 20]


@kernel
def transfer(s, data, p, bit):
    """Write a bit, or read one: its probability of being a one is ``p`` in 2**-16. Where only costs count, one half."""
    cursor = s.cursor
    if cursor[TASK] == COSTING:
        cursor[COST] += 1 << COST_BITS
        return bit
    count = cursor[COUNT]
    cursor[COUNT] = count + 1
    if cursor[TASK] == WRITING:
        data[count] = np.uint32(p << 16) if bit else np.uint32(p | ((65536 - p) << 16))
        return bit
    lane = count & (s.params[LANES] - 1)
    x = s.states[lane]
    slot = x & 0xFFFF
    if slot < p:
        bit = 1
        x = p * (x >> 16) + slot
    else:
        bit = 0
        x = (65536 - p) * (x >> 16) + slot - p
    if x < LOW:
        if cursor[POSITION] < data.size:
            x = (x << 16) | np.int64(data[cursor[POSITION]])
            cursor[POSITION] += 1
        elif x < FLOOR or s.params[LANES] > 1:
            cursor[ERROR] = DAMAGED
            x = LOW
    s.states[lane] = x
    return bit


@kernel
def code(s, data, first, second, bit):
    """Code a decision and learn from it; returns the decision. A tape that only counts costs learns nothing."""
    if s.cursor[TASK] == COSTING:
        zero, one = costs(s, first, second)
        s.cursor[COST] += np.int64((one if bit else zero) * (1 << COST_BITS))
        return bit
    p = predict(s, first, second)
    bit = transfer(s, data, p, bit)
    learn(s, first, second, p, bit)
    return bit


@kernel
def code_evenly(s, data, bit):
    """Code a decision that is either as likely as not."""
    return transfer(s, data, 32768, bit)


@kernel
def code_golomb(s, data, value):
    """Exp-Golomb code of a number >= 0 in equally likely bits, at most 20 digits."""
    digits = 0
    while digits < 20:
        if transfer(s, data, 32768, 1 if (value + 1) >> (digits + 1) else 0) == 0:
            break
        digits += 1
    number = 1
    for k in range(digits - 1, -1, -1):
        number = 2 * number + transfer(s, data, 32768, ((value + 1) >> k) & 1)
    return number - 1


@kernel
def hashed(a, b, c, d):
    """A slot for four small numbers."""
    h = (a * 0x2545F491 + b * 0x27D4EB2F + c * 0x165667B1 + d * 0x3C6EF372) & 0xFFFFFFFF
    h = ((h ^ (h >> 15)) * 0x2C1B3C6D) & 0xFFFFFFFF
    return (h ^ (h >> 16)) & (SLOTS - 1)


@kernel
def aim_flag(s, tag, a, b, c, d):
    """Contexts of a decision of the syntax; returns which weights are its own."""
    contexts = s.contexts
    tag += 1024
    contexts[0] = hashed(tag, a | (b << 4), c | (d << 4), 8)
    contexts[1] = hashed(tag, a, b, 9)
    contexts[2] = hashed(tag, c, d, 10)
    contexts[3] = hashed(tag, a, c, 11)
    contexts[4] = hashed(tag, b, d, 12)
    contexts[5] = hashed(tag, a, d, 13)
    contexts[6] = hashed(tag, 0, 0, 14)
    return 512 + (tag & 255), 768 + (tag & 15) * 16 + min(a, 15)


@kernel
def flag(s, p, tag, a, b, c, d, bit):
    """Code a decision of the syntax; a, b, c and d are what is known beside it, small numbers."""
    first, second = aim_flag(s, tag, a, b, c, d)
    return code(s, p[3], first, second, bit)


@kernel
def flag_costs(s, tag, a, b, c, d):
    """Bits that a decision of the syntax would take: of a zero, and of a one."""
    first, second = aim_flag(s, tag, a, b, c, d)
    return costs(s, first, second)


@kernel
def bits_since(s, before):
    """Bits that a tape which only counts has counted since its cost was ``before``."""
    return (s.cursor[COST] - before) / (1 << COST_BITS)
