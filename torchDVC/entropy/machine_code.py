"""Functions compiled by numba on first use, and kept on the disk."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Callable, Hashable, Iterator
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import numba
from numba.core.bytecode import FunctionIdentity
from numba.core.caching import IndexDataCacheFile

# numba tells functions of one name, such as those that a function makes for several sizes, apart by a number that it
# counts from 1 in every process. What one process has kept is linked with what another compiles, so two of them would
# be taken for one where processes compile at once, or one was stopped before it had compiled all.
FunctionIdentity._unique_ids = count(secrets.randbits(48))


def compiled(function: Callable[..., Any], missing: Callable[[], object] = lambda: None) -> Callable[..., Any]:
    """Compile, and keep the machine code beside the function's file, else in the user's cache folder, else in memory.

    What is kept holds as long as no file of that folder changes, nor of this one: numba by itself looks at the
    function's file alone, and not at those of the functions that it calls. ``missing`` is called before anything that
    is not kept is compiled.
    """
    try:
        found: Any = numba.njit(function, cache=True, nogil=True)
        kept, stamp = found._cache, _stamp(Path(function.__code__.co_filename).parent)
        kept._cache_file = _KeptCode(kept.cache_path, kept._impl.filename_base, stamp)
        kept._cache_file.missing = missing
    except (RuntimeError, AttributeError):  # no folder may be written to, or a numba that keeps code in another way
        return numba.njit(function, nogil=True)
    return found


@cache
def _stamp(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Which files compiled code may have come from, and when they were written."""
    folders = {folder, Path(__file__).parent}
    files = [(path, path.stat()) for path in sorted(path for folder in folders for path in folder.glob("*.py"))]
    return tuple((path.name, stat.st_mtime_ns, stat.st_size) for path, stat in files)


class _KeptCode(IndexDataCacheFile):
    """What is kept of a function, by its arguments: read and written by one process at a time.

    The index names nothing but what is there already, whenever a process is killed.

    Attributes:
        missing: called where what is asked for is not kept.
    """

    missing: Callable[[], object]

    def save(self, key: Hashable, data: object) -> None:
        with _alone(self._cache_path):
            overloads = self._load_index()
            if not overloads:
                self._save_index({})  # or one of older sources would name what is written now
            names = (self._data_name(number) for number in count(1))
            name = overloads.get(key) or next(name for name in names if name not in overloads.values())
            self._save_data(name, data)
            self._save_index({**overloads, key: name})

    def load(self, key: Hashable) -> object:
        with _alone(self._cache_path):
            found: object = super().load(key)
        if found is None:
            self.missing()
        return found


@contextlib.contextmanager
def _alone(folder: str) -> Iterator[None]:
    """Lock a folder against other processes, where it can be."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
