"""Test sets: the field's usual ones by name, procedural clips, and any folder or file."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from torchDVC.dataset.frame import DEFAULT_FPS, NOTHING_SAID, ReadOptions
from torchDVC.dataset.pictures import stills
from torchDVC.dataset.procedural import TEST_INDEX, ProceduralReader
from torchDVC.dataset.sources import FileClip, data_root, find_data
from torchDVC.dataset.video import VideoReader, clips_in, open_with
from torchDVC.util.errors import DataError, nearest
from torchDVC.util.files import shown

# Sequences of each data set as they are usually reported.
SEQUENCES: dict[str, tuple[str, ...]] = {
    "UVG": ("Beauty", "Bosphorus", "HoneyBee", "Jockey", "ReadySteadyGo", "ShakeNDry", "YachtRide"),
    "HEVC-B": ("BasketballDrive", "BQTerrace", "Cactus", "Kimono", "ParkScene"),
    "HEVC-C": ("BasketballDrill", "BQMall", "PartyScene", "RaceHorses"),
    "HEVC-D": ("BasketballPass", "BlowingBubbles", "BQSquare", "RaceHorses"),
    "HEVC-E": ("FourPeople", "Johnny", "KristenAndSara"),
    "MCL-JCV": tuple(f"videoSRC{number:02d}" for number in range(1, 31)),
}
_RATES: dict[str, tuple[int, ...]] = {
    "UVG": (120,) * 7,
    "HEVC-B": (50, 60, 50, 24, 24),
    "HEVC-C": (50, 60, 50, 30),
    "HEVC-D": (50, 50, 60, 30),
    "HEVC-E": (60, 60, 60),
    "MCL-JCV": (*(30,) * 4, *(25,) * 5, *(30,) * 7, 24, 25, 30, 25, *(24,) * 5, 30, 30, 30, 24, 30),
}
STANDARD_FPS = {
    (name, sequence): Fraction(rate)
    for name, rates in _RATES.items()
    for sequence, rate in zip(SEQUENCES[name], rates, strict=True)
}
"""Frames a second of each sequence, for clips that do not tell, such as folders of pictures."""
ALSO_CALLED = {"ReadySteadyGo": ("ReadySteadyGo", "ReadySetGo")}
WHOLE_FOLDERS = ("CLIC2022",)
"""Data sets whose sequences are whatever stands in their folder."""
RAW_VIDEO = Path("TestVideo", "raw_video_1080")
"""Below $DATASET: where some have folders of pictures, of all sequences or in a folder for each data set."""
PROCEDURAL_SIZE = (416, 240)
PROCEDURAL_FRAMES = 96
PROCEDURAL_SEQUENCES = tuple(f"clip{number}" for number in range(4))
NAMES = (*SEQUENCES, *WHOLE_FOLDERS, "procedural")


@dataclass(frozen=True)
class TestSequence:
    """A clip of a test set; ``path`` is None for a procedural clip, ``given`` what was said of all clips."""

    __test__ = False

    dataset: str
    name: str
    opener: Callable[[ReadOptions], VideoReader]
    path: Path | None = None
    given: ReadOptions = NOTHING_SAID

    @property
    def stamp(self) -> str:
        """Changes when the clip does: a digest of the names, sizes and times of its files."""
        return "" if self.path is None else FileClip(self.path).stamp

    @property
    def source(self) -> str:
        """Where it is, "" for a procedural clip."""
        return "" if self.path is None else shown(self.path.resolve())

    def open(self, **said: Any) -> VideoReader:
        """A reader of the clip; ``said`` are fields of `ReadOptions`, which go before what was said of all clips."""
        return self.opener(replace(self.given, **{name: value for name, value in said.items() if value is not None}))


def test_sequences(
    names: Sequence[str], seqs: Sequence[str] | None = None, given: ReadOptions = NOTHING_SAID,
    *, singly: bool = False,
) -> list[TestSequence]:
    """The sequences of the test sets ``names``, in order; with ``seqs`` only those of these names.

    ``given`` says of all clips what their names and headers do not. ``singly`` makes every picture of a folder that
    has several sizes a sequence.

    A name is one of `NAMES` (its folder is looked for below $DATASET), or a folder or file of the user's own, also
    below $DATASET. Raises `DataError` for an unknown name, for two clips of one name, and where a known set lacks a
    sequence that was asked for.
    """
    if not names:
        raise DataError(f"no test set named; known: {', '.join(NAMES)}, or any folder or file")
    found = [sequence for name in names for sequence in _data_set(name, seqs, singly)]
    if seqs is not None:
        known = [sequence for name in names for sequence in _names(name, singly)]
        meant = [name for asked in seqs for name in _meant(asked, known, ", ".join(names))]
        found = [sequence for sequence in found if sequence.name in meant]
    _check_names(found)
    return [replace(sequence, given=_given_of(sequence, given)) for sequence in found]


def _meant(asked: str, known: Sequence[str], where: str) -> list[str]:
    """The names that one stands for: itself, else those of the same letters and digits. `DataError` if none."""
    meant = [name for name in known if name == asked] or [name for name in known if _plain(name) == _plain(asked)]
    if not meant:
        raise DataError(f"no sequence '{asked}' in {where}{nearest(asked, known)}")
    return meant


def _given_of(sequence: TestSequence, given: ReadOptions) -> ReadOptions:
    """What is said of a sequence: its standard's rate, and no size of a procedural clip."""
    fps = STANDARD_FPS.get((sequence.dataset, sequence.name), DEFAULT_FPS)
    return replace(given, usual_fps=fps, size=None if sequence.path is None else given.size)


