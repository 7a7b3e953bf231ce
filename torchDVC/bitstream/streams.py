"""A clip into a container and back: the loops that the command line and the tester share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from torch import Tensor

from torchDVC.bitstream.container_reader import ContainerReader
from torchDVC.bitstream.container_writer import ContainerWriter
from torchDVC.bitstream.header import HASH_BYTES, Header
from torchDVC.bitstream.packets import IntraEntry, Packet
from torchDVC.coding_structure import CodedFrame, CodingStructure
from torchDVC.dataset.frame import VideoInfo
from torchDVC.entropy.symbol_streams import ReadingStream, WritingStream
from torchDVC.models.codec import CodedPicture
from torchDVC.models.model_file import SHOWN_DIGITS, Model
from torchDVC.models.sequence import FrameTask, Quality, Revise, code_frames, code_sequence
from torchDVC.util.errors import BitstreamError, CheckpointError, ConfigError

Conceal = Callable[[BitstreamError], None]


def header_of(model: Model, info: VideoInfo, structure: CodingStructure, quality: int) -> Header:
    """The header of a stream of a clip. Raises `ConfigError` where the model cannot code it so."""
    structure = replace(structure, references=model.modes.references)
    lacking = _lacking_mode(model, structure)
    if lacking:
        raise ConfigError([f"model {model} codes no {lacking} frames, which the coding structure has"])
    if not 0 <= quality < model.codec.levels:
        raise ConfigError([f"--quality {quality}; expected 0 to {model.codec.levels - 1} with model {model}"])
    header = Header(
        width=info.width, height=info.height, frames=None, fps=info.fps, matrix=info.matrix, range=info.range,
        intra_period=structure.intra_period, gop_size=structure.gop_size, quality=quality,
        model=bytes.fromhex(model.hash)[:HASH_BYTES], references=structure.references,
        same_device=bool(model.device), aspect=info.aspect, precision=model.codec.precision,
    )  # fmt: skip
    try:
        header.to_bytes()
    except ValueError as error:
        raise ConfigError([f"{info.source}: cannot be coded: {error}"]) from error
    return header


def _lacking_mode(model: Model, structure: CodingStructure) -> str:
    """The frame type that a coding structure certainly has and the model has no mode for."""
    between = "P" if structure.gop_size == 1 else "B"
    types = "I" if structure.intra_period == 1 else "I" + between
    return next((kind for kind in types if not model.modes.of(kind)), "")


def write_frames(
    model: Model, writer: ContainerWriter, sources: Iterable[Tensor], *, quality: Quality | None = None,
    revise: Revise | None = None, keep_maps: bool = False, at_once: int = 1,
) -> Iterator[CodedPicture]:
    """Encode pictures (1, C, h, w) of the codec's format into a container; yields each frame after it was written.

    ``quality`` is the level of all frames, or chooses that of each; None: the header's. ``revise`` says which frames
    are coded once more before they are written. Of intra periods that are coded ``at_once``, frames come as they are
    coded, and are written as soon as those before them are.
    """
    header = writer.header
    pictures = code_sequence(
        model.codec, model.modes, header.structure, (header.height, header.width),
        lambda frame: WritingStream(keep_maps=keep_maps, rdoq=model.modes.rdoq), sources=sources,
        quality=header.quality if quality is None else quality, revise=revise, at_once=at_once,
    )  # fmt: skip
    early: dict[int, tuple[CodedFrame, bytes, int]] = {}
    for picture in pictures:
        assert isinstance(picture.stream, WritingStream)
        packet = (picture.frame, picture.stream.payload(), int(picture.quality))
        if at_once == 1:
            writer.write(*packet)
        else:
            early[picture.frame.index] = packet
            while writer.count in early:
                writer.write(*early.pop(writer.count))
        yield picture


def read_frames(
    model: Model, reader: ContainerReader, conceal: Conceal | None = None, start: int = 0
) -> Iterator[CodedPicture]:
    """Decode a container, in coding order, from the last I frame that is not after frame ``start``.

    Raises `BitstreamError` at the first damage; with ``conceal``, that is told of it, and what does not depend on
    lost frames is decoded. Raises `CheckpointError` if the stream was coded with another model.
    """
    check_model(model, reader)
    header = reader.header
    model.codec.precision = header.precision
    entry = _entry(reader, start, conceal) if start else None
    packets = reader.packets(entry, conceal)
    tasks = (_task(packet, reader) for packet in packets if entry is None or packet.frame.index >= entry.display_index)
    yield from code_frames(model.codec, model.modes, (header.height, header.width), tasks, conceal)


def _entry(reader: ContainerReader, start: int, conceal: Conceal | None) -> IntraEntry | None:
    """The last I frame up to ``start``; None where the file's index is damaged and that is concealed."""
    try:
        entries = reader.intra_index()
    except BitstreamError as error:
        if conceal is None:
            raise
        conceal(error)
        return None
    return max((e for e in entries if e.display_index <= start), key=lambda e: e.display_index, default=None)


def check_model(model: Model, reader: ContainerReader) -> None:
    """Raises `CheckpointError` if the stream was coded with another model."""
    needed = reader.header.model.hex()
    if not model.hash.startswith(needed):
        raise CheckpointError(f"{reader.path}: coded with model {needed[:SHOWN_DIGITS]}; the one given is {model}")


def _task(packet: Packet, reader: ContainerReader) -> FrameTask:
    name = f"{reader.path}: packet {packet.coding_index} (frame {packet.frame.index})"
    return FrameTask(packet.frame, ReadingStream(packet.payload, name), quality=packet.quality)
