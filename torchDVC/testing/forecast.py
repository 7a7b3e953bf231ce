"""How long a test will take, told from the pace of its first frames."""

from __future__ import annotations

import time
from collections.abc import Iterable

from torchDVC.dataset.frame import VideoInfo
from torchDVC.util.progress import clock

FRAMES_TIMED = 4
"""Frames whose pace is that of all, after a first one that also warms everything up."""


class Forecast:
    """Says once how long all clips will take, by their pixels; where a clip's length is not known, the pace.

    Args:
        clips: what will be coded, in any order; a clip as often as it will be.
        afterwards: what follows the coding of each clip, in words.
    """

    def __init__(self, clips: Iterable[VideoInfo], afterwards: str = "") -> None:
        self._clips = list(clips)
        self._afterwards = afterwards
        self._times: list[float] = []

    def skip(self, info: VideoInfo) -> None:
        """A clip is not coded after all."""
        self._clips.remove(info)

    def frame(self, info: VideoInfo) -> str:
        """Note that a frame of a clip has been coded; the line to show, once, else nothing."""
        self._times.append(time.monotonic())
        if len(self._times) != FRAMES_TIMED + 1:
            return ""
        pace = (self._times[-1] - self._times[0]) / FRAMES_TIMED
        frames = sum(clip.frames or 0 for clip in self._clips)
        if any(clip.frames is None for clip in self._clips):
            return f"{len(self._clips)} clips, not all of known length: about {pace:.2g} s a frame"
        areas = sum((clip.frames or 0) * clip.width * clip.height for clip in self._clips)
        seconds = pace * areas / (info.width * info.height)
        clips = f"{len(self._clips)} clip{'s' * (len(self._clips) > 1)}"
        return f"{frames} frames in {clips}: about {clock(seconds)} to code{self._afterwards}"
