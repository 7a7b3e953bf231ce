"""Short films for a report page: the pictures of several codecs stacked in one video, so that they run in step."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from torchDVC.dataset.colour import Plane
from torchDVC.report.beside import Pictures, Reconstruction
from torchDVC.results.rows import RDRow

FRAMES = 32
LEAST_FRAMES = 4
FPS = 30.0
"""Where a row does not tell."""
MOST = 4
"""At most so many rate points are filmed."""
QUALITIES = (8, 12, 16, 20, 24)
"""x264's CRF, tried in this order until a film fits."""


def films(
    leads: Mapping[int, Sequence[int]], known: Mapping[int, Reconstruction], rows: Sequence[RDRow], budget: int
) -> list[dict[str, Any]]:
    """Films of rate points, by number of their rows, each with the points beside it, in ``budget`` bytes together."""
    found: list[dict[str, Any]] = []
    for lead, others in leads.items():
        room = (budget - sum(len(film["video"]) for film in found)) // (len(leads) - len(found))
        film = _film(lead, others, known, rows[lead].fps or FPS, room)
        found += [film] if film else []
    return found


def spread(points: Sequence[int], clips: Mapping[int, tuple]) -> list[int]:
    """At most `MOST` of the points: the middle one of every clip first, then one after the other around it."""
    rings: list[tuple[int, int]] = []
    for clip in dict.fromkeys(clips[point] for point in points):
        own = [point for point in points if clips[point] == clip]
        rings += sorted((abs(2 * place - len(own) + 1), point) for place, point in enumerate(own))
    return [point for _, point in sorted(rings, key=lambda ring: ring[0])][:MOST]


def _film(
    lead: int, others: Sequence[int], known: Mapping[int, Reconstruction], fps: float, room: int
) -> dict[str, Any] | None:
    """The film of a rate point; None where there are too few frames of it, or too little room."""
    own = known[lead]
    if not isinstance(own, Pictures):
        return None
    frames = list(_whole(own.read(range(FRAMES))))
    if len(frames) < LEAST_FRAMES:
        return None
    tracks = {lead: own.read(frames)} | {number: known[number].read(frames) for number in others}
    shown = {number: track for number, track in tracks.items() if len(track) == len(frames)}
    sources = own.read(frames, "source")
    stacked = [np.concatenate([_even(track[i]) for track in (sources, *shown.values())], 1) for i in frames]
    for quality in QUALITIES:
        video = base64.b64encode(_mp4(stacked, fps, quality)).decode()
        if len(video) <= room:
            return {"point": lead, "tracks": list(shown), "frames": len(frames), "crf": quality, "video": video}
    return None


def _whole(frames: Mapping[int, Plane]) -> range:
    """The frames from the first as far as none is missing."""
    count = 0
    while count in frames:
        count += 1
    return range(count)


def _even(picture: Plane) -> Plane:
    """A picture without its last row or column where their number is odd, as browsers play 4:2:0 only."""
    _, height, width = picture.shape
    return picture[:, : height - height % 2, : width - width % 2]


def _mp4(frames: Sequence[Plane], fps: float, quality: int) -> bytes:
    """A video of pictures, uint8 RGB (3, H, W)."""
    from torchDVC.dataset.frame import Frame, VideoInfo
    from torchDVC.dataset.mp4 import Mp4Writer

    _, height, width = frames[0].shape
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        info = VideoInfo(width, height, len(frames), Fraction(fps).limit_denominator(1001))
        with Mp4Writer(path, info, crf=quality) as writer:
            for rgb in frames:
                writer.write(Frame(rgb=rgb))
        return path.read_bytes()
