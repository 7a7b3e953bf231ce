"""Decodes damaged and hostile streams: every one must end in a typed error or in pictures, never in anything else.

`fuzz_bitstream.py` does the same without networks, far faster; this one also meets what a model makes of wild symbols.

Run from the checkout: ``python -m benchmarks.fuzz_streams --streams S.lcp … --model FILE [--count N] [--first N]``.
Mutation ``n`` depends on ``n`` and the streams only, so a run can be resumed with ``--first``, or one repeated with
``--first N --count 1``. Half of the mutations hit raw bytes, where checksums catch nearly all; the others change what
is inside packets, or put in I packets that lie about their place, and then mend the checksums, as an attacker would.
Half of all are decoded with ``--conceal``, and what comes out is counted as ``codec.py decode`` would write it.
"""

from __future__ import annotations

import io
import random
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from torchDVC.bitstream.commands import play
from torchDVC.bitstream.container_reader import ContainerReader
from torchDVC.bitstream.container_writer import ContainerWriter
from torchDVC.bitstream.header import HEADER_BYTES, MAX_FRAMES, Header
from torchDVC.bitstream.packets import MARKER, SYNC, Packet, checksum, varint
from torchDVC.bitstream.playback import MOST_FILLED
from torchDVC.config.flags import flag, parse_flags
from torchDVC.config.values import existing_file, whole, words
from torchDVC.dataset.video import Frame, VideoInfo, VideoWriter
from torchDVC.models.model_file import Model
from torchDVC.util.errors import BitstreamError, CheckpointError, run_command
from torchDVC.util.progress import Progress

LONGEST = 20.0
"""Seconds after which decoding a mutation of a tiny stream counts as a hang."""
MAX_SIDE = 256
"""Mutated headers name pictures of at most this side, so that a run fits in memory."""


@dataclass(frozen=True)
class Original:
    """An intact stream."""

    data: bytes
    header: Header
    packets: tuple[Packet, ...]

    @classmethod
    def read(cls, path: Path) -> Original:
        """Take a stream apart."""
        with ContainerReader(path) as reader:
            return cls(path.read_bytes(), reader.header, tuple(reader.packets()))


def mutated(originals: Sequence[Original], number: int) -> bytes:
    """Mutation ``number`` of one of the streams."""
    rng = random.Random(number)
    original = rng.choice(originals)
    if number % 2:
        return _bytes_changed(original.data, rng)
    return _places_changed(original, rng) if rng.random() < 0.3 else _packets_changed(original, rng)


