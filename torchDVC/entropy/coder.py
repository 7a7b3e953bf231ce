"""Entropy coder of one frame: symbols and integer tables to bytes, and back, exactly and on any machine.

A frame is one stream, whatever number of `Encoder.put` calls and table sets went into it::

    encoder = Encoder()                              decoder = Decoder(data)
    encoder.put(z, z_indexes, z_tables)                 z = decoder.get(z_indexes, z_tables)
    encoder.put(y, y_indexes, y_tables)                 y = decoder.get(y_indexes, y_tables)
    data = encoder.finish()                          decoder.finish()

The stream is that of a range asymmetric numeral system: frequencies of 16 bits, states of 48, words of 16. Symbol ``i``
of the frame belongs to state ``i mod lanes``; several states ("lanes") let a processor work on several symbols at once.
As each costs 4 bytes, the length of a stream decides how many it has. With one lane a frame takes 2 or 3 bytes more
than its symbols are worth. `docs/bitstream.md` gives the format byte by byte.
"""

from __future__ import annotations

import functools
import weakref
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from torchDVC.entropy.tables import PRECISION, TOTAL, Tables
from torchDVC.entropy.tape import Tape
from torchDVC.util.errors import BitstreamError

MAX_LANES = 8
BYTES_PER_LANE = 2048
STATE_BYTES = 6
SAMPLING = 61
"""Every so many symbols one goes into the guess how long a stream gets."""


