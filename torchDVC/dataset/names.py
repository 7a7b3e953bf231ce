"""What the names of clips say: size, frame rate, samples and colour, as test sequences are usually named.

Such as ``Beauty_1920x1080_120fps_420_8bit_YUV``, ``BQMall_832x480_60``, ``CatRobot1_3840x2160p_60_10_709_420``,
``crowd_run_1080p50``, ``foreman_cif``. Names are read word by word, so that ``qp10`` and ``Clip1444`` say nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from torchDVC.dataset.layouts import Layout, find_layout

MOST_FPS = 120
"""A bare number after the size is a frame rate up to here; beyond, as in MFQE's ``_832x480_600``, it counts frames."""

_SIZES = {
    "sqcif": (128, 96), "qcif": (176, 144), "cif": (352, 288), "4cif": (704, 576), "16cif": (1408, 1152),
    "2160": (3840, 2160), "1080": (1920, 1080), "720": (1280, 720),
}  # fmt: skip
_BROADCAST = {Fraction(text): Fraction(rate * 1000, 1001) for text, rate in (
    ("23.97", 24), ("23.976", 24), ("23.98", 24), ("29.97", 30), ("59.94", 60), ("119.88", 120)
)}  # fmt: skip
_SIZE = re.compile(r"(?<!\d)(\d{1,5})x(\d{1,5})(?:[pi](\d+(?:\.\d+)?)?)?(?!\w)")
_LINES = re.compile(r"(2160|1080|720)[pi](\d+(?:\.\d+)?)?")
_FPS = re.compile(r"(\d+(?:\.\d+)?)(?:fps|hz)(?![a-z])")
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)p?")
_BITS = re.compile(r"(8|9|10|12|14|16)(?:b|bits?|bpp|bpc)?(le|be)?")
_MATRICES = {"709": "bt709", "601": "bt601", "2020": "bt2020"}


@dataclass(frozen=True)
class Named:
    """What a name says; None where it does not. ``matrix`` may be "bt2020", which is not known here otherwise."""

    size: tuple[int, int] | None = None
    fps: Fraction | None = None
    layout: Layout | None = None
    matrix: str | None = None


def name_says(stem: str) -> Named:
    """What the name of a clip, without its suffix, says."""
    words = [word for word in re.split(r"[\s_,;()\[\]+-]+|\.(?!\d)|(?<!\d)\.", stem.lower()) if word]
    size, rate, place = _size(words)
    after = words[place:]
    named = _FPS.search(stem.lower())
    number = _NUMBER.fullmatch(after[0]) if after and after[1:2] not in (["bit"], ["bits"]) else None
    bare = number[1] if number and float(number[1]) <= MOST_FPS else None
    text = named[1] if named else rate or bare
    bits = after[1] if bare and not named and len(after) > 1 else ""
    return Named(size, _rate(text), _layout(words, after, bits), _matrix(words, after))


def _size(words: Sequence[str]) -> tuple[tuple[int, int] | None, str | None, int]:
    """The last size, a frame rate that is written onto it, and the number of words up to it."""
    for place, word in reversed(list(enumerate(words, 1))):
        if match := _SIZE.search(word):
            return (int(match[1]), int(match[2])), match[3], place
    for place, word in reversed(list(enumerate(words, 1))):
        match = _LINES.fullmatch(word)
        if match or (word in _SIZES and not word.isdigit()):
            return _SIZES[match[1] if match else word], match and match[2], place
    return None, None, len(words)


def _rate(text: str | None) -> Fraction | None:
    value = Fraction(text or 0)
    return _BROADCAST.get(value, value) or None


def _layout(words: Sequence[str], after: Sequence[str], bare_bits: str) -> Layout | None:
    """The pixel format that a word names; a bare ``420`` counts behind the size only, where depth stands alone too."""
    found = next((layout for word in words if not word.isdigit() and (layout := find_layout(word))), None)
    found = found or next((layout for word in after if (layout := find_layout(word))), None)
    depths = [match for word in words if not word.isdigit() and (match := _BITS.fullmatch(word))]
    depths += [match for word, unit in zip(words, words[1:], strict=False)
               if unit in ("bit", "bits") and (match := _BITS.fullmatch(word))]
    if not depths and (match := _BITS.fullmatch(bare_bits)):
        depths = [match]
    if depths and (found is None or found.bits == 8):
        return replace(found or Layout(), bits=int(depths[0][1]), big_endian=depths[0][2] == "be")
    return found


def _matrix(words: Sequence[str], after: Sequence[str]) -> str | None:
    named = (match[1] for word in words if (match := re.fullmatch(r"(?:bt|rec)\.?(709|601|2020)(?:nc|cl)?", word)))
    return next((_MATRICES[digits] for digits in (*named, *(word for word in after[1:] if word in _MATRICES))), None)
