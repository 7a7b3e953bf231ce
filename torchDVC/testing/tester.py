"""Tester: codes test sequences and writes what it measured."""

from __future__ import annotations

import hashlib
import logging
import math
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any

from torch import Tensor

from torchDVC.coding_structure import CodingStructure
from torchDVC.config import ModelConfig, Process, TestConfig
from torchDVC.config.command_line import TestOptions
from torchDVC.dataset.frame import Frame, VideoReader
from torchDVC.dataset.testing import TestSequence, test_sequences
from torchDVC.entropy.streams import EstimatingStream
from torchDVC.models import checkpoints
from torchDVC.models.codec import CodedPicture
from torchDVC.models.model_file import Model, content_hash
from torchDVC.models.sequence import code_sequence, to_tensor
from torchDVC.results import complexity
from torchDVC.results.conditions import rate_point
from torchDVC.results.rows import (
    POINT,
    FrameRow,
    RDRow,
    frame_means,
    point_path,
    read_frames,
    read_rows,
    write_rows,
)
from torchDVC.results.run_folder import RunFolder
from torchDVC.results.tables import text_table
from torchDVC.runner import Runner, checkpoint_file
from torchDVC.testing.measurement import Measurement, Stopwatch
from torchDVC.testing.memory import Setting, peak_memory, shown
from torchDVC.testing.pictures import chosen_frames, filmed_frames
from torchDVC.testing.real_streams import RealCoder, RealStream
from torchDVC.util.device import autocast
from torchDVC.util.errors import ConfigError
from torchDVC.util.progress import Progress

_log = logging.getLogger(__name__)

