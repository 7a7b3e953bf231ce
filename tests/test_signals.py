"""Ctrl-C, termination signals and closed terminals: one line, the exit code 130, and nothing half-written."""

from __future__ import annotations

import fcntl
import importlib
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT, write_clip
from tests.processes import LIMIT, signalled, wait_for
from tests.small_model import SmallModel
from torchDVC.codec import main as codec
from torchDVC.dataset.procedural import procedural_clip
from torchDVC.util.errors import run_command
from torchDVC.util.interrupts import AGAIN

CTRL_C_BEFORE_THE_FIRST_IMPORT = """
import os, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("torchDVC") and "torchDVC.util.start" in sys.modules:  # so it is not Python's own
            os.kill(os.getpid(), 2)

sys.meta_path.insert(0, Finder())
"""


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*")}


PLACES = {
    "encode": "torchDVC.bitstream.container_writer:ContainerWriter:write",
    "decode": "torchDVC.bitstream.playback:Playback:show",
    "tester": "torchDVC.testing.measurement:Measurement:add",
}
"""What each command calls for every frame, in the midst of writing."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "number"), [("encode", signal.SIGHUP), ("decode", signal.SIGTERM), ("tester", signal.SIGHUP)]
)
def test_signals_end_every_command_as_ctrl_c_does(
    small_model: SmallModel, monkeypatch: pytest.MonkeyPatch, name: str, number: signal.Signals
) -> None:
    monkeypatch.setenv("LOG", str(small_model.path / "log"))
    folder = small_model.path / "out"
    model, clip, stream = small_model.path / "model.safetensors", small_model.path / "one.y4m", folder / "one.lcp"
    if name == "tester":
        script, flags = name, small_model.test_flags("out")
        left = {"run.json", "complexity.csv"}
    else:
        write_clip(clip, (96, 80), procedural_clip(0, 5, (96, 80)))
        assert small_model.train("run", "--end_epoch", "1") == 0
        files = {"model_config": "model.csv", "run_config": "test.cfg", "checkpoint": "run/checkpoints"}
        given = [word for key, file in files.items() for word in (f"--{key}", str(small_model.path / file))]
        assert codec(["export", *given, "--out", str(model)]) == 0
        if name == "decode":
            assert codec(["encode", str(clip), str(stream), "--model", str(model)]) == 0
        paths = [clip, stream] if name == "encode" else [stream, folder / "one.y4m"]
        script, flags = "codec", [name, *map(str, paths), "--model", str(model)]
        left = {"one.lcp"} if name == "decode" else set()
    process = signalled(number, PLACES[name], 3, script, *flags)
    error = process.communicate(timeout=LIMIT)[1]
    assert process.returncode == 130, error
    assert error.splitlines()[-1] == "interrupted" and "Traceback" not in error
    assert not folder.exists() or names(folder) - {"images"} == left
    assert not list(small_model.path.rglob(".*"))


@pytest.mark.parametrize(
    "command", [["torchDVC/codec.py", "info"], ["-m", "torchDVC.anchors"], ["DVC/DVC.py"], ["compressai/convert.py"]]
)
def test_ctrl_c_among_the_first_imports_is_one_line(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "sitecustomize.py").write_text(CTRL_C_BEFORE_THE_FIRST_IMPORT)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(
        [sys.executable, *command], cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=LIMIT
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_a_signal_within_an_import_waits_for_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the middle of one it would end PyTorch by an abort."""
    (tmp_path / "interrupted_module.py").write_text("import os\nos.kill(os.getpid(), 15)\nwhole = True\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    def work() -> None:
        module = importlib.import_module("interrupted_module")

        found.append(module.whole)
        time.sleep(10)

    found: list[bool] = []
    assert run_command(work) == 130
    assert found == [True] and capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_a_library_makes_of_a_signal_is_an_interruption(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(number)

    def work() -> None:
        try:
            os.kill(os.getpid(), number)
        except KeyboardInterrupt:
            raise ValueError("could not determine the shape") from None

    assert run_command(work) == 130
    assert capsys.readouterr().err == "interrupted\n" and signal.getsignal(number) == before


def test_an_interruption_that_something_drops_comes_again_and_cuts_no_cleaning_short(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Finalized:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    cleaned = False

    def work() -> None:
        nonlocal cleaned
        Finalized()
        try:
            time.sleep(20)
        finally:
            time.sleep(1.5 * AGAIN)
            cleaned = True

    assert run_command(work) == 130 and cleaned
    assert capsys.readouterr().err == "interrupted\n"


def test_a_command_that_ends_before_a_late_import_does_is_not_ended_by_the_clock(tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text("import os\nos.kill(os.getpid(), 2)\nraise SystemExit(0)\n")
    program = "import time\nfrom torchDVC.util.errors import run_command\n"
    program += "try: run_command(lambda: __import__('late'))\nfinally: time.sleep(0.2)"
    environment = {**os.environ, "PYTHONPATH": f"{CHECKOUT}:{tmp_path}"}
    finished = subprocess.run([sys.executable, "-c", program], env=environment)
    assert finished.returncode == 0


def test_signals_that_are_to_be_ignored_stay_so() -> None:
    """As in ``nohup``."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run_command(lambda: os.kill(os.getpid(), signal.SIGHUP)) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.slow
def test_a_closed_terminal_loses_no_step(small_model: SmallModel) -> None:
    """The run writes to the terminal until it is gone, and is told so twice: by the system and by the shell."""
    small_model.write("long.cfg", "[process: i]\nimode = i\ndata = DATA\nsteps = 100000\npatch_size = 64\n")
    ours, theirs = pty.openpty()

    def take_terminal() -> None:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        [sys.executable, "torchDVC/trainer.py", *small_model.train_flags("run", cfg="long.cfg")], cwd=CHECKOUT,
        stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=take_terminal, text=True,
    )  # fmt: skip
    os.close(theirs)
    wait_for(lambda: (small_model.path / "run/metrics.csv").exists(), process)
    os.close(ours)
    process.send_signal(signal.SIGHUP)
    assert process.wait(LIMIT) == 130
    assert names(small_model.path / "run/checkpoints") == {"last.safetensors"}


FIXED = "precision = 32\nmemory_format = contiguous\n"
"""Without the steps of a trial."""


@pytest.mark.slow
def test_a_signal_to_all_processes_of_a_run_ends_it_well(small_model: SmallModel) -> None:
    """Its workers get it too, as from a batch system."""
    small_model.write("long.cfg", "[process: i]\nimode = i\ndata = DATA\nsteps = 9\npatch_size = 64\n" + FIXED)
    flags = small_model.train_flags("run", "--num_workers", "2", cfg="long.cfg")
    process = signalled(signal.SIGTERM, "torchDVC.training.stage:StageTraining:step", 3, "trainer", *flags)
    said, error = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, error
    assert "stopped by SIGTERM" in said and "Traceback" not in error
    assert names(small_model.path / "run/checkpoints") == {"last.safetensors"}


# --- the terminal and the folder


def test_errors_are_no_longer_than_three_lines_of_the_screen(capsys: pytest.CaptureFixture[str]) -> None:
    assert codec(["encode", f"{'a' * 1000}.mp4", "out.lcp", "--model", "end"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("aaa") and "…" in line and len(line) == 240


def test_a_deleted_working_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    command = f"cd gone; rmdir ../gone; exec {sys.executable} {CHECKOUT}/torchDVC/codec.py info x.lcp"
    finished = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True)
    assert (finished.returncode, finished.stdout) == (2, "")
    assert finished.stderr == "the working folder has been deleted; change to one that exists\n"
