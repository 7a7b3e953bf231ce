"""Measuring one sequence: a row a frame, and their summary."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torchDVC.dataset.frame import Frame
from torchDVC.models.codec import CodedPicture
from torchDVC.models.sequence import to_rgb
from torchDVC.results.metrics import picture_metrics, plane_psnr
from torchDVC.results.rows import FrameRow
from torchDVC.testing.pictures import write_pictures


@dataclass
class Measurement:
    """What was measured of a sequence so far.

    Args:
        identity: the columns that say which sequence, process and rate point a frame row belongs to.
        ms_ssim: measure MS-SSIM too.
        picture_folder: where pictures of the ``shown`` frames go, and those of the ``filmed`` ones; None for none.
    """

    identity: dict[str, Any]
    ms_ssim: bool = True
    picture_folder: Path | None = None
    shown: set[int] = field(default_factory=set)
    filmed: range = range(0)
    rows: list[FrameRow] = field(default_factory=list)

    def add(self, picture: CodedPicture, source: Frame) -> FrameRow:
        """Measure a frame against its source."""
        rgb = to_rgb(picture.state["recon"])
        rates = {label: float(bits.sum()) for label, bits in picture.stream.rates().items()}
        hyper = {label: float(bits.sum()) for (label, part), bits in picture.stream.bits.items() if part == "hyper"}
        pictures: dict[str, float] = {
            key: plane_psnr(source.rgb, to_rgb(picture.state[key])) for key in ("mc", "warped") if key in picture.state
        }
        metrics: dict[str, Any] = {**picture_metrics(source, rgb, self.ms_ssim)}
        row = FrameRow(
            **self.identity, frame=picture.frame.index, type=picture.frame.type, references=picture.frame.references,
            bits=sum(rates.values()), rates=rates, hyper_rates=hyper, pictures=pictures, **metrics,
        )
        self.rows.append(row)
        if self.picture_folder is not None and (row.frame in self.shown or row.frame in self.filmed):
            write_pictures(self.picture_folder, picture, maps=row.frame in self.shown)
        return row


class Stopwatch:
    """Times how long an iterator takes to give its items, without what is done with them."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.items = 0

    def watch(self, items: Iterable[CodedPicture]) -> Iterator[CodedPicture]:
        """Pass the items on."""
        iterator = iter(items)
        while True:
            start = time.perf_counter()
            item = next(iterator, None)
            self.seconds += time.perf_counter() - start
            if item is None:
                return
            self.items += 1
            yield item

    @property
    def rate(self) -> float | None:
        """Items a second; None before the first."""
        return self.items / self.seconds if self.items and self.seconds else None
