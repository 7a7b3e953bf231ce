"""What an anchor codec is: an encoder, its settings, and how its files are written and read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torchDVC.coding_structure import CodingStructure
from torchDVC.dataset.frame import Frame, VideoInfo

Options = dict[str, str]


@dataclass(frozen=True)
class Encoded:
    """What an encoder wrote: bytes of each frame by display index, seconds it took, the settings in words.

    ``types`` holds I, P or B by display index where a decoder cannot tell them.
    """

    sizes: Mapping[int, int]
    seconds: float
    settings: str
    types: Mapping[int, str] = field(default_factory=dict)


Decoded = tuple[Frame, str, float]
"""A frame in its original size, I, P or B, and the seconds that decoding it took."""


def _pyav() -> str:
    import av

    return f"PyAV {av.__version__}"


@dataclass(frozen=True)
class Encoder:
    """An anchor codec.

    Attributes:
        library: its name in FFmpeg, or the program it is.
        form: the form of the file, also its suffix.
        presets: those that are run when none is named.
        qualities: rate points: constant rate factors, or quantiser parameters of intra codecs.
        known: all presets that differ from one another.
        limits: the least and the highest quality number.
        options: makes the encoder's options of coding structure, preset, quality and tuning ("" or "psnr").
        write, read: write a clip to a file, and give its frames.
        whole: takes whole numbers as qualities only.
        tunes: has a tuning for PSNR that is not its default.
        gops: the smallest and the largest GOP with B frames.
        filter: what removes messages from the stream that the decoder does not need, as a bitstream filter.
        intra: codes every frame as an intra frame, whatever the structure.
        lmdas: for an intra codec, the lmda that each quality stands for in a learned video codec.
        pictures: what it codes, as the column ``format`` of results has it.
        bundle: names the release that the encoder came with.
    """

    library: str
    form: str
    presets: tuple[str, ...]
    qualities: tuple[float, ...]
    options: Callable[[CodingStructure, str, float, str], Options]
    known: tuple[str, ...]
    limits: tuple[float, float]
    write: Callable[[Encoder, Options, Iterable[Frame], VideoInfo, Path], Encoded]
    read: Callable[[Path, VideoInfo], Iterator[Decoded]]
    whole: bool = False
    tunes: bool = False
    gops: tuple[int, int] = (2, 16)
    filter: str = ""
    intra: bool = False
    lmdas: tuple[float, ...] = ()
    pictures: str = "yuv420"
    bundle: Callable[[], str] = _pyav

    def version(self) -> str:
        """What tells one release of the encoder from another."""
        return f"{self.library} of {self.bundle()}"

    def fitted(self, structure: CodingStructure) -> CodingStructure:
        """The structure with the nearest GOP size that the encoder has."""
        smallest, largest = self.gops
        gop_size = structure.gop_size if structure.gop_size == 1 else min(max(structure.gop_size, smallest), largest)
        return CodingStructure(structure.intra_period, gop_size)
