"""The encoders that PyAV bundles, in settings matched to a learned codec's test, and files made with them.

Every encoder runs in one thread at a constant quality, with intra frames exactly where the coding structure has them
(no scene-cut detection, closed GOPs) and as many B frames between two others as a GOP of the structure holds. The
files hold as little as the format allows: raw Annex B for H.264 and HEVC without the encoder's own SEI messages, OBUs
for AV1, IVF for VP9 (12 bytes a frame and 32 for the file).
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from torchDVC.coding_structure import CodingStructure
from torchDVC.dataset.frame import Frame, Planes, VideoInfo, split_planes
from torchDVC.util.errors import LCPError
from torchDVC.util.files import atomic_path

if TYPE_CHECKING:
    import av

Options = dict[str, str]
MOST_B_FRAMES = 15  # in a row; x264 and x265 take no more than 16
NEVER = 1 << 15  # frames; as an intra period, longer than any clip


@dataclass(frozen=True)
class Encoder:
    """One of PyAV's encoders.

    Attributes:
        library: its name in FFmpeg.
        form: the form of the file, also its suffix.
        presets: those that are run when none is named.
        qualities: rate points: constant rate factors, or quantiser parameters for `intra`.
        options: makes the encoder's options of coding structure, preset, quality and tuning ("" or "psnr").
        filter: what removes messages from the stream that the decoder does not need, as a bitstream filter.
        intra: codes every frame as an intra frame, whatever the structure.
        lmdas: for an intra codec, the lmda that each quality stands for in a learned video codec.
    """

    library: str
    form: str
    presets: tuple[str, ...]
    qualities: tuple[float, ...]
    options: Callable[[CodingStructure, str, float, str], Options]
    filter: str = ""
    intra: bool = False
    lmdas: tuple[float, ...] = ()


@dataclass(frozen=True)
class Encoded:
    """What an encoder wrote: bytes of each frame by display index, seconds it took, the settings in words."""

    sizes: dict[int, int]
    seconds: float
    settings: str


def _key_value(settings: dict[str, object]) -> str:
    return ":".join(f"{name}={value}" for name, value in settings.items())


def _keyint(structure: CodingStructure) -> int:
    return structure.intra_period or NEVER


def _b_frames(structure: CodingStructure) -> int:
    return min(structure.gop_size - 1, MOST_B_FRAMES)


def _x264(structure: CodingStructure, preset: str, quality: float, tune: str) -> Options:
    parameters: dict[str, object] = dict(
        keyint=_keyint(structure), min_keyint=_keyint(structure), scenecut=0, open_gop=0, threads=1, sliced_threads=0
    )
    if structure.gop_size == 1:  # what the tuning "zerolatency" sets, apart from its slices
        parameters |= dict(bframes=0, rc_lookahead=0, sync_lookahead=0, mbtree=0)
    else:
        parameters |= dict(bframes=_b_frames(structure), b_adapt=0, b_pyramid="normal")
    text = _key_value(parameters).replace("_", "-")
    return {"preset": preset, "crf": f"{quality:g}", "x264-params": text} | ({"tune": tune} if tune else {})


def _x265(structure: CodingStructure, preset: str, quality: float, tune: str, control: str = "crf") -> Options:
    parameters: dict[str, object] = dict(
        keyint=_keyint(structure), min_keyint=_keyint(structure), scenecut=0, open_gop=0, pools="none", frame_threads=1
    )
    if structure.gop_size == 1:
        parameters |= dict(bframes=0, b_adapt=0, rc_lookahead=0, cutree=0)
    else:
        b_frames = _b_frames(structure)
        parameters |= dict(bframes=b_frames, b_adapt=0, b_pyramid=1, rc_lookahead=max(20, b_frames + 1))
    text = _key_value(parameters | {control: f"{quality:g}", "log_level": "none"}).replace("_", "-")
    return {"preset": preset, "x265-params": text} | ({"tune": tune} if tune else {})


def _hevc_intra(structure: CodingStructure, preset: str, quality: float, tune: str) -> Options:
    return _x265(CodingStructure(1), preset, quality, tune, control="qp")


def _svtav1(structure: CodingStructure, preset: str, quality: float, tune: str) -> Options:
    parameters: dict[str, object] = {"keyint": _keyint(structure), "scd": 0, "lp": 1, "tune": 1}
    if structure.gop_size == 1:
        parameters["pred-struct"] = 1
    else:
        parameters |= {"pred-struct": 2, "hierarchical-levels": min(5, max(2, structure.gop_size.bit_length() - 1))}
    return {"preset": preset, "crf": f"{quality:g}", "svtav1-params": _key_value(parameters)}


def _vp9(structure: CodingStructure, preset: str, quality: float, tune: str) -> Options:
    keyint = str(_keyint(structure))
    options = {
        "deadline": "good",
        "cpu-used": preset,
        "crf": f"{quality:g}",
        "b": "0",
        "g": keyint,
        "keyint_min": keyint,
    }
    low_delay = structure.gop_size == 1
    options |= {"lag-in-frames": "0" if low_delay else "25", "auto-alt-ref": "0" if low_delay else "1"}
    return options | {"threads": "1", "row-mt": "0"}


# Chosen so that all codecs cover about the same qualities, as BD-rates between them need.
CRF_H264 = (17.0, 21.0, 25.0, 29.0, 33.0, 37.0)
CRF_HEVC = (20.0, 24.0, 28.0, 32.0, 36.0, 40.0)
CRF_AV1 = (24.0, 32.0, 40.0, 48.0, 56.0, 63.0)
CRF_VP9 = (26.0, 34.0, 42.0, 50.0, 58.0, 63.0)

ENCODERS = {
    "x264": Encoder("libx264", "h264", ("veryfast", "medium"), CRF_H264, _x264, "filter_units=remove_types=6"),
    "x265": Encoder("libx265", "hevc", ("veryfast", "medium"), CRF_HEVC, _x265, "filter_units=remove_types=39|40"),
    "svtav1": Encoder("libsvtav1", "obu", ("10", "6"), CRF_AV1, _svtav1),
    "vp9": Encoder("libvpx-vp9", "ivf", ("5", "2"), CRF_VP9, _vp9),
    "hevc-intra": Encoder(
        "libx265",
        "hevc",
        ("medium",),
        (37.0, 32.0, 27.0, 22.0),
        _hevc_intra,
        "filter_units=remove_types=39|40",
        intra=True,
        lmdas=(256.0, 512.0, 1024.0, 2048.0),
    ),
}


def encode(encoder: Encoder, options: Options, frames: Iterable[Frame], info: VideoInfo, path: Path) -> Encoded:
    """Encode a clip to the file ``path``, which appears when it is complete.

    Pictures of odd width or height are continued by one column or row, since 4:2:0 formats store even sizes only;
    `decode` takes them off again.

    Raises:
        LCPError: the encoder does not take the clip or its options.
    """
    import av

    os.environ.setdefault("SVT_LOG", "0")  # else the library writes its settings to the terminal
    try:
        with atomic_path(path) as temporary:
            return _encode(encoder, options, frames, info, temporary)
    except av.error.FFmpegError as error:
        what = f"{encoder.library} refuses {info.source} ({info.width}x{info.height})"
        raise LCPError(f"{what} with {_words(options)}: {error.strerror or error}") from error


def decode(path: Path, info: VideoInfo) -> Iterator[tuple[Frame, str, float]]:
    """Each frame of a file in display order: the picture in its original size, I, P or B, and seconds it took."""
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        pictures = container.decode(stream)
        while True:
            start = time.perf_counter()
            picture = next(pictures, None)
            if picture is None:
                return
            packed: Any = picture.to_ndarray(format="yuv420p")
            y, u, v = split_planes(packed.reshape(-1), picture.width, picture.height)
            seconds = time.perf_counter() - start
            yuv = (y[: info.height, : info.width], u, v)
            kind = av.video.frame.PictureType(picture.pict_type).name
            yield Frame(yuv=yuv, matrix=info.matrix, value_range=info.range), kind, seconds


def _encode(encoder: Encoder, options: Options, frames: Iterable[Frame], info: VideoInfo, path: Path) -> Encoded:
    import av

    with av.open(str(path), "w", format=encoder.form) as container:
        stream: Any = container.add_stream(encoder.library, rate=info.fps, options=options)
        stream.width, stream.height, stream.pix_fmt = (
            info.width + info.width % 2,
            info.height + info.height % 2,
            "yuv420p",
        )
        stream.codec_context.thread_count = 1
        writer = _PacketWriter(container, stream, encoder.filter)
        seconds = 0.0
        for index, frame in enumerate(frames):
            picture = _picture(frame.yuv, index)
            start = time.perf_counter()
            writer.write(stream.encode(picture))
            seconds += time.perf_counter() - start
        start = time.perf_counter()
        writer.write(stream.encode(None))
        writer.finish()
        seconds += time.perf_counter() - start
    return Encoded(writer.sizes, seconds, f"{writer.version or library_version(encoder)}; {_words(options)}; 1 thread")


class _PacketWriter:
    """Puts packets into the file, through the filter where there is one, and notes size and encoder version."""

    def __init__(self, container: av.container.OutputContainer, stream: Any, filter_: str) -> None:
        from av.bitstream import BitStreamFilterContext

        self.sizes: dict[int, int] = {}
        self.version = ""
        self._container, self._stream = container, stream
        self._filter = BitStreamFilterContext(filter_, in_stream=stream) if filter_ else None

    def write(self, packets: Sequence[av.Packet]) -> None:
        for packet in packets:
            self.version = self.version or _version(bytes(packet))
            self._mux(self._filter.filter(packet) if self._filter else [packet])

    def finish(self) -> None:
        if self._filter:
            self._mux(self._filter.filter(None))

    def _mux(self, packets: Sequence[av.Packet]) -> None:
        for packet in packets:
            self.sizes[int(packet.pts or 0)] = packet.size
            packet.stream = self._stream
            self._container.mux(packet)


def _picture(yuv: Planes, index: int) -> av.VideoFrame:
    import av

    y, u, v = yuv
    y = np.pad(y, ((0, y.shape[0] % 2), (0, y.shape[1] % 2)), mode="edge")
    packed = np.concatenate([plane.reshape(-1) for plane in (y, u, v)]).reshape(-1, y.shape[1])
    picture = av.VideoFrame.from_ndarray(packed, format="yuv420p")
    picture.pts = index
    return picture


def _version(packet: bytes) -> str:
    """The version that x264 and x265 write into the first packet; empty where there is none."""
    match = re.search(rb"x264 - (core \d+)|x265 (\(build \d+\) - [\w.+-]+)", packet)
    if not match:
        return ""
    return f"x264 {match[1].decode()}" if match[1] else f"x265 {match[2].decode()}"


def library_version(encoder: Encoder) -> str:
    """The encoder by the release of PyAV that bundles it."""
    import av

    return f"{encoder.library} of PyAV {av.__version__}"


def _words(options: Options) -> str:
    return " ".join(f"{name}={value}" for name, value in options.items())
