"""What goes wrong through the command lines: one clear line each, no traceback, nothing half-written."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import CHECKOUT
from tests.processes import LIMIT, signalled
from tests.small_model import TRAIN, SmallModel, make_small_model
from torchDVC.models import checkpoints
from torchDVC.results.rows import read_rows
from torchDVC.util.errors import run_command

Error = Callable[[], str]


@pytest.fixture
def error(capsys: pytest.CaptureFixture[str]) -> Error:
    """The one line that was printed as an error, after what progress bars printed."""

    def line() -> str:
        lines = capsys.readouterr().err.splitlines()
        assert not any("Traceback" in line for line in lines), lines
        return lines[-1]

    return line


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, clip_folder: Path) -> SmallModel:
    """A model with a checkpoint."""
    model = make_small_model(tmp_path_factory.mktemp("trained"), clip_folder)
    assert model.train("run", "--end_epoch", "1") == 0
    return model


def no_leftovers(folder: Path) -> bool:
    return not [path for path in folder.rglob("*partial*")]


@pytest.mark.parametrize("allocate", [lambda: torch.zeros(2**45), lambda: bytearray(2**60), lambda: np.zeros(2**45)])
def test_memory_that_does_not_suffice_is_one_line(allocate: Callable[[], Any], error: Error) -> None:
    assert run_command(lambda: len(allocate())) == 2
    assert error().startswith("not enough memory")
    with pytest.raises(RuntimeError, match="shape"):
        run_command(lambda: len(torch.zeros(2, 3) @ torch.zeros(2, 3)))


# --- files of configuration


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        ("model.csv", "FlowCodec", "FlowCodek", "model.csv:4: "),
        ("intra.json", '"width": 6', '"width": "six"', "intra.json:1: "),
        ("train.cfg", "pmode = em\n", "pmode = me\n", "train.cfg:"),
        ("train.cfg", "steps = 2", "stesp = 2", "did you mean 'steps'?"),
    ],
)
def test_problems_of_configuration_name_file_and_line(
    small_model: SmallModel, error: Error, name: str, old: str, new: str, expected: str
) -> None:
    path = small_model.path / name
    path.write_text(path.read_text().replace(old, new, 1))
    assert small_model.train("run") == 2
    assert expected in error()
    assert not (small_model.path / "run").exists()


def test_arguments_that_no_network_can_have_are_named_together(
    small_model: SmallModel, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, old, new in (("intra.json", ": 3", ": 4"), ("estimator.json", "{", '{"finest": 7, ')):
        path = small_model.path / name
        path.write_text(path.read_text().replace(old, new, 1))
    assert small_model.train("run") == 2
    intra, estimator = capsys.readouterr().err.splitlines()
    assert intra.endswith("model.csv:2: IntraCodec: kernel_size 4; expected an odd number")
    assert estimator.endswith("model.csv:3: SPyNet: finest 7; expected at most 6")
    assert not (small_model.path / "run").exists()


@pytest.mark.parametrize(
    ("name", "argument", "value", "expected"),
    [
        ("intra.json", "width", "0", "int of at least 1"),
        ("intra.json", "channels", "-1", "int of at least 1"),
        ("estimator.json", "levels", "0", "int of at least 1"),
        ("estimator.json", "finest", "-1", "int of at least 0"),
        ("estimator.json", "widths", "[4, 0]", "tuple[int, ...] of at least 1"),
        ("refinement.json", "width", "0", "int of at least 1"),
        ("refinement.json", "blocks", "-1", "int of at least 0"),
    ],
)
def test_whole_numbers_that_no_network_can_have_are_refused_with_their_line(
    small_model: SmallModel, error: Error, name: str, argument: str, value: str, expected: str
) -> None:
    path = small_model.write(name, f'{{\n"{argument}": {value}\n}}')
    assert small_model.train("run") == 2
    assert error() == f"{path}:2: {argument} = {value}; expected {expected}"


def test_least_arguments_make_a_model(small_model: SmallModel) -> None:
    small_model.write("refinement.json", '{"width": 1, "blocks": 0}')
    small_model.write("estimator.json", '{"levels": 1, "finest": 6, "kernel_size": 1, "widths": []}')
    assert small_model.train("run", "--start_epoch", "3") == 0


def test_an_argument_beyond_all_bounds_is_one_line(small_model: SmallModel, error: Error) -> None:
    small_model.write("refinement.json", '{"width": 4000000000000000000000}')
    assert small_model.train("run") == 2
    assert "model.csv:5: Refinement: " in error()


@pytest.mark.parametrize("name", ["lmdas", "levels", "forward", "training"])
def test_names_that_the_codec_has_itself_are_refused(small_model: SmallModel, error: Error, name: str) -> None:
    csv = small_model.path / "model.csv"
    csv.write_text(csv.read_text().replace("motion_compensator", name))
    assert small_model.train("run") == 2
    assert error() == f"{csv}:5: name '{name}' is taken by the codec itself; expected another"


def test_a_module_may_be_called_as_what_the_optimizer_keeps_apart(small_model: SmallModel) -> None:
    csv = small_model.path / "model.csv"
    csv.write_text(csv.read_text().replace("motion_compensator", "aux"))
    small_model.write("aux.cfg", TRAIN.replace("[header]", "[header]\nlr = 0\naux_lr = 1"))
    from torchDVC.training.optimizers import AUX

    assert small_model.train("run", "--start_epoch", "3", cfg="aux.cfg") == 0
    state = checkpoints.load(small_model.path / "run/checkpoints/last.safetensors")
    rates = {group["name"]: group["lr"] for group in state["optimizer"]["param_groups"]}
    assert rates["aux"] == 0 and rates[AUX] == 1


def test_unknown_flags_and_files_are_refused(small_model: SmallModel, error: Error) -> None:
    assert small_model.train("run", "--seeed", "1") == 2
    assert error() == "unknown flag '--seeed'; did you mean '--seed'?"
    assert small_model.test("res", cfg="tset.cfg") == 2
    assert "tset.cfg" in error()


# --- checkpoints


@pytest.mark.parametrize("restore", ["load", "resume"])
def test_damaged_checkpoints_are_refused(trained: SmallModel, error: Error, restore: str) -> None:
    data = (trained.path / "run/checkpoints/last.safetensors").read_bytes()
    middle = len(data) // 2
    damaged = {"cut": data[:middle], "flipped": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]}
    damaged |= {"empty": b"", "foreign": b"this is no checkpoint at all"}
    for name, contents in damaged.items():
        path = trained.path / f"{name}.safetensors"
        path.write_bytes(contents)
        assert trained.train("new", "--restore", restore, "--checkpoint", str(path)) == 2
        assert error().startswith(f"{path}: damaged"), name
    assert not (trained.path / "new").exists()


def test_a_checkpoint_of_another_kind_is_refused(trained: SmallModel, error: Error) -> None:
    other = trained.path / "other.safetensors"
    checkpoints.save(other, {"something": torch.zeros(3)})
    for restore in ("load", "resume"):
        assert trained.train("new", "--restore", restore, "--checkpoint", str(other)) == 2
        assert error().startswith(f"{other}: ")
    assert trained.test("new", "--restore", "load", "--checkpoint", str(trained.path / "nowhere.safetensors")) == 2
    assert "expected a file or folder that exists" in error()
    assert trained.test("new", "--restore", "load", "--checkpoint", str(trained.data)) == 2
    assert error() == f"{trained.data}: no checkpoint (*.safetensors) here"


def test_a_checkpoint_of_another_model_is_refused(trained: SmallModel, tmp_path: Path, error: Error) -> None:
    other = make_small_model(tmp_path / "other", trained.data)
    path = other.path / "refinement.json"
    path.write_text(path.read_text().replace("4", "5"))
    last = str(trained.path / "run/checkpoints/last.safetensors")
    assert other.test("res", "--restore", "load", "--checkpoint", last) == 2
    message = error()
    assert message.startswith(f"{last}: does not fit Codec") and "motion_compensator" in message


def test_resuming_without_a_checkpoint_says_so(small_model: SmallModel, error: Error) -> None:
    assert small_model.train("run", "--restore", "resume") == 2
    assert "no such checkpoint" in error()
    assert not (small_model.path / "run").exists()


# --- clips


def test_damaged_clips_are_named(small_model: SmallModel, clip_folder: Path, error: Error) -> None:
    folder = small_model.path / "clips"
    folder.mkdir()
    for name in ("one.y4m", "two.mp4"):
        data = (clip_folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 8] if name == "one.y4m" else data[:100])
        assert small_model.test("res", "--test_datasets", str(folder / name)) == 2
        assert error().startswith(str(folder / name)), name
        assert not (small_model.path / "res/rd.csv").exists()
    pictures = folder / "pictures"
    pictures.mkdir()
    for index in range(3):
        (pictures / f"{index}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 50)
    assert small_model.test("res", "--test_datasets", str(pictures)) == 2
    assert str(pictures / "0.png") in error()


def test_missing_data_is_named_before_training(small_model: SmallModel, error: Error) -> None:
    small_model.write("missing.cfg", TRAIN.replace("data = DATA", "data = /nowhere/at/all"))
    assert small_model.train("run", cfg="missing.cfg") == 2
    assert "/nowhere/at/all" in error()
    assert not (small_model.path / "run/checkpoints").exists()
    assert small_model.train("run", "--test_datasets", "/not/here") == 2
    assert "/not/here" in error()


# --- the disk


def script(name: str, flags: list[str], largest: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run a script as a user does; a write that makes a file larger than ``largest`` bytes fails."""

    def limit() -> None:
        if largest is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))

    command = [sys.executable, f"torchDVC/{name}.py", *flags]
    without_diff = {**os.environ, "GIT_DIR": os.devnull}
    return subprocess.run(
        command, cwd=CHECKOUT, env=without_diff, capture_output=True, text=True, timeout=300, preexec_fn=limit
    )


