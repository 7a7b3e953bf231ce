"""How the process gets its memory from the system."""

from __future__ import annotations

import contextlib
import ctypes
import os

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's ``mallopt``."""
_LARGEST = 32 << 20
"""Bytes; the largest threshold that it takes."""
_KEPT = 256 << 20
"""Bytes at the heap's end that are kept; by itself it is twice the first that was freed, or 64 MiB at most."""


def keep_freed() -> None:
    """Keep memory that is freed for what comes next, where the C library is glibc and no variable chooses otherwise.

    By itself it maps every large tensor anew and gives it back, and the system fills each page with zeros at its first
    touch: half of the time of a GDN layer on a processor (docs/decisions/memory-is-kept.md).
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return
    with contextlib.suppress(AttributeError, OSError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _LARGEST)
        mallopt(_TRIM_THRESHOLD, _KEPT)
