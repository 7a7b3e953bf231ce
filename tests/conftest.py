"""Fixtures that tests of several areas share."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from torchDVC.dataset.procedural import procedural_clip
from torchDVC.dataset.video import Frame, VideoInfo, open_writer

if TYPE_CHECKING:
    from tests.dvc_workspace import DVCFolder
    from tests.small_model import SmallModel

CHECKOUT = Path(__file__).resolve().parents[1]

# The tests' networks are tiny: threads that wait for one another would take most of the time.
# Set here, before anything loads PyTorch, which reads it once.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Those that a test of several threads started must sleep afterwards, not spin beside every test that follows.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def write_clip(path: Path, size: tuple[int, int], clip: Iterable[np.ndarray]) -> None:
    """Pictures of a width and height, as a video file or a folder."""
    with open_writer(path, VideoInfo(*size)) as writer:
        for rgb in clip:
            writer.write(Frame(rgb=rgb))


def pytest_configure() -> None:
    """A job in the background of a script, or under nohup, ignores signals, and so would every program it starts."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.fixture(scope="session", autouse=True)
def own_surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Caches go to a folder of this session, and no data or log folder of the user's is seen or written to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHDVC_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("DATASET", raising=False)
        patch.delenv("LOG", raising=False)
        yield


@pytest.fixture(scope="session")
def real_clips() -> Path:
    """The folder of real clips, with ``train/`` and ``dev/``; a test that needs it is skipped where it is absent."""
    folder = Path(os.environ.get("TORCHDVC_TEST_DATA") or CHECKOUT.parent / "shared" / "data")
    if not (folder / "dev").is_dir():
        pytest.skip(f"no real clips in {folder}; TORCHDVC_TEST_DATA may name another folder")
    return folder


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three procedural clips of 12 frames, 96x80: ``one.y4m``, ``two.mp4`` and the folder of pictures ``three``."""
    folder = tmp_path_factory.mktemp("clips")
    for index, name in enumerate(("one.y4m", "two.mp4", "three")):
        write_clip(folder / name, (96, 80), procedural_clip(index, 12, (96, 80)))
    return folder


@pytest.fixture
def small_model(tmp_path: Path, clip_folder: Path) -> SmallModel:
    """A model with a few channels and its configuration, in a folder of the test's own."""
    from tests.small_model import make_small_model

    return make_small_model(tmp_path / "model", clip_folder)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, clip_folder: Path) -> SmallModel:
    """A small model whose run ``run`` went through all stages without an interruption; tests leave it as it is."""
    from tests.small_model import make_small_model

    model = make_small_model(tmp_path_factory.mktemp("finished"), clip_folder)
    assert model.train("run", "--final_copy", str(model.path / "copies")) == 0
    return model


@pytest.fixture
def dvc(tmp_path: Path, clip_folder: Path, monkeypatch: pytest.MonkeyPatch) -> DVCFolder:
    """A folder for the DVC command line, which it is in."""
    from tests.dvc_workspace import make_dvc_folder

    return make_dvc_folder(tmp_path, clip_folder, monkeypatch)


@pytest.fixture
def marked(tmp_path: Path) -> Path:
    """A folder of four marked clips of 9 frames, 40x30 (`tests.marked_clips`)."""
    from tests.marked_clips import marked_clip, write_pictures

    for number in range(4):
        write_pictures(tmp_path / "marked" / f"clip{number}", marked_clip(number, 9, 40, 30))
    return tmp_path / "marked"
