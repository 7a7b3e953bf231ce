"""Metrics reach their files, survive kills and resumes, and Comet never gets in the way; runs say what they were."""

from __future__ import annotations

import csv
import dataclasses
import errno
import importlib.machinery
import io
import json
import subprocess
import sys
import types
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.small_model import SmallModel
from torchDVC import trainer
from torchDVC.results.run_folder import RunFolder
from torchDVC.training import comet as comet_logging
from torchDVC.training import logging as metrics_logging
from torchDVC.training.logging import MetricsLogger
from torchDVC.util import files, progress
from torchDVC.util.errors import ConfigError, LCPError


def read(folder: Path) -> list[dict[str, str]]:
    """The rows of the csv file, without the time."""
    with open(folder / "metrics.csv", newline="") as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def logger(folder: Path, **options: Any) -> MetricsLogger:
    return MetricsLogger(folder, project="p", name="n", **{"comet": False, **options})


# --- csv and TensorBoard


def test_rows_are_there_at_once_and_columns_grow(tmp_path: Path) -> None:
    with logger(tmp_path) as log:
        log.log(1, {"stage": "intra, first", "rate": 0.1 + 0.2})
        assert read(tmp_path) == [{"step": "1", "stage": "intra, first", "rate": "0.30000000000000004"}]
        log.log(2, {"distortion": 3})
    assert read(tmp_path)[0]["distortion"] == ""
    assert read(tmp_path)[1] == {"step": "2", "stage": "", "rate": "", "distortion": "3"}


def test_tensorboard_has_the_numbers(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with logger(tmp_path) as log:
        log.log(7, {"stage": "intra", "rate": 0.5})
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert events.Tags()["scalars"] == ["rate"]
    assert [(event.step, event.value) for event in events.Scalars("rate")] == [(7, 0.5)]


def test_resuming_drops_what_the_checkpoint_does_not_know(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with logger(tmp_path) as log:
        for step in range(1, 6):
            log.log(step, {"rate": step})
    with open(tmp_path / "metrics.csv", "a") as file:
        file.write("6,")  # killed in the middle of a row
    with logger(tmp_path, resume_step=3) as log:
        log.log(4, {"rate": 40})
    assert [(row["step"], row["rate"]) for row in read(tmp_path)] == [("1", "1"), ("2", "2"), ("3", "3"), ("4", "40")]
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("rate")] == [(1, 1), (2, 2), (3, 3), (4, 40)]


def test_the_time_goes_on_where_a_resumed_run_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(metrics_logging.time, "monotonic", lambda: now)
    for resume_step in (None, 1):
        with logger(tmp_path, resume_step=resume_step) as log:
            now += 5
            log.log(1 + (resume_step or 0), {})
        now += 1000
    assert (tmp_path / "metrics.csv").read_text() == "step,seconds\n1,5.0\n2,10.0\n"


def test_resuming_without_a_file_starts_one(tmp_path: Path) -> None:
    with logger(tmp_path / "new", resume_step=3) as log:
        log.log(4, {"rate": 1})
    assert [row["step"] for row in read(tmp_path / "new")] == ["4"]


def test_a_new_run_sets_the_files_of_the_last_one_aside(tmp_path: Path) -> None:
    for rate in (1, 2, 3):
        with logger(tmp_path) as log:
            log.log(1, {"rate": rate})
    assert [row["rate"] for row in read(tmp_path)] == ["3"]
    assert [(tmp_path / f"metrics-{n}.csv").read_text()[-3:] for n in (1, 2)] == [",1\n", ",2\n"]
    assert {"tensorboard", "tensorboard-1", "tensorboard-2"} <= {path.name for path in tmp_path.iterdir()}


def test_a_damaged_metrics_file_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,rate\n1,2\nhello\n")
    with pytest.raises(LCPError, match=r"metrics\.csv:3: not a row of metrics; expected step,rate"):
        logger(tmp_path, resume_step=3)


def test_a_full_disk_leaves_whole_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            with open(tmp_path / "metrics.csv", "ab", buffering=0) as file:
                file.write(data[:2])
            raise OSError(errno.ENOSPC, "No space left on device")

    log = logger(tmp_path)
    log.log(1, {"rate": 1})
    before = (tmp_path / "metrics.csv").read_text()
    with monkeypatch.context() as patch:
        patch.setattr(files, "open", lambda *_: Full(), raising=False)
        with pytest.raises(OSError) as caught:
            log.log(2, {"rate": 2})
    assert caught.value.filename == str(tmp_path / "metrics.csv")
    assert (tmp_path / "metrics.csv").read_text() == before
    log.close()


def test_a_disk_that_is_really_full_is_one_line_and_leaves_whole_rows(tmp_path: Path) -> None:
    """A limit on the size of files stands in for the disk."""
    code = ("import resource, signal, sys; from torchDVC.training.logging import MetricsLogger; "
            "from torchDVC.util.errors import run_command; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
            "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000)); "
            "log = MetricsLogger(sys.argv[1], project='p', name='n', comet=False); "
            "sys.exit(run_command(lambda: [log.log(step, {'rate': step / 7}) for step in range(1000)]))")
    finished = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True,
                              cwd=Path(__file__).parents[1], check=False)
    (line,) = finished.stderr.splitlines()
    assert finished.returncode == 2 and line.startswith(str(tmp_path)) and line.endswith("file too large")
    assert all(float(row["rate"]) == int(row["step"]) / 7 for row in read(tmp_path))


