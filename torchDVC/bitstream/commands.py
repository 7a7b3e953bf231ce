"""What ``codec.py`` does: each command from its options to files and lines."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator

import torch

from torchDVC.bitstream.container import ContainerReader, write_container
from torchDVC.bitstream.container_format import Header
from torchDVC.bitstream.export import export_model
from torchDVC.bitstream.inspection import Inspection
from torchDVC.bitstream.options import DecodeOptions, EncodeOptions, ExportOptions, InfoOptions, Options
from torchDVC.bitstream.playback import Playback
from torchDVC.bitstream.streams import header_of, read_frames, write_frames
from torchDVC.coding_structure import CodedFrame, CodingStructure
from torchDVC.dataset.frame import Frame
from torchDVC.dataset.picture_format import PictureFormat
from torchDVC.dataset.video import VideoInfo, VideoWriter, open_video, open_writer
from torchDVC.models import model_store
from torchDVC.models.codec import CodedPicture
from torchDVC.models.model_file import Model, save_model
from torchDVC.models.sequence import in_display_order
from torchDVC.util.device import choose_device, described
from torchDVC.util.errors import BitstreamError, CheckpointError, DataError
from torchDVC.util.progress import Progress

_log = logging.getLogger(__name__)


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
        options.input, size=options.size, frames=options.frames, matrix=options.matrix, value_range=options.range,
        fps=options.fps,
    )  # fmt: skip
    device = choose_device(options.device)
    model = export_model(options) if options.model is None else model_store.open_model(options.model)
    quality = (model.codec.levels - 1) // 2 if options.quality is None else options.quality
    header = header_of(model, reader.info, CodingStructure(options.intra_period, options.gop_size), quality)
    model_store.keep(model)
    move(model, device)
    form = model.codec.format
    with write_container(options.output, header) as writer:
        frames = 0
        with Progress(reader.info.frames, options.input.name, unit="frame") as bar:
            pace = _Pace()
            for _ in write_frames(model, writer, (form.to_tensor(frame, device) for frame in reader)):
                frames += 1
                bar.update(rate=_rate(writer.size, header, frames), pace=pace.of(frames))
        if not frames:
            raise DataError(f"{options.input}: no frames to encode")
    size = options.output.stat().st_size
    print(f"{options.output}: {frames} frames, {size} bytes, {_rate(size, header, frames)}, model {model}")


def decode(options: DecodeOptions) -> None:
    """Decode a stream into a clip."""
    device = choose_device(options.device)
    with ContainerReader(options.input) as reader:
        header = reader.header
        model = _model_of(header, options.model)
        move(model, device)
        info = VideoInfo(
            header.width, header.height, header.frames, header.fps, header.matrix, header.range, str(options.input),
            model.codec.format.bits,
        )  # fmt: skip
        with open_writer(options.output, info) as writer:
            with Progress(header.frames, options.input.name, unit="frame") as bar:
                playback = play(model, reader, writer, bar, options.conceal)
            if not writer.written:
                raise BitstreamError(f"no frame can be decoded: {playback.damage or f'{options.input}: it is empty'}")
    for remark in playback.remarks():
        _log.warning("%s", remark)
    print(f"{options.output}: {writer.written} frames, model {model}")


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
            move(model, choose_device(options.device))
            print(f"model         {model}, {model.codec.levels} quality levels, works in {model.codec.format.name}")
            lines = inspection.frames(model)
        for line in lines:
            print(line)


def move(model: Model, device: torch.device) -> None:
    """Take a model to a device; said where it is for another one only."""
    model.codec.to(device)
    if model.device and model.device != described(device):
        _log.warning(
            "model %s is for %s; here is %s: decoded pictures may be wrong", model, model.device, described(device)
        )


def _model_of(header: Header, given: str | None) -> Model:
    """The model given, else the one that a stream names."""
    return model_store.find(header.model.hex()) if given is None else model_store.open_model(given)


def play(model: Model, reader: ContainerReader, writer: VideoWriter, bar: Progress, conceal: bool = False) -> Playback:
    """Decode a stream to a writer; what is lost and replaced."""
    playback = Playback(writer, reader.header)
    pictures = read_frames(model, reader, playback.note if conceal else None)
    for index, frame in in_display_order(_decoded(pictures, reader, bar, model.codec.format)):
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
        bar.update(rate=_rate(reader.taken, reader.header, count), pace=pace.of(count))


class _Pace:
    """Frames a second since it was made."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def of(self, frames: int) -> str:
        """What is shown after so many frames."""
        return f"{frames / (time.perf_counter() - self._start):.2f} frames/s"


def _rate(size: int, header: Header, frames: int) -> str:
    return f"{8 * size / (header.width * header.height * frames):.4f} bpp"
