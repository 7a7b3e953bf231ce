"""What ``codec.py`` does: each command from its options to files and lines."""

from __future__ import annotations

import logging
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from torchDVC.bitstream.arithmetic import coded_in, fastest_here
from torchDVC.bitstream.container_reader import ContainerReader
from torchDVC.bitstream.container_writer import ContainerWriter, write_container
from torchDVC.bitstream.export import export_model
from torchDVC.bitstream.header import Header
from torchDVC.bitstream.inspection import Inspection
from torchDVC.bitstream.options import DecodeOptions, EncodeOptions, ExportOptions, InfoOptions, Options
from torchDVC.bitstream.playback import Playback
from torchDVC.bitstream.rate_control import RateControl, controlled
from torchDVC.bitstream.rate_curves import size_of
from torchDVC.bitstream.streams import header_of, read_frames, write_frames
from torchDVC.coding_structure import CodedFrame, CodingStructure
from torchDVC.dataset.frame import Frame
from torchDVC.dataset.picture_format import PictureFormat
from torchDVC.dataset.video import VideoInfo, VideoWriter, open_video, open_writer
from torchDVC.models import model_store
from torchDVC.models.codec import CodedPicture
from torchDVC.models.model_file import Model, save_model
from torchDVC.models.sequence import in_display_order, periods_at_once
from torchDVC.util.arithmetic import Arithmetic
from torchDVC.util.beside import read_ahead
from torchDVC.util.device import choose_device, described
from torchDVC.util.errors import BitstreamError, CheckpointError, ConfigError, DataError, describe_os_error
from torchDVC.util.files import STANDARD
from torchDVC.util.progress import Progress

_log = logging.getLogger(__name__)

RATE_TOLERANCE = 0.05
"""A file that misses the rate asked for by a larger part than this gets a word about it."""
PACED = 16
"""Frames that the pace shown is of."""


def run(options: Options) -> None:
    """Run a command."""
    if isinstance(options, ExportOptions):
        export(options)
    elif isinstance(options, EncodeOptions):
        encode(options)
    elif isinstance(options, DecodeOptions):
        decode(options)
    else:
        info(options)


def export(options: ExportOptions) -> None:
    """Write a model file, and keep the model where decoders find it."""
    model = export_model(options)
    save_model(options.out, model)
    model_store.keep(model)
    print(f"{options.out}: model {model}")


def encode(options: EncodeOptions) -> None:
    """Encode a clip."""
    reader = open_video(
        options.input, frames=options.frames, matrix=options.matrix, value_range=options.range, **options.said
    )
    device = choose_device(options.device)
    model = _encoding_model(options)
    quality = (model.codec.levels - 1) // 2 if options.quality is None else options.quality
    structure = CodingStructure(options.intra_period, options.gop_size)
    header = header_of(model, reader.info, structure, quality)
    _say(f"{options.input}: {reader.info.read_in(model.codec.format.bits)}")
    _keep(model)
    if options.rdoq is not None:
        model = replace(model, modes=replace(model.modes, rdoq=options.rdoq))
    move(model, device, fastest_here(model, device, options.precision, _say))
    header = replace(header, precision=model.codec.precision)

    def sources() -> Iterator[Tensor]:
        return (model.codec.format.to_tensor(frame, device) for frame in reader)

    control = None
    if (bits := _bits_asked(options, reader.info)) is not None:
        control = controlled(model, header.structure, reader.info, sources, bits, options.passes, options.input.name)
        header = replace(header, quality=control.planned)
    with write_container(options.output, header) as writer:
        with Progress(reader.info.frames, options.input.name, unit="frame") as bar:
            levels = _encode(model, writer, read_ahead(sources()), control, bar)
        if not levels:
            raise DataError(f"{options.input}: no frames to encode")
    size, frames = options.output.stat().st_size, len(levels)
    if bits is not None and (missed := _missed(size, frames, bits, header)):
        _log.warning("%s%s", missed, _remedy(levels, model.codec.levels - 1, options.passes))
    how = f"model {model}" + f", rdoq {model.modes.rdoq:g}" * (model.modes.rdoq > 0)
    print(f"{options.output}: {frames} frames, {size} bytes, {', '.join(_rates(size, header, frames))}, {how}")


def _say(what: str) -> None:
    print(what, file=sys.stderr)


def _keep(model: Model) -> None:
    """Keep a model where decoders find it, if there is a place that can be written to."""
    try:
        model_store.keep(model)
    except OSError as error:
        _log.warning("model %s is not kept for decoders, they need --model: %s", model, describe_os_error(error))


def _encode(
    model: Model, writer: ContainerWriter, sources: Iterable[Tensor], control: RateControl | None, bar: Progress
) -> list[int]:
    """Write all frames, under control or with the header's quality; returns the level of each."""
    levels, pace, header = list[int](), _Pace(), writer.header
    if control:
        how: dict[str, Any] = {"quality": control.level, "revise": lambda p: control.revise(p.frame, size_of(p))}
    else:
        how = {"at_once": periods_at_once(model.codec, header.structure, (header.height, header.width))}
    for picture in write_frames(model, writer, sources, **how):
        levels.append(int(picture.quality))
        if control:
            control.spend(picture.frame, 8 * writer.size - control.spent)
        bpp, bitrate = _rates(writer.size, header, max(1, writer.count))
        bar.update(rate=bpp, bitrate=bitrate, pace=pace.next())
    return levels


def _encoding_model(options: EncodeOptions) -> Model:
    """The model named, or described, or shipped."""
    if options.model is not None:
        model = model_store.open_model(options.model)
    else:
        model = model_store.shipped() if options.model_config is None else export_model(options)
    if model.codec.levels == 1 and (options.bitrate or options.bpp):
        flag = "--bitrate" if options.bitrate else "--bpp"
        raise ConfigError([f"{flag} needs a model of several quality levels; expected another than {model}, of one"])
    return model


