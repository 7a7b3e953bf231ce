"""Raw video: what names say, every layout of samples, and what flags say in their place."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.small_model import SmallModel
from torchDVC.dataset.frame import Frame, ReadOptions, VideoInfo
from torchDVC.dataset.layouts import find_layout
from torchDVC.dataset.names import name_says
from torchDVC.dataset.testing import SEQUENCES, STANDARD_FPS, test_sequences
from torchDVC.dataset.training import training_set
from torchDVC.dataset.video import open_video, open_writer
from torchDVC.results.rows import read_rows
from torchDVC.util.errors import DataError

W, H = 6, 4
LUMA = np.arange(W * H).reshape(H, W) * 7 + 20
U = np.arange(6).reshape(2, 3) * 20 + 60
V = np.arange(6).reshape(2, 3) * 15 + 90


@pytest.mark.parametrize(
    ("name", "size", "fps", "samples", "matrix"),
    [
        ("Beauty_1920x1080_120fps_420_8bit_YUV", (1920, 1080), 120, "8-bit 4:2:0", None),
        ("Beauty_3840x2160_120fps_420_10bit_YUV", (3840, 2160), 120, "10-bit 4:2:0", None),
        ("BQMall_832x480_60", (832, 480), 60, None, None),
        ("BQMall_832x480_600", (832, 480), None, None, None),
        ("Kimono1_1920x1080_240", (1920, 1080), None, None, None),
        ("CatRobot1_3840x2160p_60_10_709_420", (3840, 2160), 60, "10-bit 4:2:0", "bt709"),
        ("DaylightRoad2_3840x2160_60fps_10bit_420_bt709", (3840, 2160), 60, "10-bit 4:2:0", "bt709"),
        ("HDR_1920x1080p_50_10_2020_420", (1920, 1080), 50, "10-bit 4:2:0", "bt2020"),
        ("a_64x48_10b_420", (64, 48), None, "10-bit 4:2:0", None),
        ("a_64x48_12bit", (64, 48), None, "12-bit 4:2:0", None),
        ("a_64x48_10_bit", (64, 48), None, "10-bit 4:2:0", None),
        ("a_64x48_24_yuv422p10le", (64, 48), 24, "10-bit 4:2:2", None),
        ("a_64x48_p010", (64, 48), None, "10-bit 4:2:0", None),
        ("a_64x48_nv12", (64, 48), None, "8-bit 4:2:0", None),
        ("a_64x48_gray10", (64, 48), None, "10-bit grey", None),
        ("crowd_run_1080p50", (1920, 1080), 50, None, None),
        ("a_1280x720p59.94", (1280, 720), Fraction(60000, 1001), None, None),
        ("foreman_cif_qp10", (352, 288), None, None, None),
        ("Clip1444_352x288_30", (352, 288), 30, None, None),
        ("KristenAndSara_1280x720_60p", (1280, 720), 60, None, None),
        ("a_64x48_25_8bit_P400", (64, 48), 25, "8-bit grey", None),
        ("a_64x48_400", (64, 48), None, None, None),
        ("akiyo-qcif-15", (176, 144), 15, None, None),
        ("clip_420_v422_64x48", (64, 48), None, None, None),
        ("holiday", None, None, None, None),
    ],
)
def test_names_say_size_rate_samples_and_matrix(
    name: str, size: tuple[int, int] | None, fps: Fraction | None, samples: str | None, matrix: str | None
) -> None:
    said = name_says(name)
    assert (said.size, said.fps, said.matrix) == (size, fps, matrix)
    assert (str(said.layout) if said.layout else None) == samples


def stored(layout: str) -> bytes:
    """LUMA, U and V in a layout, as FFmpeg describes it."""
    match layout:
        case "nv12" | "nv21":
            pair = (U, V) if layout == "nv12" else (V, U)
            return LUMA.astype("u1").tobytes() + np.stack(pair, -1).astype("u1").tobytes()
        case "yv12":
            return b"".join(plane.astype("u1").tobytes() for plane in (LUMA, V, U))
        case "p010" | "p010be":
            kind = ">u2" if layout.endswith("be") else "<u2"
            return (LUMA << 8).astype(kind).tobytes() + (np.stack((U, V), -1) << 8).astype(kind).tobytes()
        case "yuyv422" | "uyvy422":
            u, v = U.repeat(2, axis=0), V.repeat(2, axis=0)
            four = (LUMA[:, ::2], u, LUMA[:, 1::2], v) if layout == "yuyv422" else (u, LUMA[:, ::2], v, LUMA[:, 1::2])
            return np.stack(four, -1).astype("u1").tobytes()
        case "gray":
            return LUMA.astype("u1").tobytes()
    found = find_layout(layout)
    assert found is not None
    across, down = {"420": (1, 1), "422": (1, 2), "440": (2, 1), "444": (2, 2)}[found.chroma]
    chroma = [plane.repeat(down, axis=0).repeat(across, axis=1) for plane in (U, V)]
    kind = "u1" if found.bits == 8 else ">u2" if found.big_endian else "<u2"
    return b"".join((plane << found.bits - 8).astype(kind).tobytes() for plane in (LUMA, *chroma))


LAYOUTS = (
    *("yuv420p", "yuv422p", "yuv440p", "yuv444p", "yuv420p10le", "yuv420p10be", "yuv422p12le", "yuv444p16le", "i420"),
    *("nv12", "nv21", "yv12", "p010", "p010be", "yuyv422", "uyvy422", "gray"),
)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("named", [True, False])
def test_samples_of_every_layout(tmp_path: Path, layout: str, named: bool) -> None:
    path = tmp_path / (f"a_{W}x{H}_{layout}.yuv" if named else "a.yuv")
    path.write_bytes(2 * stored(layout))
    reader = open_video(path) if named else open_video(path, size=(W, H), pix_fmt=layout)
    assert reader.info.frames == 2
    for frame in reader:
        y, u, v = frame.yuv
        assert np.array_equal(y, LUMA)
        if layout == "gray":
            assert (u == 128).all() and (v == 128).all()
        else:
            assert np.array_equal(u, U) and np.array_equal(v, V)


@pytest.mark.parametrize("tag", ["422", "444", "440", "420p10", "422p12", "444p16", "mono10"])
def test_y4m_of_every_layout(tmp_path: Path, tag: str) -> None:
    layout = find_layout(tag)
    assert layout is not None
    grey = (LUMA << layout.bits - 8).astype("<u2").tobytes()
    data = grey if layout.chroma == "400" else stored(f"yuv{layout.chroma}p{layout.bits if layout.bits > 8 else ''}")
    (tmp_path / "a.y4m").write_bytes(f"YUV4MPEG2 W{W} H{H} F25:1 A16:15 C{tag}\nFRAME\n".encode() + data)
    reader = open_video(tmp_path / "a.y4m")
    assert (reader.info.aspect, reader.info.bits) == (Fraction(16, 15), layout.bits)
    (frame,) = reader
    assert np.array_equal(frame.yuv[0], LUMA)


@pytest.mark.parametrize("aspect", [Fraction(16, 15), Fraction(1), None])
def test_y4m_keeps_the_shape_of_pixels(tmp_path: Path, aspect: Fraction | None) -> None:
    frame = Frame(yuv=(LUMA.astype(np.uint8), U.astype(np.uint8), V.astype(np.uint8)))
    with open_writer(tmp_path / "a.y4m", VideoInfo(W, H, aspect=aspect)) as writer:
        writer.write(frame)
    assert open_video(tmp_path / "a.y4m").info.aspect == aspect


def test_samples_of_10_bits_are_rounded_in_their_range(tmp_path: Path) -> None:
    codes = [64, 65, 66, 510, 940, 943, 1022, 1023, *[512] * 4]
    (tmp_path / "a_4x2_10bit.yuv").write_bytes(np.array(codes, "<u2").tobytes())
    limited, full = [16, 16, 17, 128, 235, 236, 255, 255], [16, 16, 16, 127, 234, 235, 255, 255]
    for value_range, luma in (("limited", limited), ("full", full)):
        reader = open_video(tmp_path / "a_4x2_10bit.yuv", value_range=value_range)
        (frame,) = reader
        assert frame.yuv[0].ravel().tolist() == luma
        assert np.unique(frame.yuv[1]).tolist() == [128]
        assert str(reader.info) == f"4x2, 1 frames at 30 frames/s, 10-bit 4:2:0, bt709 {value_range}"
        assert reader.info.read_in(8).endswith("; rounded to 8 bits") and reader.info.read_in(10) == str(reader.info)


def test_flags_go_before_names(tmp_path: Path) -> None:
    (tmp_path / f"a_{W}x{H}_60_10bit.yuv").write_bytes(4 * stored("yuv420p"))
    info = open_video(tmp_path / f"a_{W}x{H}_60_10bit.yuv", pix_fmt="yuv420p", fps=Fraction(5)).info
    assert (info.frames, info.bits, info.fps) == (4, 8, 5)
    with pytest.raises(DataError, match=r"unknown pixel format 'yuv421p'; did you mean 'yuv42.p'"):
        open_video(tmp_path / f"a_{W}x{H}_60_10bit.yuv", pix_fmt="yuv421p")


# -- rates of the field's sets ----------------------------------------------------------------------------------------


def test_every_known_sequence_has_its_rate() -> None:
    assert set(STANDARD_FPS) == {(name, sequence) for name, found in SEQUENCES.items() for sequence in found}
    assert STANDARD_FPS["HEVC-B", "Kimono"] == 24 and STANDARD_FPS["UVG", "Jockey"] == 120


def test_folders_of_pictures_have_the_rate_of_their_set_or_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATASET", str(tmp_path))
    for name in ("HEVC-D/BasketballPass", "HEVC-D/BQSquare_416x240_60", "own/clip_50fps", "own/other"):
        with open_writer(tmp_path / name, VideoInfo(W, H)) as writer:
            writer.write(Frame(rgb=np.zeros((3, H, W), np.uint8)))
    known = test_sequences(["HEVC-D"], ["BasketballPass", "BQSquare"])
    assert [sequence.open().info.fps for sequence in known] == [50, 60]
    assert [sequence.open().info.fps for sequence in test_sequences(["own"])] == [50, 30]
    assert known[0].open(fps=Fraction(12)).info.fps == 12


def test_procedural_clips_keep_their_size() -> None:
    sequences = test_sequences(["procedural"], ["clip0"], ReadOptions(size=(64, 48), fps=Fraction(50)))
    info = sequences[0].open(frames=1).info
    assert (info.width, info.height, info.fps) == (416, 240, 50)


def test_rounding_of_training_clips_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}_{W}x{H}_12bit.yuv").write_bytes(2 * stored("yuv420p12le"))
    clips = training_set(str(tmp_path), frames=2, patch_size=4, seed=0).clips
    assert [clip.shape for clip in clips] == [(2, 3, H, W)] * 2
    assert caplog.text.count("samples of 12 bits in training clips are rounded to 8") == 1


def test_training_clips_follow_flags(tmp_path: Path) -> None:
    (tmp_path / "a.yuv").write_bytes(2 * stored("nv12"))
    for given, frames in ((ReadOptions(size=(W, H), pix_fmt="nv12"), 2), (ReadOptions(size=(W, H // 2)), 4)):
        (clip,) = training_set(str(tmp_path), frames=2, patch_size=2, seed=0, given=given).clips
        assert clip.shape[0] == frames


def test_the_tester_follows_flags(tmp_path: Path, small_model: SmallModel, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "clip.yuv").write_bytes(rng.integers(0, 256, 3 * 64 * 64 * 3 // 2, np.uint8).tobytes())
    flags = ("--test_datasets", str(tmp_path / "clip.yuv"), "--no_image", "--size", "64x64", "--fps", "12")
    assert small_model.test("results", *flags, "--pix_fmt", "nv12") == 0
    assert "clip: 64x64, 3 frames at 12 frames/s, 8-bit 4:2:0, bt709 limited" in capsys.readouterr().out
    (row,) = read_rows(small_model.path / "results/rd.csv")
    assert (row.width, row.frames, row.fps) == (64, 3, 12)
    assert small_model.test("others", *flags, "--pix_fmt", "nv13") == 2
    assert "unknown pixel format 'nv13'; did you mean 'nv" in capsys.readouterr().err
