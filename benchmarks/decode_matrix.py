"""What decodes identically: one stream, decoded in many arithmetics; table rows and symbols must not change.

Run from the checkout: ``python -m benchmarks.decode_matrix --model FILE --input CLIP [--frames N]``.
With a CUDA device, streams written on either device are decoded on the other.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.coded_clip import Options
from torchDVC.coding_structure import CodedFrame, CodingStructure
from torchDVC.config.flags import parse_flags
from torchDVC.entropy.exact import ExactModule
from torchDVC.entropy.integer import arithmetic
from torchDVC.entropy.symbol_streams import ReadingStream, SymbolStream, WritingStream
from torchDVC.entropy.tables import Tables
from torchDVC.models.codec import Codec
from torchDVC.models.model_file import Model
from torchDVC.models.sequence import FrameTask, code_frames, code_sequence
from torchDVC.util.errors import run_command


@dataclass(frozen=True)
class Coded:
    """A frame's payload, and the SHA-256 of its table rows and symbols."""

    frame: CodedFrame
    payload: bytes
    symbols: str


class _Noted:
    """Mixed into a stream: hashes table rows and symbols as they are coded."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.hash = hashlib.sha256()

    def _transfer(self, symbols: Tensor | None, indexes: Tensor, tables: Tables) -> Tensor:
        coded: Tensor = super()._transfer(symbols, indexes, tables)  # type: ignore[misc]
        for tensor in (indexes, coded):
            self.hash.update(tensor.to(torch.int32).cpu().contiguous().numpy().astype("<i4").tobytes())
        return coded


class NotedWriting(_Noted, WritingStream):
    """Writes, and notes what."""


class NotedReading(_Noted, ReadingStream):
    """Reads, and notes what."""


class Repeated(SymbolStream):
    """Gives the symbols of one picture to each of a batch; notes whether all have its table rows."""

    reading = True

    def __init__(self, payload: bytes, batch: int) -> None:
        super().__init__(batch)
        self._one = NotedReading(payload)
        self.same = True

    @property
    def hash(self) -> Any:
        """Of the first picture's rows and symbols."""
        return self._one.hash

    def _transfer(self, symbols: Tensor | None, indexes: Tensor, tables: Tables) -> Tensor:
        each = indexes.unflatten(0, (self.batch, -1))
        self.same = self.same and all(torch.equal(each[0], other) for other in each)
        return self._one._transfer(None, each[0], tables).repeat(self.batch, *[1] * (indexes.ndim - 1))


def write(model: Model, structure: CodingStructure, pictures: Sequence[Tensor]) -> list[Coded]:
    """Encode pictures (1, 3, H, W), all on the model's device."""
    size = (pictures[0].shape[-2], pictures[0].shape[-1])
    coded = code_sequence(
        model.codec, model.modes, structure, size, lambda frame: NotedWriting(), sources=pictures
    )
    streams = [(picture.frame, picture.stream) for picture in coded]
    return [
        Coded(frame, stream.payload(), stream.hash.hexdigest())
        for frame, stream in streams
        if isinstance(stream, NotedWriting)
    ]


def read(model: Model, coded: Sequence[Coded], size: tuple[int, int]) -> list[str]:
    """Decode; the SHA-256 of each frame's table rows and symbols."""
    streams = [NotedReading(item.payload) for item in coded]
    tasks = (FrameTask(item.frame, stream) for item, stream in zip(coded, streams, strict=True))
    for _ in code_frames(model.codec, model.modes, size, tasks):
        pass
    return [stream.hash.hexdigest() for stream in streams]


