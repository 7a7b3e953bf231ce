"""Reads the container of a coded video (``.lcp``), which `torchDVC.bitstream.container_writer` writes.

Packets are read one at a time, so memory does not grow with the length of a video; nothing is read before its length
was checked. What a file says is not trusted: all damage ends in a `BitstreamError` that names the file and the packet.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from torchDVC.bitstream.header import HEADER_BYTES, MAX_FRAMES, Header
from torchDVC.bitstream.packets import (
    FOOTER,
    FOOTER_BYTES,
    INDEX,
    MARKER,
    MARKER_MASK,
    QUALITY_FLAG,
    SYNC,
    TYPE_MASK,
    TYPES,
    CutOff,
    Input,
    IntraEntry,
    Packet,
    PacketPosition,
)
from torchDVC.util.errors import BitstreamError

SEARCH_BYTES = 1 << 16
SEARCH_EFFORT = 16
"""Looking for an intact packet after damage gives up after reading this many times the size of the file."""
ENTRY_BYTES = 16
"""Upper bound on the size of an entry of the index."""


class ContainerReader:
    """Reads a file packet by packet; a context manager that closes it.

    path: the file. ``header`` is what it says about itself; ``header.frames`` is None if its encoder was interrupted.
    ``size`` is its bytes, ``taken`` those of the header and of the packets that `packets` gave so far.
    Raises BitstreamError if it is not an intact header of a version that this program reads.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._file: BinaryIO = open(path, "rb")  # noqa: SIM115 (closed by `close`)
        try:
            self.header = Header.from_bytes(self._file.read(HEADER_BYTES))
        except ValueError as error:
            self._file.close()
            raise BitstreamError(f"{self.path}: {error}") from error
        self.size = os.fstat(self._file.fileno()).st_size
        self.taken = HEADER_BYTES

    def __enter__(self) -> ContainerReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def packets(
        self, start: IntraEntry | None = None, conceal: Callable[[BitstreamError], None] | None = None
    ) -> Iterator[Packet]:
        """The packets in coding order, from the first or from an entry of `intra_index`.

        conceal: what to tell of damage; reading then goes on at the next intact I packet, so that coding indexes jump
        and references may be missing. Without it, damage raises BitstreamError. In a file whose encoder was interrupted
        the packets simply end with the last whole one.
        """
        offset = start.offset if start else HEADER_BYTES
        position = None if start else PacketPosition(self.header.gop_size, references=self.header.references)
        while True:
            try:
                packet, position = self._read(offset, position)
            except BitstreamError as error:
                interrupted = isinstance(error, CutOff) and self.header.frames is None
                if conceal is None and not interrupted:
                    raise
                found = self._find_intra(offset + 1, position) if conceal else None
                if conceal and (found or not interrupted):
                    conceal(error)
                if found is None:
                    return
                packet, position, offset = found
            if packet is None:
                return
            offset += packet.size
            self.taken += packet.size
            yield packet

    def intra_index(self) -> tuple[IntraEntry, ...]:
        """All I packets, as the index at the end of the file has them; raises BitstreamError if it is damaged.

        A file without an index (its encoder was interrupted) is read through for them.
        """
        if self.header.frames is None:
            return tuple(self._walk())
        self._file.seek(max(0, self.size - FOOTER_BYTES))
        footer = self._file.read(FOOTER_BYTES)
        offset = self.size - FOOTER_BYTES - int.from_bytes(footer[:4], "big")
        if footer[4:] != FOOTER or offset < HEADER_BYTES:
            raise BitstreamError(f"{self.path}: index: missing or cut off")
        self._file.seek(offset)
        source = Input(self._file, self.size - offset, f"{self.path}: index")
        if source.byte() != MARKER | INDEX:
            raise source.error("damaged (not where the end of the file says)")
        return self._read_index(source, self.header.frames)

    def _walk(self) -> Iterator[IntraEntry]:
        offset = HEADER_BYTES
        for packet in self.packets():
            if packet.frame.type == "I":
                yield IntraEntry(packet.coding_index, packet.frame.index, offset)
            offset += packet.size

    def _read(self, offset: int, position: PacketPosition | None) -> tuple[Packet | None, PacketPosition]:
        """The packet at a place in the file, None at the end of packets, and the position after it.

        position: where the packet stands in coding order; None if that is not known, then it must be an I packet.
        """
        self._file.seek(offset)
        name = f"packet {position.coding_index}" if position else f"packet at byte {offset}"
        source = Input(self._file, self.size - offset, f"{self.path}: {name}")
        flags = source.byte()
        if flags & MARKER_MASK != MARKER:
            raise source.error("damaged (no packet begins here)")
        if flags & TYPE_MASK == INDEX:
            return self._read_end(source, position)
        kind = TYPES[flags & TYPE_MASK]
        stated = self._read_sync(source) if kind == "I" else None
        quality = source.byte() if flags & QUALITY_FLAG else self.header.quality
        advance = source.byte() if kind != "B" and self.header.gop_size > 1 else 1
        position = self._placed(source, position, stated, advance)
        return self._read_payload(source, quality, position, kind, advance)

    def _read_sync(self, source: Input) -> tuple[int, int]:
        """An I packet's own coding index and display index."""
        if source.take(len(SYNC)) != SYNC:
            raise source.error("damaged (an I packet without its mark)")
        return source.varint("coding index", MAX_FRAMES), source.varint("display index", MAX_FRAMES)

    def _placed(
        self, source: Input, position: PacketPosition | None, stated: tuple[int, int] | None, advance: int
    ) -> PacketPosition:
        """The packet's position: the expected one, which an I packet must agree with, or an I packet's own."""
        if stated is None:
            if position is None:
                raise source.error("not an I packet")
            return position
        own = PacketPosition(self.header.gop_size, stated[0], stated[1] - advance, references=self.header.references)
        expected = position or replace(own, anchor=own.coding_index - 1)
        if (own.coding_index, own.anchor) != (expected.coding_index, expected.anchor):
            raise source.error(f"out of place (it holds frame {stated[1]} as packet {stated[0]})")
        return expected

    def _read_payload(
        self, source: Input, quality: int, position: PacketPosition, kind: str, advance: int
    ) -> tuple[Packet, PacketPosition]:
        """The rest of a frame's packet."""
        number = position.coding_index
        try:
            frame, after = position.take(kind, advance)
        except ValueError as error:
            raise source.error(error) from error
        if self.header.frames is not None and max(number, frame.index) >= self.header.frames:
            raise source.error(f"the header names {self.header.frames} frames only")
        payload = source.take(source.varint("payload length", self.header.max_payload))
        source.check(number)
        return Packet(number, frame, quality, payload, source.taken), after

    def _read_end(self, source: Input, position: PacketPosition | None) -> tuple[None, PacketPosition]:
        """The index and all that follows it."""
        if position is None or position.pending:
            raise source.error("the packets end within a GOP")
        if self.header.frames not in (None, position.coding_index):
            raise source.error(f"the packets end here; the header names {self.header.frames} frames")
        self._read_index(source, position.coding_index)
        footer = source.taken.to_bytes(4, "big") + FOOTER
        if source.take(FOOTER_BYTES) != footer:
            raise source.error("damaged (wrong footer)")
        if source.left:
            raise source.error(f"{source.left} bytes follow the end")
        return None, position

    def _read_index(self, source: Input, frames: int) -> tuple[IntraEntry, ...]:
        """The entries of the index packet, of a file of so many frames; its first byte has been read."""
        data = source.take(source.varint("index length", ENTRY_BYTES * frames))
        source.check(frames)
        entries, last = Input(io.BytesIO(data), len(data), f"{self.path}: index"), IntraEntry(0, 0, 0)
        found = []
        while entries.left:
            last = IntraEntry(
                last.coding_index + entries.varint("coding index", frames),
                last.display_index + entries.varint("display index", MAX_FRAMES),
                last.offset + entries.varint("offset", self.size),
            )
            found.append(last)
        return tuple(found)

    def _find_intra(self, offset: int, position: PacketPosition | None) -> tuple[Packet, PacketPosition, int] | None:
        """The next intact I packet from a place on that may follow a position: it, the position after it, its place."""
        effort = SEARCH_EFFORT * self.size
        for mark in self._marks(offset + 1):
            with contextlib.suppress(BitstreamError):  # not a packet, or a damaged one: look on
                packet, after = self._read(mark - 1, None)
                if packet and (position is None or position.precedes(packet.coding_index)):
                    return packet, after, mark - 1
            effort -= self._file.tell() - mark
            if effort < 0:
                break
        return None

    def _marks(self, offset: int) -> Iterator[int]:
        """Places of the mark of I packets."""
        while True:
            self._file.seek(offset)
            chunk = self._file.read(SEARCH_BYTES)
            at = chunk.find(SYNC)
            while at >= 0:
                yield offset + at
                at = chunk.find(SYNC, at + 1)
            if len(chunk) < SEARCH_BYTES:
                return
            offset += len(chunk) - len(SYNC) + 1
