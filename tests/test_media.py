"""Video files as cameras, broadcasters, editors and streaming write them; those that end early are told from them."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from PIL import Image

from torchDVC.dataset.video import open_video
from torchDVC.util.errors import DataError

os.environ.setdefault("SVT_LOG", "0")  # read once, when the library is first used
SIZE = (64, 48)
PROCESSORS = getattr(os, "sched_getaffinity", lambda _: {0})(0)


def pictures(count: int, form: str = "yuv420p") -> list[av.VideoFrame]:
    """A pattern that moves; the same for every form that can hold it."""
    x, y = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]))
    found = []
    for index in range(count):
        luma = 125 + 60 * np.sin((x + 2 * index) / 7) + 40 * np.cos((y - index) / 5)
        planes = np.concatenate([luma.astype(np.uint8).ravel(), np.full(luma.size // 2, 128, np.uint8)])
        picture = av.VideoFrame.from_ndarray(planes.reshape(-1, SIZE[0]), format="yuv420p")
        found.append(picture if form == "yuv420p" else picture.reformat(format=form))
        found[-1].pts = index
    return found


def write(path: Path, codec: str, count: int = 30, *, form: str = "yuv420p", times: Any = (), **options: Any) -> Path:
    """A clip of ``count`` pictures at 25 frames/s, shown in the slots ``times`` if they are given."""
    container_options = {key: options.pop(key) for key in ("movflags",) if key in options}
    with av.open(str(path), "w", options=container_options) as container:
        stream: Any = container.add_stream(codec, rate=25, options=options)
        (stream.width, stream.height), stream.pix_fmt = SIZE, form
        stream.codec_context.thread_count = 1
        for picture in pictures(count, form):
            picture.pts = times[int(picture.pts or 0)] if times else picture.pts
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def remux(source: Path, target: Path, keep: Callable[[av.Packet], bool] = lambda packet: True, **options: Any) -> Path:
    """The packets of a clip that are to be kept, in another file."""
    shift = options.pop("shift", 0)
    with av.open(str(source)) as old, av.open(str(target), "w", options=options) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.size and keep(packet):
                packet.stream = stream
                packet.pts, packet.dts = (None if time is None else time + shift for time in (packet.pts, packet.dts))
                new.mux(packet)
    return target


def from_key(number: int) -> Callable[[av.Packet], bool]:
    """Keeps what comes from the key picture of this number on."""
    seen = []

    def keep(packet: av.Packet) -> bool:
        seen.append(packet.is_keyframe)
        return sum(seen) > number

    return keep


def length(path: Path) -> int:
    """How many frames a clip has, which is what it says when it is opened."""
    reader = open_video(path)
    assert reader.info.frames == sum(1 for _ in reader)
    return reader.info.frames


X264 = {"x264-params": "open-gop=1:bframes=3:scenecut=0:keyint=12:min-keyint=12"}
X265 = {"x265-params": "open-gop=1:bframes=3:scenecut=0:keyint=12:min-keyint=12:log-level=none"}


# -- whole, whatever the headers count --------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "h264"])
def test_two_fields_are_one_frame(tmp_path: Path, suffix: str) -> None:
    source = Path(__file__).with_name("cases") / "paff.mts"
    assert length(remux(source, tmp_path / f"a.{suffix}")) == 6


@pytest.mark.parametrize(("codec", "suffix"), [("libvpx", "webm"), ("libvpx-vp9", "webm"), ("libvpx-vp9", "ivf")])
def test_hidden_frames_do_not_count(tmp_path: Path, codec: str, suffix: str) -> None:
    options = {"auto-alt-ref": "1", "lag-in-frames": "25", "cpu-used": "5", "b": "100k"}
    assert length(write(tmp_path / f"a.{suffix}", codec, 60, **options)) == 60


@pytest.mark.parametrize("suffix", ["mp4", "webm", "ivf", "obu"])
def test_av1_in_every_container(tmp_path: Path, suffix: str) -> None:
    assert length(write(tmp_path / f"a.{suffix}", "libsvtav1", 20, preset="10")) == 20


def test_empty_slots_of_an_avi_are_no_frames(tmp_path: Path) -> None:
    assert length(write(tmp_path / "a.avi", "mpeg4", 20, times=range(0, 40, 2))) == 20


def test_packed_b_frames_are_frames_of_their_own(tmp_path: Path) -> None:
    """As old encoders fit B frames into avi: behind the picture they precede, and an empty picture in their slot."""
    write(tmp_path / "plain.avi", "mpeg4", 21, bf="1", g="300")
    with av.open(str(tmp_path / "plain.avi")) as old, av.open(str(tmp_path / "packed.avi"), "w") as new:
        coded = [bytes(packet) for packet in old.demux(video=0) if packet.size]
        stream: Any = new.add_stream_from_template(old.streams.video[0])
        coded[0] = b"\x00\x00\x01\xb2DivX503b1393p" + coded[0]
        packed = [coded[0], *(part for i in range(1, 21, 2) for part in (coded[i] + coded[i + 1], NOT_CODED))]
        for slot, data in enumerate(packed):
            packet = av.Packet(data)
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, slot, slot, Fraction(1, 25)
            new.mux(packet)
    assert length(tmp_path / "packed.avi") == length(tmp_path / "plain.avi") == 21


NOT_CODED = b"\x00\x00\x01\xb6\x50\x00\x00"


@pytest.mark.parametrize(("codec", "options"), [("libx264", X264), ("libx265", X265)])
@pytest.mark.parametrize("suffix", ["mkv", "ts"])
def test_a_cut_at_an_open_gop_loses_its_leading_pictures(
    tmp_path: Path, codec: str, options: dict[str, str], suffix: str
) -> None:
    whole = write(tmp_path / f"a.{suffix}", codec, 60, **options)
    assert length(whole) == 60
    assert length(remux(whole, tmp_path / f"cut.{suffix}", from_key(1))) == 48


@pytest.mark.parametrize(("codec", "options"), [("libx264", X264), ("libx265", X265), ("mpeg2video", {"bf": "2"})])
@pytest.mark.parametrize("shift", [0, 77])
def test_a_recording_may_begin_within_a_gop(tmp_path: Path, codec: str, options: dict[str, str], shift: int) -> None:
    data = write(tmp_path / "a.ts", codec, 60, **options).read_bytes()
    (tmp_path / "late.ts").write_bytes(data[len(data) * 27 // 100 // 188 * 188 + shift :])
    assert length(tmp_path / "late.ts") in range(30, 50)


def test_an_edit_list_hides_frames(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.mp4", "libx264", 30, g="10")
    assert length(remux(whole, tmp_path / "b.mp4", shift=-7 * 512, avoid_negative_ts="disabled")) == 23


# -- cut short --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mkv", "libx264"), ("a.webm", "libvpx-vp9"), ("a.avi", "mpeg4"), ("a.flv", "libx264"), ("a.ivf", "libvpx"),
        ("a.wmv", "wmv2"), ("a.mov", "mjpeg"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("share", [0.6, 0.9])
def test_a_file_that_ends_before_its_structure_says_is_cut_short(
    tmp_path: Path, name: str, codec: str, share: float
) -> None:
    options = {"movflags": "faststart"} if name == "a.mov" else {}
    form = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    whole = write(tmp_path / name, codec, 100, form=form, **options)
    assert length(whole) == 100
    cut = tmp_path / f"cut_{name}"
    cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * share)])
    with pytest.raises(DataError, match=r"cut short, \d+ (of \d+ )?frames are there and \d+ bytes missing"):
        open_video(cut)


def test_a_fragmented_mp4_and_a_live_webm_are_cut_short_too(tmp_path: Path) -> None:
    fragments = write(tmp_path / "a.mp4", "libx264", g="10", movflags="frag_keyframe+empty_moov").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(fragments[: len(fragments) * 6 // 10])
    with pytest.raises(DataError, match="cut short"):
        open_video(tmp_path / "cut.mp4")


def test_what_follows_a_whole_file_does_not_matter(tmp_path: Path) -> None:
    for name, codec in (("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.avi", "mpeg4")):
        path = write(tmp_path / name, codec)
        path.write_bytes(path.read_bytes() + b"camera notes" * 20)
        assert length(path) == 30


def test_damage_is_found_when_a_clip_is_opened(tmp_path: Path) -> None:
    data = bytearray(write(tmp_path / "a.mp4", "libx264", g="10").read_bytes())
    data[len(data) * 3 // 5 : len(data) * 3 // 5 + 100] = bytes(100)
    (tmp_path / "a.mp4").write_bytes(data)
    with pytest.raises(DataError, match=r"a\.mp4: .*damaged"):
        open_video(tmp_path / "a.mp4")
    assert len(list(open_video(tmp_path / "a.mp4", frames=5))) == 5


def test_a_very_long_clip_is_of_unknown_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.mp4", "libx264")
    for limit, known in ((29, None), (30, 30), (31, 30)):
        monkeypatch.setattr("torchDVC.dataset.container.COUNTED_PIXELS", limit * 64 * 48)
        assert open_video(path).info.frames == known
        assert sum(1 for _ in open_video(path)) == 30
    monkeypatch.setattr("torchDVC.dataset.container.COUNTED_PIXELS", 10 * 64 * 48)
    assert open_video(path, frames=7).info.frames == 7
    assert sum(1 for _ in open_video(path, frames=12)) == 12


# -- samples as they are stored ---------------------------------------------------------------------------------------


def flat(path: Path, codec: str, form: str, codes: Sequence[int], value_range: int = 0) -> Path:
    """One picture whose planes hold one code each."""
    picture = av.VideoFrame(16, 16, form)
    for plane, code in zip(picture.planes, codes, strict=True):
        kind = "u1" if picture.format.components[0].bits == 8 else "<u2"
        plane.update(np.full(plane.buffer_size // np.dtype(kind).itemsize, code, kind).tobytes())
    picture.color_range, picture.pts = value_range, 0
    with av.open(str(path), "w") as container:
        # With B frames x265 reads the times of a clip of one picture where it has written none.
        options = {"x265-params": "lossless=1:log-level=none:bframes=0"} if codec == "libx265" else {}
        stream: Any = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 16, 16, form
        stream.codec_context.color_range = value_range
        container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("value_range", [0, 1, 2])
@pytest.mark.parametrize(
    ("codec", "form", "codes", "eight"),
    [
        ("libx265", "gray", [16], {0: [16, 128, 128]}),
        ("ffv1", "gray", [235], {0: [235, 128, 128]}),
        ("libx265", "gray10le", [65], {0: [16, 128, 128], 2: [16, 128, 128]}),
        ("ffv1", "gray10le", [510], {0: [128, 128, 128], 2: [127, 128, 128]}),
        ("ffv1", "gray16le", [60160], {0: [235, 128, 128], 2: [234, 128, 128]}),
        ("ffv1", "yuv420p10le", [510, 514, 1023], {0: [128, 129, 255], 2: [127, 128, 255]}),
        ("ffv1", "yuv422p12le", [3760, 1000, 2048], {0: [235, 63, 128], 2: [234, 63, 128]}),
        ("ffv1", "yuv444p16le", [4096, 32768, 65535], {0: [16, 128, 255], 2: [16, 128, 255]}),
        ("ffv1", "yuv440p", [16, 100, 200], {0: [16, 100, 200]}),
        ("rawvideo", "yuv411p", [16, 100, 200], {0: [16, 100, 200]}),
        ("ffv1", "yuva420p", [60, 100, 200, 7], {0: [60, 100, 200]}),
    ],
)
def test_codes_stay_what_they_are_in_their_range(
    tmp_path: Path, codec: str, form: str, codes: list[int], eight: dict[int, list[int]], value_range: int
) -> None:
    path = flat(tmp_path / ("a.avi" if codec == "rawvideo" else "a.mkv"), codec, form, codes, value_range)
    (frame,) = open_video(path, value_range="full" if value_range == 2 else "limited")
    found = [np.unique(plane).tolist() for plane in frame.yuv]
    assert found == [[code] for code in eight.get(value_range, eight[0])]


@pytest.mark.skipif(not hasattr(av.VideoFrame, "rotation"), reason="this PyAV does not say")
def test_a_tag_that_turns_pictures_is_named_and_not_applied(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", "libx264")
    before, stored = open_video(path), path.read_bytes()
    assert "turned" not in str(before.info)
    one, minus = (value.to_bytes(4, "big", signed=True) for value in (1 << 16, -(1 << 16)))
    upright = one + bytes(12) + one
    turned = bytes(4) + one + bytes(4) + minus + bytes(4)
    track = stored.index(b"tkhd")
    path.write_bytes(stored[:track] + stored[track:].replace(upright, turned, 1))
    after = open_video(path)
    assert str(after.info).count("not turned by the 270 degrees of its tag") == 1
    assert (after.info.width, after.info.height) == (before.info.width, before.info.height)
    assert all(np.array_equal(a.rgb, b.rgb) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("form", ["gbrp10le", "gbrp12le", "gbrp16le", "bgr0"])
def test_rgb_of_any_depth_is_rounded_to_8_bits(tmp_path: Path, form: str) -> None:
    bits = av.VideoFormat(form).components[0].bits
    codes = (np.arange(16 * 16 * 3).reshape(16, 16, 3) * 331) % (1 << bits)
    expected = np.floor(codes * 255 / ((1 << bits) - 1) + 0.5).astype(np.uint8).transpose(2, 0, 1)
    picture = av.VideoFrame(16, 16, form)
    if form == "bgr0":
        picture = av.VideoFrame.from_ndarray(codes.astype(np.uint8), format="rgb24").reformat(format="bgr0")
    else:
        for plane, channel in zip(picture.planes, (1, 2, 0), strict=True):
            rows = np.zeros((16, plane.line_size // 2), "<u2")
            rows[:, :16] = codes[..., channel]
            plane.update(rows.tobytes())
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream: Any = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 16, 16, form
        container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    (frame,) = open_video(tmp_path / "a.mkv")
    assert np.array_equal(frame.rgb, expected)


# -- which stream, and how fast ---------------------------------------------------------------------------------------


@pytest.mark.skipif(len(PROCESSORS) < 2, reason="one processor, or a system that gives a process no choice of them")
def test_samples_do_not_depend_on_the_number_of_processors(tmp_path: Path) -> None:
    """FFmpeg's converter interpolates a quarter of the chroma in as many parts as it has threads."""
    noise = np.random.default_rng(0)
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream: Any = container.add_stream("ffv1", rate=25)
        (stream.width, stream.height), stream.pix_fmt = SIZE, "yuv410p"
        picture = av.VideoFrame(*SIZE, "yuv410p")
        for plane in picture.planes:
            plane.update(noise.integers(0, 256, plane.buffer_size, np.uint8).tobytes())
        container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    ((_, *of_several),) = (frame.planes(8) for frame in open_video(tmp_path / "a.mkv"))
    try:
        os.sched_setaffinity(0, {min(PROCESSORS)})
        ((_, *of_one),) = (frame.planes(8) for frame in open_video(tmp_path / "a.mkv"))
    finally:
        os.sched_setaffinity(0, PROCESSORS)
    assert all(np.array_equal(a, b) for a, b in zip(of_several, of_one, strict=True))


