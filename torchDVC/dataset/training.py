"""Training clips: random pieces of a data set's clips, the same for the same (seed, epoch, index) on every machine."""

from __future__ import annotations

import hashlib
import signal
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from torchDVC.dataset.cache import ClipSource, FrameCache
from torchDVC.dataset.colour import Plane
from torchDVC.dataset.frame import NOTHING_SAID, ReadOptions
from torchDVC.dataset.shards import ShardClip, is_shards, shard_clips
from torchDVC.dataset.sources import SEPTUPLET, clip_sources, cut_list, found_data, resolved
from torchDVC.util.errors import DataError, LCPError
from torchDVC.util.files import environment_folder
from torchDVC.util.interrupts import Interrupts

ItemKey = tuple[int, int]
"""(epoch, index); an index beyond the number of items starts over with other random choices."""


class Clip(Protocol):
    """A decoded clip: its name, its shape (T, 3, H, W), and its frames by index."""

    @property
    def name(self) -> str: ...

    @property
    def shape(self) -> tuple[int, int, int, int]: ...

    def frame(self, index: int) -> Plane: ...


@dataclass(frozen=True)
class Cutting:
    """What is cut from a clip at random.

    ``frames`` frames of ``patch_size`` x ``patch_size`` pixels, flipped both ways in half the cases each;
    ``static_rate`` of the pieces repeat one frame, ``reverse_rate`` run backwards, and neighbouring frames are 1 to
    ``frame_distance`` frames of the clip apart (as far as the clip is long enough). With ``forth_and_back`` a clip that
    is too short goes on backwards from its last frame, and so on. Values are multiplied by up to 1 +- ``brightness``.
    """

    frames: int
    patch_size: int
    static_rate: float = 0.0
    reverse_rate: float = 0.0
    frame_distance: int = 1
    forth_and_back: bool = False
    brightness: float = 0.0

    def __post_init__(self) -> None:
        if min(self.frames, self.patch_size, self.frame_distance) < 1:
            raise DataError(
                f"frames {self.frames}, patch size {self.patch_size}, distance {self.frame_distance}: must be 1 or more"
            )
        for name in ("static_rate", "reverse_rate", "brightness"):
            if not 0 <= getattr(self, name) <= 1:
                raise DataError(f"{name} {getattr(self, name)}: must be from 0 to 1")

    def fits(self, clip: Clip) -> bool:
        """Whether the clip is long and large enough."""
        length, _, height, width = clip.shape
        long = length >= self.frames or self.forth_and_back and length > 1
        return long and min(height, width) >= self.patch_size

    def cut(self, clip: Clip, rng: np.random.Generator) -> torch.Tensor:
        """A random piece (frames, 3, patch_size, patch_size) of a clip that fits."""
        indexes = self._times(clip.shape[0], rng)
        top, left = (int(rng.integers(side - self.patch_size + 1)) for side in clip.shape[2:])
        upside_down, mirrored = rng.integers(0, 2, 2)
        piece = np.empty((self.frames, 3, self.patch_size, self.patch_size), np.uint8)
        for target, index in zip(piece, indexes, strict=True):
            seen = clip.frame(index)[:, top : top + self.patch_size, left : left + self.patch_size]
            target[...] = seen[:, ::-1] if upside_down else seen
        # PyTorch mirrors bytes fifteen times as fast as numpy.
        found = torch.from_numpy(piece).flip(3) if mirrored else torch.from_numpy(piece)
        return self._brightened(found, rng) if self.brightness else found

    def _brightened(self, piece: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        factor = 1 + self.brightness * float(rng.uniform(-1, 1))
        levels = (torch.arange(256) * factor).round().clamp(0, 255).to(torch.uint8)
        return levels[piece.int()]

    def _times(self, length: int, rng: np.random.Generator) -> list[int]:
        there = max(length, self.frames) if self.forth_and_back else length
        longest = min(self.frame_distance, (there - 1) // max(self.frames - 1, 1))
        step = int(rng.integers(1, max(longest, 1) + 1))
        start = int(rng.integers(there - (self.frames - 1) * step))
        static, backwards = rng.random(2) < (self.static_rate, self.reverse_rate)
        times = [start] * self.frames if static else [start + i * step for i in range(self.frames)]
        times = [_reflected(time, length) for time in times]
        return times[::-1] if backwards else times


def _reflected(time: int, length: int) -> int:
    """The frame shown at a time of a clip that is played forth and back without an end."""
    place = time % max(2 * length - 2, 1)
    return min(place, 2 * length - 2 - place)


class TrainingClips(Dataset[torch.Tensor]):
    """Random pieces of clips; a pass has an item for every seven frames of a clip, as in Vimeo-90k's septuplets."""

    def __init__(self, clips: Sequence[Clip], cutting: Cutting, seed: int) -> None:
        self.clips, self.cutting, self.seed = clips, cutting, seed
        per_clip = [max(1, clip.shape[0] // max(SEPTUPLET, cutting.frames)) for clip in clips]
        self._clip_of = np.repeat(np.arange(len(clips)), per_clip)

    def __len__(self) -> int:
        return len(self._clip_of)

    def __getitem__(self, key: ItemKey) -> torch.Tensor:
        """(T, 3, P, P) uint8 RGB; a function of (seed, epoch, index) only."""
        epoch, index = key
        rng = np.random.default_rng([self.seed, epoch, index])
        clip = self.clips[self._clip_of[index % len(self)]]
        return self.cutting.cut(clip, rng)

    def __getitems__(self, keys: Sequence[ItemKey]) -> list[torch.Tensor] | LCPError | OSError:
        """The items of a batch, or what is wrong with one: raised in a worker, it would come with a traceback."""
        try:
            return [self[key] for key in keys]
        except (LCPError, OSError) as error:
            return error


class _Batches(DataLoader[torch.Tensor]):
    """A loader that raises the errors its workers return."""

    def __iter__(self) -> Iterator[torch.Tensor]:  # type: ignore[override]
        for batch in super().__iter__():
            if isinstance(batch, Exception):
                raise batch
            yield batch


def training_set(
    data: str,
    *,
    frames: int,
    patch_size: int,
    seed: int,
    cut: str | None = None,
    static_rate: float = 0.0,
    reverse_rate: float = 0.0,
    frame_distance: int = 1,
    forth_and_back: bool = False,
    brightness: float = 0.0,
    given: ReadOptions = NOTHING_SAID,
) -> TrainingClips:
    """The training clips of ``data``, decoded into the cache first, with a progress bar.

    ``data`` is `default` (Vimeo-90k where $DATASET holds it, else procedural clips), `procedural`, `vimeo90k`, a
    folder of clips or a clip (a path, also below $DATASET), ``*.tar`` shards, or several of these joined by ``+``.
    ``cut`` takes a part of the list of clips ("500" or "500:1000"); ``given`` says of ``.yuv`` files what their names
    do not; the other arguments are those of `Cutting`.
    Clips that are too short or too small are left out with a warning; `DataError` where none is left.
    The cache is in $TORCHDVC_CACHE, by default ``~/.cache/torchDVC``.
    """
    cutting = Cutting(frames, patch_size, static_rate, reverse_rate, frame_distance, forth_and_back, brightness)
    chosen = cut_list(listed_clips(data, frames, patch_size, given), cut)
    cache = FrameCache(environment_folder("TORCHDVC_CACHE", "~/.cache/torchDVC"))
    clips: list[Clip] = [clip for clip in chosen if isinstance(clip, ShardClip)]
    clips += cache.clips([clip for clip in chosen if not isinstance(clip, ShardClip)])
    return TrainingClips(_fitting(data, clips, cutting), cutting, seed)


def listed_clips(
    data: str, frames: int, patch_size: int, given: ReadOptions = NOTHING_SAID
) -> list[ClipSource | ShardClip]:
    """The clips that `training_set` takes its part of, none of them decoded yet. `DataError` where there are none."""
    listed: list[ClipSource | ShardClip] = []
    for part in _parts(data):
        if is_shards(part):
            listed += shard_clips(part)
        else:
            listed += clip_sources(part, frames=frames, patch_size=patch_size, given=given)
    return listed


def data_identity(data: str, cut: str | None = None) -> str:
    """What ``data`` stands for here, as in ``procedural (128 clips, 5f3a09c2)``, to tell whether it is the same again.

    The digits depend on the names and sizes of the clips' files, and not on where those are; none is read.
    """
    clips = cut_list(listed_clips(data, frames=1, patch_size=1), cut)
    digest = hashlib.sha256("\n".join(clip.content for clip in clips).encode())
    return f"{'+'.join(map(resolved, _parts(data)))} ({len(clips)} clips, {digest.hexdigest()[:8]})"


def training_loader(
    clips: TrainingClips,
    *,
    batch_size: int,
    epoch: int,
    seed: int,
    start_batch: int = 0,
    steps: int | None = None,
    rank: int = 0,
    world_size: int = 1,
    num_workers: int = 0,
    pin_memory: bool = False,
) -> DataLoader[torch.Tensor]:
    """The batches (N, T, 3, P, P) uint8 of one epoch, from ``start_batch`` on.

    Their order is a function of (seed, epoch): each rank of ``world_size`` takes its part of the same order. ``steps``
    is the number of batches of the whole epoch; by default one pass over the clips, without an incomplete last batch.
    Longer epochs run through further permutations.
    """
    whole = max(1, len(clips) // (batch_size * world_size)) if steps is None else steps
    order = _Order(len(clips), batch_size, epoch, seed, range(start_batch, whole), rank, world_size)
    return _Batches(
        clips,
        batch_sampler=order,
        collate_fn=_batch,
        num_workers=num_workers,
        worker_init_fn=_ignore_signals,
        pin_memory=pin_memory,
        # A generator of its own: else PyTorch's global one would move on with every epoch begun.
        generator=torch.Generator(),
    )


def _ignore_signals(worker: int) -> None:
    """Let a worker process end with the main one only, which wants its batches until it has saved what it did.

    Batch systems, and terminals that are closed, send their signals to all processes.
    """
    for number in Interrupts.SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _batch(items: list[torch.Tensor] | Exception) -> torch.Tensor | Exception:
    """Items as one tensor; in a worker process one of shared memory."""
    return items if isinstance(items, Exception) else default_collate(items)


@dataclass(frozen=True)
class _Order:
    """The keys of the batches of an epoch, for one rank."""

    items: int
    batch_size: int
    epoch: int
    seed: int
    batches: range
    rank: int
    world_size: int

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[ItemKey]]:
        permuted: dict[int, np.ndarray] = {}
        for batch in self.batches:
            first = (batch * self.world_size + self.rank) * self.batch_size
            keys = []
            for position in range(first, first + self.batch_size):
                turn, place = divmod(position, self.items)
                if turn not in permuted:
                    permuted = {turn: np.random.default_rng([self.seed, self.epoch, turn]).permutation(self.items)}
                keys.append((self.epoch, turn * self.items + int(permuted[turn][place])))
            yield keys


def _parts(data: str) -> list[str]:
    """The data sets that ``data`` joins; a path that has a plus sign in its name is one."""
    return [data] if found_data(data) else [part.strip() for part in data.split("+")]


def _fitting(data: str, clips: Sequence[Clip], cutting: Cutting) -> list[Clip]:
    """The clips that are long and large enough, with a warning about the others."""
    fitting = [clip for clip in clips if cutting.fits(clip)]
    if len(fitting) < len(clips):
        example = next(clip for clip in clips if not cutting.fits(clip))
        length, _, height, width = example.shape
        wanted = f"{cutting.frames} frames of {cutting.patch_size}x{cutting.patch_size}"
        has = f"{example.name} has {length} frames of {width}x{height}"
        if not fitting:
            raise DataError(f"{data}: no clip has {wanted}: {has}; ask for less (frames, patch_size) or add clips")
        left_out = len(clips) - len(fitting)
        warnings.warn(f"{data}: {left_out} of {len(clips)} clips left out, without {wanted}: {has}", stacklevel=3)
    return fitting
