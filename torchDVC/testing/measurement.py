"""Measuring one sequence: a row a frame, and their summary."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from torchDVC.dataset.frame import Frame
from torchDVC.dataset.picture_format import PictureFormat
from torchDVC.models.codec import CodedPicture
from torchDVC.results.metrics import picture_metrics, plane_psnr
from torchDVC.results.rows import FrameRow
from torchDVC.testing.pictures import maps, write_pictures

SHOWN = ("recon", "mc", "warped")
"""Pictures that are compared with the source, where a codec forms them."""


@dataclass
class Measurement:
    """What was measured of a sequence so far.

    Args:
        identity: the columns that say which sequence, process and rate point a frame row belongs to.
        form: the picture format that the codec works in.
        ms_ssim: measure MS-SSIM too.
        picture_folder: where pictures of the ``shown`` frames go, and those of the ``filmed`` ones; None for none.
    """

    identity: dict[str, Any]
    form: PictureFormat = field(default_factory=PictureFormat)
    ms_ssim: bool = True
    picture_folder: Path | None = None
    shown: set[int] = field(default_factory=set)
    filmed: range = range(0)
    rows: list[FrameRow] = field(default_factory=list)

    def add(self, picture: CodedPicture, source: Frame) -> FrameRow:
        """Measure a frame against its source."""
        shown = {key: self._frame(picture.state[key], source) for key in SHOWN if key in picture.state}
        recon = shown.pop("recon")
        rates = {label: float(bits.sum()) for label, bits in picture.stream.rates().items()}
        hyper = {label: float(bits.sum()) for (label, part), bits in picture.stream.bits.items() if part == "hyper"}
        pictures: dict[str, float] = {key: plane_psnr(source.rgb, frame.rgb) for key, frame in shown.items()}
        metrics: dict[str, Any] = {**picture_metrics(source, recon, self.ms_ssim)}
        row = FrameRow(
            **self.identity, frame=picture.frame.index, type=picture.frame.type, references=picture.frame.references,
            bits=sum(rates.values()), rates=rates, hyper_rates=hyper, pictures=pictures, **metrics,
        )
        self.rows.append(row)
        if self.picture_folder is not None and (row.frame in self.shown or row.frame in self.filmed):
            pixels = {"source": source.rgb, "recon": recon.rgb}
            if row.frame in self.shown:
                pixels |= {key: frame.rgb for key, frame in shown.items() if key == "mc"} | maps(picture, **pixels)
            write_pictures(self.picture_folder, row.frame, pixels)
        return row

    def _frame(self, picture: Tensor, source: Frame) -> Frame:
        """What a decoder shows for a picture."""
        return self.form.to_frame(picture, source.size[::-1], source.matrix, source.range)


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
