"""Opening clips for reading and writing: one function each, whatever the form of the clip."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

from torchDVC.dataset.frame import Frame, ReadOptions, VideoInfo, VideoReader, VideoWriter
from torchDVC.dataset.pictures import PictureWriter, is_picture, picture_reader
from torchDVC.dataset.pipes import PipeReader, PipeWriter
from torchDVC.dataset.raw import RawWriter, y4m_reader, yuv_reader
from torchDVC.util.errors import DataError, nearest
from torchDVC.util.files import STANDARD, visible_below

__all__ = ["Frame", "VideoInfo", "VideoReader", "VideoWriter", "clips_in", "is_clip", "open_video", "open_writer"]

VIDEO_SUFFIXES = (
    *(".yuv", ".y4m", ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mts", ".mpg", ".mpeg", ".wmv", ".flv"),
    *(".264", ".h264", ".265", ".h265", ".hevc", ".m1v", ".m2v", ".ivf", ".obu", ".gif", ".dv", ".mxf", ".nut"),
    *(".m2ts", ".m2t", ".vob", ".3gp", ".ogv", ".asf"),
)


def open_video(
    path: str | os.PathLike[str],
    *,
    size: tuple[int, int] | None = None,
    frames: int | None = None,
    matrix: str | None = None,
    value_range: str | None = None,
    fps: Fraction | None = None,
    pix_fmt: str | None = None,
) -> VideoReader:
    """A reader of the clip at ``path``: a video file, ``.y4m``, ``.yuv``, a folder of pictures or a single picture.
    ``-`` and named pipes bring y4m, which can be read once.

    ``size`` is the (width, height) of a ``.yuv`` whose name does not tell it; other forms know theirs. ``frames`` is
    the most frames to read. ``matrix`` and ``value_range`` say how YUV relates to RGB and go before the file's own
    tags; without either it is BT.709 limited. ``fps`` goes before the file's own, ``pix_fmt`` (FFmpeg's names) before
    what the name of a ``.yuv`` says of its samples. Raises `DataError` in one line that names the file where it is
    missing, damaged or of an unknown form.
    """
    return open_with(Path(path).expanduser(), ReadOptions(size, frames, matrix, value_range, fps, pix_fmt))


def open_with(path: Path, options: ReadOptions) -> VideoReader:
    """`open_video` with its keywords in one record."""
    if path == STANDARD or path.is_fifo():
        return PipeReader(path, options)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder{_similar(path)}")
    if path.is_dir() or is_picture(path):
        return picture_reader(path, options)
    if path.suffix.lower() == ".yuv":
        return yuv_reader(path, options)
    if path.suffix.lower() == ".y4m":
        return y4m_reader(path, options)
    from torchDVC.dataset.container import MediaReader

    return MediaReader(path, options)


def open_writer(path: str | os.PathLike[str], info: VideoInfo) -> VideoWriter:
    """A writer of a clip like ``info`` to ``path``: ``.y4m``, ``.yuv``, ``.mp4``, or a folder of png (no suffix).

    ``-`` is y4m on standard output. Use it in a ``with`` statement; the clip appears under its name only when it is
    complete.
    """
    path = Path(path).expanduser()
    if path == STANDARD:
        return PipeWriter(path, info)
    suffix = path.suffix.lower()
    if suffix in (".y4m", ".yuv"):
        return RawWriter(path, info)
    if suffix == ".mp4":
        from torchDVC.dataset.mp4 import Mp4Writer

        return Mp4Writer(path, info)
    if suffix:
        known = (".y4m", ".yuv", ".mp4")
        raise DataError(f"{path}: clips cannot be written as '{suffix}'{nearest(suffix, known)}, or no suffix for png")
    return PictureWriter(path, info)


def is_clip(path: Path) -> bool:
    """Whether ``path`` looks like a clip by its name: a video file, or a folder of pictures without videos."""
    if path.name.startswith("."):
        return False
    if not path.is_dir():
        return path.suffix.lower() in VIDEO_SUFFIXES
    files = [file for file in path.iterdir() if not file.name.startswith(".")]
    return any(map(is_picture, files)) and not any(file.suffix.lower() in VIDEO_SUFFIXES for file in files)


def clips_in(path: Path) -> list[Path]:
    """The clips of a data set: ``path`` itself where it is a clip or a picture, else all clips below the folder.

    Raises `DataError` where there is nothing.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder{_similar(path)}")
    if is_clip(path) or path.is_file():
        return [path]
    found = sorted(candidate for candidate in visible_below(path) if is_clip(candidate))
    if not found:
        known = ", ".join(VIDEO_SUFFIXES[:5])
        raise DataError(f"{path}: holds no clips; put video files ({known}, …) or folders of png there")
    return found


def _similar(path: Path) -> str:
    """The clause that names the nearest file of the same folder, where there is one."""
    if not path.parent.is_dir():
        return f"; there is no folder {path.parent} either"
    clause = nearest(path.name, [candidate.name for candidate in path.parent.iterdir()])
    return clause if "did you mean" in clause else "; check the path"
