"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` to write to; on success it replaces ``path``, else it is removed.

    The finished file is flushed to the disk before it takes its name, so that a machine that loses power keeps either
    the old file or the new one. Errors of the operating system name ``path``, not the temporary file.

    Raises:
        OSError: at once, where ``path`` is something that a file must not replace (`in_the_way`).
    """
    path = Path(path)
    if what := in_the_way(path):
        raise OSError(errno.EEXIST, f"is {what}; expected the name of a file", str(path))
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    with errors_named(path, temporary):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def errors_named(path: Path, temporary: Path) -> Iterator[None]:
    """Let errors of the operating system that name no file, or ``temporary`` or what is in it, name ``path``."""
    try:
        yield
    except OSError as error:
        if error.filename is None or str(error.filename).startswith(str(temporary)):
            error.filename = str(path)
        raise


def in_the_way(path: Path) -> str:
    """What stands where a file is to be written, if that is no file: "a folder" or "a device, pipe or socket"."""
    if path.is_dir():
        return "a folder"
    return "a device, pipe or socket" if path.exists() and not path.is_file() else ""


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a small text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
