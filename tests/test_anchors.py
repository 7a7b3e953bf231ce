"""Anchor codecs: honest bytes, matched settings, the same metrics as an independent measurement; cache and errors."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.bpg_stand_in import put_stand_ins
from torchDVC.anchors.coded_files import write_av
from torchDVC.anchors.command import main
from torchDVC.anchors.encoders import ENCODERS
from torchDVC.anchors.points import Anchor, anchors, measure_anchors
from torchDVC.coding_structure import CodingStructure
from torchDVC.dataset.frame import Frame, VideoInfo
from torchDVC.dataset.testing import TestSequence, test_sequences
from torchDVC.dataset.video import open_writer
from torchDVC.results.metrics import picture_metrics
from torchDVC.results.rows import RDRow, read_frames, read_rows
from torchDVC.util.errors import LCPError

CODECS = ("x264:veryfast", "x265:veryfast", "svtav1:10", "vp9:5")
LOW_DELAY = CodingStructure(4)


def write_clip(path: Path, frames: int = 6, width: int = 80, height: int = 66) -> Path:
    """A moving pattern with some texture."""
    noise = np.random.default_rng(0).normal(0, 6, (3, height, width + 2 * frames))
    x, y = np.meshgrid(np.arange(width + 2 * frames), np.arange(height))
    pattern = np.stack([128 + 80 * np.sin(x / 9 + c) * np.cos(y / 7) for c in range(3)]) + noise
    picture = np.clip(pattern, 0, 255).astype(np.uint8)
    with open_writer(path, VideoInfo(width, height, fps=Fraction(25))) as writer:
        for t in range(frames):
            writer.write(Frame(rgb=np.ascontiguousarray(picture[:, :, 2 * t : 2 * t + width])))
    return path


@pytest.fixture
def clip(tmp_path) -> Path:
    return write_clip(tmp_path / "clip.y4m")


def sequence(path: Path) -> TestSequence:
    (found,) = test_sequences([str(path)])
    return found


def measure(path: Path, codec: str, structure: CodingStructure = LOW_DELAY, quality: float = 30, **options) -> RDRow:
    save_dir = path.parent / "results"
    (row,) = measure_anchors([sequence(path)], anchors([codec]), structure, save_dir, qualities=[quality], **options)
    return row


def let_write(monkeypatch, write) -> None:
    """Let another function write the files of x264."""
    monkeypatch.setitem(ENCODERS, "x264", replace(ENCODERS["x264"], write=write))


def stream_of(row: RDRow, folder: Path) -> Path:
    (path,) = (folder / "results" / "streams").rglob(f"*{row.run_id}*")
    return path


@pytest.mark.parametrize("codec", [*CODECS, "hevc-intra"])
def test_the_row_is_what_the_file_holds(codec, clip):
    """Bytes are those on disk, pictures those that PyAV decodes by itself from the file alone."""
    av = pytest.importorskip("av")
    row = measure(clip, codec)
    path = stream_of(row, clip.parent)
    assert row.bpp == path.stat().st_size * 8 / (80 * 66 * 6)
    with av.open(str(path)) as container:
        decoded = [frame.to_ndarray(format="yuv420p") for frame in container.decode(video=0)]
    sources = list(sequence(clip).open())
    assert len(decoded) == len(sources) == row.frames
    qualities = []
    for source, packed in zip(sources, decoded, strict=True):
        planes = packed[:66], packed[66:].reshape(-1)[: 40 * 33], packed[66:].reshape(-1)[40 * 33 :]
        recon = Frame(yuv=(planes[0], planes[1].reshape(33, 40), planes[2].reshape(33, 40)))
        qualities.append(picture_metrics(source, recon))
    for name in ("psnr_rgb", "ms_ssim_rgb", "psnr_y", "psnr_u", "psnr_v", "psnr_yuv"):
        assert getattr(row, name) == pytest.approx(np.mean([values[name] for values in qualities]), abs=1e-9)
    assert 20 < row.psnr_y < 60


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("structure", [LOW_DELAY, CodingStructure(0), CodingStructure(4, 2), CodingStructure(4, 4)])
def test_intra_frames_stand_where_the_structure_has_them(codec, structure, clip):
    row = measure(clip, codec, structure, ms_ssim=False)
    frames = read_frames(clip.parent / "results" / "frames.csv")
    intra = [0, 4] if structure.intra_period else [0]
    assert [frame.frame for frame in frames if frame.type == "I"] == intra
    assert (row.intra_period, row.gop_size) == (structure.intra_period, structure.gop_size)
    types = {frame.type for frame in frames}
    if not codec.startswith("vp9"):
        assert ("B" in types) == (structure.gop_size > 1)
    assert (row.psnr_b is None) == (row.bpp_b is None) == ("B" not in types)
    bits = stream_of(row, clip.parent).stat().st_size * 8
    assert row.bpp == bits / (80 * 66 * 6)
    assert 0 <= bits - sum(frame.bits for frame in frames) <= 8 * (32 + 12 * 6)  # IVF's own


@pytest.mark.parametrize(
    ("gop_size", "types"), [(1, "IPPPPPPPIPPPP"), (4, "IBBBPBPPIBBBP"), (8, "IBBBPBPPIBBBP"), (2, "IBBBPBPPIBBBP")]
)
def test_frames_of_av1_are_what_they_are_when_shown(gop_size, types, tmp_path):
    """Between I frames at 0 and 8 are GOPs of 4, 2 and 1, for an I frame ends none; SVT-AV1 does not begin with 2."""
    path = write_clip(tmp_path / "clip.y4m", frames=13)
    row = measure(path, "svtav1:10", CodingStructure(8, gop_size), ms_ssim=False)
    frames = read_frames(tmp_path / "results" / "frames.csv")
    assert "".join(frame.type for frame in frames) == types
    assert sum(frame.bits for frame in frames) == 8 * stream_of(row, tmp_path).stat().st_size
    assert min(frame.bits for frame in frames) > 8 * 15  # none has only the bits that call an earlier one up
    assert ("GOP of 4" in row.settings) == (gop_size == 2)


def test_intra_codecs_code_every_frame_alone(clip):
    row = measure(clip, "hevc-intra", quality=27)
    assert (row.intra_period, row.gop_size, row.lmda, row.quality) == (1, 1, 1024, 27)
    assert {frame.type for frame in read_frames(clip.parent / "results" / "frames.csv")} == {"I"}
    assert dict(zip(ENCODERS["hevc-intra"].lmdas, ENCODERS["hevc-intra"].qualities, strict=True)) == (
        {256: 37, 512: 32, 1024: 27, 2048: 22}
    )


def test_bpg_pictures_count_with_their_lengths(clip, monkeypatch):
    put_stand_ins(clip.parent, monkeypatch)
    row = measure(clip, "bpg", quality=27)
    assert (row.codec, row.intra_period, row.lmda, row.psnr_rgb) == ("bpg", 1, 1024, 100)
    path = stream_of(row, clip.parent)
    frames = read_frames(clip.parent / "results" / "frames.csv")
    assert sum(frame.bits for frame in frames) == path.stat().st_size * 8
    assert row.bpp == path.stat().st_size * 8 / (80 * 66 * 6)
    assert row.settings.startswith("bpgenc of BPG Image Encoder version 0.0.0 (stand-in); qp=27")


def test_bpg_without_its_programs(clip, monkeypatch):
    monkeypatch.setenv("PATH", str(clip.parent))
    with pytest.raises(LCPError, match="bpgenc was not found; install libbpg"):
        measure(clip, "bpg")


@pytest.mark.parametrize("codec", ["x264:veryfast", "x265:veryfast"])
def test_the_encoders_own_messages_do_not_count(codec, clip):
    """No SEI message is left in the file, and yet the row tells which encoder it was."""
    row = measure(clip, codec)
    data = stream_of(row, clip.parent).read_bytes()
    assert b"x264" not in data and b"x265" not in data
    assert row.settings.startswith(("x264 core ", "x265 (build "))
    assert "preset=veryfast" in row.settings and "keyint=4" in row.settings and "bytes" in row.settings


@pytest.mark.parametrize("codec", CODECS)
def test_odd_sizes_come_back_and_count_their_own_pixels(codec, tmp_path):
    path = write_clip(tmp_path / "odd.y4m", frames=3, width=81, height=67)
    row = measure(path, codec)
    assert (row.width, row.height, row.frames) == (81, 67, 3)
    assert row.bpp == stream_of(row, tmp_path).stat().st_size * 8 / (81 * 67 * 3)
    assert row.psnr_y > 25


def test_rate_falls_with_quality_number(clip):
    save_dir = clip.parent / "results"
    rows = measure_anchors([sequence(clip)], anchors(["x264:veryfast"]), LOW_DELAY, save_dir, ms_ssim=False)
    assert [row.quality for row in rows] == list(ENCODERS["x264"].qualities)
    assert all(a.bpp > b.bpp and a.psnr_rgb > b.psnr_rgb for a, b in zip(rows, rows[1:], strict=False))


def test_measurements_are_repeatable(clip):
    first = measure(clip, "x264:medium", ms_ssim=False)
    shutil.rmtree(clip.parent / "results")
    second = measure(clip, "x264:medium", ms_ssim=False)
    assert (first.bpp, first.psnr_rgb, first.run_id) == (second.bpp, second.psnr_rgb, second.run_id)


def test_the_cache_is_by_content_and_settings(clip, monkeypatch):
    first = measure(clip, "x264:medium")
    renamed = clip.rename(clip.with_name("other.y4m"))
    let_write(monkeypatch, lambda *_: pytest.fail("encoded again"))
    again = measure(renamed, "x264:medium")
    assert (again.sequence, again.bpp, again.encode_fps) == ("other", first.bpp, first.encode_fps)
    assert again.format == "yuv420"
    for change in ({"quality": 31}, {"structure": CodingStructure(5)}, {"frames": 3}, {"matrix": "bt601"}):
        with pytest.raises(pytest.fail.Exception, match="encoded again"):
            measure(renamed, "x264:medium", **change)


def test_an_interrupted_run_goes_on_where_it_was(clip, monkeypatch):
    arguments = ["--datasets", str(clip), "--codecs", "x264:veryfast", "--save_dir", str(clip.parent / "results")]
    arguments += ["--intra_period", "4", "--qualities", "20", "30", "--no_ms_ssim"]
    calls = []

    def write(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return write_av(*arguments)

    let_write(monkeypatch, write)
    assert main(arguments) == 130
    assert main(arguments) == 0
    assert len(calls) == 3  # the first point once, the second twice
    assert [row.quality for row in read_rows(clip.parent / "results" / "rd.csv")] == [20, 30]
    assert not [p for p in (clip.parent / "results").rglob("*partial*")]


def test_a_damaged_cache_is_named(clip):
    row = measure(clip, "x264:medium")
    cached = clip.parent / "results" / "cache" / f"{row.run_id}.json"
    cached.write_text("{")
    with pytest.raises(LCPError, match=f"{row.run_id}.json: damaged; delete it"):
        measure(clip, "x264:medium")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--codecs", "svtav2"], "unknown codec 'svtav2'; did you mean 'svtav1'?"),
        (["--codecs", "x264:vryfast"], "x264: unknown preset 'vryfast'; did you mean 'veryfast'?"),
        (["--codecs", "bpg:slow"], "bpg: unknown preset 'slow'; it has none"),
        (["--codecs", "x264:veryfast", "--qualities", "30", "99"], "quality 99: x264 takes a number from 0 to 51"),
        (["--codecs", "svtav1:10", "--qualities", "30.5"], "quality 30.5: svtav1 takes a whole number from 1 to 63"),
        (["--gop_size", "3"], "--gop_size '3'; expected 1 (low-delay P) or a power of two"),
        (["--datasets", "none.mp4"], "none.mp4: no such file or folder"),
        (["--frame", "3"], "unknown flag '--frame'; did you mean '--frames'?"),
        (["--frames", "x"], "--frames 'x'; expected a whole number of at least 1"),
    ],
)
def test_errors_are_one_line(clip, capfd, arguments, message):
    usual = ["--datasets", str(clip), "--save_dir", str(clip.parent / "results")]
    assert main([*usual, *arguments]) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if not line.startswith("anchors:")]
    assert any(message in line for line in lines) and "Traceback" not in "".join(lines)
    assert not (clip.parent / "results").exists()


def test_all_problems_are_named_before_anything_is_encoded(clip, capfd):
    arguments = ["--codecs", "x264:veryfast", "x26", "x265:nosuch", "vp10", "--qualities", "60"]
    assert main(["--datasets", str(clip), "--save_dir", str(clip.parent / "results"), *arguments]) == 2
    lines = capfd.readouterr().err.splitlines()
    named = ["'x26'", "'nosuch'", "'vp10'", "60: x264 takes", "60: x265 takes"]
    assert len(lines) == len(named) and all(name in line for name, line in zip(named, lines, strict=True))
    assert not (clip.parent / "results").exists()


def test_a_missing_program_is_named_before_anything_is_encoded(clip, monkeypatch):
    monkeypatch.setenv("PATH", str(clip.parent))
    with pytest.raises(LCPError, match="bpgenc was not found"):
        measure_anchors([sequence(clip)], anchors(["x264", "bpg"]), LOW_DELAY, clip.parent / "results")
    assert not (clip.parent / "results").exists()


def test_names_of_anchors():
    assert [a.name for a in anchors(["x264", "svtav1:6"])] == ["x264 veryfast", "x264 medium", "svtav1 6"]
    assert Anchor("x265", "medium", "psnr").name == "x265 medium tune psnr"
    assert anchors(["x264", "x264:medium"]) == anchors(["x264"])
    tuned = anchors(["x264:medium", "hevc-intra", "svtav1:6", "vp9:5", "bpg"], "psnr")
    names = ["x264 medium tune psnr", "hevc-intra medium tune psnr", "svtav1 6", "vp9 5", "bpg"]
    assert [a.name for a in tuned] == names


def test_tuning_for_psnr_helps_it(clip):
    plain = measure(clip, "x264:medium")
    save_dir = clip.parent / "tuned"
    (tuned,) = measure_anchors(
        [sequence(clip)], anchors(["x264:medium"], "psnr"), LOW_DELAY, save_dir, qualities=[30.0]
    )
    assert tuned.codec == "x264 medium tune psnr" and "tune=psnr" in tuned.settings
    assert tuned.psnr_y / tuned.bpp > plain.psnr_y / plain.bpp or tuned.psnr_y > plain.psnr_y


def test_svt_is_silent(clip, capfd):
    measure(clip, "svtav1:10")
    assert os.environ["SVT_LOG"] == "0"
    assert "Svt[info]" not in capfd.readouterr().err
