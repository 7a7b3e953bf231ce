"""The elements of packets: marks, variable-length integers, checksums, packet order. See `docs/bitstream.md`."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import BinaryIO

from torchDVC.bitstream.header import MAX_FRAMES
from torchDVC.coding_structure import CodedFrame, CodingStructure
from torchDVC.util.errors import BitstreamError

SYNC = b"\xf5LCI"
"""Stands in every I packet, so that reading can start again there after damage."""
FOOTER = b"LCPE"
TYPES = "IPB"
INDEX = len(TYPES)
"""Packet type after those of frames: the index of I packets, which ends the packets."""
MARKER, MARKER_MASK, QUALITY_FLAG, TYPE_MASK = 0xA0, 0xF8, 0x04, 0x03
"""First byte of a packet: the marker in its upper five bits, then whether a quality follows, then the type."""
FOOTER_BYTES = 4 + len(FOOTER)


class CutOff(BitstreamError):
    """The data end within a packet."""


@dataclass(frozen=True)
class Packet:
    """A coded frame as read from a file; ``size`` is what it takes there in bytes, its own header included."""

    coding_index: int
    frame: CodedFrame
    quality: int
    payload: bytes
    size: int


@dataclass(frozen=True)
class IntraEntry:
    """An I packet, where reading can start: its number, its frame's display index, its place in the file."""

    coding_index: int
    display_index: int
    offset: int


@dataclass(frozen=True)
class PacketPosition:
    """Where in the coding order a packet stands, and so which frame it may hold.

    coding_index: packets before this one; anchor: display index of the last I or P frame, -1 before the first. Between
    GOPs all frames up to the anchor were coded, so the coding index is the one after it.
    pending: the B frames that this GOP still lacks, in coding order.
    references: of P frames, where there are so many; earlier: those of the next one that come before the anchor.
    """

    gop_size: int
    coding_index: int = 0
    anchor: int = -1
    pending: tuple[CodedFrame, ...] = ()
    references: int = 1
    earlier: tuple[int, ...] = ()

    def take(self, kind: str, advance: int) -> tuple[CodedFrame, PacketPosition]:
        """The frame of type ``kind`` that stands here, and the position after it.

        advance: of an I or P frame, how many frames it lies after the last one; B frames follow from the GOP.
        Raises ValueError if no such frame can stand here.
        """
        if (kind == "B") != bool(self.pending):
            raise ValueError(f"{kind} frame where {self.pending[0] if self.pending else 'an I or P frame'} should be")
        gop = list(self.pending) or self._gop(advance)
        after = replace(self, coding_index=self.coding_index + 1, pending=tuple(gop[1:]))
        if kind == "B":
            return gop[0], after
        if kind == "I":
            return CodedFrame(gop[0].index), replace(after, anchor=gop[0].index, earlier=())
        if self.anchor < 0:
            raise ValueError("P frame where the first I frame should be")
        known = (self.anchor, *self.earlier)
        earlier = known[: self.references - 1]
        return CodedFrame(gop[0].index, known), replace(after, anchor=gop[0].index, earlier=earlier)

    def _gop(self, advance: int) -> list[CodedFrame]:
        end = self.anchor + advance
        gop = CodingStructure(0, self.gop_size).gop(self.anchor, end) if self.anchor >= -1 and advance > 0 else []
        if not gop or gop[0].index != end or end >= MAX_FRAMES:
            raise ValueError(f"impossible GOP: frame {end} after frame {self.anchor}")
        return gop

    def precedes(self, coding_index: int) -> bool:
        """Whether a GOP whose first packet has this index can come here or later."""
        return coding_index > self.anchor


def varint(value: int) -> bytes:
    """A non-negative integer in groups of 7 bits, lowest first; the upper bit of a byte says that more follow."""
    data = bytearray()
    while value >= 0x80:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)


class Input:
    """Reads the fields of one packet; each length is checked against what is left before anything is read.

    file: where to read; left: bytes that it still has; name: what error messages begin with.
    Attributes: ``left``, ``taken`` (bytes read so far), ``crc`` (their CRC-32).
    """

    def __init__(self, file: BinaryIO, left: int, name: str) -> None:
        self._file, self.left, self._name = file, left, name
        self.taken = 0
        self.crc = 0

    def error(self, what: object) -> BitstreamError:
        """An error that names the packet."""
        return BitstreamError(f"{self._name}: {what}")

    def take(self, count: int) -> bytes:
        """The next bytes, which also go into the checksum; raises CutOff if there are fewer."""
        data = self._file.read(count) if count <= self.left else b""
        if len(data) < count:
            raise CutOff(f"{self._name}: cut off")
        self.left -= count
        self.taken += count
        self.crc = zlib.crc32(data, self.crc)
        return data

    def byte(self) -> int:
        """The next byte."""
        return self.take(1)[0]

    def varint(self, what: str, high: int) -> int:
        """A variable-length integer; raises BitstreamError if it is above ``high``."""
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if value > high or shift > 63:
                raise self.error(f"{what} beyond {high}")
            if byte < 0x80:
                return value

    def check(self, coding_index: int) -> None:
        """Read the checksum of all that was taken and of the packet's number; raises BitstreamError if it differs."""
        expected = checksum(self.crc, coding_index)
        if self.take(len(expected)) != expected:
            raise self.error("damaged (wrong checksum)")


def checksum(crc: int, coding_index: int) -> bytes:
    """The end of a packet: the CRC-32 of its bytes, carried on over its number in four bytes."""
    return zlib.crc32(coding_index.to_bytes(4, "big"), crc).to_bytes(4, "big")