def _bytes_changed(data: bytes, rng: random.Random) -> bytes:
    """Flip, overwrite, cut, insert or repeat bytes, once or several times."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5, 20))):
        at, length = rng.randrange(len(changed) + 1), rng.choice((1, 1, 2, 4, 50))
        match rng.randrange(5):
            case 0:
                changed[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                changed[at : at + length] = rng.randbytes(length)
            case 2:
                del changed[at : at + length]
            case 3:
                changed[at:at] = rng.randbytes(length)
            case _:
                changed[at:at] = changed[max(0, at - length) : at]
    return bytes(changed)


def _packets_changed(original: Original, rng: random.Random) -> bytes:
    """The stream written anew, with sound checksums, from payloads, qualities and header fields that were changed."""
    header = _header_changed(original.header, rng) if rng.random() < 0.3 else original.header
    file = io.BytesIO()
    writer = ContainerWriter(file, header)
    victim = rng.randrange(len(original.packets))
    for number, packet in enumerate(original.packets):
        payload, quality = packet.payload, packet.quality
        if number == victim or rng.random() < 0.2:
            noise = not payload or rng.random() < 0.2
            payload = rng.randbytes(rng.randrange(300)) if noise else _bytes_changed(payload, rng)
            quality = rng.randrange(256) if rng.random() < 0.1 else quality
        try:
            writer.write(packet.frame, payload[: header.max_payload], quality)
        except ValueError:  # the changed header has another coding structure
            break
    if rng.random() < 0.8:
        try:
            writer.finish()
        except ValueError:  # it ends within a GOP
            return file.getvalue()
    return file.getvalue()


def _places_changed(original: Original, rng: random.Random) -> bytes:
    """The first packets, then I packets with sound checksums that say they are elsewhere, after some noise or not."""
    header = replace(original.header, frames=rng.choice((None, original.header.frames, rng.randrange(1, MAX_FRAMES))))
    kept = sum(packet.size for packet in original.packets[: rng.randrange(len(original.packets) + 1)])
    data = header.to_bytes() + original.data[HEADER_BYTES : HEADER_BYTES + kept]
    most = header.frames or MAX_FRAMES
    for place in sorted(rng.randrange(1 << rng.randrange(32)) % (most + 2) for _ in range(rng.randrange(1, 20))):
        advance = rng.choice((0, 1, 1, header.gop_size, rng.randrange(256)))
        lie = rng.choice((0, 0, 0, 1, rng.randrange(1000)))
        fields = bytes([MARKER]) + SYNC + varint(place) + varint(place + max(0, advance - 1) + lie)
        fields += bytes([advance] if header.gop_size > 1 else [])
        payload = rng.choice(original.packets).payload
        packet = fields + varint(len(payload)) + payload
        data += rng.choice((b"", b"X")) + packet + checksum(zlib.crc32(packet), place)
    return data


def _header_changed(header: Header, rng: random.Random) -> Header:
    taller = rng.random() < 0.5
    return replace(
        header,
        width=header.width if taller else rng.randrange(1, MAX_SIDE),
        height=rng.randrange(1, MAX_SIDE) if taller else header.height,
        gop_size=rng.choice((header.gop_size, 1 << rng.randrange(8))),
        intra_period=rng.choice((header.intra_period, rng.randrange(65536))),
        quality=rng.choice((header.quality, rng.randrange(256))),
    )


def decode(model: Model, path: Path, conceal: bool) -> str:
    """What becomes of a stream: decoded, concealed, refused, or that it names another model."""
    try:
        with ContainerReader(path) as reader:
            width, height = reader.header.width, reader.header.height
            if width * height > MAX_SIDE**2:
                return "too large to try"
            output = _Counted(path, VideoInfo(width, height))
            with Progress(None, path.name, stream=io.StringIO()) as bar:
                playback = play(model, reader, output, bar, conceal)
            list(playback.remarks())
            if output.written > reader.size + MOST_FILLED:
                raise AssertionError(f"{output.written} frames out of {reader.size} bytes")
    except BitstreamError:
        return "refused"
    except CheckpointError:
        return "for another model"
    if not output.written:
        return "refused"
    return "concealed" if playback.damage else "decoded"


class _Counted(VideoWriter):
    """Frames that are counted and not kept."""

    def _destination(self) -> AbstractContextManager[Path]:
        return nullcontext(self.path)

    def _open(self, path: Path) -> None: ...

    def _write(self, frame: Frame) -> None: ...

    def _finish(self) -> None: ...

    def _release(self) -> None: ...


def outcomes(model: Model, originals: Sequence[Original], numbers: range, folder: Path) -> Iterator[tuple[int, str]]:
    """Decode mutations; a file of the last one stays in ``folder`` while it is tried. Raises what a decoder raises."""
    path = folder / "mutation.lcp"
    for number in numbers:
        path.write_bytes(mutated(originals, number))
        start = time.perf_counter()
        outcome = decode(model, path, conceal=number % 4 > 1)
        if time.perf_counter() - start > LONGEST:
            raise TimeoutError(f"mutation {number} took {time.perf_counter() - start:.0f} s")
        yield number, outcome


@dataclass(frozen=True, kw_only=True)
class Options:
    """The command line."""

    streams: tuple[Path, ...] = flag(existing_file, "streams to damage", many=True, metavar="S.lcp")
    model: str = flag(words, "model file, or the name of one that is kept", metavar="FILE")
    count: int = flag(whole(1), "mutations", metavar="N", default=100_000)
    first: int = flag(whole(0), "number of the first one", metavar="N", default=0)


def main() -> int:
    """The command line; returns the exit code."""
    usage = "python -m benchmarks.fuzz_streams --streams S.lcp … --model FILE [flags]"
    return run_command(lambda: fuzz(parse_flags(Options, None, usage=usage, description=__doc__ or "")))


def fuzz(options: Options) -> None:
    """Decode damaged streams; print how they end."""
    import tempfile

    from torchDVC.models.model_store import open_model
    from torchDVC.util.progress import Progress

    model, originals = open_model(options.model), [Original.read(path) for path in options.streams]
    numbers = range(options.first, options.first + options.count)
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder, Progress(len(numbers), "mutations", unit="stream") as bar:
        for number, outcome in outcomes(model, originals, numbers, Path(folder)):
            found[outcome] += 1
            bar.update(last=number)
    print(", ".join(f"{count} {outcome}" for outcome, count in found.most_common()))


if __name__ == "__main__":
    import sys

    sys.exit(main())
