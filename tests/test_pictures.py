"""Pictures that are more than 8 bits deep, that move, or that are of several sizes."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.small_model import SmallModel
from torchDVC.dataset.pictures import read_picture
from torchDVC.dataset.testing import test_sequences
from torchDVC.dataset.training import training_set
from torchDVC.dataset.video import open_video
from torchDVC.results.rows import read_rows
from torchDVC.util.errors import DataError

CODES = (np.arange(5 * 7 * 4).reshape(5, 7, 4) * 467).astype(np.uint16)
EIGHT = np.floor(CODES / 257 + 0.5).astype(np.uint8)


def write_deep_png(path: Path, channels: int) -> None:
    """A png of 16 bits a channel: grey, grey with transparency, RGB, RGB with transparency."""
    rows = b"".join(b"\0" + row[:, :channels].astype(">u2").tobytes() for row in CODES)
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", 7, 5, 16, (0, 4, 2, 6)[channels - 1], 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    length, checksum = (lambda data: struct.pack(">I", len(data))), (lambda data: struct.pack(">I", zlib.crc32(data)))
    chunks = b"".join(length(data) + kind + data + checksum(kind + data) for kind, data in parts)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_of_16_bits_is_rounded(tmp_path: Path, channels: int) -> None:
    write_deep_png(tmp_path / "a.png", channels)
    expected = EIGHT[..., [0, 0, 0] if channels < 3 else [0, 1, 2]].transpose(2, 0, 1)
    assert np.array_equal(read_picture(tmp_path / "a.png"), expected)
    (frame,) = open_video(tmp_path / "a.png")
    assert np.array_equal(frame.rgb, expected)


@pytest.mark.parametrize(("magic", "channels"), [(b"P6", 3), (b"P5", 1)])
@pytest.mark.parametrize("most", [65535, 1023])
def test_ppm_of_more_than_8_bits_is_rounded(tmp_path: Path, magic: bytes, channels: int, most: int) -> None:
    codes = CODES[..., :channels] % (most + 1)
    (tmp_path / "a.ppm").write_bytes(magic + b"\n7 5\n%d\n" % most + codes.astype(">u2").tobytes())
    expected = np.floor(codes.astype(float) * 255 / most + 0.5).transpose(2, 0, 1)
    assert np.abs(read_picture(tmp_path / "a.ppm") - expected).max() <= (most != 65535)  # Pillow goes by way of 16 bits


def test_a_deep_png_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    write_deep_png(tmp_path / "a.png", 3)
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:-60])
    with pytest.raises(DataError, match=r"a\.png: damaged or not a picture"):
        read_picture(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", ["webp", "png"])
def test_an_animation_is_a_clip(tmp_path: Path, suffix: str) -> None:
    first, *others = (Image.new("RGB", (20, 10), (60 * i, 0, 0)) for i in range(4))
    options: Any = {"lossless": True} if suffix == "webp" else {}
    first.save(tmp_path / f"a.{suffix}", save_all=True, append_images=others, duration=40, **options)
    reader = open_video(tmp_path / f"a.{suffix}")
    assert (reader.info.frames, reader.info.fps, reader.info.width) == (4, 25, 20)
    assert [int(frame.rgb[0, 0, 0]) for frame in reader] == [0, 60, 120, 180]
    assert int(reader.read([2])[0].rgb[0, 0, 0]) == 120
    with pytest.raises(DataError, match="an animation of 4 frames; name it by itself"):
        list(open_video(tmp_path))


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Pictures upright and across, as in Kodak's set."""
    (tmp_path / "album").mkdir()
    for number, size in enumerate([(96, 64), (64, 96), (96, 64)], 1):
        picture = np.random.default_rng(number).integers(0, 256, (*size[::-1], 3), np.uint8)
        Image.fromarray(picture).save(tmp_path / "album" / f"kodim{number:02}.png")
    return tmp_path / "album"


def test_pictures_of_several_sizes_are_training_data_of_single_frames(album: Path) -> None:
    clips = training_set(str(album), frames=1, patch_size=64, seed=0)
    assert sorted(clip.shape for clip in clips.clips) == [(1, 3, 64, 96), (1, 3, 64, 96), (1, 3, 96, 64)]
    assert clips[0, 0].shape == (1, 3, 64, 64)
    with pytest.raises(DataError, match="keep one size per folder, or code each picture by itself"):
        training_set(str(album), frames=2, patch_size=64, seed=0)


def test_pictures_of_several_sizes_are_tested_one_by_one(album: Path, small_model: SmallModel) -> None:
    flags = ("--test_datasets", str(album), "--no_image")
    assert small_model.test("results", *flags, "--intra_period", "1") == 0
    rows = read_rows(small_model.path / "results/rd.csv")
    assert [(row.dataset, row.sequence, row.width, row.height, row.frames) for row in rows] == [
        ("album", "kodim01", 96, 64, 1), ("album", "kodim02", 64, 96, 1), ("album", "kodim03", 96, 64, 1),
    ]  # fmt: skip
    assert small_model.test("others", *flags) == 2


def test_pictures_of_one_size_stay_a_clip(album: Path) -> None:
    (album / "kodim02.png").unlink()
    assert [sequence.name for sequence in test_sequences([str(album)], singly=True)] == ["album"]


def test_an_animation_in_a_folder_is_refused_before_anything_is_read(album: Path) -> None:
    frames = [Image.new("RGB", (96, 64), (60 * i, 0, 0)) for i in range(3)]
    frames[0].save(album / "kodim02.png", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match=r"kodim02\.png: an animation of 3 frames"):
        open_video(album)
