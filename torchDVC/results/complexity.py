"""Complexity of a codec: parameters and multiply-accumulates per pixel of each module, encoding and decoding.

A frame costs what it costs in steady state, the last of a short chain: I-P-P-P for P frames, I-P-B for B frames (I-I-B
where there is no mode for P). Earlier frames have then left everything that modules keep of them.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from torchDVC.coding_structure import CodedFrame, CodingStructure
from torchDVC.config import Modes
from torchDVC.entropy.priors import TableHolder
from torchDVC.entropy.streams import Stream
from torchDVC.entropy.symbol_streams import DryStream, EstimatingStream
from torchDVC.models.codec import Codec, evaluating
from torchDVC.models.sequence import code_clip
from torchDVC.results.macs import Counter
from torchDVC.util.errors import first_line
from torchDVC.util.files import atomic_path

SIZE = (64, 64)
"""Height and width at which operations are counted; a multiple of every stride, so that padding counts nothing."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModuleComplexity:
    """What one module costs on one type of frame.

    Attributes:
        module: its name.
        frame_type: ``"I"``, ``"P"`` or ``"B"``.
        parameters: how many numbers it learned.
        kmac_encode, kmac_decode: thousands of multiply-accumulates per pixel.
        uncounted: operations of it whose count is not known; with any, the numbers are too low.
    """

    module: str
    frame_type: str
    parameters: int
    kmac_encode: float
    kmac_decode: float
    uncounted: tuple[str, ...] = ()


def measure(codec: Codec, modes: Modes) -> list[ModuleComplexity]:
    """Complexity of every module of a codec on every type of frame that has a mode string.

    It never fails: operations whose count is not known are warned of once and noted in the rows, and a type of frame
    that cannot be coded at `SIZE` is warned of and has no rows.
    """
    rows: list[ModuleComplexity] = []
    for frame_type in filter(modes.of, "IPB"):
        try:
            rows += _of_type(codec, modes, frame_type)
        except Exception as error:  # whatever a module raises on a picture of zeros is no reason to end a run
            _log.warning("complexity of %s frames is not known: %s", frame_type, first_line(error))
    uncounted = sorted({(row.module, name) for row in rows for name in row.uncounted})
    if uncounted:
        names = ", ".join(f"'{name}' of {module}" for module, name in uncounted)
        _log.warning(
            "complexity is incomplete, it leaves out the operation %s; torchDVC.results.macs.register adds its count",
            names,
        )
    return rows


def totals(rows: list[ModuleComplexity], frame_type: str) -> tuple[float, float] | None:
    """kMAC per pixel of encoding and decoding a frame of a type; None where they are not known completely."""
    of_type = [row for row in rows if row.frame_type == frame_type]
    if not of_type or any(row.uncounted for row in of_type):
        return None
    return sum(row.kmac_encode for row in of_type), sum(row.kmac_decode for row in of_type)


def frame_costs(rows: list[ModuleComplexity], frame_types: Sequence[str]) -> dict[str, Any]:
    """``kmac_encode`` and ``kmac_decode``, means over frames of these types; neither where one is not known."""
    costs = [totals(rows, frame_type) for frame_type in frame_types]
    known = [cost for cost in costs if cost is not None]
    if len(known) < len(costs):
        return {}
    sides = zip(*known, strict=True)
    return {f"kmac_{what}": mean(side) for what, side in zip(("encode", "decode"), sides, strict=True)}


def table(rows: list[ModuleComplexity]) -> str:
    """The rows and their sums as aligned text; what is incomplete is marked ≥."""
    lines = [f"{'module':<24}{'frame':>6}{'parameters':>14}{'encode':>10}{'decode':>10}   (kMAC/pixel)"]
    for frame_type in dict.fromkeys(row.frame_type for row in rows):
        of_type = [row for row in rows if row.frame_type == frame_type]
        lines += [_line(row) for row in [*of_type, _sum(of_type)]]
    return "\n".join(lines)


def _sum(rows: list[ModuleComplexity]) -> ModuleComplexity:
    return ModuleComplexity(
        "all", rows[0].frame_type, sum(row.parameters for row in rows), sum(row.kmac_encode for row in rows),
        sum(row.kmac_decode for row in rows), tuple(name for row in rows for name in row.uncounted),
    )  # fmt: skip


def _line(row: ModuleComplexity) -> str:
    encode, decode = (f"{'≥' if row.uncounted else ''}{kmac:.2f}" for kmac in (row.kmac_encode, row.kmac_decode))
    return f"{row.module:<24}{row.frame_type:>6}{row.parameters:>14,}{encode:>10}{decode:>10}"


def write(path: Path, rows: list[ModuleComplexity]) -> None:
    """The rows as csv."""
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["module", "frame_type", "parameters", "kmac_encode", "kmac_decode", "uncounted"])
        for r in rows:
            kmac = (f"{r.kmac_encode:.4f}", f"{r.kmac_decode:.4f}")
            writer.writerow([r.module, r.frame_type, r.parameters, *kmac, " ".join(r.uncounted)])


def _of_type(codec: Codec, modes: Modes, frame_type: str) -> list[ModuleComplexity]:
    kilopixels = SIZE[0] * SIZE[1] * 1000
    encode = _count(codec, modes, _chain(modes, frame_type), EstimatingStream)
    decode = _count(codec, modes, _chain(modes, frame_type), DryStream)
    return [
        ModuleComplexity(
            spec.name,
            frame_type,
            sum(p.numel() for p in codec.get_submodule(spec.name).parameters()),
            encode.macs[spec.name] / kilopixels,
            decode.macs[spec.name] / kilopixels,
            tuple(sorted(encode.uncounted[spec.name] | decode.uncounted[spec.name])),
        )
        for spec in codec.config.of_codes(modes.of(frame_type))
    ]


def _chain(modes: Modes, frame_type: str) -> list[CodedFrame]:
    """Frames in coding order, the last of them of this type and in steady state."""
    if frame_type == "I":
        return CodingStructure(0).order(1)
    if frame_type == "P":
        return CodingStructure(0, references=modes.references).order(3 + modes.references)
    return CodingStructure(0 if modes.pmode else 2, gop_size=2).order(3)


def _count(codec: Codec, modes: Modes, chain: list[CodedFrame], last: type[Stream]) -> Counter:
    """The multiply-accumulates of each module at the end of a chain, whose last frame has a stream of this type."""
    counter = Counter()
    coming = [frame for frame in chain if modes.of(frame.type)]

    def new_stream(batch: int) -> Stream:
        counter.reset()
        coming.pop()
        return EstimatingStream(batch) if coming else last(batch)

    clip = torch.zeros(1, len(chain), *codec.format.shape(*SIZE), device=codec.lmdas.device)
    _build_tables(codec)
    with evaluating(codec), torch.no_grad(), _as_it_was(clip.device), _watching(codec, counter), counter:
        for _ in code_clip(codec, clip, chain, modes, rnn=1, new_stream=new_stream):
            pass
    return counter


@contextmanager
def _as_it_was(device: torch.device) -> Iterator[None]:
    """Leave the random generators where they are: resuming must not move them. Modules run without fused fast paths."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _build_tables(codec: Codec) -> None:
    """Build what a codec builds once and keeps, so that it is not counted."""
    for module in codec.modules():
        if isinstance(module, TableHolder):
            _ = module.tables


@contextmanager
def _watching(codec: Codec, counter: Counter) -> Iterator[None]:
    """Tell the counter which module runs."""
    hooks = [
        codec.get_submodule(spec.name).register_forward_pre_hook(lambda *_, name=spec.name: counter.enter(name))
        for spec in codec.config.modules
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
