"""The folders that users of *Learned Codec Protocol* and *DVC* keep their data in, and CLIC 2022 by its name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from torchDVC.dataset.testing import SEQUENCES, test_sequences
from torchDVC.dataset.training import listed_clips, training_set
from torchDVC.util.errors import DataError


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that DATASET names."""
    monkeypatch.setenv("DATASET", str(tmp_path))
    return tmp_path


def pictures(folder: Path, names: list[str], value: int = 0) -> None:
    """Small pictures whose grey levels are ``value``, ``value + 1``, …"""
    folder.mkdir(parents=True)
    for index, name in enumerate(names):
        Image.fromarray(np.full((32, 48, 3), value + index, np.uint8)).save(folder / name)


@pytest.mark.parametrize("of_data_set", [True, False])
def test_raw_video_1080(data: Path, of_data_set: bool) -> None:
    """``TestVideo/raw_video_1080``, with a folder for each data set or all sequences side by side."""
    names = {"UVG": SEQUENCES["UVG"], "HEVC-B": ("BasketballDrive", "BQTerrace", "Cactus", "Kimono1", "ParkScene")}
    for name, sequences in names.items():
        for index, sequence in enumerate(sequences):
            folder = data / "TestVideo/raw_video_1080" / (name if of_data_set else "") / sequence
            pictures(folder, [f"frame_{number}.png" for number in range(1, 12)], 20 * index)
    found = test_sequences(["UVG", "HEVC-B"])
    assert [(s.dataset, s.name) for s in found] == [(name, s) for name in names for s in SEQUENCES[name]]
    levels = [int(frame.rgb[0, 0, 0]) for frame in found[2].open()]
    assert levels == list(range(40, 51))


def test_septuplets_in_img(data: Path) -> None:
    """``vimeo_septuplet/img/00001/0001/0.png`` to ``6.png``, without a list."""
    for index in range(3):
        pictures(data / f"vimeo_septuplet/img/00001/000{index}", [f"{n}.png" for n in range(7)], 10 * index)
    assert len(listed_clips("default", 7, 32)) == len(listed_clips("vimeo90k", 7, 32)) == 3
    clips = training_set("default", frames=7, patch_size=16, seed=0)
    assert sorted(int(clips[0, index][0, 0, 0, 0]) // 10 for index in range(3)) == [0, 1, 2]
    assert int(clips[0, 0][6, 0, 0, 0]) - int(clips[0, 0][0, 0, 0, 0]) == 6


def test_clic_2022(data: Path) -> None:
    for name in ("0442d8bd", "04a1274a"):
        pictures(data / "CLIC2022" / name, ["0.png", "1.png"])
    assert [(s.dataset, s.name) for s in test_sequences(["CLIC2022"])] == [
        ("CLIC2022", "0442d8bd"), ("CLIC2022", "04a1274a")
    ]  # fmt: skip
    assert [s.name for s in test_sequences(["CLIC2022"], ["04a1274a"])] == ["04a1274a"]
    with pytest.raises(DataError, match="no sequence '04a1274b' in CLIC2022; did you mean '04a1274a'"):
        test_sequences(["CLIC2022"], ["04a1274b"])
