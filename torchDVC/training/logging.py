"""Where a run's numbers go: a csv file and TensorBoard always, Comet unless it is switched off."""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import io
import json
import logging
import os
import platform
import random
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from torchDVC.results.run_folder import set_aside
from torchDVC.util.errors import ConfigError, LCPError, first_line
from torchDVC.util.files import atomic_path, write_text

Value = float | int | str
KEYS_FILE = Path(__file__).resolve().parents[1] / "configs" / "keys.json"
OFFLINE_ARCHIVE = "comet_offline.zip"

_log = logging.getLogger("torchDVC")


class MetricsLogger:
    """Sends the metrics of one run to every place they belong.

    ``metrics.csv`` and ``tensorboard/`` in ``folder`` are written as the run goes. With ``comet``, metrics also go to
    Comet when an API key is known (``COMET_API_KEY`` or ``configs/keys.json``); without a key, or when Comet cannot be
    reached, the run ends by packing them into ``comet_offline.zip``, which ``comet upload`` sends later. What cannot be
    had costs one line of warning, never the run.

    Args:
        folder: the run's folder.
        project: Comet's project.
        name: the experiment's name.
        key: Comet's experiment key (32 to 50 letters and digits) to continue or create; None for a new one.
        comet: False for no Comet at all.
        resume_step: continue the files of an earlier run, without what they hold beyond this step; None for new files.
        configuration: names and plain values that Comet shows beside the metrics.
    """

    def __init__(self, folder: str | Path, *, project: str, name: str, key: str | None = None, comet: bool = True,
                 resume_step: int | None = None, configuration: Mapping[str, Any] | None = None) -> None:
        folder = Path(folder)
        if key is not None and not re.fullmatch(r"[0-9A-Za-z]{32,50}", key):
            raise ConfigError([f"--experiment_key '{key}': expected 32 to 50 letters and digits"])
        if comet:
            _comet_keys()  # refuses what keys.json says before anything is changed
        self._csv = MetricsFile(folder / "metrics.csv", resume_step)
        self._start = time.monotonic() - self._csv.seconds()
        self._others: list[_Sink] = []
        if _installed("tensorboard", "no TensorBoard log is written"):
            self._others.append(_TensorBoard(folder / "tensorboard", resume_step))
        if comet and _installed("comet_ml", "no Comet experiment is kept"):
            settings = _CometSettings(folder, project, name, key, dict(configuration or {}))
            self._others.append(_comet(settings, self._csv))

    def log(self, step: int, values: Mapping[str, Value]) -> None:
        """Record ``values`` at ``step``. Strings (a stage's name, say) go to the csv file only, and so does the time
        that the run has taken so far, without what lay between an interruption and resuming, as ``seconds``.

        Raises `OSError` naming the csv file, which then still ends with the last whole row, when the disk is full.
        """
        self._csv.append(step, {"seconds": round(time.monotonic() - self._start, 3), **values})
        numbers = {name: value for name, value in values.items() if not isinstance(value, str)}
        for sink in self._others:
            sink.log(step, numbers)

    def close(self) -> None:
        """Flush everything; pack the offline experiment."""
        for sink in self._others:
            sink.close()

    def __enter__(self) -> MetricsLogger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class MetricsFile:
    """A csv file of metrics, one row a call, with a column for every name met so far and ``step`` first.

    Each row is handed to the system before `append` returns. A name met for the first time rewrites the file,
    atomically, with one more column. Rows without a value for a column leave it empty.
    """

    def __init__(self, path: Path, resume_step: int | None = None) -> None:
        self.path = path
        self._columns = ["step"]
        if resume_step is None:
            set_aside(path)
        elif path.exists():
            self._columns, rows = self._read()
            self._write([row for row in rows if int(row["step"]) <= resume_step])

    def append(self, step: int, values: Mapping[str, Value]) -> None:
        """Add one row."""
        new = [name for name in values if name not in self._columns]
        if new or not self.path.exists():
            rows = self.rows()
            self._columns += new
            self._write(rows)
        _append(self.path, _csv_text(self._columns, [{"step": step, **values}]).encode())

    def rows(self) -> list[dict[str, str]]:
        """Every whole row; empty texts where a row has no value."""
        return self._read()[1] if self.path.exists() else []

    def seconds(self) -> float:
        """The time of the last row that has one, 0 where there is none."""
        return max((float(row["seconds"]) for row in self.rows() if row.get("seconds")), default=0.0)

    def _read(self) -> tuple[list[str], list[dict[str, str]]]:
        """Columns and rows; an incomplete last line, which a killed run may leave, is dropped."""
        whole = self.path.read_text(encoding="utf-8-sig").rpartition("\n")[0]
        reader = csv.DictReader(io.StringIO(whole), restval="")
        rows = list(reader)
        columns = list(reader.fieldnames or ())
        for number, row in enumerate(rows, start=2):
            if not re.fullmatch(r"\d+", row.get("step", "")) or None in row:
                raise LCPError(f"{self.path}:{number}: not a row of metrics; expected {','.join(columns) or 'step,…'}")
        return columns or ["step"], rows

    def _write(self, rows: list[dict[str, str]]) -> None:
        write_text(self.path, ",".join(self._columns) + "\n" + _csv_text(self._columns, rows))


