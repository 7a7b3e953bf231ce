"""Which frames an AV1 stream holds, from the headers of its OBUs: their types and bytes as a viewer counts them.

A decoder calls every frame but a key frame P, and hands on a frame that is coded ahead of its time in the packet of an
earlier one. Both are told apart here: a frame that is coded while a later one waits to be shown is a B frame.
"""

from __future__ import annotations

from collections.abc import Iterator

FRAME_HEADER, FRAME = 3, 6
KEY, INTRA_ONLY = 0, 2


def shown_frames(stream: bytes) -> Iterator[tuple[str, int]]:
    """I, P or B and the bytes of every frame in the order they are shown.

    Frames that wait must be shown in the reverse of the order they were coded in, as in a pyramid of B frames.
    """
    waiting: list[tuple[str, int]] = []
    extra = 0  # bytes of delimiters and sequence headers before a frame
    for kind, header, size in _obus(stream):
        extra += size
        if kind not in (FRAME_HEADER, FRAME):
            continue
        if header & 0x80:  # show_existing_frame
            name, coded = waiting.pop()
            yield name, coded + extra
        else:
            intra = (header >> 5) & 3 in (KEY, INTRA_ONLY)
            frame = "I" if intra else "B" if waiting else "P", extra
            if header & 0x10:  # show_frame
                yield frame
            else:
                waiting.append(frame)
        extra = 0


def _obus(stream: bytes) -> Iterator[tuple[int, int, int]]:
    """Type, first byte of the content (0 where there is none) and size in bytes of every OBU."""
    start = 0
    while start < len(stream):
        content = start + 2 if stream[start] & 4 else start + 1  # an extension is one byte more
        length = shift = 0
        while True:
            byte = stream[content]
            length |= (byte & 0x7F) << shift
            shift, content = shift + 7, content + 1
            if byte < 0x80:
                break
        yield (stream[start] >> 3) & 15, stream[content] if length else 0, content + length - start
        start = content + length