def _bits_asked(options: EncodeOptions, info: VideoInfo) -> float | None:
    """What a frame is to take on average."""
    if options.bitrate is not None:
        return options.bitrate / float(info.fps)
    return None if options.bpp is None else options.bpp * info.width * info.height


def _missed(size: int, frames: int, bits: float, header: Header) -> str:
    """How far a file is from the rate that was asked for; empty where it is within `RATE_TOLERANCE`."""
    off = 8 * size / (bits * frames) - 1
    if abs(off) <= RATE_TOLERANCE:
        return ""
    asked = " or ".join(_rates(bits * frames / 8, header, frames))
    return f"asked for {asked}; the file is {abs(100 * off):.0f} % {'larger' if off > 0 else 'smaller'}"


def _remedy(levels: Iterable[int], highest: int, passes: int) -> str:
    """What may bring a file nearer to its rate, or why nothing does."""
    for level, end in ((0, "coarsest"), (highest, "finest")):
        if set(levels) == {level}:
            return f": its quality is the {end} already"
    return ": try --passes 2" if passes == 1 else ""


def decode(options: DecodeOptions) -> None:
    """Decode a stream into a clip."""
    device = choose_device(options.device)
    with ContainerReader(options.input) as reader:
        header = reader.header
        if header.frames is not None and options.start >= header.frames:
            raise ConfigError([f"--start {options.start}; {options.input} has frames 0 to {header.frames - 1}"])
        model = _model_of(header, options.model)
        move(model, device, coded_in(model, device, header.precision))
        info = VideoInfo(
            header.width, header.height, header.frames, header.fps, header.matrix, header.range, str(options.input),
            model.codec.format.bits, aspect=header.aspect,
        )  # fmt: skip
        with open_writer(options.output, info) as writer:
            with Progress(header.frames, options.input.name, unit="frame") as bar:
                playback = play(model, reader, writer, bar, options.conceal, options.start)
            if not writer.written:
                raise BitstreamError(f"no frame can be decoded: {playback.damage or f'{options.input}: it is empty'}")
    for remark in playback.remarks():
        _log.warning("%s", remark)
    said = sys.stderr if options.output == STANDARD else sys.stdout
    print(f"{options.output}: {writer.written} frames, model {model}{writer.remark}", file=said)


def info(options: InfoOptions) -> None:
    """Print what a stream holds; the bits of modules only where the model is at hand."""
    with ContainerReader(options.input) as reader:
        inspection = Inspection(reader)
        print(inspection.header())
        try:
            model = _model_of(reader.header, options.model)
        except CheckpointError as error:
            if options.model is not None:
                raise
            print(f"bits of modules are not shown: {error}")
            lines = inspection.packets()
        else:
            device = choose_device(options.device)
            move(model, device, coded_in(model, device, reader.header.precision))
            print(f"model         {model}, {model.codec.levels} quality levels, works in {model.codec.format.name}")
            lines = inspection.frames(model)
        for line in lines:
            print(line)


def move(model: Model, device: torch.device, arithmetic: Arithmetic) -> None:
    """Let a model compute on a device; said where it is for another one only."""
    model.codec.compute_in(arithmetic, device)
    if model.device and model.device != described(device):
        _log.warning(
            "model %s is for %s; here is %s: decoded pictures may be wrong", model, model.device, described(device)
        )


def _model_of(header: Header, given: str | None) -> Model:
    """The model given, else the one that a stream names."""
    return model_store.find(header.model.hex()) if given is None else model_store.open_model(given)


def play(
    model: Model, reader: ContainerReader, writer: VideoWriter, bar: Progress, conceal: bool = False, start: int = 0
) -> Playback:
    """Decode a stream to a writer, from frame ``start`` on; what is lost and replaced."""
    playback = Playback(writer, reader.header, start)
    pictures = read_frames(model, reader, playback.note if conceal else None, start)
    for index, frame in in_display_order(_decoded(pictures, reader, bar, model.codec.format)):
        if index < start:
            continue
        if index > playback.due and not conceal:  # the last GOP of an unfinished stream
            break
        playback.show(index, frame)
    playback.end()
    return playback


def _decoded(
    pictures: Iterable[CodedPicture], reader: ContainerReader, bar: Progress, form: PictureFormat
) -> Iterator[tuple[CodedFrame, Frame]]:
    """What is shown, with the progress of decoding it."""
    pace = _Pace()
    header = reader.header
    for count, picture in enumerate(pictures, 1):
        size = (header.height, header.width)
        yield picture.frame, form.to_frame(picture.state["recon"], size, header.matrix, header.range)
        bpp, bitrate = _rates(reader.taken, header, count)
        bar.update(rate=bpp, bitrate=bitrate, pace=pace.next())


class _Pace:
    """Frames a second of the latest ones, as the first may wait for what is compiled on first use."""

    def __init__(self) -> None:
        self._times = deque([time.perf_counter()], maxlen=PACED + 1)

    def next(self) -> str:
        """What is shown after a further frame."""
        self._times.append(time.perf_counter())
        return f"{(len(self._times) - 1) / (self._times[-1] - self._times[0]):.2f} frames/s"


def _rates(size: float, header: Header, frames: int) -> tuple[str, str]:
    """What so many bytes for so many frames are, per pixel and per second."""
    bits = 8 * size / frames
    return f"{bits / (header.width * header.height):.4f} bpp", f"{bits * float(header.fps) / 1000:.1f} kbit/s"
