"""Reading and writing clips: every form, odd sizes, colour tags, random access, and what is said of bad files."""

from __future__ import annotations

import errno
import tracemalloc
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from torchDVC.dataset.procedural import procedural_clip
from torchDVC.dataset.video import Frame, VideoInfo, open_video, open_writer
from torchDVC.util.errors import DataError

Planes = tuple[np.ndarray, np.ndarray, np.ndarray]


def random_frames(width: int, height: int, count: int, seed: int = 0) -> list[Frame]:
    rng = np.random.default_rng(seed)
    chroma = ((height + 1) // 2, (width + 1) // 2)
    shapes = ((height, width), chroma, chroma)
    planes = [tuple(rng.integers(0, 256, shape, dtype=np.uint8) for shape in shapes) for _ in range(count)]
    return [Frame(yuv=(y, u, v)) for y, u, v in planes]


def write(path: Path, frames: list[Frame], **info: object) -> Path:
    width, height = frames[0].size
    with open_writer(path, VideoInfo(width, height, **info)) as writer:  # type: ignore[arg-type]
        for frame in frames:
            writer.write(frame)
    return path


def same_yuv(a: Frame, b: Frame) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a.yuv, b.yuv, strict=True))


def encode(path: Path, pix_fmt: str, codec: str, picture: np.ndarray, picture_format: str, **tags: int) -> Path:
    """A clip of two frames of ``picture``, made by PyAV itself."""
    with av.open(str(path), "w") as container:
        stream = cast(av.VideoStream, container.add_stream(codec, rate=25))
        frame = av.VideoFrame.from_ndarray(picture, format=picture_format)
        frame.color_range = tags.get("color_range", 0)
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, pix_fmt
        if codec == "libx264":
            stream.options = {"qp": "0"}
        for tag, value in tags.items():
            setattr(stream.codec_context, tag, value)
        for pts in range(2):
            frame.pts = pts
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


# -- forms ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".y4m", ".yuv"])
@settings(max_examples=25, deadline=None)
@given(width=st.integers(1, 33), height=st.integers(1, 33), count=st.integers(1, 4))
def test_raw_files_give_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, width: int, height: int, count: int
) -> None:
    frames = random_frames(width, height, count)
    path = write(tmp_path_factory.mktemp("raw") / f"clip_{width}x{height}{suffix}", frames)
    reader = open_video(path)
    assert (reader.info.width, reader.info.height, reader.info.frames) == (width, height, count)
    assert [same_yuv(a, b) for a, b in zip(reader, frames, strict=True)] == [True] * count
    assert [same_yuv(a, b) for a, b in zip(reader, frames, strict=True)] == [True] * count  # again from the start


@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 5), (17, 9), (64, 48)])
def test_pictures_give_back_what_was_written(tmp_path: Path, width: int, height: int) -> None:
    pictures = [np.random.default_rng(i).integers(0, 256, (3, height, width), dtype=np.uint8) for i in range(12)]
    write(tmp_path / "clip", [Frame(rgb=picture) for picture in pictures])
    assert [path.name for path in sorted((tmp_path / "clip").iterdir())][:2] == ["00001.png", "00002.png"]
    reader = open_video(tmp_path / "clip")
    assert reader.info.frames == 12
    assert all(np.array_equal(frame.rgb, picture) for frame, picture in zip(reader, pictures, strict=True))
    assert all(frame.rgb.flags.writeable for frame in reader)  # PyTorch warns of what is not
    assert np.array_equal(next(iter(open_video(tmp_path / "clip" / "00003.png"))).rgb, pictures[2])


