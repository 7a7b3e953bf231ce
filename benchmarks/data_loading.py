"""How fast training batches are loaded: from the decoded-frame cache, from png with PIL, from mp4 with PyAV.

All ways draw the same pieces (4 clips x 2 frames x 3 x 256 x 256 by default) of the same clips in one run on one
thread, interleaved, so that their ratios hold on any machine. Without ``--clips`` it makes procedural clips of
Vimeo-90k's size (7 frames of 448x256) in a temporary folder.

    python benchmarks/data_loading.py
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image

from torchDVC.config.flags import flag, parse_flags
from torchDVC.config.values import existing_path, number, whole
from torchDVC.util.errors import run_command


def make_clips(folder: Path, count: int) -> None:
    """``count`` procedural clips of seven frames of 448x256, as mp4."""
    from torchDVC.dataset.procedural import procedural_clip
    from torchDVC.dataset.video import Frame, VideoInfo, open_writer

    folder.mkdir()
    for index in range(count):
        with open_writer(folder / f"{index:03d}.mp4", VideoInfo(448, 256)) as writer:
            for rgb in procedural_clip(index, 7, (448, 256)):
                writer.write(Frame(rgb=rgb))


def as_pictures(clips: list[Path], folder: Path) -> dict[str, list[Path]]:
    """The clips as png folders: the pictures of each clip by the clip's name."""
    from torchDVC.dataset.video import open_video, open_writer

    for clip in clips:
        reader = open_video(clip)
        with open_writer(folder / clip.stem, reader.info) as writer:
            for frame in reader:
                writer.write(frame)
    return {str(clip): sorted((folder / clip.stem).iterdir()) for clip in clips}


def windows(lengths: dict[str, tuple[int, int, int]], frames: int, patch: int) -> Iterator[tuple[str, int, int, int]]:
    """Random (clip, first frame, top, left) for ever; ``lengths`` has (frames, height, width) of each clip."""
    rng = np.random.default_rng(0)
    names = sorted(lengths)
    while True:
        name = names[rng.integers(len(names))]
        first, top, left = (
            int(rng.integers(n - m + 1)) for n, m in zip(lengths[name], (frames, patch, patch), strict=True)
        )
        yield name, first, top, left


def from_pictures(pictures: list[Path], first: int, frames: int) -> Iterator[np.ndarray]:
    for path in pictures[first : first + frames]:
        with Image.open(path) as picture:
            yield np.asarray(picture.convert("RGB"))


def from_video(path: str, first: int, frames: int) -> Iterator[np.ndarray]:
    with av.open(path) as container:
        for frame in islice(container.decode(video=0), first, first + frames):
            yield frame.to_ndarray(format="rgb24")


def batches(
    decode: Callable[[str, int], Iterator[np.ndarray]],
    pieces: Iterator[tuple[str, int, int, int]],
    size: int,
    patch: int,
) -> Iterator[torch.Tensor]:
    """Batches of pieces cut from freshly decoded pictures (H, W, 3)."""
    while True:
        clips = []
        for name, first, top, left in islice(pieces, size):
            cut = [picture[top : top + patch, left : left + patch] for picture in decode(name, first)]
            clips.append(torch.from_numpy(np.stack(cut)).permute(0, 3, 1, 2))
        yield torch.stack(clips)


def rates(ways: dict[str, Iterator[torch.Tensor]], seconds: float, rounds: int = 5) -> dict[str, float]:
    """Batches per second of each way: the best of ``rounds`` interleaved rounds."""
    best = dict.fromkeys(ways, 0.0)
    for _ in range(rounds):
        for name, way in ways.items():
            next(way)
            start, count = time.perf_counter(), 0
            while time.perf_counter() - start < seconds / rounds or not count:
                next(way)
                count += 1
            best[name] = max(best[name], count / (time.perf_counter() - start))
    return best


@dataclass(frozen=True, kw_only=True)
class Options:
    """The command line."""

    clips: Path | None = flag(
        existing_path, "folder of video files to load from (default: procedural clips)", metavar="DIR", default=None
    )
    batch_size: int = flag(whole(1), "clips in a batch", metavar="N", default=4)
    frames: int = flag(whole(1), "of each clip", metavar="N", default=2)
    patch_size: int = flag(whole(1), "side of the pieces in pixels", metavar="N", default=256)
    seconds: float = flag(number(above=True), "measured time for each way", metavar="S", default=3.0)


def main() -> int:
    """The command line; returns the exit code."""
    usage = "python benchmarks/data_loading.py [flags]"
    return run_command(lambda: compare(parse_flags(Options, None, usage=usage, description=__doc__ or "")))


def compare(options: Options) -> None:
    """Print batches per second of each way and how many times as fast the cache is."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TORCHDVC_CACHE"] = str(Path(folder) / "cache")
        measure(Path(folder), options)


def measure(folder: Path, options: Options) -> None:
    from torchDVC.dataset.training import training_loader, training_set

    data = options.clips or folder / "clips"
    if options.clips is None:
        make_clips(data, 24)
    frames, patch = options.frames, options.patch_size
    start = time.perf_counter()
    clips = training_set(str(data), frames=frames, patch_size=patch, seed=0)
    built = time.perf_counter() - start
    shapes = {clip.name: (clip.shape[0], *clip.shape[2:]) for clip in clips.clips}
    pictures = as_pictures([Path(name) for name in shapes], folder / "pictures")
    loader = training_loader(clips, batch_size=options.batch_size, epoch=0, seed=0, steps=1_000_000)
    by_picture = batches(
        lambda name, first: from_pictures(pictures[name], first, frames), windows(shapes, frames, patch),
        options.batch_size, patch,
    )  # fmt: skip
    by_video = batches(
        lambda name, first: from_video(name, first, frames), windows(shapes, frames, patch), options.batch_size, patch
    )
    found = rates({"cache": iter(loader), "png (PIL)": by_picture, "mp4 (PyAV)": by_video}, options.seconds)
    print(f"{len(shapes)} clips, decoded into the cache in {built:.1f} s")
    print(f"batches of {options.batch_size}x{frames}x3x{patch}x{patch}, one thread, no worker processes")
    for name, rate in found.items():
        print(f"{name:12s} {rate:9.1f} batches/s   cache is {found['cache'] / rate:6.1f} times as fast")


if __name__ == "__main__":
    import pathlib
    import sys

    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])
    sys.exit(main())