def read_batch(model: Model, coded: Sequence[Coded], size: tuple[int, int], batch: int = 4) -> list[str]:
    """Decode a batch of the same picture at once; "" for a frame whose pictures differ in their table rows."""
    streams = [Repeated(item.payload, batch) for item in coded]
    references: dict[int, Any] = {}
    with torch.no_grad():
        for item, stream in zip(coded, streams, strict=True):
            known = [references[i] for i in item.frame.references]
            picture = model.codec.code_frame(item.frame, model.modes, size, stream, known)
            references[item.frame.index] = picture.reference
    return [stream.hash.hexdigest() if stream.same else "" for stream in streams]


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def add_noise(codec: Codec, relative: float = 1e-4) -> None:
    """Disturb every weight that a decoder may compute with in floating point."""
    exact = {id(p) for module in codec.modules() if isinstance(module, ExactModule) for p in module.parameters()}
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in codec.parameters():
            if id(parameter) not in exact:
                noise = torch.randn(parameter.shape, generator=generator).to(parameter.device)
                parameter.mul_(1 + relative * noise)


Variant = Callable[[Model, Sequence[Coded], tuple[int, int]], list[str]]


def _under(context: Callable[[], contextlib.AbstractContextManager[None]]) -> Variant:
    def run(model: Model, coded: Sequence[Coded], size: tuple[int, int]) -> list[str]:
        with context():
            return read(model, coded, size)

    return run


def _channels_last(model: Model, coded: Sequence[Coded], size: tuple[int, int]) -> list[str]:
    model.codec.to(memory_format=torch.channels_last)
    try:
        return read(model, coded, size)
    finally:
        model.codec.to(memory_format=torch.contiguous_format)


def _noisy(model: Model, coded: Sequence[Coded], size: tuple[int, int]) -> list[str]:
    before = {name: tensor.clone() for name, tensor in model.codec.state_dict().items()}
    add_noise(model.codec)
    try:
        return read(model, coded, size)
    finally:
        model.codec.load_state_dict(before)


VARIANTS: dict[str, Variant] = {
    "1 thread": _under(lambda: threads(1)),
    "2 threads": _under(lambda: threads(2)),
    "8 threads": _under(lambda: threads(8)),
    "without oneDNN": _under(lambda: torch.backends.mkldnn.flags(enabled=False)),
    "channels last": _channels_last,
    "batch of 4": read_batch,
    "float64 carriers": _under(lambda: arithmetic(carrier=torch.float64)),
    "bfloat16 reconstruction": _under(lambda: torch.autocast("cpu", dtype=torch.bfloat16)),
    "reconstruction weights + 1e-4 noise": _noisy,
}
"""Ways of decoding on one device."""


def _matrix(model: Model, pictures: Sequence[Tensor], structure: CodingStructure) -> Iterator[tuple[str, str, int]]:
    """Written on, decoded how, and frames with the same table rows and symbols."""
    devices = ["cpu"] + ["cuda"] * torch.cuda.is_available()
    size = (pictures[0].shape[-2], pictures[0].shape[-1])
    for writer in devices:
        model.codec.to(writer)
        coded = write(model, structure, [picture.to(writer) for picture in pictures])
        expected = [item.symbols for item in coded]
        for reader in devices:
            model.codec.to(reader)
            for name, variant in VARIANTS.items():
                found = variant(model, coded, size)
                yield writer, f"{reader}: {name}", sum(a == b for a, b in zip(found, expected, strict=True))


def main() -> int:
    """The command line; returns the exit code."""
    usage = "python -m benchmarks.decode_matrix --model FILE --input CLIP [flags]"
    return run_command(lambda: show(parse_flags(Options, None, usage=usage, description=__doc__ or "")))


def show(options: Options) -> None:
    """Decode in every way, and print how many frames are the same."""
    model, pictures = options.opened()
    print(f"{len(pictures)} frames of {options.input}, model {model}")
    for writer, how, same in _matrix(model, pictures, CodingStructure(8, options.gop_size)):
        print(f"written on {writer}, decoded on {how:<45} {same}/{len(pictures)} frames identical", flush=True)


if __name__ == "__main__":
    import sys

    sys.exit(main())
