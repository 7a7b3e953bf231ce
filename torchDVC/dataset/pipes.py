"""y4m through pipes: from standard input or a named pipe, and to standard output."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from torchDVC.dataset.frame import Frame, ReadOptions, VideoReader
from torchDVC.dataset.raw import MAX_LINE, RawWriter, Y4mHeader, cut_short, is_frame_line, stored_frame
from torchDVC.util.errors import DataError
from torchDVC.util.files import STANDARD


class PipeReader(VideoReader):
    """A clip in y4m that is read once, frame by frame as they come; the path ``-`` is standard input."""

    def __init__(self, path: Path, options: ReadOptions) -> None:
        if path == STANDARD and sys.stdin.isatty():
            raise DataError("-: nothing is piped in; expected y4m on standard input")
        self._file: BinaryIO = sys.stdin.buffer if path == STANDARD else open(path, "rb")  # noqa: SIM115
        self._header = Y4mHeader.read(self._file, path)
        self._most = options.frames
        super().__init__(replace(self._header.info(path, options, 1), frames=None))

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        while index != self._most and (line := self._file.readline(MAX_LINE)):
            data = self._file.read(self._header.frame_bytes)
            if not is_frame_line(line) or len(data) < self._header.frame_bytes:
                raise cut_short(self.info.source, index)
            yield stored_frame(np.frombuffer(data, np.uint8), self._header.layout, self.info)
            index += 1


class PipeWriter(RawWriter):
    """Writes y4m to standard output."""

    def _destination(self) -> AbstractContextManager[Path]:
        if sys.stdout.isatty():
            raise DataError("-: standard output is a terminal; expected a pipe, or the name of a file")
        return nullcontext(self.path)

    def _file_at(self, path: Path) -> BinaryIO:
        return sys.stdout.buffer

    def _finish(self) -> None:
        self._file.flush()

    def _release(self) -> None:
        """What is written is gone."""
