"""Where a run's numbers go: a csv file and TensorBoard always, Comet unless it is switched off."""

from __future__ import annotations

import importlib.util
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from torchDVC.training.comet import CometSettings, comet_experiment
from torchDVC.training.metrics_file import MetricsFile, Value
from torchDVC.training.tensorboard import TensorBoard

_log = logging.getLogger("torchDVC")


class Sink(Protocol):
    """Where numbers go, beside the csv file."""

    def log(self, step: int, numbers: Mapping[str, float]) -> None: ...
    def close(self) -> None: ...


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
        self._csv = MetricsFile(folder / "metrics.csv", resume_step)
        self._start = time.monotonic() - self._csv.seconds()
        self._others: list[Sink] = []
        if _installed("tensorboard", "no TensorBoard log is written"):
            self._others.append(TensorBoard(folder / "tensorboard", resume_step))
        if comet and _installed("comet_ml", "no Comet experiment is kept"):
            settings = CometSettings(folder, project, name, key, dict(configuration or {}))
            self._others.append(comet_experiment(settings, self._csv))

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


def _installed(package: str, otherwise: str) -> bool:
    if importlib.util.find_spec(package):
        return True
    _log.warning("%s is not installed: %s", package, otherwise)
    return False