def _csv_text(columns: list[str], rows: list[Any]) -> str:
    text = io.StringIO()
    csv.DictWriter(text, columns, restval="", lineterminator="\n").writerows(rows)
    return text.getvalue()


class _Sink(Protocol):
    def log(self, step: int, numbers: Mapping[str, float]) -> None: ...
    def close(self) -> None: ...


class _TensorBoard:
    """An event file, one record a call; written here and not by a thread, so that a full disk is the run's own error.

    On resuming, a new file begins with the mark that makes TensorBoard drop what earlier files hold beyond the step.
    """

    def __init__(self, folder: Path, resume_step: int | None) -> None:
        if resume_step is None:
            set_aside(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"events.out.tfevents.{time.time_ns()}.{platform.node()}"
        self._path.touch()
        self._write(file_version="brain.Event:2")
        if resume_step is not None:
            from tensorboard.compat.proto.event_pb2 import SessionLog

            self._write(step=resume_step + 1, session_log=SessionLog(status=SessionLog.START))

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in numbers.items()]
        self._write(step=step, summary=Summary(value=values))

    def _write(self, **fields: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        record = io.BytesIO()
        RecordWriter(record).write(Event(wall_time=time.time(), **fields).SerializeToString())
        _append(self._path, record.getvalue())

    def close(self) -> None:
        """Nothing to do: every record is on the disk."""


def _append(path: Path, data: bytes) -> None:
    """Append to a file, or leave it as it was and name it in the error."""
    size = path.stat().st_size
    try:
        with open(path, "ab") as file:
            file.write(data)
    except OSError as error:
        os.truncate(path, size)
        error.filename = str(path)
        raise


# --- Comet


class _CometSettings:
    """What both kinds of Comet experiment need to know."""

    def __init__(self, folder: Path, project: str, name: str, key: str | None, configuration: dict[str, Any]) -> None:
        self.folder = folder
        self.project = project
        self.name = name
        self.key = key
        self.configuration = configuration
        self.api_key, self.workspace = _comet_keys()

    def start(self, folder: str | None = None, **where: Any) -> Any:
        """A new experiment that logs what it is told and looks at nothing by itself."""
        comet_ml = _import_comet()
        quiet = dict.fromkeys(("log_code", "log_graph", "parse_args", "log_git_metadata", "log_git_patch",
                               "log_env_details", "auto_output_logging", "auto_param_logging", "auto_metric_logging",
                               "auto_log_co2"), False)
        config = comet_ml.ExperimentConfig(name=self.name, display_summary_level=0, offline_directory=folder, **quiet)
        experiment = comet_ml.start(workspace=self.workspace or None, project_name=self.project,
                                    experiment_key=self.key, experiment_config=config, **where)
        experiment.log_parameters(self.configuration)
        return experiment


class _Comet:
    """An experiment on Comet's server."""

    def __init__(self, experiment: Any) -> None:
        self._experiment = experiment

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        self._experiment.log_metrics(dict(numbers), step=step)

    def close(self) -> None:
        self._experiment.end()


class _OfflineComet:
    """An archive for ``comet upload``, made from the csv file when the run ends.

    Comet's own offline mode would keep its data in a temporary folder until then, and lose it if the run is killed;
    made this way, a resumed run packs all of its history, and training pays nothing for it.
    """

    def __init__(self, settings: _CometSettings, metrics: MetricsFile) -> None:
        self._settings = settings
        self._metrics = metrics

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Nothing to do: the csv file has it."""

    def close(self) -> None:
        rows = self._metrics.rows()
        try:
            if rows:
                self._pack(rows, self._settings.folder / OFFLINE_ARCHIVE)
        except Exception as error:  # whatever goes wrong inside Comet, the run and its csv file are whole
            _log.warning("Comet: no offline experiment was written (%s)", first_line(error))

    def _pack(self, rows: list[dict[str, str]], path: Path) -> None:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".comet") as folder:
            experiment = self._settings.start(folder, online=False, mode="create")
            for row in rows:
                experiment.log_metrics(_numbers(row), step=int(row["step"]))
            experiment.end()
            (archive,) = Path(folder).glob("*.zip")
            with atomic_path(path) as temporary:
                archive.replace(temporary)


def _comet(settings: _CometSettings, metrics: MetricsFile) -> _Sink:
    """An experiment on the server if there is a key and the server answers, else an offline one."""
    if not settings.api_key:
        return _OfflineComet(settings, metrics)
    try:
        experiment = settings.start(api_key=settings.api_key, online=True)
        if experiment.alive:
            return _Comet(experiment)
        reason = "no connection, or the key was refused"
    except Exception as error:  # Comet raises whatever its network layer raises; training goes on without it
        reason = first_line(error)
    _log.warning("Comet: %s; keeping an offline experiment (%s) instead", reason, OFFLINE_ARCHIVE)
    return _OfflineComet(settings, metrics)


def _comet_keys() -> tuple[str, str]:
    """API key and workspace, each from the environment, else from ``keys.json``; empty texts where there is none."""
    filed = {} if os.environ.get("COMET_API_KEY") or not KEYS_FILE.exists() else _read_keys(KEYS_FILE)
    api_key, workspace = (
        os.environ.get(f"COMET_{name.upper()}") or filed.get(name) or "" for name in ("api_key", "workspace")
    )
    return api_key, workspace


def _read_keys(path: Path) -> dict[str, str]:
    """What ``keys.json`` says: ``{"api_key": …, "workspace": …}``, the workspace or not."""
    try:
        keys = json.loads(path.read_text(encoding="utf-8-sig"))
        return {"api_key": str(keys["api_key"]), "workspace": str(keys.get("workspace") or "")}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        expected = 'JSON with "api_key" and "workspace"; see keys.example.json beside it'
        raise ConfigError([f"{path}: expected {expected}"]) from error


def _import_comet() -> Any:
    """Import comet_ml, told to print nothing, patch nothing and report nothing home, and not to disturb our seeds."""
    for name, value in {"COMET_LOGGING_CONSOLE": "CRITICAL", "COMET_DISABLE_AUTO_LOGGING": "1",
                        "COMET_ERROR_TRACKING_ENABLE": "false"}.items():
        os.environ.setdefault(name, value)
    with _python_random_kept():
        import comet_ml
    return comet_ml


@contextlib.contextmanager
def _python_random_kept() -> Iterator[None]:
    """Importing comet_ml draws a random number."""
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)


def _installed(package: str, otherwise: str) -> bool:
    if importlib.util.find_spec(package):
        return True
    _log.warning("%s is not installed: %s", package, otherwise)
    return False


def _numbers(row: Mapping[str, str]) -> dict[str, float]:
    """The metrics of a csv row: the columns that hold numbers, without step and time."""
    found = {}
    for name in row.keys() - {"step", "seconds"}:
        with contextlib.suppress(ValueError):
            found[name] = float(row[name])
    return found
