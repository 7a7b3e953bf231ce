"""Rate points of anchor codecs on the user's own clips.

Each clip is encoded at several qualities, the file is decoded again, and the result is a row like those of the tester:
bytes on disk, the same colour conversion and metrics, the encoder's version and all its settings. What was measured
before is taken from ``cache`` in the results' folder, by content of the clip and settings of the encoder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchDVC.anchors.coded_files import Encoded
from torchDVC.anchors.encoders import ENCODERS, Encoder, Options
from torchDVC.coding_structure import CodingStructure
from torchDVC.dataset.frame import VideoReader
from torchDVC.results.folder import ResultsFolder
from torchDVC.results.rows import FrameRow, RDRow, frame_means
from torchDVC.util.errors import ConfigError, DataError, nearest
from torchDVC.util.files import write_text

if TYPE_CHECKING:
    from torchDVC.dataset.testing import TestSequence

METHOD = 2
"""Raised whenever a change makes measurements differ, so that the cache forgets the old ones."""


@dataclass(frozen=True)
class Anchor:
    """An encoder in one of its presets; named like ``x264 veryfast``."""

    encoder: str
    preset: str
    tune: str = ""

    @property
    def name(self) -> str:
        return " ".join(filter(None, [self.encoder, self.preset, self.tune and f"tune {self.tune}"]))


@dataclass(frozen=True)
class PointResult:
    """What was measured of one rate point of one sequence, and of its frames."""

    row: RDRow
    frames: tuple[FrameRow, ...]


def anchors(names: Sequence[str], tune: str = "") -> list[Anchor]:
    """The anchors that ``x264`` (all its usual presets) or ``x264:medium`` name; ``tune`` is for those that tune."""
    problems = list(name_problems(names))
    if problems:
        raise ConfigError(problems)
    found = []
    for encoder, _, preset in (name.partition(":") for name in names):
        own_tune = tune if ENCODERS[encoder].tunes else ""
        found += [Anchor(encoder, p, own_tune) for p in ([preset] if preset else ENCODERS[encoder].presets)]
    return list(dict.fromkeys(found))


def name_problems(names: Iterable[str]) -> Iterator[str]:
    """What is wrong with names of anchors."""
    for encoder, _, preset in (name.partition(":") for name in names):
        if encoder not in ENCODERS:
            yield f"unknown codec '{encoder}'{nearest(encoder, ENCODERS)}"
        elif preset and preset not in ENCODERS[encoder].known:
            yield f"{encoder}: unknown preset '{preset}'{nearest(preset, ENCODERS[encoder].known) or '; it has none'}"


def quality_problems(encoders: Iterable[str], qualities: Sequence[float]) -> Iterator[str]:
    """Which of the qualities which of the encoders would not take as they are."""
    for name in dict.fromkeys(encoders):
        encoder = ENCODERS[name]
        low, high = encoder.limits
        for quality in qualities:
            if not low <= quality <= high or (encoder.whole and quality % 1):
                number = "a whole number" if encoder.whole else "a number"
                yield f"quality {quality:g}: {name} takes {number} from {low:g} to {high:g}"


def measure_anchors(
    sequences: Sequence[TestSequence],
    codecs: Sequence[Anchor],
    structure: CodingStructure,
    save_dir: Path,
    *,
    frames: int | None = None,
    matrix: str | None = None,
    qualities: Sequence[float] = (),
    ms_ssim: bool = True,
    report: Callable[[int, str], None] = lambda count, what: None,
    note: Callable[[str], None] = lambda text: None,
) -> list[RDRow]:
    """Measure every anchor on every sequence; put the rows into the tables of ``save_dir``, and return them.

    Args:
        sequences: clips with the name and data set they appear under.
        codecs: from `anchors`.
        structure: intra period and GOP size of the learned codec's test.
        save_dir: also holds the encoded files, in ``streams``, and what was measured before, in ``cache``.
        frames: the most frames of each clip.
        matrix: colour matrix of the clips, in place of what they say.
        qualities: rate points in place of each encoder's own.
        ms_ssim: measure MS-SSIM too, which takes the most time.
        report: called after each rate point with the number done and its name.
        note: told what each clip is, before anything is encoded.
    """
    problems = list(quality_problems([codec.encoder for codec in codecs], qualities))
    if problems:
        raise ConfigError(problems)
    for codec in codecs:
        ENCODERS[codec.encoder].version()  # refuses where its programs are missing
    results = ResultsFolder(save_dir)
    for sequence in sequences:
        results.check_source(sequence.dataset, sequence.name, sequence.source)
    clips = [(sequence, sequence.open(frames=frames, matrix=matrix)) for sequence in sequences]
    for sequence, reader in clips:
        note(f"{sequence.name}: {reader.info.read_in(8)}")
    done: list[PointResult] = []
    for sequence, reader in clips:
        first = len(done)
        content = content_hash(reader)
        for codec in codecs:
            for quality in qualities or ENCODERS[codec.encoder].qualities:
                done.append(Point(sequence, reader, codec, structure, quality, ms_ssim, content).measure(save_dir))
                report(len(done), f"{codec.name} {quality:g} {sequence.name}")
        results.add((point.row, point.frames) for point in done[first:])
    return [point.row for point in done]


def content_hash(reader: VideoReader) -> str:
    """A hash of the samples of all frames, and of what says how they are to be shown."""
    info = reader.info
    digest = hashlib.sha256(f"{info.width}x{info.height} {info.fps} {info.matrix} {info.range}".encode())
    for frame in reader:
        for plane in frame.yuv:
            digest.update(plane.tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Point:
    """One rate point to measure: a codec at a quality on a sequence."""

    sequence: TestSequence
    reader: VideoReader
    codec: Anchor
    structure: CodingStructure
    quality: float
    ms_ssim: bool
    content: str

    def measure(self, save_dir: Path) -> PointResult:
        """The result from the cache, or a new one, which is then kept there."""
        cache = save_dir / "cache" / f"{self.key}.json"
        if not cache.exists():
            write_text(cache, json.dumps(asdict(self._measure(save_dir))))
        return self._named(_from_json(cache))

    @property
    def encoder(self) -> Encoder:
        return ENCODERS[self.codec.encoder]

    @property
    def options(self) -> Options:
        return self.encoder.options(self.fitted, self.codec.preset, self.quality, self.codec.tune)

    @property
    def fitted(self) -> CodingStructure:
        return self.encoder.fitted(self.structure)

    @property
    def key(self) -> str:
        """A hash of all that the result depends on."""
        parts = [METHOD, self.content, self.encoder.version(), self.encoder.form, self.options, self.ms_ssim]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def _named(self, found: PointResult) -> PointResult:
        """With the names and conditions of this point, whichever the cached result was made under."""
        names: dict[str, Any] = {"dataset": self.sequence.dataset, "sequence": self.sequence.name}
        intra = self.encoder.intra
        period, gop = (1, 1) if intra else (self.structure.intra_period, self.structure.gop_size)
        own_gop = f"; GOP of {self.fitted.gop_size}" if self.fitted.gop_size != gop and not intra else ""
        own: dict[str, Any] = {"settings": found.row.settings + own_gop, "source": self.sequence.source}
        fps = float(self.reader.info.fps)
        row = replace(found.row, **names, **own, intra_period=period, gop_size=gop, fps=fps)
        return PointResult(row, tuple(replace(frame, **names) for frame in found.frames))

    def _measure(self, save_dir: Path) -> PointResult:
        info = self.reader.info
        name = f"{self.sequence.name}_{self.quality:g}_{self.key}.{self.encoder.form}"
        path = save_dir / "streams" / self.codec.name.replace(" ", "_") / name
        encoded = self.encoder.write(self.encoder, self.options, self.reader, info, path)
        frames, seconds = self._compare(path, encoded)
        pixels = info.width * info.height
        row = RDRow(
            dataset=self.sequence.dataset,
            sequence=self.sequence.name,
            width=info.width,
            height=info.height,
            frames=len(frames),
            intra_period=self.structure.intra_period,
            gop_size=self.structure.gop_size,
            lmda=dict(zip(self.encoder.qualities, self.encoder.lmdas, strict=False)).get(self.quality),
            quality=self.quality,
            bpp=path.stat().st_size * 8 / (pixels * len(frames)),
            encode_fps=len(frames) / encoded.seconds,
            decode_fps=len(frames) / seconds,
            codec=self.codec.name,
            matrix=info.matrix,
            range=info.range,
            format=self.encoder.pictures,
            settings=f"{encoded.settings}; .{self.encoder.form} file of {path.stat().st_size} bytes",
            run_id=self.key,
            **frame_means(frames, pixels),
        )
        return PointResult(row, tuple(frames))

    def _compare(self, path: Path, encoded: Encoded) -> tuple[list[FrameRow], float]:
        """Decode the file and compare it with the source; the frames, and the seconds that decoding took."""
        from torchDVC.results.metrics import picture_metrics

        rows: list[FrameRow] = []
        seconds = 0.0
        for source, (frame, kind, time) in zip(self.reader, self.encoder.read(path, self.reader.info), strict=True):
            values: dict[str, Any] = picture_metrics(source, frame, ms_ssim=self.ms_ssim)
            rows.append(
                FrameRow(
                    run_id=self.key,
                    dataset=self.sequence.dataset,
                    sequence=self.sequence.name,
                    quality=self.quality,
                    frame=len(rows),
                    type=encoded.types.get(len(rows), kind),
                    bits=encoded.sizes[len(rows)] * 8,
                    **values,
                )
            )
            seconds += time
        return rows, seconds


def _from_json(path: Path) -> PointResult:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        frames = tuple(FrameRow(**{**frame, "references": tuple(frame["references"])}) for frame in values["frames"])
        return PointResult(RDRow(**values["row"]), frames)
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{path}: damaged; delete it to measure again") from None
