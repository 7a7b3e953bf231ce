"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import write_clip
from torchDVC.dataset.frame import Frame, VideoInfo
from torchDVC.util.errors import run_command
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


@contextmanager
def full_disk() -> Iterator[None]:
    """No file grows beyond 8 kB; what a full disk does to its writer, this does.

    To be left before the test ends: pytest's own report may be a file, and longer.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _clip(path: Path) -> None:
    write_clip(path, (96, 80), np.random.default_rng(0).integers(0, 256, (4, 3, 80, 96), np.uint8))


def _pdf(path: Path) -> None:
    from plots.rd_plots import complexity_figure, save

    save(complexity_figure({"a": 0.0, "b": -5.0}, {"kmac_decode": {"a": 1.0, "b": 2.0}}, "note"), path)


def _stream(path: Path) -> None:
    from torchDVC.anchors.encoders import ENCODERS

    encoder = ENCODERS["x264"]
    frames = [Frame(rgb=rgb) for rgb in np.random.default_rng(0).integers(0, 256, (4, 3, 80, 96), np.uint8)]
    encoder.write(encoder, {"preset": "ultrafast", "qp": "1"}, frames, VideoInfo(96, 80), path)


@pytest.mark.parametrize(("name", "write"), [("a.y4m", _clip), ("a.pdf", _pdf), ("a.h264", _stream)])
def test_writers_of_other_libraries_name_the_file_too(
    name: str, write: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(write)
    with full_disk():
        code = run_command(lambda: write(tmp_path / name))
    assert code == 2
    assert capsys.readouterr().err == f"{tmp_path / name}: file too large\n"
    assert not list(tmp_path.iterdir())
