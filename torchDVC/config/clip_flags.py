"""Flags that say of clips what their names and headers do not; every command that reads clips has them."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from torchDVC.config.flags import flag
from torchDVC.config.values import Unexpected, whole, words

CLIPS = "what clips do not tell"


def picture_size(text: str) -> tuple[int, int]:
    """``1920x1080``."""
    width, _, height = text.partition("x")
    try:
        return whole(1, 16384)(width), whole(1, 16384)(height)
    except Unexpected:
        raise Unexpected("width and height in pixels, such as 1920x1080") from None


def frame_rate(text: str) -> Fraction:
    """``25`` or ``30000/1001``."""
    try:
        value = Fraction(text)
    except (ValueError, ZeroDivisionError):
        value = Fraction(0)
    if not 0 < value <= 1000:
        raise Unexpected("frames a second, such as 25 or 30000/1001")
    return value.limit_denominator(10**6)


@dataclass(frozen=True, kw_only=True)
class ClipFlags:
    """The flags; `said` is what they say."""

    size: tuple[int, int] | None = flag(
        picture_size, "of .yuv files whose names do not tell it", group=CLIPS, metavar="WxH", default=None
    )
    pix_fmt: str | None = flag(
        words, "samples of .yuv files, such as yuv420p10le or nv12, before their names", group=CLIPS,
        metavar="FORMAT", default=None,
    )  # fmt: skip
    fps: Fraction | None = flag(
        frame_rate, "frames a second, before the clips' own", group=CLIPS, metavar="F", default=None
    )

    @property
    def said(self) -> dict[str, Any]:
        """Arguments of `torchDVC.dataset.frame.ReadOptions`."""
        return {"size": self.size, "pix_fmt": self.pix_fmt, "fps": self.fps}
