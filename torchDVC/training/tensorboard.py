"""Metrics for TensorBoard."""

from __future__ import annotations

import io
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torchDVC.results.run_folder import set_aside
from torchDVC.util.files import append_bytes


class TensorBoard:
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
        append_bytes(self._path, record.getvalue())

    def close(self) -> None:
        """Nothing to do: every record is on the disk."""