@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 5), (17, 9), (63, 48), (64, 48)])
def test_mp4_is_close_to_what_was_written(tmp_path: Path, width: int, height: int) -> None:
    clip = procedural_clip(4, 5, (width, height))
    reader = open_video(write(tmp_path / "clip.mp4", [Frame(rgb=rgb) for rgb in clip], fps=Fraction(24000, 1001)))
    assert (reader.info.width, reader.info.height, reader.info.frames) == (width, height, 5)
    assert reader.info.fps == Fraction(24000, 1001)
    for frame, rgb in zip(reader, clip, strict=True):
        error = frame.yuv[0].astype(float) - Frame(rgb=rgb).yuv[0]
        assert np.sqrt(np.mean(error**2)) < 2


def test_natural_order_of_pictures(tmp_path: Path) -> None:
    for number in (1, 2, 10):
        Image.new("RGB", (4, 4), (number, 0, 0)).save(tmp_path / f"im{number}.png")
    assert [int(frame.rgb[0, 0, 0]) for frame in open_video(tmp_path)] == [1, 2, 10]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
def test_pictures_of_other_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    Image.new("RGB", (5, 3), (255, 255, 255)).convert(mode).save(tmp_path / "a.png")
    (frame,) = open_video(tmp_path / "a.png")
    assert frame.rgb.shape == (3, 3, 5)
    assert frame.rgb.min() == 255


@pytest.mark.parametrize("tag", ["C420jpeg", "C420mpeg2", "C420paldv", "C420", ""])
def test_y4m_layouts(tmp_path: Path, tag: str) -> None:
    (frame,) = random_frames(5, 3, 1)
    data = b"".join(plane.tobytes() for plane in frame.yuv)
    header = f"YUV4MPEG2 W5 H3 F30000:1001 Ip A128:117 {tag} XYSCSS=420JPEG\n".encode()
    (tmp_path / "a.y4m").write_bytes(header + b"FRAME Ixyz\n" + data + b"FRAME\n" + data)
    reader = open_video(tmp_path / "a.y4m")
    assert (reader.info.fps, reader.info.range) == (Fraction(30000, 1001), "limited")
    assert [same_yuv(read, frame) for read in reader] == [True, True]


def test_y4m_mono_has_no_colour(tmp_path: Path) -> None:
    luma = np.arange(15, dtype=np.uint8).reshape(3, 5)
    (tmp_path / "a.y4m").write_bytes(b"YUV4MPEG2 W5 H3 F25:1 Cmono\nFRAME\n" + luma.tobytes())
    (frame,) = open_video(tmp_path / "a.y4m")
    assert np.array_equal(frame.yuv[0], luma)
    assert np.unique(np.concatenate([frame.yuv[1], frame.yuv[2]])).tolist() == [128]
    assert len(np.unique(frame.rgb[:, 0, 0])) == 1


def test_y4m_keeps_rate_and_range(tmp_path: Path) -> None:
    path = write(tmp_path / "a.y4m", random_frames(4, 4, 1), fps=Fraction(60000, 1001), range="full")
    info = open_video(path).info
    assert (info.fps, info.range, info.matrix) == (Fraction(60000, 1001), "full", "bt709")


