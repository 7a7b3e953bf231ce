"""The cache of decoded frames: built once, rebuilt where a clip changed or a file is damaged, never half-written."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import CHECKOUT
from tests.marked_clips import marked_clip
from tests.small_model import SmallModel
from torchDVC.dataset.cache import FrameCache
from torchDVC.dataset.pictures import write_png
from torchDVC.dataset.procedural import procedural_clip
from torchDVC.dataset.sources import ProceduralClip
from torchDVC.dataset.training import training_set
from torchDVC.util.errors import DataError


def cached_files() -> dict[Path, int]:
    return {path: path.stat().st_ino for path in Path(os.environ["TORCHDVC_CACHE"]).rglob("*.frames")}


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCHDVC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_cache_is_built_once(marked: Path, own_cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = training_set(str(marked), frames=2, patch_size=16, seed=0)
    assert "decoding: 4/4 clips" in capsys.readouterr().err
    files = cached_files()
    assert len(files) == 4
    again = training_set(str(marked), frames=3, patch_size=8, seed=0)
    assert not capsys.readouterr().err
    assert cached_files() == files
    assert len(first) == len(again) == 4
    assert not list(own_cache.rglob("*partial*"))


def test_a_changed_clip_is_decoded_again(marked: Path, own_cache: Path) -> None:
    training_set(str(marked), frames=2, patch_size=16, seed=0)
    files = cached_files()
    write_png(marked / "clip2" / "im1.png", np.zeros((3, 30, 40), np.uint8))
    clips = training_set(str(marked), frames=2, patch_size=16, seed=0)
    changed = {path for path, inode in cached_files().items() if files[path] != inode}
    assert {path.name.partition("-")[0] for path in changed} == {"clip2"}
    assert clips.clips[2].frame(0).max() == 0
    assert not cached_files().keys() - files.keys()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2],
        lambda data: data[1:],
        lambda data: bytes(len(data)),
        lambda data: data + b"more",
        lambda data: data[:-40] + b"\xff" * 24 + data[-16:],
        lambda data: data[:-16] + b"\xff" * 8 + data[-8:],
    ],
)
def test_a_damaged_file_is_built_again(marked: Path, own_cache: Path, damage: object) -> None:
    training_set(str(marked), frames=2, patch_size=16, seed=0)
    whole = cached_files()
    for path in whole:
        path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    clips = training_set(str(marked), frames=2, patch_size=16, seed=0)
    assert not whole.items() & cached_files().items()
    assert np.array_equal(clips.clips[3].frame(8), marked_clip(3, 9, 40, 30)[8])


def test_a_damaged_frame_is_found_when_it_is_read(marked: Path, own_cache: Path) -> None:
    training_set(str(marked), frames=2, patch_size=16, seed=0)
    for path in cached_files():
        data = bytearray(path.read_bytes())
        data[5000] ^= 1
        path.write_bytes(data)
    clips = training_set(str(marked), frames=2, patch_size=16, seed=0)
    for number, clip in enumerate(clips.clips):
        expected = marked_clip(number, 9, 40, 30)
        assert all(np.array_equal(clip.frame(t), expected[t]) for t in range(9))


def test_many_clips_do_not_keep_many_files_open(own_cache: Path) -> None:
    sources = [ProceduralClip(index, 1, (4, 4)) for index in range(260)]
    clips = FrameCache(own_cache).clips(sources)
    for clip in clips:
        clip.frame(0)
    assert len(clips[0].cache._open) == 256
    assert np.array_equal(clips[0].frame(0), procedural_clip(0, 1, (4, 4))[0])


def test_clips_can_be_sent_to_another_process(marked: Path) -> None:
    clips = training_set(str(marked), frames=2, patch_size=16, seed=0)
    before = clips[0, 0]
    assert torch.equal(pickle.loads(pickle.dumps(clips))[0, 0], before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_build_at_once(small_model: SmallModel, own_cache: Path, number: signal.Signals) -> None:
    """Long before all 128 clips are done."""
    small_model.write("long.cfg", "[process: i]\nimode = i\ndata = procedural\nframes = 12\npatch_size = 512\n")
    command = [sys.executable, "torchDVC/trainer.py", *small_model.train_flags("run", cfg="long.cfg")]
    training = subprocess.Popen(command, cwd=CHECKOUT, stderr=subprocess.PIPE, text=True)
    while not list(own_cache.rglob("*.partial.frames")) and training.poll() is None:
        time.sleep(0.02)
    training.send_signal(number)
    error = training.communicate(timeout=120)[1]
    assert training.returncode == 130, error
    assert "Traceback" not in error and error.splitlines()[-1] == "interrupted"
    assert not list(own_cache.rglob("*partial*"))


def test_a_cache_can_be_built_in_any_thread(marked: Path, own_cache: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        clips = pool.submit(training_set, str(marked), frames=2, patch_size=16, seed=0).result()
    assert len(clips) == len(cached_files()) == 4


def test_a_damaged_clip_leaves_nothing_half_written(marked: Path, own_cache: Path) -> None:
    (marked / "clip9").mkdir()
    (marked / "clip9" / "im1.png").write_bytes((marked / "clip1" / "im1.png").read_bytes()[:60])
    with pytest.raises(DataError, match="im1.png: damaged or not a picture"):
        training_set(str(marked), frames=1, patch_size=16, seed=0)
    assert not list(own_cache.rglob("*partial*"))
    assert "clip9" not in str(cached_files())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_gives_one_clear_line(marked: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file of the cache is written to a device without room."""
    import builtins

    import torchDVC.dataset.cache as cache

    def full(path: Path, mode: str) -> object:
        return builtins.open("/dev/full" if mode == "wb" else path, mode, buffering=0)

    monkeypatch.setattr(cache, "open", full, raising=False)
    with pytest.raises(DataError) as raised:
        training_set(str(marked), frames=2, patch_size=16, seed=0)
    message = str(raised.value)
    assert "no space left on the disk" in message
    assert "TORCHDVC_CACHE" in message
    assert message.startswith(str(own_cache))
    assert "\n" not in message


def test_a_folder_that_cannot_be_written(marked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TORCHDVC_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match="TORCHDVC_CACHE"):
        training_set(str(marked), frames=2, patch_size=16, seed=0)
