"""What a stream holds, as lines of text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from torchDVC.bitstream.container_reader import ContainerReader
from torchDVC.bitstream.packets import Packet
from torchDVC.bitstream.streams import read_frames
from torchDVC.coding_structure import CodedFrame
from torchDVC.models.model_file import Model


class Inspection:
    """Describes a stream. Damage raises `BitstreamError` when the lines come to it."""

    def __init__(self, reader: ContainerReader) -> None:
        self._reader = reader

    def header(self) -> str:
        """The header's fields, a line each."""
        h = self._reader.header
        structure = "low-delay P" if h.gop_size == 1 else f"hierarchical B, GOPs of {h.gop_size}"
        structure += f", P frames of up to {h.references} references" * (h.references > 1)
        period = f"every {h.intra_period} frames" if h.intra_period else "only the first frame"
        fields = {
            "file": f"{self._reader.path}, {self._reader.size} bytes",
            "pictures": f"{h.width}x{h.height}, {float(h.fps):g} frames/s, {h.matrix} {h.range}",
            "pixels": f"{h.aspect.numerator}:{h.aspect.denominator}" if h.aspect else "of a shape that is not told",
            "frames": "not known: its encoder was interrupted" if h.frames is None else str(h.frames),
            "structure": f"{structure}; intra: {period}",
            "quality": str(h.quality),
            "decoded by": "only the device that wrote it" if h.same_device else "every device",
            "model hash": f"{h.model.hex()}",
        }
        return "\n".join(f"{name:<14}{value}" for name, value in fields.items())

    def packets(self) -> Iterator[str]:
        """A line a packet, and sums."""
        sums = _Sums(self._pixels)
        yield sums.heading()
        for packet in self._reader.packets():
            yield sums.add(packet, {})
        yield from sums.lines(self._reader.size)

    def frames(self, model: Model) -> Iterator[str]:
        """A line a frame with the bits of each module, for which it is decoded, and sums."""
        sums = _Sums(self._pixels, tuple(spec.label for spec in model.codec.config.modules if spec.type.codes))
        packets = self._reader.packets()
        yield sums.heading()
        for picture in read_frames(model, self._reader):
            bits = {label: float(count.sum()) for label, count in picture.stream.rates().items()}
            yield sums.add(next(packets), bits)
        yield from sums.lines(self._reader.size)

    @property
    def _pixels(self) -> int:
        return self._reader.header.width * self._reader.header.height


class _Sums:
    """Lines of frames, and what they add up to."""

    def __init__(self, pixels: int, labels: tuple[str, ...] = ()) -> None:
        self._pixels, self._labels = pixels, labels
        self._bytes: dict[str, list[int]] = defaultdict(list)
        self._bits: dict[str, float] = defaultdict(float)

    def heading(self) -> str:
        """What the columns are."""
        return f"\n{'frame':>8} {'from':<14}{'quality':>8}{'bytes':>10}" + "".join(
            f"{label + ' bits':>16}" for label in self._labels
        )

    def add(self, packet: Packet, bits: Mapping[str, float]) -> str:
        """The line of a frame."""
        self._bytes[packet.frame.type].append(packet.size)
        for label, count in bits.items():
            self._bits[label] += count
        columns = "".join(f"{bits[label]:>16.0f}" if label in bits else f"{'':>16}" for label in self._labels)
        return f"{_name(packet.frame):>8} {_from(packet.frame):<14}{packet.quality:>8}{packet.size:>10}{columns}"

    def lines(self, total: int) -> Iterator[str]:
        """Mean size of each frame type, and each module's share of a file of so many bytes."""
        frames = sum(map(len, self._bytes.values()))
        yield ""
        for kind, sizes in sorted(self._bytes.items()):
            mean = sum(sizes) / len(sizes)
            yield f"{kind} frames      {len(sizes)}, on average {mean:.0f} bytes, {8 * mean / self._pixels:.4f} bpp"
        if frames:
            yield f"together      {frames} frames, {total} bytes, {8 * total / self._pixels / frames:.4f} bpp"
        for label, bits in self._bits.items():
            yield f"{label:<14}{bits / 8:.0f} bytes, {100 * bits / 8 / total:.1f} % of all"


def _name(frame: CodedFrame) -> str:
    return f"{frame.type}{frame.index}"


def _from(frame: CodedFrame) -> str:
    return " ".join(map(str, frame.references))