def _check_names(sequences: Sequence[TestSequence]) -> None:
    named: dict[tuple[str, str], TestSequence] = {}
    for sequence in sequences:
        other = named.setdefault((sequence.dataset, sequence.name), sequence)
        if other is not sequence:
            raise DataError(
                f"{sequence.path or sequence.name}: would be {sequence.name} of {sequence.dataset} in the results, as"
                f" {other.path or 'the one before it'} is; leave out or rename one, or test it by itself"
            )


# Its name would make pytest take it for a test wherever a test module imports it.
test_sequences.__test__ = False  # type: ignore[attr-defined]


def _data_set(name: str, seqs: Sequence[str] | None, singly: bool = False) -> list[TestSequence]:
    if name == "procedural":
        sequences = [_procedural(index, sequence) for index, sequence in enumerate(PROCEDURAL_SEQUENCES)]
    elif name in SEQUENCES:
        return _known(name, [s for s in SEQUENCES[name] if seqs is None or _asked(s, seqs)])
    elif name in WHOLE_FOLDERS:
        folder = _known_folder(name)
        sequences = [_clip(name, _relative(clip, folder), clip) for clip in clips_in(folder)]
    else:
        path = find_data(name, NAMES)
        clips = [picture for clip in clips_in(path) for picture in (stills(clip) if singly else [clip])]
        folder = path.parent if clips == [path] else path
        sequences = [_clip(shown(folder.resolve().name), _relative(clip, folder), clip) for clip in clips]
    return [sequence for sequence in sequences if seqs is None or _asked(sequence.name, seqs)]


def _names(name: str, singly: bool) -> list[str]:
    """The names of a data set's sequences, whether or not they are there."""
    return list(SEQUENCES[name]) if name in SEQUENCES else [sequence.name for sequence in _data_set(name, None, singly)]


def _known(name: str, wanted: Sequence[str]) -> list[TestSequence]:
    """Sequences ``wanted`` of the data set ``name`` of `SEQUENCES`."""
    if not wanted:
        return []
    folder = _known_folder(name)
    clips = clips_in(folder)
    sequences = []
    for sequence in wanted:
        spellings = "|".join(ALSO_CALLED.get(sequence, (sequence,)))
        matching = [c for c in clips if re.match(rf"({spellings})[a-z]?\d?(?![a-z\d])", c.stem, re.IGNORECASE)]
        if len(matching) != 1:
            what = f"{len(matching)} clips, keep one" if matching else "nothing, put it there"
            raise DataError(f"{folder}: has {what} for {sequence} of {name}, or pick others with --test_seqs")
        sequences.append(_clip(name, sequence, matching[0]))
    return sequences


def _known_folder(name: str) -> Path:
    root = data_root()
    if root is None:
        raise DataError(f"{name}: set DATASET to the folder that holds {name}/, or name a folder or file")
    letter = name[-1].lower()
    accepted = (
        {f"hevc{letter}", f"class{letter}", f"hevcclass{letter}", f"jctvcclass{letter}", f"jctvc{letter}"}
        if name.startswith("HEVC")
        else {_plain(name)}
    )
    raw = root / RAW_VIDEO
    for parent, folder in ((p, f) for p in (root, raw) for f in sorted((*p.glob("*/"), *p.glob("*/*/")))):
        if _plain("".join(folder.relative_to(parent).parts)) in accepted:
            return folder
    if raw.is_dir() and name in SEQUENCES:
        return raw
    raise DataError(f"{name}: no such folder in $DATASET ({root}); put its sequences in {root / name}")


def _clip(dataset: str, name: str, path: Path) -> TestSequence:
    return TestSequence(dataset, name, lambda options: open_with(path, options), path)


def _procedural(index: int, name: str) -> TestSequence:
    def opener(options: ReadOptions) -> VideoReader:
        return ProceduralReader(TEST_INDEX + index, PROCEDURAL_FRAMES, options.size or PROCEDURAL_SIZE, options)

    return TestSequence("procedural", name, opener)


def _relative(path: Path, folder: Path) -> str:
    """The clip's name: its place below the folder, without the suffix."""
    relative = path.relative_to(folder)
    return shown("_".join((relative if path.is_dir() else relative.with_suffix("")).parts))


def _asked(name: str, seqs: Iterable[str]) -> bool:
    return any(_plain(name) == _plain(asked) for asked in seqs)


def _plain(name: str) -> str:
    """In lower case, without blanks, punctuation and control characters."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    return "".join(letter for letter in folded if unicodedata.category(letter)[0] not in "CPZ")