def lanes_of(length: int) -> int:
    """Lanes of a stream of so many bytes: the largest of 1, 2, 4, 8 that leaves each lane ``BYTES_PER_LANE``."""
    return max(1, min(MAX_LANES, 1 << (length // BYTES_PER_LANE).bit_length() >> 1))


@functools.cache
def _rans() -> ModuleType:
    """The compiled loops; numba is only imported when something is coded."""
    from torchDVC.entropy import rans

    return rans


@dataclass(frozen=True)
class Lookup:
    """What the loops look up for one table set, by row or by entry (entries of all rows counted through).

    first: int64 (rows,), entry that each row begins with.
    offset: int64 (rows,), symbol of that entry.
    escape: int64 (rows,), place of the escape entry in its row.
    intervals: uint32 (entries,), ``start | frequency << 16``; of an escape entry, just its frequency.
    packed: int64 (entries,), ``start | frequency << 16 | symbol << 32``.
    buckets: int64 (rows * buckets,), ``packed`` of the entry that owns the whole bucket, else ``first entry << 32``.
    """

    first: np.ndarray
    offset: np.ndarray
    escape: np.ndarray
    intervals: np.ndarray
    packed: np.ndarray
    buckets: np.ndarray

    @classmethod
    def of(cls, tables: Tables) -> Lookup:
        """The lookup arrays of a table set, built when it is first used and kept as long as it is."""
        if tables not in _LOOKUPS:
            _LOOKUPS[tables] = cls.build(tables)
        return _LOOKUPS[tables]

    @classmethod
    def build(cls, tables: Tables) -> Lookup:
        """Work the lookup arrays out."""
        offset, escape = tables.offset.astype(np.int64), tables.size.astype(np.int64) - 1
        row = np.repeat(np.arange(tables.rows), tables.size)
        frequency = tables.frequencies.astype(np.int64)
        begin = np.cumsum(frequency) - frequency
        interval = begin - row * TOTAL | frequency << PRECISION
        symbol = np.arange(row.size) - tables.first[row] + offset[row]
        symbol[tables.first + escape] = _rans().ESCAPE_SYMBOL
        packed = interval | symbol << 32
        interval[tables.first + escape] = frequency[tables.first + escape]
        buckets = _buckets(begin, packed, tables.rows)
        return cls(tables.first, offset, escape, interval.astype(np.uint32), packed, buckets)


_LOOKUPS: weakref.WeakKeyDictionary[Tables, Lookup] = weakref.WeakKeyDictionary()


def _buckets(begin: np.ndarray, packed: np.ndarray, rows: int) -> np.ndarray:
    """`Lookup.buckets`; ``begin`` is the first slot of each entry, slots of all rows counted through."""
    width = TOTAL >> _rans().BUCKET_BITS
    slots = np.arange(0, rows * TOTAL, width)
    lowest = np.searchsorted(begin, slots, side="right") - 1
    highest = np.searchsorted(begin, slots + (width - 1), side="right") - 1
    return np.where(lowest == highest, packed[lowest], lowest << 32)


def _flat_indexes(indexes: np.ndarray, tables: Tables) -> np.ndarray:
    """Rows as contiguous 1-D uint32, all within the tables: the loops do not check them again."""
    if not np.issubdtype(indexes.dtype, np.integer):
        raise TypeError(f"indexes must be integers, not {indexes.dtype}")
    if indexes.size and not 0 <= indexes.min() <= indexes.max() < tables.rows:
        raise ValueError(f"indexes {indexes.min()} to {indexes.max()} of tables with {tables.rows} rows")
    return np.ascontiguousarray(indexes, dtype=np.int32).ravel().view(np.uint32)


def _flat_symbols(symbols: np.ndarray) -> np.ndarray:
    """Symbols as contiguous 1-D int32."""
    if not np.issubdtype(symbols.dtype, np.integer):
        raise TypeError(f"symbols must be integers, not {symbols.dtype}")
    flat = np.ascontiguousarray(symbols, dtype=np.int32).ravel()
    if symbols.dtype != np.int32 and not np.array_equal(flat, symbols.ravel()):
        raise ValueError("symbols must fit in 32 bits")
    return flat


class Encoder:
    """Codes the symbols of one frame."""

    def __init__(self) -> None:
        self._parts: list[tuple[np.ndarray, np.ndarray]] = []

    def put(self, symbols: np.ndarray, indexes: np.ndarray, tables: Tables) -> None:
        """Append symbols to the frame.

        symbols: integers of 32 bits, any shape; indexes: row of ``tables`` for each, broadcastable to that shape.
        Raises TypeError on arrays that are not of integers, ValueError on symbols beyond 32 bits and unknown indexes.
        """
        symbols = np.asarray(symbols)
        flat = _flat_symbols(symbols)
        flat_indexes = _flat_indexes(np.broadcast_to(indexes, symbols.shape), tables)
        lookup = Lookup.of(tables)
        operations, escaped = np.empty(flat.size, np.uint32), np.empty(flat.size, np.int64)
        count = _rans().resolve(
            flat, flat_indexes, lookup.first, lookup.offset, lookup.escape, lookup.intervals, operations, escaped
        )
        self._parts.append((operations, escaped[:count].copy()))

    def put_operations(self, operations: np.ndarray) -> None:
        """Append decisions that a `Tape` holds."""
        self._parts.append((operations, np.empty(0, np.int64)))

    def finish(self) -> bytes:
        """The stream of all symbols so far."""
        lanes = lanes_of(self._guessed_size())
        data = self._encode(lanes)
        while lanes != lanes_of(len(data)):  # seldom; it ends, because more lanes make it longer
            lanes = lanes_of(len(data))
            data = self._encode(lanes)
        return data

    def _guessed_size(self) -> int:
        """About how many bytes the stream will have, from a sample of its symbols; the same on every machine."""
        cost = 0
        for operations, _ in self._parts:
            frequency = np.maximum(operations[::SAMPLING] >> 16, 1)
            cost += int(np.rint((PRECISION - np.log2(frequency)) * 256).sum())
        return cost * SAMPLING // (8 * 256)

    def _encode(self, lanes: int) -> bytes:
        """The stream in a given number of lanes."""
        rans, floor = _rans(), _floor(lanes)
        states = np.full(lanes, floor, dtype=np.int64)
        begin = sum(operations.size for operations, _ in self._parts)
        escapes = sum(escaped.size for _, escaped in self._parts)
        words = np.empty(begin + rans.ESCAPE_WORDS * escapes, dtype=np.uint16)
        position = words.size
        for operations, escaped in reversed(self._parts):
            begin -= operations.size
            position = rans.encode(operations, begin, escaped, states, words, position)
        head = b"".join(int(state - floor).to_bytes(STATE_BYTES, "big") for state in states)
        body = words[position:].astype(">u2").tobytes()
        return head[head[0] == 0 :] + body if body else head.lstrip(b"\0")


def _floor(lanes: int) -> int:
    """Value that every state starts from in the encoder and ends at in the decoder."""
    return _rans().FLOOR if lanes == 1 else _rans().LOW


class Decoder:
    """Reads the symbols of one frame; every read is checked, whatever the bytes are.

    data: what `Encoder.finish` gave; name: what error messages call it.
    Raises BitstreamError if the data cannot be such a stream.
    """

    def __init__(self, data: bytes, name: str = "coded symbols") -> None:
        self._name = name
        lanes = lanes_of(len(data))
        head = STATE_BYTES * lanes
        data = data.rjust(max(head, len(data) + len(data) % 2), b"\0")
        states = [int.from_bytes(data[i : i + STATE_BYTES], "big") for i in range(0, head, STATE_BYTES)]
        self._floor = _floor(lanes)
        self._states = np.array(states, dtype=np.int64) + self._floor
        self._words = np.frombuffer(data, dtype=">u2", offset=head).astype(np.uint16)
        self._position = 0
        self._begin = 0
        if self._states.max() >> 48:
            raise BitstreamError(f"{name}: damaged (impossible state)")

    def get(self, indexes: np.ndarray, tables: Tables) -> np.ndarray:
        """Read one symbol for each index: int32 of the shape of ``indexes``, each a row of ``tables``.

        Raises BitstreamError if the data end early or hold an impossible escape code, TypeError or ValueError on
        indexes that are not integers or not of the tables.
        """
        indexes = np.asarray(indexes)
        flat, lookup, rans = _flat_indexes(indexes, tables), Lookup.of(tables), _rans()
        symbols = np.empty(flat.size, dtype=np.int32)
        table = (lookup.buckets, lookup.packed, lookup.offset, lookup.escape)
        position = rans.decode(flat, self._begin, *table, self._states, self._words, self._position, symbols)
        if position < 0:
            what = "end early" if position == rans.ENDED else "damaged (impossible escape code)"
            raise BitstreamError(f"{self._name}: {what}")
        self._position = position
        self._begin += flat.size
        return symbols.reshape(indexes.shape)

    def open_tape(self) -> Tape:
        """What is left, for a kernel to read decisions from; `close_tape` goes on after them."""
        return Tape(True, self._begin, self._states, self._words.astype(np.uint32), self._position)

    def close_tape(self, tape: Tape) -> None:
        """Take over where a tape was left. Raises BitstreamError if it ran out."""
        if tape.damaged:
            raise BitstreamError(f"{self._name}: end early")
        self._begin, self._position = tape.count, tape.position

    def finish(self) -> None:
        """Check that the symbols read were all: raises BitstreamError if words or information are left over."""
        if self._position != self._words.size or np.any(self._states != self._floor):
            raise BitstreamError(f"{self._name}: damaged or coded with another model (it does not end in order)")
