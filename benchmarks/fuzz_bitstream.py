"""Damaged streams by the hundred thousand: does reading and decoding them end in typed errors, in time and in memory?

Takes small low-delay and hierarchical-B files whose packets hold real coded symbols, and damages each copy: bytes
changed, cut off, cut out, put in or repeated anywhere in the file; or, to get past the checksums, a header with other
values or payloads damaged before they are put into a container. Any exception but BitstreamError ends the run.

    python benchmarks/fuzz_bitstream.py --streams 100000
"""

from __future__ import annotations

import io
import resource
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from torchDVC.config.flags import flag, parse_flags
from torchDVC.config.values import whole
from torchDVC.util.errors import run_command

if TYPE_CHECKING:
    from torchDVC.bitstream.header import Header
    from torchDVC.coding_structure import CodedFrame
    from torchDVC.entropy.tables import Tables

Coded = list[tuple["CodedFrame", bytes]]


def rows_of(index: int) -> np.ndarray:
    """Table rows of the symbols of a frame; every fifth frame is large enough for several lanes."""
    count = 9000 if index % 5 == 0 else 120
    return np.random.default_rng(index).integers(0, 64, count).astype(np.int32)


def coded_frames(header: Header, tables: Tables, frames: int) -> Coded:
    """Frames in coding order with their payloads: Gaussian symbols, some of them far outside the tables."""
    from torchDVC.coding_structure import CodingStructure
    from torchDVC.entropy.coder import Encoder

    coded = []
    for frame in CodingStructure(header.intra_period, header.gop_size).order(frames):
        rng, rows = np.random.default_rng(frame.index + 1000), rows_of(frame.index)
        symbols = np.rint(rng.standard_normal(rows.size) * 0.11 * 1.12**rows)
        symbols[rng.random(rows.size) < 0.01] *= 1e6
        encoder = Encoder()
        encoder.put(np.clip(symbols, -(2**31), 2**31 - 1).astype(np.int64), rows, tables)
        coded.append((frame, encoder.finish()))
    return coded


def contained(header: Header, coded: Coded) -> bytes:
    """The file of these packets."""
    from torchDVC.bitstream.container_writer import ContainerWriter

    file = io.BytesIO()
    writer = ContainerWriter(file, header)
    for frame, payload in coded:
        writer.write(frame, payload)
    writer.finish()
    return file.getvalue()


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """A copy with up to four damages."""
    content = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        place = int(rng.integers(0, len(content) + 1))
        length = int(rng.integers(0, 12))
        match rng.integers(0, 5):
            case 0:
                content[place : place + length] = rng.bytes(length)
            case 1:
                del content[place:]
            case 2:
                del content[place : place + length]
            case 3:
                content[place:place] = rng.bytes(length)
            case 4:
                content[place:place] = content[int(rng.integers(0, place + 1)) : place]
    return bytes(content)


def other_header(header: Header, data: bytes, rng: np.random.Generator) -> bytes:
    """The file with a valid header that lies."""
    from torchDVC.bitstream.header import HEADER_BYTES

    lie = replace(
        header,
        width=int(rng.integers(1, 8192)),
        height=int(rng.integers(1, 8192)),
        frames=int(rng.integers(0, 40)) or None,
        gop_size=1 << int(rng.integers(0, 8)),
    )
    return lie.to_bytes() + data[HEADER_BYTES:]


def mutant(header: Header, coded: Coded, data: bytes, rng: np.random.Generator) -> bytes:
    """One damaged file."""
    match rng.integers(0, 4):
        case 0:
            return (
                damaged(other_header(header, data, rng), rng) if rng.random() < 0.5 else other_header(header, data, rng)
            )
        case 1:
            return contained(header, [(f, damaged(p, rng) if rng.random() < 0.3 else p) for f, p in coded])
        case _:
            return damaged(data, rng)


def decode(path: Path, tables: Tables, conceal: bool) -> str:
    """Read and decode all packets; what came of it."""
    from torchDVC.bitstream.container_reader import ContainerReader
    from torchDVC.entropy.coder import Decoder
    from torchDVC.util.errors import BitstreamError

    try:
        with ContainerReader(path) as reader:
            for packet in reader.packets(conceal=(lambda error: None) if conceal else None):
                decoder = Decoder(packet.payload, f"{path}: packet {packet.coding_index}")
                decoder.get(rows_of(packet.frame.index), tables)
                decoder.finish()
    except BitstreamError as error:
        if not str(error).startswith(str(path)):
            raise
        return "refused"
    return "decoded"


@dataclass(frozen=True, kw_only=True)
class Options:
    """The command line."""

    streams: int = flag(whole(1), "damaged streams to decode", metavar="N", default=100_000)
    seed: int = flag(whole(0), "of the damage", metavar="N", default=0)


def main() -> int:
    """The command line; returns the exit code."""
    usage = "python benchmarks/fuzz_bitstream.py [flags]"
    return run_command(lambda: fuzz(parse_flags(Options, None, usage=usage, description=__doc__ or "")))


def fuzz(options: Options) -> None:
    """Decode damaged streams; print how they end."""
    from torchDVC.bitstream.header import Header
    from torchDVC.entropy.tables import gaussian_tables

    tables = gaussian_tables()
    b_frames = Header(64, 48, None, Fraction(25), "bt709", "limited", 8, 4, 0, bytes(16))
    headers = [b_frames, replace(b_frames, intra_period=4, gop_size=1)]
    originals = [(header, coded := coded_frames(header, tables, 11), contained(header, coded)) for header in headers]
    rng = np.random.default_rng(options.seed)
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mutant.lcp"
        for i in range(options.streams):
            path.write_bytes(mutant(*originals[i % 2], rng))
            begin = time.process_time()
            outcomes[decode(path, tables, conceal=i % 3 == 0)] += 1
            slowest = max(slowest, time.process_time() - begin)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{options.streams} damaged streams: {dict(outcomes)}; slowest {slowest:.3f} s, peak memory {memory:.0f} MiB")


if __name__ == "__main__":
    import pathlib
    import sys

    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])
    sys.exit(main())
