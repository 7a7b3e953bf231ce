"""Finds configuration files: a user's own path, else a name in the shipped ``configs`` folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from torchDVC.util.errors import did_you_mean
from torchDVC.util.report import CONFIGS, Report, Where, short_path


def find_config(name: str, kind: str) -> tuple[Path, str]:
    """The file that ``name`` means on the command line, and what is wrong with it ("" if nothing).

    Args:
        name: a path of the user's own, from the current folder, or a name under ``configs/<kind>``.
        kind: ``model``, ``train`` or ``test``.
    """
    return _find(name, [Path.cwd(), CONFIGS / kind], CONFIGS / kind)


def find_beside(name: str, owner: Path, kind: str, report: Report, where: Where) -> Path | None:
    """The file that the csv ``owner`` names: beside it, else under ``configs/<kind>``; None, and a note, if nowhere."""
    path, problem = _find(name, [owner.parent, CONFIGS / kind], CONFIGS / kind)
    if problem:
        report.add(where, problem)
        return None
    return path


def _find(name: str, folders: Sequence[Path], shipped: Path) -> tuple[Path, str]:
    for folder in folders:
        path = os.path.join(folder, os.path.expanduser(name))
        if os.path.isfile(path):
            return Path(path), ""
    known = [str(p.relative_to(shipped)) for p in sorted(shipped.rglob("*")) if p.is_file()]
    looked = " and ".join(short_path(folder) for folder in folders)
    return Path(name), f"no file '{name}' in {looked}{did_you_mean(name, known)}"