def add_cover(container: av.container.OutputContainer) -> Callable[[], None]:
    """A cover picture as a stream of its own; returns what writes it."""
    stream: Any = container.add_stream("mjpeg", rate=1)
    stream.width, stream.height, stream.pix_fmt = 80, 80, "yuvj420p"
    stream.disposition = Disposition.attached_pic
    data = io.BytesIO()
    Image.new("RGB", (80, 80), (200, 0, 0)).save(data, "jpeg")
    packet = av.Packet(data.getvalue())
    packet.stream, packet.pts, packet.dts = stream, 0, 0
    return lambda: container.mux(packet)


@pytest.mark.parametrize("second", [False, True])
def test_the_default_track_is_the_clip(tmp_path: Path, second: bool) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        streams: list[Any] = [container.add_stream("libx264", rate=25) for _ in range(2)]
        for number, stream in enumerate(streams):
            stream.width, stream.height, stream.pix_fmt = 64 + 16 * number, 48, "yuv420p"
            stream.disposition = Disposition.default if number == second else Disposition(0)
        for picture in pictures(5):
            for stream in streams:
                container.mux(stream.encode(picture.reformat(width=stream.width)))
        for stream in streams:
            container.mux(stream.encode(None))
    assert open_video(tmp_path / "a.mkv").info.width == (80 if second else 64)


def test_a_cover_in_an_audio_file_is_no_clip(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.m4a"), "w", format="mp4") as container:
        sound: Any = container.add_stream("aac", rate=48000)
        cover = add_cover(container)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 2048), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48000
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
        cover()
    with pytest.raises(DataError, match="holds no video, but a cover picture"):
        open_video(tmp_path / "a.m4a")


@pytest.mark.parametrize(("name", "codec"), [("a.ivf", "libvpx"), ("a.ivf", "libsvtav1"), ("a.mkv", "libx264")])
def test_rates_do_not_depend_on_the_container(tmp_path: Path, name: str, codec: str) -> None:
    assert open_video(write(tmp_path / name, codec)).info.fps == 25


def test_a_variable_rate_is_that_of_its_slots(tmp_path: Path) -> None:
    times = sorted(np.random.default_rng(0).choice(200, 30, replace=False).tolist())
    assert open_video(write(tmp_path / "a.mp4", "libx264", times=times)).info.fps == 25
