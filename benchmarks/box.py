"""What the codec in the box is worth: whole files of clips beside x264 and x265, in matched settings.

    python benchmarks/box.py CLIP … [--model box.safetensors]
    python benchmarks/box.py CLIP … --levels --frames 5

Every clip is coded whole, low delay, an I frame every 32 frames, headers counted: by the model at some quality
levels, by x264 and x265 `medium` with `tune psnr`, and by x265 with its chroma quantiser 4 lower as well, as the
model's chroma is coded finer than luma. BD-rates in percent, means over clips last.

With ``--levels`` every quality level of the model is coded instead: the levels whose file is not larger, or whose
PSNR-RGB or PSNR-Y not higher, than those of the level below, and by how much files grow from level to level.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from torchDVC.anchors.encoders import ENCODERS
from torchDVC.bitstream.container_reader import ContainerReader
from torchDVC.bitstream.container_writer import write_container
from torchDVC.bitstream.streams import header_of, read_frames, write_frames
from torchDVC.coding_structure import CodingStructure
from torchDVC.config.flags import argument, flag, parse_flags, switch_flag
from torchDVC.config.values import existing_path, whole, words
from torchDVC.dataset.frame import Frame, VideoInfo
from torchDVC.dataset.video import open_video
from torchDVC.models.model_file import Model
from torchDVC.models.model_store import open_model
from torchDVC.results.bd_rate import bd_rate
from torchDVC.results.conditions import Curve
from torchDVC.results.metrics import picture_metrics
from torchDVC.util.errors import run_command

STRUCTURE = CodingStructure(32)
QUALITIES = (12, 24, 36, 48, 60)
CRFS = (18.0, 23.0, 28.0, 33.0, 38.0)
ANCHORS = {"x264": ("x264", ""), "x265": ("x265", ""), "x265, chroma -4": ("x265", "cbqpoffs=-4:crqpoffs=-4")}
METRICS = ("psnr_rgb", "psnr_y", "ms_ssim_rgb")
Point = tuple[int, dict[str, float]]
"""Bytes of a file, and the mean of each metric over its frames."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The command line."""

    clips: tuple[Path, ...] = argument(existing_path, "the clips", metavar="CLIP", many=True)
    model: str = flag(words, "model file, or the name of one", metavar="F", default="box")
    qualities: tuple[int, ...] = flag(whole(0), "levels to code with", metavar="N", many=True, default=QUALITIES)
    frames: int | None = flag(whole(1), "the first of each clip only", metavar="N", default=None)
    levels: bool = switch_flag("look for levels that are out of order")


def main() -> None:
    usage = "python benchmarks/box.py CLIP … [flags]"
    options = parse_flags(Options, None, usage=usage, description=(__doc__ or "").split(":")[0])
    model = open_model(options.model)
    if options.levels:
        for clip in options.clips:
            print(f"{clip.stem}: {disorder(model, clip, options.frames)}", flush=True)
        return
    columns = [f"{metric} of {name}" for name in ANCHORS for metric in METRICS]
    print(f"| clip | {' | '.join(columns)} | frames/s of one core, both ways |", flush=True)
    rows = [measure(model, clip, options.qualities, options.frames) for clip in options.clips]
    print(line("mean", np.mean(rows, 0)))


def measure(model: Model, clip: Path, qualities: Iterable[int], frames: int | None) -> list[float]:
    """BD-rates of a clip against every anchor in every metric, then frames/s of encoder and decoder."""
    reader = open_video(clip)
    source, info = list(islice(reader, frames)), reader.info
    with tempfile.TemporaryDirectory() as folder:
        coded = [code(model, source, info, quality, Path(folder) / "box.lcp") for quality in qualities]
        rates = []
        for encoder, extra in ANCHORS.values():
            points = [anchor(encoder, extra, source, info, crf, Path(folder)) for crf in CRFS]
            rates += [saving(points, [point for point, _, _ in coded], metric) for metric in METRICS]
    row = [*rates, *(len(source) * len(coded) / sum(seconds) for seconds in zip(*(c[1:] for c in coded), strict=True))]
    print(line(clip.stem, row), flush=True)
    return row


