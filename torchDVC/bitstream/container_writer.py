"""Writes the container of a coded video (``.lcp``): a header, a packet for each frame, an index of I frames.

``docs/bitstream.md`` gives it byte by byte. Packets are written as they come, so memory does not grow with the length
of a video.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO

from torchDVC.bitstream.header import Header
from torchDVC.bitstream.packets import (
    FOOTER,
    INDEX,
    MARKER,
    QUALITY_FLAG,
    SYNC,
    TYPES,
    IntraEntry,
    PacketPosition,
    checksum,
    varint,
)
from torchDVC.coding_structure import CodedFrame
from torchDVC.util.errors import BitstreamError
from torchDVC.util.files import atomic_path


@contextlib.contextmanager
def write_container(path: str | os.PathLike[str], header: Header) -> Iterator[ContainerWriter]:
    """A writer to a file, which takes its name when it is complete and is removed on an error.

    A process that is killed leaves a hidden ``.<name>.<pid>.partial.lcp``, which reads up to its last whole packet.
    """
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        writer = ContainerWriter(file, header)
        yield writer
        writer.finish()


class ContainerWriter:
    """Writes packets to a seekable file as they come; `finish` adds the index and the number of frames.

    Raises ValueError if a value of the header is out of range. ``header.frames`` is ignored.
    """

    def __init__(self, file: BinaryIO, header: Header) -> None:
        self.header = replace(header, frames=None)
        self.size = 0
        self._file = file
        self._position = PacketPosition(header.gop_size, references=header.references)
        self._intra: list[IntraEntry] = []
        self._put(self.header.to_bytes())

    @property
    def count(self) -> int:
        """Frames written so far."""
        return self._position.coding_index

    def write(self, frame: CodedFrame, payload: bytes, quality: int | None = None) -> int:
        """Append a frame, in coding order; returns the bytes that it takes in the file.

        quality: its quality index, 0 to 255; by default the header's.
        Raises ValueError if the frame is not one that can follow, BitstreamError if the model coded it in more bytes
        than a reader accepts.
        """
        advance = frame.index - self._position.anchor
        expected, after = self._position.take(frame.type, advance)
        if frame != expected:
            raise ValueError(f"frame {frame} where {expected} should be")
        if len(payload) > self.header.max_payload:
            limit = self.header.max_payload
            raise BitstreamError(f"frame {frame} takes {len(payload)} bytes; the format allows at most {limit}")
        quality = self.header.quality if quality is None else quality
        own_quality = b"" if quality == self.header.quality else bytes([quality])
        fields = bytes([MARKER | bool(own_quality) * QUALITY_FLAG | TYPES.index(frame.type)])
        if frame.type == "I":
            self._intra.append(IntraEntry(self._position.coding_index, frame.index, self.size))
            fields += SYNC + varint(self._position.coding_index) + varint(frame.index)
        fields += own_quality
        if frame.type != "B" and self.header.gop_size > 1:
            fields += bytes([advance])
        size = self._put_packet(fields, payload)
        self._position = after
        return size

    def finish(self) -> None:
        """Write the index and the number of frames; raises ValueError if there are none, or the last GOP lacks some."""
        if self._position.pending or not self._intra:
            raise ValueError(f"a stream that lacks {self._position.pending[0] if self._intra else 'all frames'}")
        entries = b""
        last = IntraEntry(0, 0, 0)
        for entry in self._intra:
            entries += varint(entry.coding_index - last.coding_index)
            entries += varint(entry.display_index - last.display_index) + varint(entry.offset - last.offset)
            last = entry
        size = self._put_packet(bytes([MARKER | INDEX]), entries)
        self._put(size.to_bytes(4, "big") + FOOTER)
        self._file.seek(0)
        self._file.write(replace(self.header, frames=self._position.coding_index).to_bytes())

    def _put_packet(self, fields: bytes, payload: bytes) -> int:
        fields += varint(len(payload))
        crc = zlib.crc32(payload, zlib.crc32(fields))
        return self._put(fields + payload + checksum(crc, self._position.coding_index))

    def _put(self, data: bytes) -> int:
        """Write and hand over to the system at once, so that a killed process leaves whole packets."""
        self._file.write(data)
        self._file.flush()
        self.size += len(data)
        return len(data)
