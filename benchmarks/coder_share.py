"""The entropy coder's share of the time that a frame takes, encoding and decoding, and estimate against file size.

Run from the checkout: ``python -m benchmarks.coder_share --model FILE --input CLIP [--frames N] [--gop_size N]``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor

from benchmarks.coded_clip import Options
from torchDVC.coding_structure import CodedFrame, CodingStructure
from torchDVC.config.flags import parse_flags
from torchDVC.entropy.symbol_streams import ReadingStream, WritingStream
from torchDVC.entropy.tables import Tables
from torchDVC.models.model_file import Model
from torchDVC.models.sequence import FrameTask, code_frames, code_sequence
from torchDVC.util.errors import run_command


@dataclass
class Clock:
    """Seconds spent in the coder, all frames together."""

    seconds: float = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count the time inside."""
        start = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - start


class TimedWriting(WritingStream):
    """Writes on a clock."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def _transfer(self, symbols: Tensor | None, indexes: Tensor, tables: Tables) -> Tensor:
        with self._clock.running():
            return super()._transfer(symbols, indexes, tables)

    def payload(self) -> bytes:
        with self._clock.running():
            return super().payload()


class TimedReading(ReadingStream):
    """Reads on a clock."""

    def __init__(self, payload: bytes, clock: Clock) -> None:
        with clock.running():
            super().__init__(payload)
        self._clock = clock

    def _transfer(self, symbols: Tensor | None, indexes: Tensor, tables: Tables) -> Tensor:
        with self._clock.running():
            return super()._transfer(symbols, indexes, tables)


@dataclass(frozen=True)
class Share:
    """Seconds of everything and of the coder, encoding and decoding; bits estimated and written."""

    encode: float
    encode_coder: float
    decode: float
    decode_coder: float
    estimated: float
    written: int


def measure(model: Model, pictures: Sequence[Tensor], structure: CodingStructure) -> Share:
    """Code pictures (1, 3, H, W) and decode them again."""
    size = (pictures[0].shape[-2], pictures[0].shape[-1])
    writing, reading = Clock(), Clock()
    payloads: list[tuple[CodedFrame, bytes]] = []
    estimated, start = 0.0, time.perf_counter()
    for picture in code_sequence(
        model.codec, model.modes, structure, size, lambda frame: TimedWriting(writing), sources=pictures
    ):
        assert isinstance(picture.stream, TimedWriting)
        payloads.append((picture.frame, picture.stream.payload()))
        estimated += picture.bits
    encode, start = time.perf_counter() - start, time.perf_counter()
    tasks = (FrameTask(frame, TimedReading(payload, reading)) for frame, payload in payloads)
    for _ in code_frames(model.codec, model.modes, size, tasks):
        pass
    decode = time.perf_counter() - start
    written = 8 * sum(len(payload) for _, payload in payloads)
    return Share(encode, writing.seconds, decode, reading.seconds, estimated, written)


def main() -> int:
    """The command line; returns the exit code."""
    usage = "python -m benchmarks.coder_share --model FILE --input CLIP [flags]"
    return run_command(lambda: share_of(parse_flags(Options, None, usage=usage, description=__doc__ or "")))


def share_of(options: Options) -> None:
    """Measure, and print."""
    structure = CodingStructure(32, options.gop_size)
    model, pictures = options.opened()
    measure(model, pictures[:2], structure)  # compiles the coder
    share, count = measure(model, pictures, structure), len(pictures)
    for name, total, coder in (
        ("encode", share.encode, share.encode_coder), ("decode", share.decode, share.decode_coder)
    ):  # fmt: skip
        print(f"{name}: {1e3 * total / count:.1f} ms a frame, {1e3 * coder / count:.2f} ms in the coder "
              f"({100 * coder / total:.2f} %)")  # fmt: skip
    print(f"payloads {share.written} bits, estimated {share.estimated:.0f}: {share.written / share.estimated - 1:+.3%}")


if __name__ == "__main__":
    import sys

    sys.exit(main())
