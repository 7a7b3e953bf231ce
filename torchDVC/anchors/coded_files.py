"""Files that anchor codecs write: clips into files with PyAV or libbpg, and frames out of them again.

A file holds as little as its format allows: raw Annex B for H.264 and HEVC without the encoder's own SEI messages, OBUs
for AV1, IVF for VP9 (12 bytes a frame and 32 for the file), BPG pictures one after another (4 bytes each for a length).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from torchDVC.anchors.av1 import shown_frames
from torchDVC.anchors.encoder import Decoded, Encoded, Encoder, Options
from torchDVC.dataset.encoding import encode_clip
from torchDVC.dataset.frame import Frame, VideoInfo, split_planes
from torchDVC.util.errors import LCPError
from torchDVC.util.files import atomic_path

LENGTH_BYTES = 4


def write_av(encoder: Encoder, options: Options, frames: Iterable[Frame], info: VideoInfo, path: Path) -> Encoded:
    """Encode a clip with one of FFmpeg's encoders to the file ``path``, which appears when it is complete.

    Pictures of odd width or height are continued by one column or row, since 4:2:0 formats store even sizes only;
    `read_av` takes them off again.

    Raises:
        LCPError: the encoder does not take the clip or its options.
    """
    import av

    os.environ.setdefault("SVT_LOG", "0")  # else the library writes its settings to the terminal
    try:
        with atomic_path(path) as temporary:
            clip = encode_clip(
                str(temporary), encoder.form, encoder.library, frames, info, options=options, filter_=encoder.filter
            )
    except av.error.FFmpegError as error:
        what = f"{encoder.library} refuses {info.source} ({info.width}x{info.height})"
        raise LCPError(f"{what} with {_words(options)}: {error.strerror or error}") from error
    return Encoded(clip.sizes, clip.seconds, f"{clip.version or encoder.version()}; {_words(options)}; 1 thread")


def write_av1(encoder: Encoder, options: Options, frames: Iterable[Frame], info: VideoInfo, path: Path) -> Encoded:
    """`write_av` for AV1, with the types and bytes of the frames that are shown, whichever packet holds them."""
    encoded = write_av(encoder, options, frames, info, path)
    shown = list(shown_frames(path.read_bytes()))
    sizes = {index: size for index, (_, size) in enumerate(shown)}
    return replace(encoded, sizes=sizes, types={index: kind for index, (kind, _) in enumerate(shown)})


def read_av(path: Path, info: VideoInfo) -> Iterator[Decoded]:
    """The frames of a file in display order."""
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


def write_bpg(encoder: Encoder, options: Options, frames: Iterable[Frame], info: VideoInfo, path: Path) -> Encoded:
    """Encode every frame as a BPG picture; all of them go to one file, each after its length."""
    from torchDVC.dataset.bpg import encode_bpg

    sizes: dict[int, int] = {}
    seconds = 0.0
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        for index, frame in enumerate(frames):
            picture = frame.rgb
            start = time.perf_counter()
            data = encode_bpg(picture, int(options["qp"]))
            seconds += time.perf_counter() - start
            file.write(len(data).to_bytes(LENGTH_BYTES, "big") + data)
            sizes[index] = LENGTH_BYTES + len(data)
    return Encoded(sizes, seconds, f"{encoder.version()}; {_words(options)}")


def read_bpg(path: Path, info: VideoInfo) -> Iterator[Decoded]:
    """The pictures of a file."""
    from torchDVC.dataset.bpg import decode_bpg

    with open(path, "rb") as file:
        while length := file.read(LENGTH_BYTES):
            data = file.read(int.from_bytes(length, "big"))
            start = time.perf_counter()
            picture = decode_bpg(data)
            yield Frame(rgb=picture, matrix=info.matrix, value_range=info.range), "I", time.perf_counter() - start


def _words(options: Options) -> str:
    return " ".join(f"{name}={value}" for name, value in options.items())
