"""Provenance: what a run was, in a file of its folder, so that its results can be explained and repeated."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import platform
import secrets
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from torchDVC.util.files import write_text
from torchDVC.util.locks import locked


class RunFolder:
    """A folder of one run, whose ``run.json`` says how it was made.

    Creating one writes the file: command line, resolved configuration, commit and uncommitted changes of the checkout,
    installed packages, machine, seed, device, start time and run id. The file of an earlier run in the same folder
    stays beside it as ``run-1.json``, ``run-2.json``, ….

    Args:
        path: the folder; created when it does not exist.
        command: the words of the command line.
        configuration: anything made of mappings, sequences, dataclasses, paths and plain values.
        seed: the run's seed.
        device: the device it runs on, such as ``"cpu"`` or ``"cuda:0 (NVIDIA H100)"``.

    Attributes:
        path: the folder.
        run_id: a name no other run has: UTC time and six random digits, such as ``20250131-093000-1f3a9c``.
    """

    def __init__(self, path: str | Path, command: Sequence[str], configuration: Any, seed: int, device: str) -> None:
        start = datetime.now(UTC)
        self.path = Path(path)
        self.run_id = f"{start:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
        record = {
            "run_id": self.run_id,
            "start": start.isoformat(timespec="seconds"),
            "command": shlex.join(command),
            "folder": os.getcwd(),
            "seed": seed,
            "device": device,
            "machine": _machine(),
            "git": _git(Path(__file__).resolve().parents[2]),
            "configuration": configuration,
            "python": sys.version.split()[0],
            "packages": _packages(),
        }
        with locked(self.path / ".run.lock"):
            set_aside(self.path / "run.json")
            write_text(self.path / "run.json", json.dumps(record, indent=2, default=_plain) + "\n")


def set_aside(path: Path) -> None:
    """Make room at ``path`` for a new file or folder: what stands there becomes the first free ``run-1.json``, say."""
    if not path.exists():
        return
    number = 1
    while (other := path.with_name(f"{path.stem}-{number}{path.suffix}")).exists():
        number += 1
    path.rename(other)


def _plain(value: Any) -> Any:
    """For `json`: one step from a value it does not know to one it does."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)


def _machine() -> dict[str, Any]:
    from torchDVC.util.device import processor

    return {"host": platform.node(), "system": platform.platform(), "processor": processor(), "cores": os.cpu_count()}


@cache
def _packages() -> dict[str, str]:
    """Name and version of every installed package, by name."""
    files = (package.metadata for package in importlib.metadata.distributions())
    return dict(sorted(((file["Name"], file["Version"]) for file in files), key=lambda item: item[0].lower()))


def _git(root: Path) -> dict[str, str] | None:
    """Commit, state and uncommitted changes of the checkout at ``root``; None where there is no checkout or no git."""
    if not (root / ".git").exists():
        return None
    try:
        commands = {"commit": "rev-parse HEAD", "status": "status --short", "diff": "diff HEAD"}
        return {name: _git_output(root, command) for name, command in commands.items()}
    except (OSError, subprocess.SubprocessError):
        return None


def _git_output(root: Path, command: str) -> str:
    finished = subprocess.run(["git", "-C", str(root), *command.split()], capture_output=True, check=True, timeout=30)
    return finished.stdout.decode(errors="replace").rstrip("\n")
