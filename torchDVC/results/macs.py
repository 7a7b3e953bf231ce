"""Counts multiply-accumulates as operations run, whoever runs them.

Matrix products and convolutions have their formulas in `torch.utils.flop_counter`, a few others here. Operations that
work element by element, reduce, or only move data count nothing. What is made of others (a normalisation, attention) is
counted through its decomposition. What is none of these is noted by its name as not counted; `register` teaches its
formula.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from math import log2, prod
from typing import Any

import torch
from torch._decomp import decomposition_table
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

Formula = Callable[..., int]

_FREE_OPERATIONS = """
    _local_scalar_dense _reshape_alias _softmax _to_copy _unique2 _unsafe_view alias all amax amin aminmax any
    arange argmax argmin avg_pool2d avg_pool3d bernoulli bucketize cat col2im constant_pad_nd copy embedding empty
    empty_like empty_strided exponential fill flip fractional_max_pool2d full full_like gather im2col index
    index_put index_select is_same_size item lift_fresh linspace masked_fill masked_scatter masked_select max
    max_pool2d_with_indices max_pool3d_with_indices max_unpool2d mean median min native_batch_norm native_dropout
    new_empty new_empty_strided new_full new_ones new_zeros nonzero norm normal ones ones_like pixel_shuffle
    pixel_unshuffle prod rand rand_like randint randn randn_like randperm reflection_pad1d reflection_pad2d repeat
    repeat_interleave replication_pad2d roll scalar_tensor scatter scatter_add searchsorted set slice sort split
    stack std sum tensor topk tril triu uniform unsafe_split upsample_nearest2d var var_mean where zero zeros
    zeros_like
"""
FREE = frozenset(_FREE_OPERATIONS.split())
"""Operations that make, move, compare, sort or sum up data, beside those that PyTorch marks as views or pointwise."""


def _interpolation(taps: int) -> Formula:
    def macs(*_: Any, out: Any, **__: Any) -> int:
        return taps * out.numel()

    return macs


def _product(a: Any, b: Any, *_: Any, **__: Any) -> int:
    """Matrix times vector, or two vectors."""
    return int(a.numel())


def _distances(a: Any, *_: Any, out: Any, **__: Any) -> int:
    return int(out.numel() * a.shape[-1])


def _recurrent(x: Any, input_weight: Any, state_weight: Any, *_: Any, **__: Any) -> int:
    """One layer in one direction; x: (T, N, C)."""
    return int(prod(x.shape[:2]) * (input_weight.numel() + state_weight.numel()))


def _deformable(x: Any, weight: Any, *_: Any, out: Any, **__: Any) -> int:
    """A convolution, each of whose taps reads its input bilinearly."""
    taps = weight.shape[2] * weight.shape[3]
    positions = out.shape[0] * out.shape[2] * out.shape[3]
    return int(out.numel() * weight.shape[1] * taps + 4 * x.shape[1] * taps * positions)


def _fourier(x: Any, dims: Any, *_: Any, out: Any, **__: Any) -> int:
    """A fast Fourier transform: five operations for each complex number and halving, half as many for real ones."""
    whole = out if x.is_complex() and not out.is_complex() else x
    numbers = whole.numel() * (2 if whole.is_complex() else 1)
    return round(1.25 * numbers * log2(prod(whole.shape[dim] for dim in dims)))


_FORMULAS: dict[str, Formula] = {
    "grid_sampler_2d": _interpolation(4),
    "grid_sampler_3d": _interpolation(8),
    "upsample_bilinear2d": _interpolation(4),
    "upsample_bicubic2d": _interpolation(16),
    "upsample_trilinear3d": _interpolation(8),
    "mv": _product,
    "dot": _product,
    "vdot": _product,
    "_cdist_forward": _distances,
    "mkldnn_rnn_layer": _recurrent,
    "deform_conv2d": _deformable,
    "_fft_c2c": _fourier,
    "_fft_r2c": _fourier,
    "_fft_c2r": _fourier,
}


def register(operation: str, macs: Formula) -> None:
    """Teach the counter an operation by its ATen name: ``macs(*args, out=result, **kwargs)`` gives its count."""
    _FORMULAS[operation] = macs


class Counter(TorchDispatchMode):
    """Books the multiply-accumulates of everything that runs inside it under the part that `enter` named last.

    Attributes:
        macs: by part.
        uncounted: names of operations without a known count, by part.
    """

    def __init__(self) -> None:
        super().__init__()
        self._part = ""
        self.reset()

    def reset(self) -> None:
        """Forget what was counted."""
        self.macs: dict[str, int] = defaultdict(int)
        self.uncounted: dict[str, set[str]] = defaultdict(set)

    def enter(self, part: str) -> None:
        """What runs from now on is of this part."""
        self._part = part

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        formula = _formula(func)
        if formula is None:
            with self:
                out = decomposition_table.get(func, func.decompose)(*args, **kwargs)
            if out is not NotImplemented:
                return out
        out = func(*args, **kwargs)
        if formula is None:
            self.uncounted[self._part].add(func.overloadpacket.__name__)
        else:
            self.macs[self._part] += formula(*args, **{**kwargs, "out": out})
        return out


def _formula(func: Any) -> Formula | None:
    """How to count an operation; None where it is not known here."""
    packet = func.overloadpacket
    name = packet.__name__
    if packet in flop_registry:
        flops = flop_registry[packet]
        return lambda *args, out, **kwargs: int(flops(*args, **kwargs, out_val=out)) // 2
    if name in _FORMULAS:
        return _FORMULAS[name]
    return _nothing if _is_free(func, name) else None


def _is_free(func: Any, name: str) -> bool:
    return name in FREE or name.rstrip("_") in FREE or torch.Tag.pointwise in func.tags or _is_view(func)


def _is_view(func: Any) -> bool:
    return any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)


def _nothing(*_: Any, **__: Any) -> int:
    return 0
