"""Metrics for Comet: an experiment on its server, or an archive to upload later."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torchDVC.training.metrics_file import MetricsFile, numbers
from torchDVC.util.errors import ConfigError, first_line
from torchDVC.util.files import atomic_path

KEYS_FILE = Path(__file__).resolve().parents[1] / "configs" / "keys.json"
OFFLINE_ARCHIVE = "comet_offline.zip"

_log = logging.getLogger("torchDVC")


class CometSettings:
    """What both kinds of Comet experiment need to know."""

    def __init__(self, folder: Path, project: str, name: str, key: str | None, configuration: dict[str, Any]) -> None:
        self.folder = folder
        self.project = project
        self.name = name
        self.key = key
        self.configuration = configuration
        self.api_key, self.workspace = comet_keys()

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


class OnlineComet:
    """An experiment on Comet's server."""

    def __init__(self, experiment: Any) -> None:
        self._experiment = experiment

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        self._experiment.log_metrics(dict(numbers), step=step)

    def close(self) -> None:
        self._experiment.end()


class OfflineComet:
    """An archive for ``comet upload``, made from the csv file when the run ends.

    Comet's own offline mode would keep its data in a temporary folder until then, and lose it if the run is killed;
    made this way, a resumed run packs all of its history, and training pays nothing for it.
    """

    def __init__(self, settings: CometSettings, metrics: MetricsFile) -> None:
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
                experiment.log_metrics(numbers(row), step=int(row["step"]))
            experiment.end()
            (archive,) = Path(folder).glob("*.zip")
            with atomic_path(path) as temporary:
                archive.replace(temporary)


def comet_experiment(settings: CometSettings, metrics: MetricsFile) -> OnlineComet | OfflineComet:
    """An experiment on the server if there is a key and the server answers, else an offline one."""
    if not settings.api_key:
        return OfflineComet(settings, metrics)
    try:
        experiment = settings.start(api_key=settings.api_key, online=True)
        if experiment.alive:
            return OnlineComet(experiment)
        reason = "no connection, or the key was refused"
    except Exception as error:  # Comet raises whatever its network layer raises; training goes on without it
        reason = first_line(error)
    _log.warning("Comet: %s; keeping an offline experiment (%s) instead", reason, OFFLINE_ARCHIVE)
    return OfflineComet(settings, metrics)


def comet_keys() -> tuple[str, str]:
    """API key and workspace, each from the environment, else from ``keys.json``; empty texts where there is none."""
    filed = _read_keys(KEYS_FILE) if KEYS_FILE.exists() else {}
    api_key, workspace = (
        os.environ.get(f"COMET_{name.upper()}") or filed.get(name) or "" for name in ("api_key", "workspace")
    )
    return api_key, workspace


def _read_keys(path: Path) -> dict[str, str]:
    """What ``keys.json`` says: ``{"api_key": …, "workspace": …}``, the workspace or not."""
    try:
        keys = json.loads(path.read_text(encoding="utf-8-sig"))
        return {"api_key": str(keys["api_key"] or ""), "workspace": str(keys.get("workspace") or "")}
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
