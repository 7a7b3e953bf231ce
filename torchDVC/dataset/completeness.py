"""Whether a video file is all there, by its own structure: decoders and demuxers pass over what a cut file lacks.

Containers are chains of elements that each say how long they are. Walking along the chain takes a few bytes of each
element, and tells where the file must end at the earliest, and where the chain is broken. A file of an unknown form,
and one that was written without knowing its length (live recordings), is taken as it is.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Bytes = bytes | mmap.mmap
Step = Callable[[Bytes, int], int | None]
"""Where the element that begins at a place ends; None where none of the chain begins there."""


class BrokenError(Exception):
    """The elements of a file do not follow one another; ``at`` is where, in bytes."""

    def __init__(self, at: int) -> None:
        super().__init__(at)
        self.at = at


@dataclass(frozen=True)
class _Form:
    """A kind of file: ``magic`` stands at ``at``, and its chain of elements begins at ``start``."""

    magic: bytes
    step: Step
    at: int = 0
    start: Callable[[Bytes], int] = lambda data: 0


def missing_bytes(path: Path) -> int:
    """How many bytes a file is shorter than its structure says, at least; 0 for a complete one.

    Raises `BrokenError` for one whose structure is damaged.
    """
    with open(path, "rb") as file:
        if not path.stat().st_size:
            return 0
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _end(data) - len(data)


def _end(data: Bytes) -> int:
    """Where the file must end: its length, or later where it is cut short."""
    form = next((form for form in _FORMS if data[form.at : form.at + len(form.magic)] == form.magic), None)
    if form is None or len(data) < 16:
        return len(data)
    at, step = form.start(data), form.step
    while at < len(data):
        try:
            end = step(data, at)
        except struct.error:  # the element's own length is cut off
            return len(data) + 1
        if end is None or end <= at:
            return len(data)
        at = end
    return at


def _box(data: Bytes, at: int) -> int | None:
    """A box of mp4 and mov (ISO/IEC 14496-12, 4.2); a length of 0 reaches to the end of the file."""
    length, kind = struct.unpack_from(">I4s", data, at)
    if kind not in _BOXES:
        return None
    if length == 1:
        (length,) = struct.unpack_from(">Q", data, at + 8)
    return at + length if length else None


_BOXES = {
    *(b"ftyp", b"moov", b"mdat", b"moof", b"mfra", b"sidx", b"styp", b"free", b"skip", b"wide", b"uuid", b"meta"),
    *(b"pnot", b"emsg", b"prft", b"ssix", b"udta"),
}


def _element(data: Bytes, at: int) -> int | None:
    """An element of mkv and webm (RFC 8794 and 9559); those of unknown length are entered."""
    identifier, body = _vint(data, at, keep_marker=True)
    length, body = _vint(data, body)
    if identifier not in _ELEMENTS:
        return None
    if length == _UNKNOWN:
        return body
    if identifier in _MASTERS:
        _check_inside(data, body, body + length)
    if identifier == _SIMPLE_BLOCK and data[body : body + 1] == b"\0":  # of no track, so it would be passed over
        raise BrokenError(at)
    return body + length


def _check_inside(data: Bytes, at: int, end: int) -> None:
    """Raises `BrokenError` where elements do not fill their master from ``at`` to ``end``, or not with its checksum."""
    checked = data[at : at + 2] == b"\xbf\x84" and end <= len(data)
    if checked and zlib.crc32(data[at + 6 : end]) != struct.unpack_from("<I", data, at + 2)[0]:
        raise BrokenError(at)
    while at < min(end, len(data)):
        following = _element(data, at)
        if following is None or following > end:
            raise BrokenError(at)
        at = following


_MASTERS = (0x18538067, 0x1F43B675)
"""A segment, and a cluster of it."""
_SIMPLE_BLOCK = 0xA3
_ELEMENTS = {
    *(*_MASTERS, 0x1A45DFA3, 0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367),
    *(0xEC, 0xBF, 0xE7, 0x5854, 0xA7, 0xAB, 0xA3, 0xA0, 0xAF),  # of both, and of a cluster
}
_UNKNOWN = -1


def _vint(data: Bytes, at: int, keep_marker: bool = False) -> tuple[int, int]:
    """An EBML number and where it ends: as many leading zero bits as bytes follow the first."""
    (first,) = struct.unpack_from("B", data, at)
    size = 9 - first.bit_length()
    raw = bytes(data[at : at + size])
    if len(raw) < size:
        raise struct.error
    value = int.from_bytes(raw, "big")
    payload = value & ((1 << 7 * size) - 1)
    unknown = payload == (1 << 7 * size) - 1
    return (value if keep_marker else _UNKNOWN if unknown else payload), at + size


def _riff(data: Bytes, at: int) -> int | None:
    """A RIFF chunk of avi, of an even length; one whose length was never filled in has none."""
    kind, length = struct.unpack_from("<4sI", data, at)
    return None if kind != b"RIFF" or length in (0, 2**32 - 1) else at + 8 + length


def _flv_tag(data: Bytes, at: int) -> int:
    """A tag of flv: type, length in three bytes, time, stream, payload, and the length of it all."""
    kind, high, low = struct.unpack_from(">BBH", data, at)
    if kind & 0x1F not in (8, 9, 15, 18):
        raise BrokenError(at)
    return at + 11 + (high << 16 | low) + 4


def _asf_object(data: Bytes, at: int) -> int | None:
    """An object of wmv and asf: 16 bytes that name it, and its length."""
    (length,) = struct.unpack_from("<Q", data, at + 16)
    return at + length if length >= 24 else None


def _ivf_frame(data: Bytes, at: int) -> int | None:
    """A frame of ivf: its length, its time, and its bytes."""
    length, _ = struct.unpack_from("<IQ", data, at)
    return at + 12 + length


def _gif_block(data: Bytes, at: int) -> int | None:
    """A block of gif (89a specification): an extension, a picture, or what ends the file."""
    (kind,) = struct.unpack_from("B", data, at)
    if kind == 0x21:
        return _gif_pieces(data, at + 2)
    if kind == 0x2C:
        (flags,) = struct.unpack_from("B", data, at + 9)
        return _gif_pieces(data, at + 11 + _gif_palette(flags))
    return None if kind == 0x3B else len(data) + 1


def _gif_palette(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _gif_pieces(data: Bytes, at: int) -> int:
    """Where a chain of pieces of up to 255 bytes ends."""
    while size := struct.unpack_from("B", data, at)[0]:
        at += 1 + size
    return at + 1


_FORMS = (
    *(_Form(kind, _box, at=4) for kind in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp", b"pnot")),
    _Form(b"\x1a\x45\xdf\xa3", _element),
    _Form(b"RIFF", _riff),
    _Form(b"FLV", _flv_tag, start=lambda data: int.from_bytes(data[5:9], "big") + 4),
    _Form(b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", _asf_object),
    _Form(b"DKIF", _ivf_frame, start=lambda data: int.from_bytes(data[6:8], "little")),
    _Form(b"GIF8", _gif_block, start=lambda data: 13 + _gif_palette(data[10])),
)
