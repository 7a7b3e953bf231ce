"""Video files damaged anywhere are read, or refused in one line; none takes the process with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from tests.conftest import write_clip
from torchDVC.dataset.video import open_video

CUT_EVERYWHERE = """
import sys
from pathlib import Path
from torchDVC.dataset.video import open_video
from torchDVC.util.errors import DataError

whole, cut = Path(sys.argv[1]), Path(sys.argv[2])
data = whole.read_bytes()
for length in range(0, len(data), 11):
    cut.write_bytes(data[:length])
    try:
        print(length, len([frame.rgb for frame in open_video(cut)]), "frames")
    except DataError as error:
        assert str(error).startswith(f"{cut}: ") and "\\n" not in str(error), error
"""


@pytest.fixture
def mp4(tmp_path: Path) -> Path:
    """Four frames of noise, 32x32."""
    noise = np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32), np.uint8)
    write_clip(tmp_path / "whole.mp4", (32, 32), noise)
    return tmp_path / "whole.mp4"


def test_an_mp4_cut_anywhere_gives_its_frames_or_an_error(mp4: Path) -> None:
    """In a process of its own: PyAV crashes where it is asked for what a damaged file does not tell."""
    command = [sys.executable, "-c", CUT_EVERYWHERE, str(mp4), str(mp4.with_name("cut.mp4"))]
    found = subprocess.run(command, capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (0, "")
    assert all(line.endswith(" 4 frames") for line in found.stdout.splitlines())


def remuxed(mp4: Path, path: Path) -> Path:
    """The clip in another container."""
    with av.open(str(mp4)) as old, av.open(str(path), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.size:
                packet.stream = stream
                new.mux(packet)
    return path


@pytest.mark.parametrize("suffix", ["mkv", "flv"])
def test_other_files_cut_anywhere_give_their_frames_or_an_error(tmp_path: Path, mp4: Path, suffix: str) -> None:
    whole = remuxed(mp4, tmp_path / f"whole.{suffix}")
    assert len(list(open_video(whole))) == 4
    command = [sys.executable, "-c", CUT_EVERYWHERE, str(whole), str(tmp_path / f"cut.{suffix}")]
    found = subprocess.run(command, capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (0, "")
    assert all(line.endswith(" 4 frames") for line in found.stdout.splitlines())


ZERO_WITHIN = """
import sys
from pathlib import Path
from torchDVC.dataset.video import open_video
from torchDVC.util.errors import DataError

whole, bad, step = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
data = whole.read_bytes()
for at in range(700, len(data), step):
    bad.write_bytes(data[:at] + bytes(12) + data[at + 12:])
    try:
        print(len(list(open_video(bad))))
    except DataError as error:
        print("refused", "damaged at byte" in str(error))
"""


@pytest.mark.parametrize(("name", "step", "read"), [("vp8_2pass.webm", 31, {"50"}), ("a.mkv", 97, set())])
def test_no_frame_of_a_damaged_cluster_is_passed_over(
    tmp_path: Path, mp4: Path, name: str, step: int, read: set[str]
) -> None:
    """Clusters of mkv have checksums; those of webm tell where an element should begin and none does."""
    whole = Path(__file__).with_name("cases") / name if name.endswith("webm") else remuxed(mp4, tmp_path / "whole.mkv")
    command = [sys.executable, "-c", ZERO_WITHIN, str(whole), str(tmp_path / f"bad{whole.suffix}"), str(step)]
    found = subprocess.run(command, capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (0, "")
    said = set(found.stdout.splitlines())
    assert "refused True" in said and {line for line in said if not line.startswith("refused")} == read


DISTURB = """
import random, sys
from pathlib import Path
from torchDVC.dataset.video import open_video
from torchDVC.util.errors import DataError

whole, bad = Path(sys.argv[1]), Path(sys.argv[2])
rng = random.Random(0)
for trial in range(200):
    data = bytearray(whole.read_bytes())
    for _ in range(rng.choice((1, 3, 30))):
        data[rng.randrange(len(data))] = rng.randrange(256)
    bad.write_bytes(data)
    try:
        reader = open_video(bad)
        assert reader.info.frames == len([frame.rgb for frame in reader])
    except DataError as error:
        assert str(error).startswith(f"{bad}: ") and "\\n" not in str(error), error
"""


@pytest.mark.parametrize("name", ["vp8_2pass.webm", "m2_mid.ts", "vfr264.avi", "av1_copy.ivf", "cover_first.mp4"])
def test_disturbed_files_are_read_or_refused_in_one_line(tmp_path: Path, name: str) -> None:
    whole = Path(__file__).with_name("cases") / name
    command = [sys.executable, "-c", DISTURB, str(whole), str(tmp_path / f"bad{whole.suffix}")]
    found = subprocess.run(command, capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (0, "")


def test_titles_that_are_no_utf8_are_passed_over(mp4: Path) -> None:
    data = mp4.read_bytes()
    assert b"Lavf" in data
    mp4.write_bytes(data.replace(b"Lavf", b"\xff\xfe\xfd\xfc"))
    assert len(list(open_video(mp4))) == 4
