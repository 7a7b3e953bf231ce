"""The command line that encodes and decodes files, through its own main function."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import weakref
from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import CHECKOUT, write_clip
from tests.lively_models import lively
from tests.processes import LIMIT, signalled
from tests.small_model import SmallModel
from torchDVC.bitstream import playback
from torchDVC.bitstream.container_reader import ContainerReader
from torchDVC.bitstream.header import HEADER_BYTES, Header
from torchDVC.codec import main
from torchDVC.dataset.procedural import procedural_clip
from torchDVC.dataset.video import Frame, VideoInfo, open_video, open_writer
from torchDVC.models import checkpoints, model_store
from torchDVC.results.metrics import plane_psnr
from torchDVC.results.rows import read_rows
from torchDVC.util.errors import BitstreamError


@pytest.fixture(autouse=True)
def own_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    monkeypatch.delenv("TORCHDVC_MODELS", raising=False)


@pytest.fixture
def sources(small_model: SmallModel) -> list[str]:
    """The flags that name a model csv, its modes and trained weights."""
    checkpoint = small_model.path / "trained.safetensors"
    checkpoints.save(checkpoint, {"model": lively(small_model.codec()).state_dict()})
    folder = small_model.path
    return [
        "--model_config", str(folder / "model.csv"), "--run_config", str(folder / "test.cfg"),
        "--checkpoint", str(checkpoint),
    ]  # fmt: skip


def run(*arguments: object) -> None:
    assert main([str(argument) for argument in arguments]) == 0


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main([str(argument) for argument in arguments]) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said


def pictures(path: Path) -> list[np.ndarray]:
    return [frame.rgb for frame in open_video(path)]


def test_export_encode_decode_and_info(
    sources: list[str], clip_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("export", *sources, "--out", tmp_path / "small.safetensors")
    coded = tmp_path / "out.lcp"
    run("encode", clip_folder / "two.mp4", coded, "--model", tmp_path / "small.safetensors", "--frames", 6,
        "--gop_size", 2, "--intra_period", 4)  # fmt: skip
    (tmp_path / "small.safetensors").unlink()
    encoded = capsys.readouterr().out.splitlines()[-1].split(", ")[2]
    assert encoded.endswith(" bpp")
    run("info", coded)
    said = capsys.readouterr().out
    assert "96x80" in said and "GOPs of 2" in said and "intra bits" in said and "I4" in said
    assert f"together      6 frames, {coded.stat().st_size} bytes, {encoded}" in said
    run("decode", coded, tmp_path / "out.y4m")
    assert "out.lcp: 6/6 frames, rate " in capsys.readouterr().err
    run("decode", coded, tmp_path / "frames")
    frames, planes = list(open_video(tmp_path / "frames")), list(open_video(tmp_path / "out.y4m"))
    assert len(frames) == len(planes) == 6
    for a, b in zip(frames, planes, strict=True):
        for own, other in zip(a.yuv, b.yuv, strict=True):
            np.testing.assert_array_equal(own, other)
    shutil.rmtree(tmp_path / "log")
    assert "model" in refused(capsys, "decode", coded, tmp_path / "again.y4m")
    run("info", coded)
    assert "bits of modules are not shown" in capsys.readouterr().out


def test_the_shipped_model_is_the_default(
    sources: list[str], clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    coded, pretrained = tmp_path / "out.lcp", tmp_path / "pretrained"
    monkeypatch.setattr(model_store, "SHIPPED", pretrained)
    said = refused(capsys, "encode", clip_folder / "one.y4m", coded)
    assert said.startswith("no model comes with this version; expected --model FILE") and said.count("\n") == 1
    run("export", *sources, "--out", pretrained / "shipped.safetensors")
    run("encode", clip_folder / "one.y4m", coded, "--frames", 3)
    assert not (tmp_path / "log").exists()  # no second copy
    run("decode", coded, tmp_path / "out.y4m")
    assert len(pictures(tmp_path / "out.y4m")) == 3


def test_an_mp4_is_near_lossless_and_says_so(
    sources: list[str], clip_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("encode", clip_folder / "one.y4m", tmp_path / "a.lcp", *sources, "--frames", 4)
    for name in ("a.mp4", "a.y4m"):
        run("decode", tmp_path / "a.lcp", tmp_path / name)
        said = capsys.readouterr().out
        assert ("stored near-lossless, by x264 at CRF 4" in said) == name.endswith("mp4")
    exact, stored = open_video(tmp_path / "a.y4m"), open_video(tmp_path / "a.mp4")
    assert stored.info.frames == 4
    for one, other in zip(exact, stored, strict=True):
        assert plane_psnr(one.yuv[0], other.yuv[0]) > 45


@pytest.mark.parametrize("gop_size", [1, 2, 4])
def test_decoding_begins_at_any_frame(
    sources: list[str], clip_folder: Path, tmp_path: Path, gop_size: int, capsys: pytest.CaptureFixture[str]
) -> None:
    coded = tmp_path / "out.lcp"
    run("encode", clip_folder / "two.mp4", coded, *sources, "--frames", 10, "--gop_size", gop_size, "--intra_period", 4)
    run("decode", coded, tmp_path / "all.y4m")
    whole = pictures(tmp_path / "all.y4m")
    for start in (1, 4, 6, 8, 9):
        run("decode", coded, tmp_path / "part.y4m", "--start", start)
        part = pictures(tmp_path / "part.y4m")
        assert len(part) == 10 - start and all(map(np.array_equal, part, whole[start:]))
    assert "--start 10; " in refused(capsys, "decode", coded, tmp_path / "part.y4m", "--start", 10)


def test_encode_from_a_csv_and_a_raw_clip(sources: list[str], clip_folder: Path, tmp_path: Path) -> None:
    run("encode", clip_folder / "one.y4m", tmp_path / "a.lcp", *sources, "--frames", 2)
    raw = tmp_path / "clip.yuv"
    run("decode", tmp_path / "a.lcp", raw)
    run("encode", raw, tmp_path / "b.lcp", *sources, "--size", "96x80", "--fps", "30000/1001", "--range", "full")
    with ContainerReader(tmp_path / "b.lcp") as reader:
        assert (reader.header.width, reader.header.height, reader.header.frames) == (96, 80, 2)
        assert str(reader.header.fps) == "30000/1001" and reader.header.range == "full"
    assert len(list((tmp_path / "log" / "models").iterdir())) == 1


def test_concealment_says_what_was_lost(
    sources: list[str], clip_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    coded = tmp_path / "a.lcp"
    run("encode", clip_folder / "one.y4m", coded, *sources, "--frames", 7, "--intra_period", 4)
    data = bytearray(coded.read_bytes())
    with ContainerReader(coded) as reader:
        sizes = [packet.size for packet in reader.packets()]
    run("decode", coded, tmp_path / "whole.y4m")
    data[47 + sum(sizes[:2]) - 5] ^= 4
    coded.write_bytes(data)
    assert "packet 1: damaged" in refused(capsys, "decode", coded, tmp_path / "b.y4m")
    assert not list(tmp_path.glob("*b.y4m"))
    run("decode", coded, tmp_path / "b.y4m", "--conceal")
    assert caplog.messages == [f"{coded}: packet 1: damaged (wrong checksum)", f"{coded}: lost frames: 1-3"]
    assert shown(tmp_path / "b.y4m", tmp_path / "whole.y4m") == [0, 0, 0, 0, 4, 5, 6]


def shown(path: Path, whole: Path) -> list[int]:
    """Which picture of a whole clip each one of another is."""
    originals = [picture.tobytes() for picture in pictures(whole)]
    return [originals.index(picture.tobytes()) for picture in pictures(path)]


def edited(coded: Path, target: Path, *, frames: int | None = 0, damaged: Iterable[int] = (), keep: int = -1) -> None:
    """A copy of a stream with other frames in its header, damaged packets, or the first few packets only."""
    with ContainerReader(coded) as reader:
        header, sizes = reader.header, [packet.size for packet in reader.packets()]
    data = bytearray(coded.read_bytes())
    data[:HEADER_BYTES] = (header if frames == 0 else replace(header, frames=frames)).to_bytes()
    for number in damaged:
        data[HEADER_BYTES + sum(sizes[: number + 1]) - 1] ^= 4
    target.write_bytes(data if keep < 0 else data[: HEADER_BYTES + sum(sizes[:keep])])


def test_every_lost_frame_is_named_and_replaced(
    sources: list[str], clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    whole, coded, bad = tmp_path / "whole.y4m", tmp_path / "a.lcp", tmp_path / "bad.lcp"
    run("encode", clip_folder / "one.y4m", coded, *sources, "--intra_period", 5)
    run("decode", coded, whole)
    edited(coded, bad, damaged=(0, 7, 11))
    run("decode", bad, tmp_path / "b.y4m", "--conceal")
    assert caplog.messages[-1] == f"{bad}: lost frames: 0-4, 7-9, 11"
    assert shown(tmp_path / "b.y4m", whole) == [5, 5, 5, 5, 5, 5, 6, 6, 6, 6, 10, 10]
    monkeypatch.setattr(playback, "MOST_FILLED", 6)
    run("decode", bad, tmp_path / "b.y4m", "--conceal")
    assert caplog.messages[-2:] == [
        f"{bad}: lost frames: 0-4, 7-9, 11",
        f"{bad}: only 6 of 9 lost frames are replaced; later ones come too early",
    ]
    assert shown(tmp_path / "b.y4m", whole) == [5, 5, 5, 5, 5, 5, 6, 6, 10]


def test_unfinished_streams_are_shown_up_to_the_first_gap(
    sources: list[str], clip_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole, coded, cut = tmp_path / "whole.y4m", tmp_path / "a.lcp", tmp_path / "cut.lcp"
    run("encode", clip_folder / "one.y4m", coded, *sources, "--frames", 9, "--gop_size", 8)
    run("decode", coded, whole)
    assert not caplog.messages
    edited(coded, cut, frames=None, keep=3)
    unfinished = f"{cut}: unfinished, as its encoder was interrupted; no frame from"
    run("decode", cut, tmp_path / "b.y4m")
    assert caplog.messages == [f"{unfinished} 1 on is shown"]
    assert shown(tmp_path / "b.y4m", whole) == [0]
    run("decode", cut, tmp_path / "b.y4m", "--conceal")
    assert caplog.messages[1:] == [f"{unfinished} 9 on is shown", f"{cut}: lost frames: 1-3, 5-7"]
    assert shown(tmp_path / "b.y4m", whole) == [0, 0, 0, 0, 4, 4, 4, 4, 8]


def test_errors_are_not_kept(tmp_path: Path) -> None:
    """Each holds on to the tensors of its frame."""
    header = Header(8, 8, None, Fraction(25), "bt709", "limited", 0, 1, 0, bytes(16))
    with open_writer(tmp_path / "a.y4m", VideoInfo(8, 8, source="a.lcp")) as writer:
        shown = playback.Playback(writer, header)
        errors = [BitstreamError(f"packet {i}") for i in range(3)]
        kept = [weakref.ref(error) for error in errors]
        for error in errors:
            shown.note(error)
        del error, errors
        shown.show(0, Frame(rgb=np.zeros((3, 8, 8), np.uint8)))
    assert [ref() for ref in kept] == [None] * 3
    assert list(shown.remarks())[0] == "packet 0"


@pytest.mark.slow
def test_a_killed_encode_leaves_what_decodes_to_its_last_packet(sources: list[str], tmp_path: Path) -> None:
    clip, coded = tmp_path / "long.y4m", tmp_path / "out.lcp"
    write_clip(clip, (96, 80), procedural_clip(0, 40, (96, 80)))
    place = "torchDVC.bitstream.container_writer:ContainerWriter:write"
    process = signalled(signal.SIGKILL, place, 20, "codec", "encode", str(clip), str(coded), *sources)
    process.communicate(timeout=LIMIT)
    assert process.returncode == -signal.SIGKILL
    assert not coded.exists()
    [partial] = tmp_path.glob(".out.*.partial.lcp")
    run("decode", partial, tmp_path / "begun.y4m")
    run("encode", clip, coded, *sources)
    assert not partial.exists()  # a new one takes its place
    run("decode", coded, tmp_path / "whole.y4m")
    whole, begun = pictures(tmp_path / "whole.y4m"), pictures(tmp_path / "begun.y4m")
    assert len(whole) == 40 and len(begun) == 19
    np.testing.assert_array_equal(begun, whole[: len(begun)])


PEAK = """
import resource, sys
from torchDVC.codec import main
code = main(sys.argv[1:])
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
sys.exit(code)
"""


def peak_memory(*arguments: object) -> int:
    """The most memory that a command takes, in KiB."""
    command = [sys.executable, "-c", PEAK, *map(str, arguments)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length_of_a_clip(sources: list[str], tmp_path: Path) -> None:
    peaks = []
    size, frames = (320, 240), (16, 96)
    for count in frames:
        clip, coded = tmp_path / f"{count}.y4m", tmp_path / f"{count}.lcp"
        write_clip(clip, size, islice(cycle(procedural_clip(0, 8, size)), count))
        encode = peak_memory("encode", clip, coded, *sources, "--gop_size", 4, "--intra_period", 8)
        peaks.append((encode, peak_memory("decode", coded, tmp_path / "out.y4m")))
    one_frame = size[0] * size[1] * 3 * 4 / 1024
    for short, long in zip(*peaks, strict=True):
        assert long - short < 0.2 * (frames[1] - frames[0]) * one_frame


def test_problems_are_one_line_each(
    sources: list[str], clip_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip, out = clip_folder / "one.y4m", tmp_path / "a.lcp"
    untrained = sources[:4]
    assert "--checkpoint is missing" in refused(capsys, "encode", clip, out, *untrained)
    assert "--checkpoint is missing" in refused(capsys, "export", *untrained, "--out", tmp_path / "m.safetensors")
    both = refused(capsys, "encode", clip, out, *sources, "--model", "m")
    assert "both --model and --model_config; expected one of them" in both
    assert "OUTPUT is missing" in refused(capsys, "encode", clip, *sources)
    assert "unknown command 'encod'" in refused(capsys, "encod")
    assert "--quality 1; expected 0 to 0" in refused(capsys, "encode", clip, out, *sources, "--quality", 1)
    assert "none of that name" in refused(capsys, "encode", clip, out, *sources, "--process", "smal")
    assert "no such" in refused(capsys, "encode", tmp_path / "none.mp4", out, *sources)
    assert "a.lcp" in refused(capsys, "decode", out, tmp_path / "b.y4m")
    assert "not an .lcp file" in refused(capsys, "info", clip)
    assert not out.exists()


OUTPUTS = {
    "'dir.lcp' is a folder; expected the name of a file": ("encode", "clip.y4m", "dir.lcp"),
    "'pipe.lcp' is a device, pipe or socket": ("encode", "clip.y4m", "pipe.lcp"),
    "'.'; expected a name that ends with .lcp": ("encode", "clip.y4m", "."),
    "'clip.y4m'; expected a name that ends with .lcp": ("encode", "clip.y4m", "clip.y4m"),
    "'clip.lcp' is clip.lcp, which is read; expected another name": ("encode", "clip.lcp", "clip.lcp"),
    "'link.lcp' is clip.lcp, which is read": ("encode", "clip.lcp", "link.lcp"),
    "'m.safetensors' is m.safetensors, which is read": (
        "export", "--model_config", "m.csv", "--checkpoint", "m.safetensors", "--out", "m.safetensors",
    ),
    "'clip.y4m' is clip.y4m, which is read": ("decode", "clip.y4m", "clip.y4m"),
    "'dir.lcp' is a folder": ("decode", "clip.lcp", "dir.lcp"),
    "'..'; expected a name with a suffix, or without one that of a folder": ("decode", "clip.lcp", ".."),
    "'plain'; expected a name with a suffix, or without one that of a folder": ("decode", "clip.lcp", "plain"),
}  # fmt: skip


@pytest.mark.parametrize(("message", "arguments"), OUTPUTS.items(), ids=OUTPUTS.keys())
def test_outputs_that_would_destroy_something_are_refused(
    message: str, arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    for name in ("clip.y4m", "clip.lcp", "m.safetensors", "plain"):
        Path(name).write_text("precious")
    Path("dir.lcp").mkdir()
    os.mkfifo("pipe.lcp")
    Path("link.lcp").symlink_to("clip.lcp")
    before = {path.name: path.lstat() for path in tmp_path.iterdir()}
    model = ("--model", "m.safetensors") if arguments[0] == "encode" else ()
    assert message in refused(capsys, *arguments, *model)
    assert {path.name: path.lstat() for path in tmp_path.iterdir()} == before


def test_help_needs_no_pytorch() -> None:
    code = "import sys; from torchDVC.codec import main; main(['info', '--bogus']); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "unknown flag '--bogus'" in done.stderr


@pytest.mark.parametrize("gop_size", ["1", "2"])
def test_the_tester_measures_files(
    small_model: SmallModel, sources: list[str], gop_size: str, clip_folder: Path
) -> None:
    flags = ("--write_stream", "--gop_size", gop_size, "--restore", "load", "--checkpoint", sources[-1], "--no_image",
             "--test_datasets", str(clip_folder / "one.y4m"))  # fmt: skip
    assert small_model.test("results", *flags) == 0
    [row] = read_rows(small_model.path / "results" / "rd.csv")
    [coded] = (small_model.path / "results" / "streams").rglob("*.lcp")
    assert row.bpp is not None and row.bpp_estimated is not None
    assert row.bpp == pytest.approx(8 * coded.stat().st_size / (96 * 80 * 3))
    assert row.bpp > row.bpp_estimated > 0.9 * row.bpp - 0.05
    assert row.decode_fps is not None and row.decode_fps > 0 and "real stream" in row.settings
