"""Real streams in a test: written to files, read back from the disk, and compared with what the encoder had."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from torchDVC.bitstream.container_reader import ContainerReader
from torchDVC.bitstream.container_writer import write_container
from torchDVC.bitstream.streams import header_of, read_frames, write_frames
from torchDVC.coding_structure import CodingStructure
from torchDVC.config import Process
from torchDVC.dataset.frame import VideoInfo
from torchDVC.models.checkpoints import SUFFIX
from torchDVC.models.codec import Codec, CodedPicture
from torchDVC.models.model_file import SHOWN_DIGITS, fixed, load_model, save_model
from torchDVC.testing.measurement import Stopwatch
from torchDVC.util.arithmetic import CODING
from torchDVC.util.errors import BitstreamError


class RealCoder:
    """An encoder, and a decoder that knows no more than the encoder's model file.

    Args:
        folder: results; the model file goes to ``models``, streams go to ``streams``.
        codec: the codec under test; it is fixed to integers.
        process: its modes.
        device: where to decode.
    """

    def __init__(self, folder: Path, codec: Codec, process: Process, device: torch.device) -> None:
        self.folder = folder
        self.encoder = fixed(codec, process)
        path = folder / "models" / f"{self.encoder.name}-{self.encoder.hash[:SHOWN_DIGITS]}{SUFFIX}"
        save_model(path, self.encoder)
        self.decoder = load_model(path)
        self.decoder.codec.compute_in(CODING, device)

    def stream(self, name: Path) -> RealStream:
        """The stream of a sequence, ``<name>.lcp`` below ``streams``."""
        return RealStream(self, self.folder / "streams" / name.with_name(f"{name.name}.lcp"))


class RealStream:
    """One stream: `write` it, `remember` what the encoder has, `check` what a decoder gets."""

    def __init__(self, coder: RealCoder, path: Path) -> None:
        self._coder, self.path = coder, path
        self._expected: dict[int, str] = {}

    def write(
        self, info: VideoInfo, structure: CodingStructure, quality: int, sources: Iterable[Tensor], keep_maps: bool
    ) -> Iterator[CodedPicture]:
        """Encode pictures (1, C, h, w) of the codec's format; the file is there after the last."""
        model = self._coder.encoder
        with write_container(self.path, header_of(model, info, structure, quality)) as writer:
            yield from write_frames(model, writer, sources, keep_maps=keep_maps)

    def remember(self, picture: CodedPicture) -> None:
        """Note what the encoder has for a frame."""
        self._expected[picture.frame.index] = _digest(picture)

    def check(self) -> Stopwatch:
        """Decode the file, timed. Raises `BitstreamError` at a frame that is not the encoder's, to the bit."""
        watch = Stopwatch()
        with ContainerReader(self.path) as reader:
            for picture in watch.watch(read_frames(self._coder.decoder, reader)):
                if _digest(picture) != self._expected.pop(picture.frame.index, ""):
                    raise BitstreamError(f"{self.path}: frame {picture.frame.index} differs from the encoder's")
        if self._expected:
            raise BitstreamError(f"{self.path}: frame {min(self._expected)} is not in the stream")
        return watch

    @property
    def bits(self) -> int:
        """Size on the disk."""
        return 8 * self.path.stat().st_size


def _digest(picture: CodedPicture) -> str:
    """SHA-256 of the reconstruction before it becomes 8-bit."""
    recon = picture.state["recon"].detach().float().cpu().contiguous()
    return hashlib.sha256(recon.numpy().tobytes()).hexdigest()
