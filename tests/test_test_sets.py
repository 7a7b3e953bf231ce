"""Test sets: the usual names, procedural sequences, the user's own folders and files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from torchDVC.dataset import testing
from torchDVC.dataset.procedural import TEST_INDEX, procedural_clip
from torchDVC.dataset.video import open_video
from torchDVC.util.errors import DataError


def make_yuv(path: Path, width: int = 16, height: int = 8, frames: int = 2) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(frames * width * height * 3 // 2))


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DATASET", str(tmp_path))
    return tmp_path


def listed(names: list[str], seqs: list[str] | None = None) -> list[tuple[str, str]]:
    return [(sequence.dataset, sequence.name) for sequence in testing.test_sequences(names, seqs)]


def test_uvg(data: Path) -> None:
    names = ["Beauty", "Bosphorus", "HoneyBee", "Jockey", "ReadySetGo", "ShakeNDry", "YachtRide"]
    for name in names:
        make_yuv(data / "UVG" / f"{name}_16x8_120fps_420_8bit_YUV.yuv")
    sequences = testing.test_sequences(["UVG"])
    assert [s.name for s in sequences] == [name.replace("ReadySet", "ReadySteady") for name in names]
    info = sequences[0].open(frames=1, matrix="bt601").info
    assert (info.width, info.height, info.frames, info.fps, info.matrix) == (16, 8, 1, 120, "bt601")


@pytest.mark.parametrize("folder", ["HEVC-D", "HEVC_D", "HEVC/D", "HEVC/ClassD", "ClassD", "hevc-class-d"])
def test_hevc_folders(data: Path, folder: str) -> None:
    for name in (
        "BasketballPass_416x240_50",
        "BlowingBubbles_416x240_50",
        "BQSquare_416x240_60",
        "RaceHorses_416x240_30",
    ):
        make_yuv(data / folder / f"{name}.yuv", 416, 240, 1)
    assert listed(["HEVC-D"]) == [
        ("HEVC-D", name) for name in ("BasketballPass", "BlowingBubbles", "BQSquare", "RaceHorses")
    ]


def test_similar_names_are_told_apart(data: Path) -> None:
    for name in ("BasketballDrill", "BasketballDrillText", "BQMall", "PartyScene", "RaceHorsesC"):
        make_yuv(data / "HEVC-C" / f"{name}_16x8_50.yuv")
    sequences = testing.test_sequences(["HEVC-C"])
    assert [s.name for s in sequences] == ["BasketballDrill", "BQMall", "PartyScene", "RaceHorses"]
    assert "DrillText" not in sequences[0].open().info.source


def test_some_sequences_of_several_sets(data: Path) -> None:
    make_yuv(data / "MCL-JCV" / "videoSRC05_16x8_25.yuv")
    make_yuv(data / "UVG" / "Beauty_16x8.yuv")
    assert listed(["UVG", "MCL-JCV"], ["beauty", "videoSRC05"]) == [("UVG", "Beauty"), ("MCL-JCV", "videoSRC05")]
    with pytest.raises(DataError, match="no sequence 'Butey' in UVG; did you mean 'Beauty'"):
        listed(["UVG"], ["Butey"])


def test_an_incomplete_set_is_an_error(data: Path) -> None:
    make_yuv(data / "UVG" / "Beauty_16x8.yuv")
    with pytest.raises(DataError, match="has nothing, put it there for Bosphorus of UVG"):
        listed(["UVG"])
    make_yuv(data / "UVG" / "Beauty_32x16.yuv", 32, 16)
    with pytest.raises(DataError, match="has 2 clips, keep one for Beauty of UVG"):
        listed(["UVG"], ["Beauty"])


def test_missing_sets(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"UVG: no such folder in \$DATASET"):
        listed(["UVG"])
    with pytest.raises(DataError, match="HEVC-F: no such file or folder.*did you mean 'HEVC-"):
        listed(["HEVC-F"])
    monkeypatch.delenv("DATASET")
    with pytest.raises(DataError, match="UVG: set DATASET"):
        listed(["UVG"])
    with pytest.raises(DataError, match="no test set named; known: UVG"):
        listed([])


def test_procedural_sequences() -> None:
    sequences = testing.test_sequences(["procedural"])
    assert [s.name for s in sequences] == ["clip0", "clip1", "clip2", "clip3"]
    reader = sequences[1].open(frames=2, size=(48, 32))
    assert (reader.info.width, reader.info.height, reader.info.frames) == (48, 32, 2)
    clip = procedural_clip(TEST_INDEX + 1, 2, (48, 32))
    assert all(np.array_equal(frame.rgb, rgb) for frame, rgb in zip(reader, clip, strict=True))
    assert sequences[0].open().info.frames == 96


def test_own_folders_and_files(clip_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = clip_folder.name
    assert listed([str(clip_folder)]) == [(name, "one"), (name, "three"), (name, "two")]
    assert listed([str(clip_folder / "two.mp4"), str(clip_folder / "three")]) == [(name, "two"), (name, "three")]
    assert listed([str(clip_folder)], ["TWO"]) == [(name, "two")]
    monkeypatch.setenv("DATASET", str(clip_folder.parent))
    assert len(listed([name])) == 3
    (sequence,) = testing.test_sequences([str(clip_folder)], ["one"])
    ours, plain = sequence.open(), open_video(clip_folder / "one.y4m")
    assert all(np.array_equal(a.rgb, b.rgb) for a, b in zip(ours, plain, strict=True))


def test_nested_folders_keep_names_apart(tmp_path: Path) -> None:
    for city in ("paris", "rome"):
        make_yuv(tmp_path / "cities" / city / "walk_16x8.yuv")
    assert listed([str(tmp_path / "cities")]) == [("cities", "paris_walk_16x8"), ("cities", "rome_walk_16x8")]


def test_two_clips_of_one_name_are_refused(tmp_path: Path) -> None:
    for folder in ("a/set", "b/set"):
        make_yuv(tmp_path / folder / "clip_16x8.yuv")
    names = [str(tmp_path / folder / "set") for folder in "ab"]
    with pytest.raises(DataError, match=r"b/set/clip_16x8.yuv: would be clip_16x8 of set .*a/set/clip_16x8.yuv is"):
        listed(names)
    assert [listed([name]) for name in names] == [[("set", "clip_16x8")]] * 2


def test_bad_clips_are_named_when_opened(tmp_path: Path) -> None:
    make_yuv(tmp_path / "clips" / "walk.yuv")
    (sequence,) = testing.test_sequences([str(tmp_path / "clips")])
    with pytest.raises(DataError, match="walk.yuv: picture size unknown"):
        sequence.open()
    assert sequence.open(size=(16, 8)).info.frames == 2


def test_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: holds no clips"):
        listed([str(tmp_path / "empty")])


def test_real_clips(real_clips: Path) -> None:
    sequences = testing.test_sequences([str(real_clips / "dev")])
    assert len(sequences) >= 8
    assert all(sequence.dataset == "dev" and sequence.open().info.frames for sequence in sequences)
