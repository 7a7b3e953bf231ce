"""Video files damaged anywhere are read, or refused in one line; none takes the process with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from torchDVC.dataset.video import Frame, VideoInfo, open_video, open_writer

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
    with open_writer(tmp_path / "whole.mp4", VideoInfo(32, 32)) as writer:
        for rgb in noise:
            writer.write(Frame(rgb=rgb))
    return tmp_path / "whole.mp4"


def test_an_mp4_cut_anywhere_gives_its_frames_or_an_error(mp4: Path) -> None:
    """In a process of its own: PyAV crashes where it is asked for what a damaged file does not tell."""
    command = [sys.executable, "-c", CUT_EVERYWHERE, str(mp4), str(mp4.with_name("cut.mp4"))]
    found = subprocess.run(command, capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (0, "")
    assert all(line.endswith(" 4 frames") for line in found.stdout.splitlines())


def test_titles_that_are_no_utf8_are_passed_over(mp4: Path) -> None:
    data = mp4.read_bytes()
    assert b"Lavf" in data
    mp4.write_bytes(data.replace(b"Lavf", b"\xff\xfe\xfd\xfc"))
    assert len(list(open_video(mp4))) == 4
