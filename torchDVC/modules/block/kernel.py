"""How the functions of this folder are compiled: one version of each, whatever whole numbers it is called with."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import Any

import numba
from numba.core import types

from torchDVC.entropy.machine_code import compiled

_log = logging.getLogger(__name__)


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function for 64-bit integers in place of constants, truth values and narrower integers.

    numba would compile a version for every constant that a caller passes, and with it for all that is called from
    there: some thousand in place of about a hundred.
    """
    dispatcher: Any = compiled(function, _say_once)
    template = dispatcher.get_call_template
    dispatcher.get_call_template = lambda args, kws: template(tuple(map(_widened, args)), kws)
    return dispatcher


def _widened(kind: Any) -> Any:
    kind = types.unliteral(kind)
    return numba.int64 if isinstance(kind, types.Integer | types.Boolean) else kind


@cache
def _say_once() -> None:
    _log.warning("compiling this codec for this machine, once: it takes a minute or two")
