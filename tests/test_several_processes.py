"""Several processes at once, and what those leave that are killed."""

from __future__ import annotations

import platform
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT
from tests.processes import LIMIT, wait_for
from tests.result_rows import frame_row, rd_row
from tests.small_model import SmallModel
from torchDVC.anchors.command import main as anchors
from torchDVC.results.rows import read_frames, read_rows

HELD = """
import sys, time
from pathlib import Path
from torchDVC.util.files import atomic_path
with atomic_path(Path(sys.argv[1])) as temporary:
    temporary.write_bytes(bytes(100))
    print(temporary, flush=True)
    time.sleep(600)
"""
ADDS = """
import sys
from pathlib import Path
from tests.result_rows import frame_row, rd_row
from torchDVC.results.folder import ResultsFolder
results = ResultsFolder(Path(sys.argv[1]))
point = dict(run_id=sys.argv[2], dataset="D", process="", lmda=1.0, quality=None)
for number in range(15):
    point["sequence"] = f"{sys.argv[2]}-{number}"
    results.add([(rd_row(**point), [frame_row(**point)])])
"""


def script(name: str, *flags: str) -> subprocess.Popen[str]:
    """One of the scripts, or with ``-c`` a program, in a process of its own."""
    command = [sys.executable, *(["-c", flags[0]] if name == "-c" else [f"torchDVC/{name}.py"])]
    command += flags[1:] if name == "-c" else flags
    return subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def hold(path: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process that writes a file and does not come to its end, and the partial file."""
    process = script("-c", HELD, str(path))
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


# --- results


def test_rows_of_processes_that_write_at_once_are_all_kept(tmp_path: Path) -> None:
    processes = [script("-c", ADDS, str(tmp_path / "res"), name) for name in "abcd"]
    for process in processes:
        assert process.wait(LIMIT) == 0, process.communicate()
    expected = {f"{name}-{number}" for name in "abcd" for number in range(15)}
    for read in (read_rows, read_frames):
        found = [row.sequence for row in read(tmp_path / "res" / f"{'rd' if read is read_rows else 'frames'}.csv")]
        assert len(found) == 60 and set(found) == expected
    assert {path.name for path in (tmp_path / "res").iterdir()} == {"rd.csv", "frames.csv"}


@pytest.mark.slow
def test_testers_at_once_keep_every_rate_point_and_measure_none_twice(small_model: SmallModel) -> None:
    lmdas = ("256", "512", "256")
    flags = ("--write_stream", "--frames", "2")
    processes = [script("tester", *small_model.test_flags("res", *flags, "--lmda", lmda)) for lmda in lmdas]
    said = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], said
    rows = read_rows(small_model.path / "res/rd.csv")
    assert sorted((row.sequence, row.lmda) for row in rows) == [
        (name, lmda) for name in ("one", "three", "two") for lmda in (256, 512)
    ]
    assert len(read_frames(small_model.path / "res/frames.csv")) == 12
    assert sum(text.count("already tested, kept") for text in said) == 3
    assert len(list((small_model.path / "res").glob("run*.json"))) == 3
    assert not list((small_model.path / "res").rglob(".*"))


def test_anchors_of_two_calls_stand_side_by_side(clip_folder: Path, tmp_path: Path) -> None:
    def measure(codec: str, quality: str) -> None:
        flags = ("--seqs", "one", "--frames", "2", "--no_ms_ssim", "--save_dir", str(tmp_path / "res"))
        assert anchors(["--datasets", str(clip_folder), "--codecs", codec, "--qualities", quality, *flags]) == 0

    for codec, quality in (("x264:ultrafast", "30"), ("x265:ultrafast", "30"), ("x264:ultrafast", "40")):
        measure(codec, quality)
    measure("x264:ultrafast", "30")
    rows = read_rows(tmp_path / "res/rd.csv")
    points = [(row.codec, row.quality) for row in rows]
    assert points == [("x265 ultrafast", 30), ("x264 ultrafast", 40), ("x264 ultrafast", 30)]
    frames = read_frames(tmp_path / "res/frames.csv")
    assert [(frame.run_id, frame.frame) for frame in frames] == [(row.run_id, i) for row in rows for i in range(2)]


def test_a_clip_of_the_name_of_another_one_takes_no_rows(
    small_model: SmallModel, clip_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")  # no name is cut short
    for place, clip in (("here", "one"), ("there", "two"), ("there", "one")):
        (small_model.path / place / "clips").mkdir(parents=True, exist_ok=True)
        shutil.copy(next(clip_folder.glob(f"{clip}.*")), small_model.path / place / "clips")
    here, there = (small_model.path / place / "clips" for place in ("here", "there"))
    assert small_model.test("res", "--no_image", "--test_datasets", str(here)) == 0
    before = (small_model.path / "res/rd.csv").read_bytes()
    capsys.readouterr()
    assert small_model.test("res", "--no_image", "--test_datasets", str(there)) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"{there}/one.y4m: would be one of clips in /")
    assert said.endswith("/here/clips/one.y4m is; give another --save_dir, or rename one\n")
    assert (small_model.path / "res/rd.csv").read_bytes() == before
    here.rename(small_model.path / "elsewhere")  # and nothing else is left that its rows could be of
    assert small_model.test("res", "--no_image", "--test_datasets", str(there)) == 0
    sources = [row.source for row in read_rows(small_model.path / "res/rd.csv")]
    assert sources == [f"{there}/one.y4m", f"{there}/two.mp4"]


def test_clips_of_one_name_that_were_begun_at_once_take_no_rows_of_each_other(tmp_path: Path) -> None:
    """At another rate point, whose lock is another."""
    from torchDVC.results.folder import ResultsFolder
    from torchDVC.util.errors import DataError

    point = dict(sequence="s", dataset="D", process="", quality=None, run_id="1")
    both = []
    for lmda, name in ((1.0, "here"), (2.0, "there")):
        (tmp_path / name).touch()
        both.append((ResultsFolder(tmp_path / "res"), rd_row(**point, lmda=lmda, source=str(tmp_path / name))))
    for results, row in both:
        results.check_source("D", "s", row.source)
    (here, first), (there, second) = both
    here.add([(first, [])])
    with pytest.raises(DataError, match="there: would be s of D in .*, as .*here is; give another --save_dir"):
        there.add([(second, [])])
    assert there.rows() == [first]


def test_a_replaced_point_loses_its_frames_and_no_others(tmp_path: Path) -> None:
    from torchDVC.results.folder import ResultsFolder

    results = ResultsFolder(tmp_path)
    for codec, run in (("a", "1"), ("b", "2"), ("a", "3")):
        point = dict(sequence="s", dataset="D", process="", lmda=1.0, quality=None, run_id=run)
        results.add([(rd_row(codec=codec, **point), [frame_row(**point)])])
    assert [(row.codec, row.run_id) for row in results.rows()] == [("b", "2"), ("a", "3")]
    assert [frame.run_id for frame in results.frame_rows()] == ["2", "3"]


# --- the folder of a run


@pytest.mark.slow
def test_a_second_trainer_is_refused_and_changes_nothing(
    small_model: SmallModel, capsys: pytest.CaptureFixture[str]
) -> None:
    small_model.write("long.cfg", "[process: i]\nimode = i\ndata = DATA\nsteps = 100000\npatch_size = 64\n")
    first = script("trainer", *small_model.train_flags("run", cfg="long.cfg"))
    run = small_model.path / "run"
    wait_for(lambda: (run / "metrics.csv").exists(), first)
    before = {path: path.stat().st_ino for path in run.rglob("*")}
    for flags in ((), ("--restore", "resume")):
        assert small_model.train("run", *flags, cfg="long.cfg") == 2
        holder = f"process {first.pid} on {platform.node()}"
        said = f"{run}: {holder} trains here; wait for its end, or give another --save_dir\n"
        assert capsys.readouterr().err == said
    assert {path: path.stat().st_ino for path in run.rglob("*")} == before
    first.send_signal(signal.SIGTERM)
    assert first.wait(LIMIT) == 0, first.communicate()
    assert not (run / ".lock").exists()


@pytest.mark.slow
def test_a_killed_trainer_leaves_no_lock_behind(small_model: SmallModel) -> None:
    """Nor do its workers, which live on for a moment."""
    small_model.write("long.cfg", "[process: i]\nimode = i\ndata = DATA\nsteps = 100000\npatch_size = 64\n")
    killed = script("trainer", *small_model.train_flags("run", "--num_workers", "2", cfg="long.cfg"))
    wait_for(lambda: (small_model.path / "run/metrics.csv").exists(), killed)
    assert (small_model.path / "run/.lock").exists()
    killed.kill()
    killed.wait()
    assert small_model.train("run", "--end_epoch", "1") == 0
    assert not list((small_model.path / "run").rglob(".*"))


# --- what is half-written


def test_what_killed_processes_left_is_removed_at_the_next_start(small_model: SmallModel) -> None:
    run = small_model.path / "run"
    dead, left = hold(run / "checkpoints/01_intra.safetensors")
    alive, kept = hold(run / "other.safetensors")
    kill(dead)
    assert left.exists() and kept.exists()
    assert small_model.train("run", "--end_epoch", "1") == 0
    assert set(run.rglob(".*")) == {kept, run / kept.name.replace("partial.safetensors", "lock")}
    kill(alive)


def test_partial_caches_of_killed_processes_are_removed(
    small_model: SmallModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHDVC_CACHE", str(tmp_path / "cache"))
    dead, left = hold(tmp_path / "cache/3f/some_clip_of_another_set.frames")
    kill(dead)
    assert left.exists()
    assert small_model.train("run", "--end_epoch", "1") == 0
    assert not list((tmp_path / "cache").rglob(".*"))


def test_a_killed_writer_of_the_same_file_is_cleaned_up_after_by_the_next(tmp_path: Path) -> None:
    from tests.marked_clips import marked_clip
    from torchDVC.dataset.frame import Frame
    from torchDVC.dataset.video import VideoInfo, open_writer

    def write() -> None:
        with open_writer(tmp_path / "frames", VideoInfo(8, 8)) as writer:
            writer.write(Frame(rgb=marked_clip(0, 1, 8, 8)[0]))

    write()
    left, others = tmp_path / ".frames.0a1b2c3d.partial", tmp_path / ".frames.partial"
    for folder in (left, others):
        folder.mkdir()
        (folder / "00001.png").write_bytes(b"half")
    write()
    assert {path.name for path in tmp_path.iterdir()} == {"frames", ".frames.partial"}
