"""Complexity of a codec: parameters and multiply-accumulates per pixel of each module, encoding and decoding.

Operations are counted as they run (`torch.utils.flop_counter` has the formulas of matrix products and convolutions).
An operation that neither it nor the list of free ones here knows is an error, not a zero: `register` teaches it.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from torchDVC.models.codec import Codec, Reference, mode_of
from torchDVC.entropy.priors import TableHolder
from torchDVC.entropy.streams import DryStream, EstimatingStream, Stream
from torchDVC.config import Modes
from torchDVC.util.errors import LCPError
from torchDVC.util.files import atomic_path

SIZE = (64, 64)
"""Height and width at which operations are counted; a multiple of every stride, so that padding counts nothing."""

_FREE_OPERATIONS = """
    abs add bitwise_and bitwise_or bucketize cat ceil clamp clamp_min clamp_max clone cos detach div eq erfc exp exp2
    floor floor_divide ge gt index le leaky_relu log log2 logical_and logical_not logical_or lt max maximum mean min
    minimum mul nan_to_num ne neg pow reciprocal relu remainder round rsqrt rsub sigmoid sign silu sin softplus sqrt
    square sub sum tanh tensor where _softmax amax amin argmax argmin avg_pool2d max_pool2d_with_indices
    alias arange as_strided bernoulli contiguous copy empty empty_like empty_strided expand fill flip full full_like
    gather im2col index_select lift_fresh linspace masked_fill narrow new_empty new_empty_strided new_full new_ones
    new_zeros ones ones_like permute pixel_shuffle pixel_unshuffle rand_like reflection_pad2d repeat repeat_interleave
    replication_pad2d reshape roll scalar_tensor scatter select slice split split_with_sizes squeeze stack t to _to_copy
    transpose unbind unfold uniform unsafe_split unsqueeze view _unsafe_view zero zeros zeros_like constant_pad_nd
    _local_scalar_dense item is_same_size any all isfinite bitwise_not nan_to_num hardtanh gelu elu celu
    upsample_nearest2d native_dropout _reshape_alias embedding col2im frexp native_batch_norm
"""
FREE = frozenset(_FREE_OPERATIONS.split())
"""Operations without multiply-accumulates of note: element by element, and those that only move data."""

Formula = Callable[..., int]


def _bilinear(taps: int) -> Formula:
    def macs(*_: Any, out: Tensor, **__: Any) -> int:
        return taps * out.numel()

    return macs


_EXTRA: dict[str, Formula] = {
    "grid_sampler_2d": _bilinear(4),
    "upsample_bilinear2d": _bilinear(4),
    "upsample_bicubic2d": _bilinear(16),
}


def register(operation: str, macs: Formula) -> None:
    """Teach the counter an ATen operation by its name: ``macs(*args, out=result, **kwargs)`` gives its count."""
    _EXTRA[operation] = macs


@dataclass(frozen=True)
class ModuleComplexity:
    """What one module costs on one type of frame.

    Attributes:
        module: its name.
        frame_type: ``"I"``, ``"P"`` or ``"B"``.
        parameters: how many numbers it learned.
        kmac_encode, kmac_decode: thousands of multiply-accumulates per pixel.
    """

    module: str
    frame_type: str
    parameters: int
    kmac_encode: float
    kmac_decode: float


def measure(codec: Codec, modes: Modes) -> list[ModuleComplexity]:
    """Complexity of every module of a codec on every type of frame that has a mode string.

    Raises `LCPError` naming an operation whose count is not known.
    """
    rows = []
    for frame_type, references in (("I", 0), ("P", 1), ("B", 2)):
        mode = mode_of(modes, frame_type)
        if mode:
            encode = _count(codec, mode, references, EstimatingStream())
            decode = _count(codec, mode, references, DryStream())
            rows += [
                ModuleComplexity(
                    spec.name,
                    frame_type,
                    sum(p.numel() for p in codec.get_submodule(spec.name).parameters()),
                    encode[spec.name] / _kilopixels(),
                    decode[spec.name] / _kilopixels(),
                )
                for spec in codec.config.of_codes(mode)
            ]
    return rows


def totals(rows: list[ModuleComplexity], frame_type: str) -> tuple[float, float]:
    """kMAC per pixel of encoding and decoding a frame of a type."""
    of_type = [row for row in rows if row.frame_type == frame_type]
    return sum(row.kmac_encode for row in of_type), sum(row.kmac_decode for row in of_type)


def table(rows: list[ModuleComplexity]) -> str:
    """The rows and their sums as aligned text."""
    lines = [f"{'module':<24}{'frame':>6}{'parameters':>14}{'encode':>10}{'decode':>10}   (kMAC/pixel)"]
    for frame_type in dict.fromkeys(row.frame_type for row in rows):
        of_type = [row for row in rows if row.frame_type == frame_type]
        total = ModuleComplexity("all", frame_type, sum(r.parameters for r in of_type), *totals(rows, frame_type))
        lines += [
            f"{r.module:<24}{r.frame_type:>6}{r.parameters:>14,}{r.kmac_encode:>10.2f}{r.kmac_decode:>10.2f}"
            for r in [*of_type, total]
        ]
    return "\n".join(lines)


def write(path: Path, rows: list[ModuleComplexity]) -> None:
    """The rows as csv."""
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["module", "frame_type", "parameters", "kmac_encode", "kmac_decode"])
        writer.writerows(
            [r.module, r.frame_type, r.parameters, f"{r.kmac_encode:.4f}", f"{r.kmac_decode:.4f}"] for r in rows
        )


def _kilopixels() -> float:
    return SIZE[0] * SIZE[1] * 1000


def _count(codec: Codec, mode: str, references: int, stream: Stream) -> dict[str, int]:
    """Multiply-accumulates of each module while a frame is coded."""
    device = codec.lmdas.device
    picture = torch.zeros(1, 3, *SIZE, device=device)  # not random: resuming must not move the generators
    refs: list[Reference] = [{"recon": picture}] * references
    counter = _Counter()
    training = codec.training
    codec.eval()
    _build_tables(codec)
    with torch.no_grad(), _watching(codec, counter), counter:
        codec.code_frame(mode, SIZE, stream, refs, frame=picture)
    codec.train(training)
    return counter.macs


def _build_tables(codec: Codec) -> None:
    """Build what a codec builds once and keeps, so that it is not counted."""
    for module in codec.modules():
        if isinstance(module, TableHolder):
            _ = module.tables


@contextmanager
def _watching(codec: Codec, counter: _Counter) -> Iterator[None]:
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


class _Counter(TorchDispatchMode):
    """Books the multiply-accumulates of everything that runs under the module that runs it."""

    def __init__(self) -> None:
        super().__init__()
        self.macs: dict[str, int] = defaultdict(int)
        self._module = ""

    def enter(self, module: str) -> None:
        self._module = module

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.macs[self._module] += _macs(func, args, kwargs or {}, out, self._module)
        return out


def _macs(func: Any, args: Any, kwargs: dict[str, Any], out: Any, module: str) -> int:
    packet = func.overloadpacket
    name = packet.__name__
    if packet in flop_registry:
        return flop_registry[packet](*args, **kwargs, out_val=out) // 2
    if name in _EXTRA:
        return _EXTRA[name](*args, out=out, **kwargs)
    if name.rstrip("_") in FREE or name in FREE:
        return 0
    raise LCPError(
        f"{module}: the multiply-accumulates of operation '{name}' are not known; "
        "tell torchDVC.results.complexity.register, or add it to FREE if it has none"
    )