def test_a_missing_tensorboard_costs_one_line(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(metrics_logging.importlib.util, "find_spec", lambda _: None)
    with logger(tmp_path) as log:
        log.log(1, {"rate": 1})
    assert caplog.messages == ["tensorboard is not installed: no TensorBoard log is written"]
    assert len(read(tmp_path)) == 1


# --- Comet

OFFLINE_RUN = """
import random, socket, sys
def refuse(*_): raise SystemExit("something used the network")
socket.socket.connect = socket.getaddrinfo = refuse
random.seed(1)
before = random.getstate()
from torchDVC.training.logging import MetricsLogger
with MetricsLogger(sys.argv[1], project="p", name="n", configuration={"lr": 0.25}) as log:
    log.log(3, {"stage": "intra", "rate": 0.5})
assert random.getstate() == before
"""


def test_without_a_key_an_offline_experiment_is_packed_in_silence(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if comet_logging.KEYS_FILE.exists():
        pytest.skip("this checkout has Comet keys")
    monkeypatch.delenv("COMET_API_KEY", raising=False)
    command = [sys.executable, "-c", OFFLINE_RUN, str(tmp_path)]
    finished = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1], check=False)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "", "")
    with zipfile.ZipFile(tmp_path / "comet_offline.zip") as archive:
        messages = archive.read("messages.json").decode()
    assert '"metricName": "rate"' in messages.replace('":"', '": "')
    assert sorted(path.name for path in tmp_path.iterdir()) == ["comet_offline.zip", "metrics.csv", "tensorboard"]


class FakeExperiment:
    def __init__(self, alive: bool) -> None:
        self.alive = alive
        self.metrics: list[tuple[int, dict[str, float]]] = []
        self.ended = False

    def log_parameters(self, parameters: Mapping[str, Any]) -> None:
        self.parameters = parameters

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.metrics.append((step, metrics))

    def end(self) -> None:
        self.ended = True


class FakeComet(types.ModuleType):
    """A comet_ml whose experiments are remembered; online ones behave as ``online`` says."""

    def __init__(self, online: Exception | bool) -> None:
        super().__init__("comet_ml")
        self.__spec__ = importlib.machinery.ModuleSpec("comet_ml", None)
        self.online = online
        self.calls: list[dict[str, Any]] = []
        self.experiments: list[FakeExperiment] = []

    def ExperimentConfig(self, **options: Any) -> dict[str, Any]:
        return options

    def start(self, **options: Any) -> FakeExperiment:
        self.calls.append(options)
        if not options["online"]:
            Path(options["experiment_config"]["offline_directory"], "key.zip").touch()
        elif isinstance(self.online, Exception):
            raise self.online
        self.experiments.append(FakeExperiment(alive=not options["online"] or self.online is True))
        return self.experiments[-1]