class Tester(Runner):
    """Measures a codec on test sequences.

    Args:
        options: the command line.
        model: the model csv.
        config: the test cfg.
    """

    def __init__(self, options: TestOptions, model: ModelConfig, config: TestConfig) -> None:
        super().__init__(options, model, config.processes)
        self.options: TestOptions = options
        self.config = config
        self.folder = options.folder
        self.structure = CodingStructure(options.intra_period, options.gop_size)
        for process in config.processes:
            self._check_modes(process, self.structure.types(), "")
        self.codec.eval()
        self.arithmetic = self.precision("32")
        self.points = self._rate_points()
        self.checkpoint = ""
        if options.checkpoint is not None:
            self.checkpoint = checkpoints.sha256(checkpoint_file(options.checkpoint))
        if options.restore == "none" and not any(spec.weights for spec in model.modules):
            _log.warning("no checkpoint given (--restore load --checkpoint PATH): testing untrained weights")

    def run(self) -> int:
        """Test every process on every sequence; returns the exit code."""
        sequences = test_sequences(self.options.test_datasets or self.config.data, self.options.test_seqs or None)
        for sequence in sequences:
            count = sequence.open(frames=self.config.frames).info.frames
            for process in self.config.processes:
                self._check_modes(process, self.structure.types(count), f" for the {count} frames of {sequence.name}")
        configuration = {"options": self.options, "model": self.model, "test": self.config}
        self.run_folder = RunFolder(self.folder, sys.argv, configuration, self.options.seed, str(self.device))
        self.results = Results(self.folder)
        for process in self.config.processes:
            self.costs = self.note_complexity(self.folder, process)
            self.content = content_hash(self.codec, process)
            if self.options.write_stream:
                self.coder = RealCoder(self.folder, self.codec, process, self.device)
            self.peaks = cache(partial(self._peaks, process))
            for sequence, (quality, lmda) in product(sequences, self.points):
                self._test(sequence, process, quality, lmda)
        self.fabric.print(self.results.summary())
        return 0

    def _check_modes(self, process: Process, types: set[str], why: str) -> None:
        """Raises `ConfigError` where the process has no mode for one of the frame types."""
        missing = [f"{kind.lower()}mode" for kind in sorted(types) if not process.of(kind)]
        if missing:
            raise ConfigError([
                f"{process.where}: process '{process.name}' has no {missing[0]}, which --intra_period "
                f"{self.options.intra_period} --gop_size {self.options.gop_size} needs{why}"
            ])

    def _rate_points(self) -> list[tuple[int, float | None]]:
        """The quality levels to test and the Lagrangians that they stand under; None where none is known of a level."""
        options, lmdas = self.options, self.codec.lmdas.tolist()
        if not options.quality:
            level = self.codec.level_of(options.lmda * options.lmda_scale)
            self._check_lmda(options.lmda * options.lmda_scale, lmdas[level])
            return [(level, options.lmda)]
        if max(options.quality) >= len(lmdas):
            raise ConfigError([f"--quality {max(options.quality)}; expected 0 to {len(lmdas) - 1} with this model"])
        return [(level, options.lmda or lmdas[level] / options.lmda_scale or None) for level in options.quality]

    def _check_lmda(self, asked: float, trained: float) -> None:
        """Say where a checkpoint is of another Lagrangian than the one that its results will be filed under."""
        if self.options.restore == "load" and trained and not math.isclose(asked, trained, rel_tol=1e-3):
            _log.warning(
                "--lmda %g: the checkpoint was trained with %g; its results stand under %g",
                asked, trained, self.options.lmda,
            )  # fmt: skip

    # --- one sequence

    def _test(self, sequence: TestSequence, process: Process, quality: int, lmda: float | None) -> None:
        reader = sequence.open(frames=self.config.frames, matrix=self.config.matrix)
        count = reader.info.frames
        identity: dict[str, Any] = {
            "dataset": sequence.dataset, "sequence": sequence.name, "process": process.name,
            "lmda": lmda, "quality": float(quality) if self.codec.levels > 1 else None,
        }
        pictures = self.config.images and not self.options.no_image
        conditions = {**identity, **self._conditions(reader), "frames": count}
        measured = (self.config.ms_ssim, pictures, self.options.memory)
        what = (conditions, self.content, sequence.stamp, reader.info.height, reader.info.width, measured)
        conditions["digest"] = hashlib.sha256(repr(what).encode()).hexdigest()[:16]
        if self.results.has(conditions):
            _log.warning("%s: already tested, kept", sequence.name)
            return
        measurement = Measurement({"run_id": self.run_folder.run_id, **identity}, self.config.ms_ssim)
        if pictures:
            measurement.picture_folder = self.folder / "images" / point_path(**identity)
            shutil.rmtree(measurement.picture_folder, ignore_errors=True)  # of the measurement that this one replaces
            measurement.shown = chosen_frames(count or 1)
            measurement.filmed = filmed_frames(reader.info.width * reader.info.height)
        stream = self.coder.stream(point_path(**identity)) if self.options.write_stream else None
        costs = self._code(sequence.name, reader, process, quality, measurement, stream)
        costs |= self.peaks(reader.info.width, reader.info.height)
        self.results.add(self._row(conditions, reader, measurement.rows, costs), measurement.rows)

    def _conditions(self, reader: VideoReader) -> dict[str, Any]:
        options = self.options
        return {
            "intra_period": options.intra_period, "gop_size": options.gop_size, "matrix": reader.info.matrix,
            "codec": options.experiment_name or Path(options.model_config).stem + "-ssim" * options.ssim,
            "model": self.model.name, "checkpoint": self.checkpoint,
            "settings": f"precision {self.arithmetic}" + ", real stream" * options.write_stream,
        }

    def _code(
        self, name: str, reader: VideoReader, process: Process, quality: int, measurement: Measurement,
        stream: RealStream | None,
    ) -> dict[str, Any]:
        """Code a sequence, and where there is a stream, decode it again; returns columns of its row."""
        waiting: dict[int, Frame] = {}
        watch = Stopwatch()
        pixels = reader.info.height * reader.info.width
        pictures = self._pictures(reader, process, quality, self._sources(reader, waiting), measurement, stream)
        with Progress(reader.info.frames, name, unit="frame") as bar, autocast(self.arithmetic, self.device):
            for picture in watch.watch(pictures):
                row = measurement.add(picture, waiting.pop(picture.frame.index))
                if stream is not None:
                    stream.remember(picture)
                bar.update(rate=f"{row.bits / pixels:.4f} bpp", psnr=f"{row.psnr_rgb:.2f} dB")
            if stream is None:
                return {"encode_fps": watch.rate}
            return {
                "encode_fps": watch.rate, "decode_fps": stream.check().rate, "bpp": stream.bits / pixels / watch.items
            }

    def _pictures(
        self, reader: VideoReader, process: Process, quality: int, sources: Iterator[Tensor],
        measurement: Measurement, stream: RealStream | None,
    ) -> Iterator[CodedPicture]:
        """The coded pictures of a sequence, written to a stream where there is one."""
        keep_maps = measurement.picture_folder is not None
        if stream is not None:
            return stream.write(reader.info, self.structure, quality, sources, keep_maps)
        return code_sequence(
            self.codec, process, replace(self.structure, references=process.references),
            (reader.info.height, reader.info.width),
            lambda frame: EstimatingStream(keep_maps=keep_maps), sources=sources, quality=quality,
        )

    def _sources(self, reader: VideoReader, waiting: dict[int, Frame]) -> Iterator[Tensor]:
        """Pictures for the codec; the frames they were made from wait to be compared with."""
        for index, frame in enumerate(reader):
            waiting[index] = frame
            yield to_tensor(frame.rgb, self.device)

    def _peaks(self, process: Process, width: int, height: int) -> dict[str, float]:
        """Memory of coding clips of a size, measured once; nothing with ``--no-memory``."""
        if not self.options.memory:
            return {}
        setting = Setting(
            width, height, self.structure.intra_period, self.structure.gop_size, self.points[0][0], self.device.type,
            self.arithmetic,
        )  # fmt: skip
        columns = peak_memory(Model(self.codec, process, self.content), setting)
        if self.options.print_model:
            self.fabric.print(shown(setting, columns))
        return columns

    def _row(
        self, conditions: dict[str, Any], reader: VideoReader, rows: Sequence[FrameRow],
        measured: dict[str, Any],
    ) -> RDRow:
        info = reader.info
        pixels = info.width * info.height
        modules = {row.module: row.parameters for row in self.costs}
        return RDRow(
            **{**conditions, "frames": len(rows)}, width=info.width, height=info.height, range=info.range,
            bpp_estimated=sum(row.bits for row in rows) / pixels / len(rows),
            parameters=sum(modules.values()) or None, run_id=self.run_folder.run_id,
            **complexity.frame_costs(self.costs, [row.type for row in rows]), **measured, **frame_means(rows, pixels),
        )