@pytest.mark.parametrize(
    ("name", "size", "fps"),
    [
        ("Beauty_1920x1080_120fps_420_8bit_YUV.yuv", (1920, 1080), 120),
        ("BQMall_832x480_60.yuv", (832, 480), 60),
        ("videoSRC05_1920x1080_25.yuv", (1920, 1080), 25),
        ("walk-30X20.yuv", (30, 20), 30),
        ("foreman_qcif.yuv", (176, 144), 30),
    ],
)
def test_yuv_names_tell_size_and_rate(tmp_path: Path, name: str, size: tuple[int, int], fps: int) -> None:
    with open(tmp_path / name, "wb") as file:
        file.truncate(2 * size[0] * size[1] * 3 // 2)
    info = open_video(tmp_path / name).info
    assert ((info.width, info.height), info.fps, info.frames) == (size, fps, 2)


def test_given_values_go_before_the_files_own(tmp_path: Path) -> None:
    write(tmp_path / "a_4x4_60.yuv", random_frames(8, 2, 2))
    reader = open_video(
        tmp_path / "a_4x4_60.yuv", size=(8, 2), frames=1, matrix="bt601", value_range="full", fps=Fraction(5)
    )
    info = reader.info
    assert (info.width, info.height, info.frames, info.matrix, info.range, info.fps) == (8, 2, 1, "bt601", "full", 5)
    (frame,) = reader
    assert (frame.matrix, frame.range) == ("bt601", "full")


# -- video files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tags", "matrix", "value_range"),
    [
        ({}, "bt709", "limited"),
        ({"colorspace": 1}, "bt709", "limited"),
        ({"colorspace": 5}, "bt601", "limited"),
        ({"colorspace": 6, "color_range": 2}, "bt601", "full"),
        ({"color_range": 1}, "bt709", "limited"),
    ],
)
def test_colour_comes_from_the_tags(tmp_path: Path, tags: dict[str, int], matrix: str, value_range: str) -> None:
    picture = np.full((24, 16), 90, np.uint8)
    path = encode(tmp_path / "a.mp4", "yuv420p", "libx264", picture, "yuv420p", **tags)
    info = open_video(path).info
    assert (info.matrix, info.range) == (matrix, value_range)
    overridden = open_video(path, matrix="bt601", value_range="full").info
    assert (overridden.matrix, overridden.range) == ("bt601", "full")