@pytest.mark.slow
def test_a_full_disk_leaves_the_checkpoint_before(trained: SmallModel) -> None:
    folder = trained.path / "run/checkpoints"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    flags = trained.train_flags("run", "--restore", "resume")
    finished = script("trainer", flags, largest=len(before["last.safetensors"]) - 1)
    assert finished.returncode == 2, finished.stderr
    assert finished.stderr.splitlines()[-1] == f"{folder / 'last.safetensors'}: file too large"
    assert "Traceback" not in finished.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_full_disk_leaves_the_csv_before(
    small_model: SmallModel, error: Error, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert small_model.test("res", "--no_image", "--test_seqs", "one") == 0
    rd = small_model.path / "res/rd.csv"
    before = rd.read_bytes()

    def no_space(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().name.startswith(".rd."):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", no_space)
        assert small_model.test("res", "--no_image", "--test_seqs", "two") == 2
    assert error() == f"{rd}: no space left on the disk"
    assert rd.read_bytes() == before and no_leftovers(small_model.path)


def test_a_folder_that_cannot_be_written_is_named(small_model: SmallModel, error: Error) -> None:
    (small_model.path / "file").write_text("")
    for run in (small_model.train, small_model.test):
        assert run("file/run") == 2
        assert error() == f"{small_model.path}/file/run: not a directory"


# --- Ctrl-C


@pytest.mark.slow
def test_ctrl_c_in_a_test_keeps_what_is_measured(small_model: SmallModel) -> None:
    place = "torchDVC.testing.tester:Tester:_test"
    process = signalled(signal.SIGINT, place, 2, "tester", *small_model.test_flags("res", "--no_image"))
    stderr = process.communicate(timeout=LIMIT)[1]
    assert process.returncode == 130, stderr
    assert stderr.splitlines()[-1] == "interrupted" and "Traceback" not in stderr
    assert len(read_rows(small_model.path / "res/rd.csv")) == 1
    assert no_leftovers(small_model.path)


def test_scripts_report_errors_as_their_main_does(small_model: SmallModel) -> None:
    for name, flags in (("trainer", small_model.train_flags("r", "--lmda", "x")), ("tester", ["--lmda", "x"])):
        finished = script(name, flags)
        assert finished.returncode == 2 and finished.stdout == ""
        assert "--lmda 'x'; expected" in finished.stderr and "Traceback" not in finished.stderr