@pytest.fixture
def keyed(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("COMET_API_KEY", "secret")
    return monkeypatch


def test_with_a_key_metrics_go_to_the_server(tmp_path: Path, keyed: pytest.MonkeyPatch) -> None:
    comet = FakeComet(online=True)
    keyed.setitem(sys.modules, "comet_ml", comet)
    with logger(tmp_path, comet=True, key="a" * 32, configuration={"lr": 1}) as log:
        log.log(3, {"stage": "intra", "rate": 0.5})
    (experiment,) = comet.experiments
    assert comet.calls[0]["api_key"] == "secret" and comet.calls[0]["experiment_key"] == "a" * 32
    assert experiment.metrics == [(3, {"rate": 0.5})] and experiment.ended and experiment.parameters == {"lr": 1}


@pytest.mark.parametrize("online", [False, ConnectionError("no route\nto host")])
def test_an_unreachable_comet_costs_one_line(
        tmp_path: Path, keyed: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, online: Any) -> None:
    comet = FakeComet(online)
    keyed.setitem(sys.modules, "comet_ml", comet)
    with logger(tmp_path, comet=True) as log:
        log.log(3, {"rate": 0.5})
    (line,) = caplog.messages
    assert line.startswith("Comet: no ") and "\n" not in line
    assert comet.experiments[-1].metrics == [(3, {"rate": 0.5})]
    assert (tmp_path / "comet_offline.zip").exists()


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The place of ``keys.json``, with nothing in the environment."""
    for name in ("COMET_API_KEY", "COMET_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(comet_logging, "KEYS_FILE", tmp_path / "keys.json")
    return tmp_path / "keys.json"


@pytest.mark.parametrize("online", [True, False])
def test_key_and_workspace_may_stand_in_keys_json(
        tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch, online: bool) -> None:
    """The workspace is that of the offline experiment too, where the server does not answer."""
    comet = FakeComet(online)
    monkeypatch.setitem(sys.modules, "comet_ml", comet)
    keys.write_text('{\n    "api_key": "from file",\n    "workspace": "lab"\n}', encoding="utf-8-sig")
    with logger(tmp_path, comet=True) as log:
        log.log(3, {"rate": 0.5})
    assert comet.calls[0]["api_key"] == "from file"
    assert [call["workspace"] for call in comet.calls] == ["lab"] * (1 if online else 2)
    monkeypatch.setenv("COMET_WORKSPACE", "another")
    logger(tmp_path, comet=True).close()
    assert (comet.calls[-1]["workspace"], comet.calls[-1]["api_key"]) == ("another", "from file")


def test_a_keys_json_of_another_form_is_refused(tmp_path: Path, keys: Path) -> None:
    for broken in ("{", "[]", '{"key": 1}', "3"):
        keys.write_text(broken)
        with pytest.raises(ConfigError, match=r'keys\.json: expected JSON with "api_key" and "workspace"'):
            logger(tmp_path, comet=True)


def test_the_example_of_keys_json_has_the_right_names() -> None:
    example = comet_logging.KEYS_FILE.with_name("keys.example.json")
    assert {"api_key", "workspace"} == set(json.loads(example.read_text()))


def test_keys_are_refused_before_anything_runs(
    small_model: SmallModel, keys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys.write_text("{}")
    flags = [flag for flag in small_model.train_flags("run") if flag not in ("--no_comet", "--no_sanity")]
    assert trainer.main(flags) == 2
    said = 'expected JSON with "api_key" and "workspace"; see keys.example.json beside it'
    assert capsys.readouterr().err == f"{keys}: {said}\n"
    assert trainer.main([*flags, "--experiment_key", "short"]) == 2
    assert capsys.readouterr().err == "--experiment_key 'short'; expected 32 to 50 letters and digits\n"
    assert not (small_model.path / "run").exists()


def test_what_the_environment_has_not_stands_in_keys_json(keys: Path, keyed: pytest.MonkeyPatch) -> None:
    keys.write_text('{"api_key": null, "workspace": "lab", "project": ["ours"]}')
    keyed.setenv("COMET_API_KEY", "secret")
    assert comet_logging.comet_keys() == ("secret", "lab")
    keyed.delenv("COMET_API_KEY")
    assert comet_logging.comet_keys() == ("", "lab")


def test_logging_imports_neither_torch_nor_comet() -> None:
    code = ("import sys; from torchDVC.results import run_folder; from torchDVC.training import logging; "
            "from torchDVC.util import progress; "
            "sys.exit(any(name in sys.modules for name in ('torch', 'comet_ml', 'tensorboard', 'tqdm')))")
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


# --- provenance


@dataclasses.dataclass(frozen=True)
class Stage:
    name: str
    data: Path


def test_a_run_says_what_it_was(tmp_path: Path) -> None:
    configuration = {"stages": (Stage("intra", Path("clips")),), "lr": types.MappingProxyType({"codec": 1e-4})}
    run = RunFolder(tmp_path / "run", ["trainer.py", "--name", "a b"], configuration, seed=3, device="cpu")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["run_id"] == run.run_id and run.path == tmp_path / "run"
    assert record["command"] == "trainer.py --name 'a b'"
    assert record["configuration"] == {"stages": [{"name": "intra", "data": "clips"}], "lr": {"codec": 1e-4}}
    assert (record["seed"], record["device"]) == (3, "cpu")
    assert record["packages"]["torch"] and record["machine"]["cores"] and record["python"].startswith("3.")


def test_a_checkout_is_recorded_with_its_changes(tmp_path: Path) -> None:
    from torchDVC.results import run_folder

    assert run_folder._git(tmp_path) is None
    commands = ("init -q", "add a", "-c user.name=n -c user.email=e commit -q -m first")
    (tmp_path / "a").write_text("one\n")
    for command in commands:
        subprocess.run(["git", *command.split()], cwd=tmp_path, check=True)
    (tmp_path / "a").write_text("two\n")
    (tmp_path / "b").touch()
    record = run_folder._git(tmp_path)
    assert record is not None and len(record["commit"]) == 40
    assert record["status"].split() == ["M", "a", "??", "b"]
    assert "-one\n+two" in record["diff"]


def test_runs_in_one_folder_keep_their_records_and_ids(tmp_path: Path) -> None:
    ids = [RunFolder(tmp_path, [], {}, 0, "cpu").run_id for _ in range(3)]
    files = ["run-1.json", "run-2.json", "run.json"]
    assert [json.loads((tmp_path / file).read_text())["run_id"] for file in files] == ids
    assert len(set(ids)) == 3


# --- progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar() -> None:
    stream = Terminal()
    with progress.Progress(10, "intra", done=4, stream=stream) as bar:
        bar.update(6, rate="0.1 bpp")
    last = stream.getvalue().split("\r")[-1]
    assert "intra: 100%" in last and "10/10" in last and "rate=0.1 bpp" in last


def test_a_log_file_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    stream = io.StringIO()
    with progress.Progress(1000, "intra", done=100, stream=stream) as bar:
        for step in range(1, 101):
            now = step / 2
            bar.update(rate=f"{step} bpp")
    assert stream.getvalue().splitlines() == [
        "intra: 160/1000 steps, rate 60 bpp, 7:00 left",
        "intra: 200/1000 steps, rate 100 bpp, 6:40 left",
    ]


def test_work_without_a_known_end_tells_the_time_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    stream = io.StringIO()
    with progress.Progress(None, "frames", unit="frame", stream=stream) as bar:
        now = 3725
        bar.update(7)
    assert stream.getvalue().splitlines() == ["frames: 7 frames, 1:02:05 taken"]


def test_work_that_did_not_begin_shows_nothing_in_a_log_file() -> None:
    stream = io.StringIO()
    with progress.Progress(10, "intra", done=4, stream=stream):
        pass
    assert stream.getvalue() == ""
