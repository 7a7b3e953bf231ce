"""Fonts for names in any script: a figure's texts get installed fonts that have their letters, else codes of these."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEFAULT = "DejaVu Sans"
"""The font that matplotlib brings along."""
BOXES = "Last Resort"
"""Its other one, which has a box for every letter."""

_log = logging.getLogger(__name__)


def fit_fonts(figure: Figure, *, replace: bool = True) -> None:
    """Give every text of a figure the fonts that its letters need.

    Letters that no installed font has become codes such as ``\\u4e0a``, which is said once; without ``replace``, where
    whoever shows the figure brings the fonts, they stay.
    """
    from matplotlib.font_manager import findfont
    from matplotlib.text import Text

    texts = [text for text in figure.findobj(Text) if isinstance(text, Text)]
    needed = {letter for text in texts for letter in text.get_text()} - _letters(findfont(DEFAULT)) - {"\n"}
    if not needed:
        return
    families = dict(_families(needed))
    lacking = needed.difference(*map(_letters, families.values()))
    for text in texts:
        text.set_fontfamily([DEFAULT, *families])
        if replace:
            text.set_text("".join(_code(letter) if letter in lacking else letter for letter in text.get_text()))
    if lacking and replace:
        _log.warning("no installed font has %s; they are drawn as codes", " ".join(sorted(lacking)))


def _families(needed: set[str]) -> Iterator[tuple[str, str]]:
    """Installed fonts, with their files, that together have all of the letters that any has; the most useful first."""
    from matplotlib.font_manager import fontManager

    files = {font.name: font.fname for font in fontManager.ttflist if not font.name.startswith(BOXES)}
    while needed and files:
        useful = max(sorted(files), key=lambda name: len(needed & _letters(files[name])))
        if not needed & _letters(files[useful]):
            return
        yield useful, files[useful]
        needed = needed - _letters(files.pop(useful))


@functools.cache
def _letters(file: str) -> frozenset[str]:
    """What a font has glyphs for."""
    from matplotlib.ft2font import FT2Font

    return frozenset(map(chr, FT2Font(file).get_charmap()))


def _code(letter: str) -> str:
    return letter.encode("ascii", "backslashreplace").decode()
