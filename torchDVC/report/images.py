"""The pictures of a report page: chosen, and made small enough to stand inside it."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from torchDVC.dataset.colour import Plane
from torchDVC.report.beside import Reconstruction, picture_folder
from torchDVC.results.conditions import group
from torchDVC.results.rows import read_rows
from torchDVC.util.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

KINDS = ("source", "recon", "mc", "warped", "flow", "bits", "error")
EXACT_KINDS = ("source", "recon")
MAP_QUALITY = 80
QUALITIES = (None, 95, 85, 70)
"""WebP qualities of source and reconstruction, tried in this order; None is lossless."""
SAMPLE = 3
SAMPLE_MARGIN = 1.5
"""A quality is not tried on all frames where `SAMPLE` of them are more than this too large."""


@dataclass(frozen=True)
class Shown:
    """One frame of one rate point, with a file for each kind of picture; ``point`` is the number of its row.

    ``beside`` holds other codecs' reconstructions of the frame, uint8 RGB (3, H, W), by number of their rows.
    """

    point: int
    frame: int
    files: dict[str, Path]
    beside: Mapping[int, Plane] = field(default_factory=dict)


def find_pictures(tables: Iterable[Path]) -> list[Shown]:
    """All frames with a source and a reconstruction below ``images`` beside each table, whose rows count as one.

    Where some frames of a rate point have maps too, those that have none are left to films.
    """
    rows = [(table, row) for table in tables for row in read_rows(table)]
    found = [list(_frames(point, picture_folder(table, row))) for point, (table, row) in enumerate(rows)]
    return [shown for own in found for shown in [one for one in own if len(one.files) > len(EXACT_KINDS)] or own]


def choose(pictures: Sequence[Shown], most: int) -> list[Shown]:
    """At most ``most`` of them: of every rate point as many, spread over its frames."""
    points = group(pictures, lambda shown: shown.point).values()
    each = max(1, most // max(1, len(points)))
    chosen = [shown for own in points for shown in _spread(own, each)]
    step = max(1, math.ceil(len(chosen) / most))
    return chosen[::step]


def with_beside(
    chosen: Sequence[Shown], points: Mapping[int, Sequence[int]], known: Mapping[int, Reconstruction]
) -> list[Shown]:
    """The frames with what other rate points, named by the number of each one's row, made of them."""
    wanted = group(chosen, lambda shown: shown.point)
    found = {
        point: {other: known[other].read([shown.frame for shown in wanted[point]]) for other in others}
        for point, others in points.items()
    }
    return [
        replace(one, beside={other: read[one.frame] for other, read in found[one.point].items() if one.frame in read})
        for one in chosen
    ]


def embed(pictures: Sequence[Shown], budget: int) -> tuple[list[dict[str, Any]], str]:
    """The pictures as data addresses, and in words how they were stored.

    Source and reconstruction are lossless where ``budget`` bytes of the page allow it, else in the best quality that
    fits; if even the lowest does not, fewer frames are shown.
    """
    while pictures:
        for quality in QUALITIES:
            sample = pictures[:: math.ceil(len(pictures) / SAMPLE)]
            if _size(_records(sample, quality)) * len(pictures) > budget * len(sample) * SAMPLE_MARGIN:
                continue
            records = _records(pictures, quality)
            if _size(records) <= budget:
                words = "lossless WebP" if quality is None else f"WebP of quality {quality}, no longer exact"
                return records, words
        pictures = pictures[::2] if len(pictures) > 1 else []
    return [], ""


def _size(records: Sequence[Mapping[str, Any]]) -> int:
    return len(json.dumps(records))


def _spread(own: Sequence[Shown], most: int) -> list[Shown]:
    count = min(most, len(own))
    return [own[len(own) * (2 * i + 1) // (2 * count)] for i in range(count)]


def _frames(point: int, folder: Path) -> Iterator[Shown]:
    for source in sorted(folder.glob("*_source.png")):
        number = source.name.removesuffix("_source.png")
        files = {kind: folder / f"{number}_{kind}.png" for kind in KINDS}
        files = {kind: file for kind, file in files.items() if file.exists()}
        if number.isdecimal() and "recon" in files:
            yield Shown(point, int(number), files)


def _webp_of_file(file: Path, quality: int | None) -> bytes:
    from PIL import Image

    try:
        with Image.open(file) as picture:
            return _webp(picture.convert("RGB"), quality)
    except (OSError, SyntaxError) as error:
        raise DataError(f"{file}: not a readable picture ({error}); test again to write it anew") from None


def _webp_of_plane(plane: Plane, quality: int | None) -> bytes:
    from PIL import Image

    return _webp(Image.fromarray(np.ascontiguousarray(plane.transpose(1, 2, 0))), quality)


def _webp(picture: Image, quality: int | None) -> bytes:
    data = io.BytesIO()
    if quality is None:
        picture.save(data, "WEBP", lossless=True, quality=60)
    else:
        picture.save(data, "WEBP", quality=quality)
    return data.getvalue()


def _records(pictures: Sequence[Shown], quality: int | None) -> list[dict[str, Any]]:
    """Of each frame, its pictures by kind and those of other codecs by number of their rows, as data addresses."""
    of_kind = {kind: quality if kind in EXACT_KINDS else MAP_QUALITY for kind in KINDS}
    return [
        {
            "point": shown.point,
            "frame": shown.frame,
            "pictures": {kind: _address(_webp_of_file(file, of_kind[kind])) for kind, file in shown.files.items()},
            "beside": {point: _address(_webp_of_plane(plane, quality)) for point, plane in shown.beside.items()},
        }
        for shown in pictures
    ]


def _address(webp: bytes) -> str:
    return "data:image/webp;base64," + base64.b64encode(webp).decode()
