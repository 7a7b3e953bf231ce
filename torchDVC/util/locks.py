"""Locks between processes: each dies with the process that holds it, however that ends.

They are those of ``flock``, which the kernel keeps, and for a network disk its server: NFS 4 and NFS 3 with lockd
(where Linux makes it a lock of ``fcntl`` on the whole file, since 2.6.12), SMB and Lustre (mounted with ``flock``) have
them for all hosts. Mounted with ``local_lock=flock`` or ``nolock``, NFS has them for each host alone.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import logging
import os
import platform
from collections.abc import Callable, Iterator
from pathlib import Path

_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_MODE = 0o666

_log = logging.getLogger(__name__)
_held: set[int] = set()


@contextlib.contextmanager
def locked(path: Path, taken: Callable[[str], None] = lambda holder: None) -> Iterator[bool]:
    """Hold the lock of the name ``path``, a file that is there only while somebody holds or wants it.

    Where another has it, ``taken`` is told who, such as "process 12 on gpu3"; unless that raises, this waits. Folders
    above ``path`` that are not there are made, and removed again where nothing else came into them.

    Yields whether the disk has locks at all; where it has none, that is said, and nothing is locked.
    """
    missing = [folder for folder in path.parents if not folder.exists()]
    try:
        descriptor, real = _acquire(path, taken)
        try:
            yield real
        finally:
            path.unlink(missing_ok=True)  # before it is free: whoever waits for this very file then makes another
            _held.discard(descriptor)
            os.close(descriptor)
    finally:
        for folder in missing:
            with contextlib.suppress(OSError):
                folder.rmdir()


def _acquire(path: Path, taken: Callable[[str], None]) -> tuple[int, bool]:
    """A locked descriptor of the file, which is still the one of that name; whether it is locked."""
    _watch_forks()
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, _MODE)
        except (FileNotFoundError, NotADirectoryError):  # also where the holder before just removed the folder
            path.parent.mkdir(parents=True, exist_ok=True)
            continue
        _held.add(descriptor)
        try:
            real = _lock(descriptor, path, taken)
            if _is_still(path, descriptor):
                _sign(descriptor)
                return descriptor, real
        except BaseException:
            _held.discard(descriptor)
            os.close(descriptor)
            raise
        _held.discard(descriptor)
        os.close(descriptor)


def _lock(descriptor: int, path: Path, taken: Callable[[str], None]) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        taken(_holder(descriptor))
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in _WITHOUT_LOCKS:
            raise
        _log.warning("%s: this disk has no locks; see that no other process writes there", path.parent)
        return False
    return True


def _sign(descriptor: int) -> None:
    with contextlib.suppress(OSError):  # a full disk has room for the lock, and none for the name
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {platform.node()}".encode(), 0)


def _holder(descriptor: int) -> str:
    with contextlib.suppress(OSError):  # a disk may refuse to read what is locked
        return os.pread(descriptor, 1000, 0).decode(errors="replace") or "another process"
    return "another process"


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether the file has that name. It is opened again for this: only then does a network disk ask its server."""
    with contextlib.suppress(FileNotFoundError), open(path, "rb") as again:
        return os.path.samestat(os.fstat(descriptor), os.fstat(again.fileno()))
    return False


@functools.cache
def _watch_forks() -> None:
    """Let no child that is forked keep the locks of its parent alive."""
    os.register_at_fork(after_in_child=_let_go)


def _let_go() -> None:
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()
