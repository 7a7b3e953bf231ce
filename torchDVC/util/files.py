"""Files and folders that appear whole or not at all, and what remains of those that never did."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from torchDVC.util.locks import locked

STANDARD = Path("-")
"""What stands for standard input and output where files are named."""
_PARTIAL = re.compile(r"\.(?P<name>.*)\.(?P<token>[0-9a-f]{8})\.(lock|partial(?P<suffix>\.[^.]*)?)", re.DOTALL)
"""``.rd.5f3a09c2.partial.csv`` becomes ``rd.csv``; its process holds the lock ``.rd.5f3a09c2.lock`` until then."""


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` to write to; on success it replaces ``path``, else it is removed.

    The finished file is flushed to the disk before it takes its name, so that a machine that loses power keeps either
    the old file or the new one. Errors of the operating system name ``path``, not the temporary file. What processes
    that were killed left of files of that name is removed first.

    Raises:
        OSError: at once, where ``path`` is something that a file must not replace (`in_the_way`).
    """
    path = Path(path)
    if what := in_the_way(path):
        raise OSError(errno.EEXIST, f"is {what}; expected the name of a file", str(path))
    with _partial(path, path.stem, path.suffix) as temporary:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder beside ``path`` that replaces it on success, as a whole, and is removed otherwise."""
    with _partial(path, path.name, "") as temporary:
        temporary.mkdir()
        yield temporary
        if path.exists():
            shutil.rmtree(path)
        os.replace(temporary, path)


@contextlib.contextmanager
def _partial(path: Path, name: str, suffix: str) -> Iterator[Path]:
    """A name for what is to become ``path``, under a lock that tells other processes that it is being written."""
    own = f".{name}.{secrets.token_hex(4)}"
    temporary = path.with_name(f"{own}.partial{suffix}")
    with _errors_named(path, path.with_name(own)), locked(path.with_name(f"{own}.lock")):
        try:
            remove_leftovers(path.parent, name)
            yield temporary
        finally:
            _remove(temporary)


def remove_leftovers(folder: Path, name: str | None = None) -> None:
    """Remove what dead processes left half-written in a folder, of the ``name`` or of any; nothing below the folder.

    The processes may have been anywhere: what is alive holds its lock, and on a disk without locks all is left alone.
    """
    names = os.listdir(folder) if folder.is_dir() else ()
    for found in filter(None, map(_PARTIAL.fullmatch, names)):
        if name in (None, found["name"]):
            lock = folder / f".{found['name']}.{found['token']}.lock"
            with contextlib.suppress(OSError), locked(lock, _in_use) as real:
                if real:
                    _remove(folder / found[0])


def _in_use(holder: str) -> None:
    raise OSError(errno.EBUSY, holder)


@contextlib.contextmanager
def _errors_named(path: Path, own: Path) -> Iterator[None]:
    """Let errors of the operating system name ``path`` where they name no file, or one that is called like ``own``."""
    try:
        yield
    except OSError as error:
        if error.filename is not None and not str(error.filename).startswith(str(own)):
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def in_the_way(path: Path) -> str:
    """What stands where a file is to be written, if that is no file, such as "a folder"."""
    if path == STANDARD:
        return "a pipe"
    if path.is_dir():
        return "a folder"
    return "a device, pipe or socket" if path.exists() and not path.is_file() else ""


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a small text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def append_bytes(path: Path, data: bytes) -> None:
    """Append to a file, or leave it as it was and name it in the error."""
    size = path.stat().st_size
    try:
        with open(path, "ab") as file:
            file.write(data)
    except OSError as error:
        os.truncate(path, size)
        error.filename = str(path)
        raise


def shown(name: str | os.PathLike[str]) -> str:
    """A name as text that can be written anywhere: bytes that are no UTF-8 are shown by their numbers, as ``\\xff``."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def visible_below(folder: Path) -> Iterator[Path]:
    """All files and folders below a folder, without hidden ones and what is in those, also behind links."""
    for place, folders, files in os.walk(folder, followlinks=True):
        here = Path(place)
        folders[:] = [name for name in folders if not name.startswith(".") and not _leads_back(here / name)]
        yield from (here / name for name in (*folders, *files) if not name.startswith("."))


def _leads_back(folder: Path) -> bool:
    """Whether a link leads to a folder that it is in."""
    return folder.is_symlink() and any(parent.samefile(folder) for parent in folder.absolute().parents)


def environment_folder(variable: str, otherwise: str) -> Path:
    """The folder that an environment variable names, or another one; ``~`` is the home folder in both."""
    return Path(os.environ.get(variable) or otherwise).expanduser()