class Results:
    """``rd.csv`` and ``frames.csv`` of a folder: a new measurement of a rate point takes the place of the old one."""

    def __init__(self, folder: Path) -> None:
        self.rd, self.frames = folder / "rd.csv", folder / "frames.csv"
        self.rows = read_rows(self.rd) if self.rd.exists() else []
        self.frame_rows = read_frames(self.frames) if self.frames.exists() else []

    def has(self, conditions: dict[str, Any]) -> bool:
        """A row of this rate point follows from just the same."""
        return any(all(getattr(row, name) == conditions[name] for name in (*POINT, "digest")) for row in self.rows)

    def add(self, row: RDRow, frames: Sequence[FrameRow]) -> None:
        """Put a rate point in its place, and write both files."""
        self.rows = [r for r in self.rows if not _same_point(r, row)] + [row]
        self.frame_rows = [f for f in self.frame_rows if not _same_point(f, row)] + list(frames)
        write_rows(self.frames, self.frame_rows)
        write_rows(self.rd, self.rows)

    def summary(self) -> str:
        """A line a rate point."""
        header = ["data set", "sequence", "process", "rate point", "bpp", "PSNR-RGB", "PSNR-YUV", "MS-SSIM"]
        lines = [
            [r.dataset, r.sequence, r.process, rate_point(r), f"{r.rate:.4f}", f"{r.psnr_rgb:.2f}", f"{r.psnr_yuv:.2f}",
             "" if r.ms_ssim_rgb is None else f"{r.ms_ssim_rgb:.4f}"]
            for r in self.rows
        ]  # fmt: skip
        return text_table(header, lines) + f"written to {self.rd}"


def _same_point(a: RDRow | FrameRow, b: RDRow) -> bool:
    return all(getattr(a, name) == getattr(b, name) for name in POINT)
