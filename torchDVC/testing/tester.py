"""Tester: codes test sequences and writes what it measured."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
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
from torchDVC.dataset.frame import Frame, ReadOptions, VideoInfo, VideoReader
from torchDVC.dataset.testing import TestSequence, test_sequences
from torchDVC.entropy.symbol_streams import EstimatingStream
from torchDVC.models import checkpoints
from torchDVC.models.codec import CodedPicture
from torchDVC.models.model_file import Model, content_hash
from torchDVC.models.sequence import code_sequence
from torchDVC.models.weights import checkpoint_file
from torchDVC.results import complexity
from torchDVC.results.folder import ResultsFolder
from torchDVC.results.rows import PLACE, POINT, FrameRow, RDRow, frame_means, point_path
from torchDVC.results.run_folder import RunFolder
from torchDVC.runner import Runner
from torchDVC.testing.forecast import Forecast
from torchDVC.testing.measurement import Measurement, Stopwatch
from torchDVC.testing.memory import Setting, peak_memory, shown
from torchDVC.testing.pictures import chosen_frames, filmed_frames
from torchDVC.testing.real_streams import RealCoder, RealStream
from torchDVC.util.arithmetic import CODING
from torchDVC.util.beside import Beside, read_ahead
from torchDVC.util.errors import ConfigError
from torchDVC.util.files import atomic_folder
from torchDVC.util.locks import locked
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
        if options.rdoq is not None:
            processes = tuple(replace(process, rdoq=options.rdoq) for process in config.processes)
            config = replace(config, processes=processes)
        super().__init__(options, model, config.processes)
        self.options: TestOptions = options
        self.config = config
        self.folder = options.folder
        self.structure = CodingStructure(options.intra_period, options.gop_size)
        for process in config.processes:
            self._check_modes(process, self.structure.types(), "")
        self.arithmetic = self.precision("32")
        self.codec.eval().compute_in(replace(CODING, precision=self.arithmetic), self.device)
        self.points = self._rate_points()
        self.checkpoint = ""
        if options.checkpoint is not None:
            self.checkpoint = checkpoints.sha256(checkpoint_file(options.checkpoint))
        if options.restore == "none" and not any(spec.weights for spec in model.modules):
            _log.warning("no checkpoint given (--restore load --checkpoint PATH): testing untrained weights")

    def run(self) -> int:
        """Test every process on every sequence; returns the exit code."""
        names, given = self.options.test_datasets or self.config.data, ReadOptions(**self.options.said)
        singly = self.options.intra_period == 1
        sequences = test_sequences(names, self.options.test_seqs or None, given, singly=singly)
        self.results = ResultsFolder(self.folder)
        self.reader_of = cache(self._open)  # opening a video file decodes it
        clips = [self._checked(sequence) for sequence in sequences]
        afterwards = ", and as long again to decode the streams" * self.options.write_stream
        self.forecast = Forecast(clips * len(self.config.processes) * len(self.points), afterwards)
        configuration = {"options": self.options, "model": self.model, "test": self.config}
        self.run_folder = RunFolder(self.folder, sys.argv, configuration, self.options.seed, str(self.device))
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

    def _open(self, sequence: TestSequence) -> VideoReader:
        return sequence.open(frames=self.options.frames or self.config.frames, matrix=self.config.matrix)

    def _checked(self, sequence: TestSequence) -> VideoInfo:
        """What is known of a sequence. Raises `LCPError` where it cannot be tested, or its rows would take others'."""
        info = self.reader_of(sequence).info
        self.fabric.print(f"{sequence.name}: {info.read_in(self.codec.format.bits)}")
        for process in self.config.processes:
            why = f" for the {info.frames} frames of {sequence.name}"
            self._check_modes(process, self.structure.types(info.frames), why)
        self.results.check_source(sequence.dataset, sequence.name, sequence.source)
        return info

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
        """Measure a rate point, unless that was done; processes with the same one before them wait for each other."""
        reader = self.reader_of(sequence)
        point = {"lmda": lmda, "quality": float(quality) if self.codec.levels > 1 else None}
        conditions = self._conditions(sequence, reader, process) | point
        conditions["digest"] = self._digest(sequence, reader, conditions)
        place = point_path(**{name: conditions[name] for name in PLACE})

        def waiting(holder: str) -> None:
            _log.warning("%s: waiting for %s, which tests it", sequence.name, holder)

        with locked(self.folder / f".{_short_hash(place)}.lock", waiting):
            self.results.check_source(sequence.dataset, sequence.name, sequence.source)
            if self.results.has(conditions):
                self.forecast.skip(reader.info)
                _log.warning("%s: already tested, kept", sequence.name)
            else:
                self._measure(reader, process, quality, conditions, place)

    def _measure(
        self, reader: VideoReader, process: Process, quality: int, conditions: dict[str, Any], place: Path
    ) -> None:
        info, identity = reader.info, {name: conditions[name] for name in POINT}
        identity["run_id"] = self.run_folder.run_id
        measurement = Measurement(identity, self.codec.format, self.config.ms_ssim)
        stream = self.coder.stream(place) if self.options.write_stream else None
        with contextlib.ExitStack() as pictures:
            if self._pictured:
                measurement.picture_folder = pictures.enter_context(atomic_folder(self.folder / "images" / place))
                measurement.shown = chosen_frames(info.frames or 1)
                measurement.filmed = filmed_frames(info.width * info.height)
            costs = self._code(conditions["sequence"], reader, process, quality, measurement, stream)
        costs |= self.peaks(info.width, info.height)
        self.results.add([(self._row(conditions, reader, measurement.rows, costs), measurement.rows)])

    @property
    def _pictured(self) -> bool:
        """Whether pictures are written."""
        return self.config.images and not self.options.no_image

    def _conditions(self, sequence: TestSequence, reader: VideoReader, process: Process) -> dict[str, Any]:
        """The columns of a row that are known beforehand, for any rate point."""
        options = self.options
        return {
            "dataset": sequence.dataset, "sequence": sequence.name, "process": process.name,
            "intra_period": options.intra_period, "gop_size": options.gop_size, "matrix": reader.info.matrix,
            "frames": reader.info.frames, "fps": float(reader.info.fps),
            "codec": options.experiment_name or Path(options.model_config).stem + "-ssim" * options.ssim,
            "model": self.model.name, "format": self.codec.format.name, "checkpoint": self.checkpoint,
            "source": sequence.source,
            "settings": f"precision {self.arithmetic}" + ", averaged weights" * options.ema
            + ", real stream" * options.write_stream + f", rdoq {process.rdoq:g}" * (process.rdoq > 0),
        }  # fmt: skip

    def _digest(self, sequence: TestSequence, reader: VideoReader, conditions: dict[str, Any]) -> str:
        """Of all that a row follows from, which is the same for a clip that has moved."""
        conditions = {name: value for name, value in conditions.items() if name != "source"}
        measured = (self.config.ms_ssim, self._pictured, self.options.memory)
        return _short_hash((conditions, self.content, sequence.stamp, reader.info.height, reader.info.width, measured))

    def _code(
        self, name: str, reader: VideoReader, process: Process, quality: int, measurement: Measurement,
        stream: RealStream | None,
    ) -> dict[str, Any]:
        """Code a sequence, and where there is a stream, decode it again; returns columns of its row."""
        waiting: dict[int, Frame] = {}
        watch = Stopwatch()
        pixels = reader.info.height * reader.info.width
        sources = read_ahead(self._sources(reader, waiting))
        pictures = self._pictures(reader, process, quality, sources, measurement, stream)
        with (
            Progress(reader.info.frames, name, unit="frame") as bar, Beside[FrameRow]() as beside,
        ):  # fmt: skip

            def show(rows: Sequence[FrameRow]) -> None:
                for row in rows:
                    bar.update(rate=f"{row.bits / pixels:.4f} bpp", psnr=f"{row.psnr_rgb:.2f} dB")
                    bar.say(self.forecast.frame(reader.info))

            for picture in watch.watch(pictures):
                show(beside.call(measurement.add, picture, waiting.pop(picture.frame.index)))
                if stream is not None:
                    stream.remember(picture)
            show(beside.rest())
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
            lambda frame: EstimatingStream(keep_maps=keep_maps, rdoq=process.rdoq), sources=sources, quality=quality,
        )

    def _sources(self, reader: VideoReader, waiting: dict[int, Frame]) -> Iterator[Tensor]:
        """Pictures for the codec; the frames they were made from wait to be compared with."""
        for index, frame in enumerate(reader):
            waiting[index] = frame
            yield self.codec.format.to_tensor(frame, self.device)

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


def _short_hash(what: object) -> str:
    return hashlib.sha256(repr(what).encode()).hexdigest()[:16]
