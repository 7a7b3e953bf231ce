"""The inner loops of the entropy coder, compiled by numba on first use and kept on the disk.

`docs/bitstream.md` gives the algorithm and the format: an asymmetric numeral system (Duda 2013) in its table-driven
range form. All arithmetic is on integers below ``2 ** 53`` and on correctly rounded divisions of them, so every machine
writes and reads the same stream. The loops check what a stream may get wrong, and trust their other arguments.
"""

from __future__ import annotations

import numpy as np

from torchDVC.entropy.machine_code import compiled

LOW_BITS = 32
LOW = 1 << LOW_BITS
"""A state lies in ``LOW .. LOW << 16`` between symbols; when it falls below, it takes in the next word of 16 bits."""
FLOOR = 1 << 16
"""Where a lone state starts and ends; with no words left it may fall below ``LOW``. It spares small frames a word."""
ESCAPE_WORDS = 6
"""Upper bound on the words of 16 bits that an escaped symbol takes beyond its table entry's one."""
MAX_DIGITS = 33
"""Binary digits after the leading one in the longest escape code."""
BUCKET_BITS = 8
"""For decoding, the ``2 ** 16`` slots of a row lie in ``2 ** BUCKET_BITS`` buckets of equal size."""
ESCAPE_SYMBOL = -(1 << 31)
"""Stands for the escape entry in decoding tables; no table codes it without an escape."""
ENDED = -1
BAD_ESCAPE = -2


@compiled
def resolve(
    symbols: np.ndarray,
    rows: np.ndarray,
    first: np.ndarray,
    offset: np.ndarray,
    escape: np.ndarray,
    intervals: np.ndarray,
    operations: np.ndarray,
    escaped: np.ndarray,
) -> int:
    """Look up each symbol's interval; Exp-Golomb codes of escaped symbols go to ``escaped``. Returns their number."""
    count = 0
    for i in range(symbols.size):
        row = rows[i]
        entry = np.int64(symbols[i]) - offset[row]
        last = escape[row]
        if entry < 0 or entry >= last:
            escaped[count] = -2 * entry if entry < 0 else 2 * (entry - last) + 1
            count += 1
            entry = last
        operations[i] = intervals[first[row] + entry]
    return count


@compiled
def _push_bit(states: np.ndarray, lane: int, words: np.ndarray, position: int, bit: int) -> int:
    """Code a bit as one half of the slots; returns the new position."""
    x = states[lane]
    if (x >> LOW_BITS) >= 1 << 15:
        position -= 1
        words[position] = x & 0xFFFF
        x >>= 16
    states[lane] = ((x >> 15) << 16) | (bit << 15) | (x & 0x7FFF)
    return position


@compiled
def _push_escape(states: np.ndarray, lane: int, words: np.ndarray, position: int, code: int) -> int:
    """Write an Exp-Golomb code, last bit first: ``digits`` zeros, a one, then the digits after the leading one."""
    digits = 0
    while code >> (digits + 1):
        digits += 1
    for k in range(digits):
        position = _push_bit(states, lane, words, position, (code >> k) & 1)
    position = _push_bit(states, lane, words, position, 1)
    for _ in range(digits):
        position = _push_bit(states, lane, words, position, 0)
    return position


@compiled
def encode(
    operations: np.ndarray, begin: int, escaped: np.ndarray, states: np.ndarray, words: np.ndarray, position: int
) -> int:
    """Code symbols, the last first, writing words downwards from ``position``; returns the new position.

    operations: uint32, ``start | frequency << 16`` of each symbol; of an escaped one just its entry's frequency.
    begin: how many symbols of the frame come before.
    """
    mask = states.size - 1
    remaining = escaped.size
    for i in range(operations.size - 1, -1, -1):
        lane = (begin + i) & mask
        start = np.int64(operations[i]) & 0xFFFF
        frequency = np.int64(operations[i]) >> 16
        if frequency == 0:
            remaining -= 1
            position = _push_escape(states, lane, words, position, escaped[remaining])
            frequency = start
            start = 65536 - frequency
        x = states[lane]
        if (x >> LOW_BITS) >= frequency:
            position -= 1
            words[position] = x & 0xFFFF
            x >>= 16
        quotient = np.int64(np.float64(x) / np.float64(frequency))  # exact: x < 2**48, and frequency < 2**16
        states[lane] = x + start + quotient * (65536 - frequency)
    return position


@compiled
def _pull_bit(states: np.ndarray, lane: int, words: np.ndarray, position: int) -> tuple[int, int]:
    """Read a bit; returns it with the new position, or ENDED in place of the position."""
    x = states[lane]
    bit = (x >> 15) & 1
    x = ((x >> 16) << 15) | (x & 0x7FFF)
    if x < LOW:
        if position < words.size:
            x = (x << 16) | words[position]
            position += 1
        elif x < FLOOR or states.size > 1:
            return bit, ENDED
    states[lane] = x
    return bit, position


@compiled
def _pull_escape(states: np.ndarray, lane: int, words: np.ndarray, position: int) -> tuple[int, int]:
    """Read an Exp-Golomb code; returns it with the new position, or a negative error in place of the position."""
    digits = 0
    bit, position = _pull_bit(states, lane, words, position)
    while bit == 0 and position >= 0:
        digits += 1
        if digits > MAX_DIGITS:
            return 0, BAD_ESCAPE
        bit, position = _pull_bit(states, lane, words, position)
    code = 1
    for _ in range(digits):
        if position < 0:
            return 0, position
        bit, position = _pull_bit(states, lane, words, position)
        code = 2 * code + bit
    return code, position


@compiled
def decode(
    rows: np.ndarray,
    begin: int,
    buckets: np.ndarray,
    packed: np.ndarray,
    offset: np.ndarray,
    escape: np.ndarray,
    states: np.ndarray,
    words: np.ndarray,
    position: int,
    symbols: np.ndarray,
) -> int:
    """Read one symbol for each row; returns the new position in ``words``, or a negative error.

    begin: how many symbols of the frame came before; packed, buckets: see `coder.Lookup`.
    """
    mask = states.size - 1
    for i in range(rows.size):
        lane = (begin + i) & mask
        row = rows[i]
        x = states[lane]
        slot = x & 0xFFFF
        found = buckets[(np.int64(row) << BUCKET_BITS) | (slot >> (16 - BUCKET_BITS))]
        frequency = (found >> 16) & 0xFFFF
        if frequency == 0:
            entry = found >> 32
            found = packed[entry]
            frequency = (found >> 16) & 0xFFFF
            while slot - (found & 0xFFFF) >= frequency:
                entry += 1
                found = packed[entry]
                frequency = (found >> 16) & 0xFFFF
        x = frequency * (x >> 16) + slot - (found & 0xFFFF)
        if x < LOW:
            if position < words.size:
                x = (x << 16) | words[position]
                position += 1
            elif x < FLOOR or mask > 0:
                return ENDED
        states[lane] = x
        symbol = found >> 32
        if symbol == ESCAPE_SYMBOL:
            code, position = _pull_escape(states, lane, words, position)
            if position < 0:
                return position
            half = code >> 1
            symbol = offset[row] + escape[row] + half if code & 1 else offset[row] - half
            if symbol < -(1 << 31) or symbol >= 1 << 31:
                return BAD_ESCAPE
        symbols[i] = symbol
    return position