def test_full_range_jpeg_video(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.avi", "yuvj420p", "mjpeg", np.full((24, 16), 128, np.uint8), "yuvj420p", color_range=2)
    assert open_video(path).info.range == "full"
    assert {int(frame.yuv[0][0, 0]) for frame in open_video(path)} == {128}


@pytest.mark.parametrize("value_range", [1, 2])
@pytest.mark.parametrize(
    ("pix_fmt", "codec", "dtype", "shift"),
    [("yuv422p", "libx264", "u1", 0), ("yuv444p", "libx264", "u1", 0), ("yuv420p10le", "libx264", "<u2", 2)],
)
def test_other_layouts_are_brought_to_8_bit_420(
    tmp_path: Path, pix_fmt: str, codec: str, dtype: str, shift: int, value_range: int
) -> None:
    """A flat colour stays the colour it is, in its own range."""
    frame = av.VideoFrame(16, 16, pix_fmt)
    frame.pts = 0
    for plane, code in zip(frame.planes, (60, 100, 170), strict=True):
        plane.update(np.full(plane.buffer_size // np.dtype(dtype).itemsize, code << shift, dtype).tobytes())
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = cast(av.VideoStream, container.add_stream(codec, rate=25, options={"qp": "0"}))
        stream.width, stream.height, stream.pix_fmt = 16, 16, pix_fmt
        stream.codec_context.color_range = value_range
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    (read,) = open_video(tmp_path / "a.mkv")
    assert [sorted(set(plane.ravel().tolist())) for plane in read.yuv] == [[60], [100], [170]]


@pytest.mark.parametrize(("pix_fmt", "codec"), [("rgb24", "png"), ("bgr0", "ffv1")])
def test_rgb_video_stays_rgb(tmp_path: Path, pix_fmt: str, codec: str) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8)
    path = encode(tmp_path / "a.avi", pix_fmt, codec, picture, "rgb24")
    for frame in open_video(path):
        assert np.array_equal(frame.rgb, picture.transpose(2, 0, 1))


def test_random_access_equals_sequential(clip_folder: Path) -> None:
    for clip in sorted(clip_folder.iterdir()):
        reader = open_video(clip)
        in_order = list(reader)
        asked = reader.read([7, 0, 7, 11])
        assert [same_yuv(frame, in_order[i]) for frame, i in zip(asked, (7, 0, 7, 11), strict=True)] == [True] * 4
        with pytest.raises(DataError, match=f"{clip.name}.*no frame 12; it has 12 frames"):
            reader.read([12])
        assert [open_video(clip, frames=5).info.frames, len(list(open_video(clip, frames=5)))] == [5, 5]
        assert open_video(clip, frames=99).info.frames == 12


def test_two_iterations_at_once_do_not_disturb_each_other(clip_folder: Path) -> None:
    reader = open_video(clip_folder / "two.mp4")
    first = iter(reader)
    next(first)
    assert same_yuv(next(iter(reader)), reader.read([0])[0])
    assert same_yuv(next(first), reader.read([1])[0])


@pytest.mark.parametrize("suffix", [".y4m", ".mp4"])
def test_reading_takes_constant_memory(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / f"a{suffix}", random_frames(160, 120, 30))
    frame_bytes = 160 * 120 * 3 // 2
    tracemalloc.start()
    count = sum(1 for _ in open_video(tmp_path / f"a{suffix}"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 30
    assert peak < 6 * frame_bytes + 100_000


def test_real_clips(real_clips: Path) -> None:
    """The frames are those that PyAV decodes, and are as many as the manifest says."""
    rows = [line.split(",") for line in (real_clips / "dev" / "manifest.csv").read_text().splitlines()]
    assert len(rows) > 1
    for path in sorted((real_clips / "dev").glob("*.mp4")):
        reader = open_video(path)
        with av.open(str(path)) as container:
            decoded = [frame.to_ndarray(format="yuv420p") for frame in container.decode(video=0)]
        assert reader.info.frames == len(decoded)
        for frame, expected in zip(reader, decoded, strict=True):
            flat = np.concatenate([plane.ravel() for plane in frame.yuv])
            assert np.array_equal(flat, expected.ravel())


# -- writing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.y4m", "a.yuv", "a.mp4", "a"])
def test_nothing_is_left_after_an_error(tmp_path: Path, name: str) -> None:
    (frame,) = random_frames(8, 8, 1)
    with pytest.raises(RuntimeError), open_writer(tmp_path / name, VideoInfo(8, 8)) as writer:
        writer.write(frame)
        assert not (tmp_path / name).exists()
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.y4m", "a.mp4", "a"])
def test_an_old_clip_is_replaced_as_a_whole(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, random_frames(8, 8, 5))
    with pytest.raises(RuntimeError), open_writer(tmp_path / name, VideoInfo(8, 8)):
        raise RuntimeError
    assert open_video(tmp_path / name).info.frames == 5
    write(tmp_path / name, random_frames(8, 8, 2))
    assert open_video(tmp_path / name).info.frames == 2


def test_frames_of_another_size_are_refused(tmp_path: Path) -> None:
    (frame,) = random_frames(8, 6, 1)
    with pytest.raises(DataError, match=r"a\.y4m: frame of 8x6 in a clip of 8x8"):
        write_one = open_writer(tmp_path / "a.y4m", VideoInfo(8, 8))
        with write_one:
            write_one.write(frame)
    assert list(tmp_path.iterdir()) == []


def test_a_long_clips_own_pictures_are_replaced(tmp_path: Path) -> None:
    write(tmp_path / "a", random_frames(8, 8, 1))
    (tmp_path / "a" / "00001.png").rename(tmp_path / "a" / "100000.png")
    write(tmp_path / "a", random_frames(8, 8, 2))
    assert open_video(tmp_path / "a").info.frames == 2


@pytest.mark.parametrize("call", ["PIL.Image.Image.save", "pathlib.Path.mkdir"])
def test_errors_name_the_folder_of_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def fail(place: Image.Image | Path, *_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "no space", str(place) if isinstance(place, Path) else None)

    monkeypatch.setattr(call, fail)
    with pytest.raises(OSError) as caught:
        write(tmp_path / "a", random_frames(8, 8, 1))
    assert caught.value.filename == str(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_other_files_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "holiday.jpg").touch()
    with pytest.raises(DataError, match="holds other files"):
        write(tmp_path / "a", random_frames(8, 8, 1))
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["holiday.jpg"]


def test_a_full_disk_names_the_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class FullDisk:
        def write(self, data: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self) -> None: ...

    with pytest.raises(OSError, match="No space left") as raised:  # noqa: SIM117 - the writer is opened first
        with open_writer(tmp_path / "a.y4m", VideoInfo(8, 8)) as writer:
            writer._file.close()  # type: ignore[attr-defined]
            writer._file = FullDisk()  # type: ignore[attr-defined]
            writer.write(random_frames(8, 8, 1)[0])
    assert raised.value.filename == str(tmp_path / "a.y4m")
    assert list(tmp_path.iterdir()) == []


# -- bad input --------------------------------------------------------------------------------------------------------

Y4M = b"YUV4MPEG2 W4 H4 F25:1 C420jpeg\n"


def cut_short(source: Path, target: Path, share: float) -> None:
    data = source.read_bytes()
    target.write_bytes(data[: int(len(data) * share)])


def corrupt(source: Path, target: Path) -> None:
    data = bytearray(source.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 200] = bytes(200)
    target.write_bytes(bytes(data))


def sound_only(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def two_sizes(folder: Path) -> None:
    folder.mkdir()
    Image.new("RGB", (4, 4)).save(folder / "1.png")
    Image.new("RGB", (6, 4)).save(folder / "2.png")


BAD: dict[str, tuple[str, Callable[[Path, Path], object], str]] = {
    "missing file": ("a.mp4", lambda path, clips: None, "no such file"),
    "missing folder": ("b/a.mp4", lambda path, clips: None, "there is no folder"),
    "empty folder": ("a", lambda path, clips: path.mkdir(), "holds no pictures"),
    "text named mp4": ("a.mp4", lambda path, clips: path.write_text("hello"), "cannot be read as video"),
    "empty mp4": ("a.mp4", lambda path, clips: path.touch(), "cannot be read as video"),
    "mp4 without its index": ("a.mp4", lambda path, clips: cut_short(clips / "two.mp4", path, 0.7), "read as video"),
    "sound only": ("a.wav", lambda path, clips: sound_only(path), "holds no video"),
    "unknown suffix": ("a.docx", lambda path, clips: path.write_text("hello"), "cannot be read as video"),
    "empty picture": ("a.png", lambda path, clips: path.touch(), "damaged or not a picture"),
    "picture cut short": ("a.png", lambda path, clips: cut_short(clips / "three/00001.png", path, 0.5), "damaged"),
    "corrupt picture": ("a.png", lambda path, clips: corrupt(clips / "three/00001.png", path), "damaged"),
    "pictures of two sizes": ("a", lambda path, clips: two_sizes(path), "6x4 in a folder of 4x4"),
    "yuv of unknown size": ("a.yuv", lambda path, clips: path.write_bytes(bytes(24)), "give the size"),
    "yuv of no whole frames": ("a_4x4.yuv", lambda path, clips: path.write_bytes(bytes(25)), "1 frames and 1 bytes"),
    "empty yuv": ("a_4x4.yuv", lambda path, clips: path.touch(), "not whole 4x4"),
    "10-bit yuv of half a frame": (
        "a_4x4_10bit.yuv", lambda path, clips: path.write_bytes(bytes(24)), "not whole 4x4 10-bit 4:2:0 frames of 48"
    ),
    "yuv of BT.2020": ("a_4x4_25_10_2020_420.yuv", lambda path, clips: path.write_bytes(bytes(48)), "matrix bt2020"),
    "empty y4m": ("a.y4m", lambda path, clips: path.touch(), "not a y4m file"),
    "no y4m": ("a.y4m", lambda path, clips: path.write_bytes(b"RIFF" * 5000), "not a y4m file"),
    "y4m without size": ("a.y4m", lambda path, clips: path.write_bytes(b"YUV4MPEG2 W4 F25:1\n"), "lacks"),
    "y4m of width x": ("a.y4m", lambda path, clips: path.write_bytes(b"YUV4MPEG2 Wx H4 F25:1\n"), "whole number"),
    "huge y4m": ("a.y4m", lambda path, clips: path.write_bytes(b"YUV4MPEG2 W99999999 H4 F25:1\n"), "99999999x4"),
    "y4m of 4:1:1": ("a.y4m", lambda path, clips: path.write_bytes(Y4M[:-9] + b"C411\n"), "layout '411'"),
    "y4m without frames": ("a.y4m", lambda path, clips: path.write_bytes(Y4M), "holds no frames"),
    "y4m cut short": ("a.y4m", lambda path, clips: path.write_bytes(Y4M + b"FRAME\n" + bytes(23)), "frame 0 is"),
    "y4m with rubbish": (
        "a.y4m",
        lambda path, clips: path.write_bytes(Y4M + b"FRAME\n" + bytes(24) + b"FROMP\n" + bytes(24)),
        "frame 1 is damaged",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named_in_one_line(tmp_path: Path, clip_folder: Path, case: str) -> None:
    name, make, message = BAD[case]
    make(tmp_path / name, clip_folder)
    with pytest.raises(DataError, match=message) as raised:
        list(open_video(tmp_path / name))
    assert str(raised.value).startswith(str(tmp_path / name.partition("/")[0]))
    assert "\n" not in str(raised.value)


def test_a_misspelt_name_is_corrected(clip_folder: Path) -> None:
    with pytest.raises(DataError, match=r"did you mean 'one\.y4m'"):
        open_video(clip_folder / "on.y4m")


def test_an_mp4_cut_short_behind_its_index_is_found(tmp_path: Path) -> None:
    frames = random_frames(64, 64, 30)
    with av.open(str(tmp_path / "whole.mp4"), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for frame in frames:
            flat = np.concatenate([plane.ravel() for plane in frame.yuv]).reshape(-1, 64)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(flat, format="yuv420p")))
        container.mux(stream.encode(None))
    cut_short(tmp_path / "whole.mp4", tmp_path / "cut.mp4", 0.6)
    with pytest.raises(DataError, match=r"cut\.mp4: cut short, \d+ of 30 frames are there"):
        open_video(tmp_path / "cut.mp4")


@pytest.mark.parametrize("name", ["a.y4m", "a.yuv", "a.mp4", "a"])
def test_a_clip_without_frames_is_not_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=f"{name}: no frames to write"), open_writer(tmp_path / name, VideoInfo(8, 8)):
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_x264_cannot_write_is_said(tmp_path: Path) -> None:
    with (
        pytest.raises(DataError, match=r"a\.mp4: x264 cannot write 20000x2 at 30 frames/s"),
        open_writer(tmp_path / "a.mp4", VideoInfo(20000, 2)) as writer,
    ):
        writer.write(Frame(rgb=np.zeros((3, 2, 20000), np.uint8)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fps", [Fraction(1, 2**32 - 1), Fraction(2**32 - 1)])
def test_rates_that_mp4_has_no_room_for_are_refused(tmp_path: Path, fps: Fraction) -> None:
    with pytest.raises(DataError, match=rf"a\.mp4: x264 cannot write 8x8 at {fps} frames/s .*; write a \.y4m instead"):
        write(tmp_path / "a.mp4", random_frames(8, 8, 2), fps=fps)
    assert list(tmp_path.iterdir()) == []


def test_a_clip_cannot_be_written_in_an_unknown_form(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"clips cannot be written as '\.mp5'; did you mean '\.mp4'"):
        open_writer(tmp_path / "a.mp5", VideoInfo(4, 4))


def test_no_frames_asked_for(clip_folder: Path) -> None:
    with pytest.raises(DataError, match="0 frames asked for"):
        open_video(clip_folder / "one.y4m", frames=0)