def disorder(model: Model, clip: Path, frames: int | None) -> str:
    """The levels that are not above those below them, by what; and the steps of the rate, in octaves."""
    reader = open_video(clip)
    source, metrics = list(islice(reader, frames)), ("psnr_rgb", "psnr_y")
    with tempfile.TemporaryDirectory() as folder:
        path, levels = Path(folder) / "box.lcp", range(model.codec.levels)
        points = [code(model, source, reader.info, quality, path, metrics)[0] for quality in levels]
    columns: dict[str, list[float]] = {"bytes": [size for size, _ in points]}
    columns |= {metric: [values[metric] for _, values in points] for metric in metrics}
    found = [
        f"{level} by {name}" for name, own in columns.items() for level in levels[1:] if own[level] <= own[level - 1]
    ]
    steps = np.diff(np.log2(columns["bytes"]))
    return (
        f"{', '.join(found) or f'{len(points)} levels in order'}; "
        f"steps of {steps.min():.3f} to {steps.max():.3f} octaves, mean {steps.mean():.3f}"
    )


def line(name: str, row: Iterable[float]) -> str:
    *rates, encoded, decoded = row
    return f"| {name} | {' | '.join(f'{rate:+.1f}' for rate in rates)} | {encoded:.1f}, {decoded:.1f} |"


def code(
    model: Model, source: list[Frame], info: VideoInfo, quality: int, path: Path, metrics: Sequence[str] = METRICS
) -> tuple[Point, float, float]:
    """Code a clip to a file and read it again; the point, and seconds of processor time of both."""
    form, device = model.codec.format, torch.device("cpu")
    begin = time.process_time()
    with write_container(path, header_of(model, info, STRUCTURE, quality)) as writer:
        for _ in write_frames(model, writer, (form.to_tensor(frame, device) for frame in source)):
            pass
    middle = time.process_time()
    with ContainerReader(path) as reader:
        size = (info.height, info.width)
        decoded = [form.to_frame(p.state["recon"], size, info.matrix, info.range) for p in read_frames(model, reader)]
    end = time.process_time()
    return (path.stat().st_size, quality_of(source, decoded, metrics)), middle - begin, end - middle


def anchor(name: str, extra: str, source: list[Frame], info: VideoInfo, crf: float, folder: Path) -> Point:
    """The point of a conventional encoder."""
    encoder, path = ENCODERS[name], folder / f"anchor.{ENCODERS[name].form}"
    settings = encoder.options(STRUCTURE, "medium", crf, "psnr")
    if extra:
        settings["x265-params"] += f":{extra}"
    encoder.write(encoder, settings, source, info, path)
    return path.stat().st_size, quality_of(source, (frame for frame, _, _ in encoder.read(path, info)))


def quality_of(source: list[Frame], decoded: Iterable[Frame], metrics: Sequence[str] = METRICS) -> dict[str, float]:
    """The mean of each metric; MS-SSIM takes longer than coding does, so it is worked out where it is asked for."""
    each = [picture_metrics(a, b, ms_ssim="ms_ssim_rgb" in metrics) for a, b in zip(source, decoded, strict=True)]
    return {metric: float(np.mean([values[metric] for values in each])) for metric in metrics}


def saving(anchors: list[Point], points: list[Point], metric: str) -> float:
    """BD-rate in percent."""
    return bd_rate(curve(anchors, metric), curve(points, metric)).value


def curve(points: list[Point], metric: str) -> Curve:
    sizes, qualities = zip(*sorted((size, values[metric]) for size, values in points), strict=True)
    return Curve("codec", "set", "clip", sizes, qualities)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
