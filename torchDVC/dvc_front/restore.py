"""Finds the checkpoint that an experiment key and an epoch name."""

from __future__ import annotations

import glob
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from torchDVC.dvc_front.ancestor import SUFFIX as ANCESTOR
from torchDVC.dvc_front.options import level_name
from torchDVC.dvc_front.pretraining import NAME as PRETRAINING
from torchDVC.util.errors import CheckpointError, nearest
from torchDVC.util.files import environment_folder

CHECKPOINTS = "checkpoints"
_SUFFIX = ".safetensors"
LAST = f"last{_SUFFIX}"


def log_folder() -> Path:
    """Where runs are: ``$LOG``, else ``./log``."""
    return environment_folder("LOG", "log")


def find_run(key: str, level: int) -> Path:
    """The folder of a run, given by its folder, its name, its experiment key or its run id.

    The name of an experiment stands for its run of a quality level.

    Raises `CheckpointError` naming the nearest run where there is none.
    """
    for folder in (Path(key).expanduser(), log_folder() / level_name(key, level), log_folder() / key):
        if (folder / CHECKPOINTS).is_dir():
            return folder
    of_ancestor = sorted(log_folder().glob(f"*/{glob.escape(key)}/{CHECKPOINTS}"))  # below the name of its project
    if of_ancestor:
        return of_ancestor[0].parent
    runs = sorted(folder.parent for folder in log_folder().glob(f"*/{CHECKPOINTS}"))
    for run in runs:
        if key in _keys(run):
            return run
    raise CheckpointError(
        f"--restore_exp_key {key}: no such run in {log_folder()}{nearest(key, [run.name for run in runs])}"
    )


def experiment_key(run: Path) -> str | None:
    """The experiment key that a run's folder notes last."""
    return next((record["configuration"]["options"]["experiment_key"] for record in _records(run)), None)


def stages(run: Path) -> dict[str, int]:
    """The stages that a run's folder notes last, and their epochs."""
    noted: list[dict[str, Any]] = next((record["configuration"]["train"]["stages"] for record in _records(run)), [])
    return {stage["name"]: stage["epochs"] for stage in noted}


def checkpoint(run: Path, epoch: int | None) -> Path:
    """A run's checkpoint after an epoch of its phases, or its last one.

    Raises `CheckpointError` naming the epochs that there are.
    """
    named = {path.name[len("epoch=") : -len(ANCESTOR)]: path for path in (run / CHECKPOINTS).glob(f"epoch=*{ANCESTOR}")}
    of_ancestor = {int(number): path for number, path in named.items() if number.isdecimal()}
    if of_ancestor and not (run / CHECKPOINTS / LAST).exists():
        return _of_epoch(of_ancestor, max(of_ancestor) if epoch is None else epoch, run)
    before = sum(epochs for name, epochs in stages(run).items() if name.startswith(PRETRAINING))
    kept = {int(path.stem.rpartition("_")[2]) - before: path for path in (run / CHECKPOINTS).glob(f"epoch_*{_SUFFIX}")}
    kept = {own: path for own, path in kept.items() if own > 0}
    return run / CHECKPOINTS / LAST if epoch is None else _of_epoch(kept, epoch, run)


def _of_epoch(kept: Mapping[int, Path], epoch: int, run: Path) -> Path:
    if epoch not in kept:
        known = f"it has {_ranges(sorted(kept))}" if kept else "it keeps no checkpoints of epochs"
        raise CheckpointError(f"--restore_exp_epoch {epoch}: no such checkpoint in {run / CHECKPOINTS}; {known}")
    return kept[epoch]


def _ranges(numbers: list[int]) -> str:
    whole = numbers == list(range(numbers[0], numbers[-1] + 1)) and len(numbers) > 1
    return f"{numbers[0]} to {numbers[-1]}" if whole else ", ".join(map(str, numbers))


def _keys(run: Path) -> Iterator[str]:
    """What a run may be called by."""
    for record in _records(run):
        yield record["run_id"]
        if record["configuration"]["options"].get("experiment_key"):
            yield record["configuration"]["options"]["experiment_key"]


def _records(run: Path) -> Iterator[dict[str, Any]]:
    """What the run's folder notes of each time it was started, the latest first."""
    for path in [run / "run.json", *sorted(run.glob("run-*.json"), reverse=True)]:
        with suppress(OSError, ValueError):  # a file of another program is none of ours
            yield json.loads(path.read_text(encoding="utf-8"))
