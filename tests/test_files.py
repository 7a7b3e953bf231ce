"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from torchDVC.util.files import atomic_path


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name, what in (("folder", "a folder"), ("pipe", "a device, pipe or socket")):
        message = f"is {what}; expected the name of a file.*{name}"
        with pytest.raises(OSError, match=message), atomic_path(tmp_path / name):
            pytest.fail("only found after all work was done")
    assert (tmp_path / "folder").is_dir() and (tmp_path / "pipe").is_fifo()
    assert len(list(tmp_path.iterdir())) == 2


def test_errors_name_the_file_and_not_the_temporary_one(tmp_path: Path) -> None:
    for name in ("", ".text.partial"):
        with pytest.raises(OSError) as caught, atomic_path(tmp_path / "text") as temporary:
            raise OSError(28, "no space", str(temporary) if name else None)
        assert caught.value.filename == str(tmp_path / "text")
    assert not list(tmp_path.iterdir())
