"""What a run keeps in its folder: how it was made, its metrics and its checkpoints."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torchDVC.config.command_line import TrainOptions
from torchDVC.dataset.colour import Plane
from torchDVC.dataset.pictures import write_png
from torchDVC.models import checkpoints
from torchDVC.models.weights import checkpoint_file
from torchDVC.results.run_folder import RunFolder, set_aside
from torchDVC.training.logging import MetricsLogger
from torchDVC.training.metrics_file import Value
from torchDVC.training.state import RunState
from torchDVC.util.files import atomic_path

LAST = "last"
"""The checkpoint that a run goes on from."""


def last_checkpoint(folder: Path) -> Path:
    """Where a run in a folder keeps its last checkpoint."""
    return folder / "checkpoints" / f"{LAST}{checkpoints.SUFFIX}"


class Keeper:
    """Keeps a run in its folder. Every process has one, and the one that ``writes`` keeps for all.

    Args:
        options: the command line.
        state: the run's state, to save and to restore.
        writes: this process is the one that writes.

    Attributes:
        resumed: the run goes on from a checkpoint.
    """

    def __init__(self, options: TrainOptions, state: RunState, *, writes: bool) -> None:
        self.options, self.state, self.writes = options, state, writes
        self.folder = options.folder
        self.resumed = options.restore == "resume"
        self._logger: MetricsLogger | None = None

    def restore(self) -> None:
        """With ``--restore resume`` put the state where a checkpoint was: the one named, or the folder's last."""
        if self.resumed:
            path = checkpoint_file(self.options.checkpoint or self.folder / "checkpoints")
            self.state.unpack(checkpoints.load(path), str(path))

    def open(self, configuration: Mapping[str, Any], device: str) -> None:
        """Make the folder the run's own; what another one left there is set aside, unless this one continues it.

        What can be refused is refused first, so that then nothing has changed.
        """
        if not self.writes:
            return
        options = self.options
        self._logger = MetricsLogger(
            self.folder, project=options.project_name, name=options.name, key=options.experiment_key,
            comet=not options.no_comet, resume_step=self.state.position.total if self.resumed else None,
            configuration={name: str(value) for name, value in asdict(options).items()},
        )
        RunFolder(self.folder, sys.argv, configuration, options.seed, device)
        if not self.resumed:
            for name in ("checkpoints", "pictures"):
                set_aside(self.folder / name)

    def close(self) -> None:
        """Flush the metrics."""
        if self._logger is not None:
            self._logger.close()

    def __enter__(self) -> Keeper:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def log(self, stage: str, values: Mapping[str, Value]) -> None:
        """A row of metrics."""
        if self._logger is not None:
            self._logger.log(self.state.position.total, {"stage": stage, **values})

    def picture(self, rgb: Plane) -> None:
        """A picture (3, H, W) uint8 of how far training is, named by the step."""
        if self.writes:
            with atomic_path(self.folder / "pictures" / f"{self.state.position.total:08}.png") as temporary:
                write_png(temporary, rgb)

    def checkpoint(self, name: str) -> Path:
        """Where the checkpoint of a name stands."""
        return self.folder / "checkpoints" / f"{name}{checkpoints.SUFFIX}"

    def save(self) -> None:
        """Write the state as the last checkpoint."""
        if self.writes:
            checkpoints.save(self.checkpoint(LAST), self.state.pack())

    def keep(self, name: str) -> None:
        """Copy the last checkpoint to one of another name, which stays."""
        self._copy(self.checkpoint(name))

    def finish(self) -> None:
        """Leave the copy that ``--final_copy`` asks for."""
        target = self.options.final_copy
        if target is not None:
            inside = target / f"{self.options.name}{checkpoints.SUFFIX}"
            self._copy(target if target.suffix == checkpoints.SUFFIX else inside)

    def _copy(self, target: Path) -> None:
        if self.writes:
            with atomic_path(target) as temporary:
                shutil.copyfile(self.checkpoint(LAST), temporary)
