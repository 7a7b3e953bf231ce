"""Finds the files that command lines and model csv files name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from torchDVC.config.problems import CONFIGS, Report, Where
from torchDVC.util.errors import did_you_mean


def find_config(name: str, kind: str, report: Report) -> Path | None:
    """The file that a command line names; None, and a note in ``report``, where there is none.

    Args:
        name: a path of the user's own, from the current folder, or else a name under ``configs/<kind>``.
        kind: ``model``, ``train`` or ``test``.
    """
    shipped = CONFIGS / kind
    path = _first(os.path.isfile, name, Path.cwd(), shipped)
    if path is None:
        suggestion = did_you_mean(name, _names(Path.cwd(), shipped))
        report.add(Where(Path(name)), f"no such file, neither here nor under configs/{kind}{suggestion}")
    return path


def find_arguments(name: str, csv: Path, where: Where, report: Report) -> Path | None:
    """The args file that a line of ``csv`` names: beside the csv, else under ``configs/module``."""
    shipped = CONFIGS / "module"
    path = _first(os.path.isfile, name, csv.parent, shipped)
    if path is None:
        suggestion = did_you_mean(name, _names(csv.parent, shipped, ".json"))
        report.add(where, f"args '{name}'; expected a file beside this one or under configs/module{suggestion}")
    return path


def find_weights(name: str, csv: Path, where: Where, report: Report) -> Path | None:
    """The weights, a file or a folder, that a line of ``csv`` names, by a path from the csv's folder."""
    path = _first(os.path.exists, name, csv.parent)
    if path is None:
        suggestion = did_you_mean(name, _names(csv.parent, suffix=".safetensors"))
        expected = "a file or a folder, by its path from this one's folder"
        report.add(where, f"weights '{name}'; expected {expected}{suggestion}")
    return path


def _first(found: Callable[[str], bool], name: str, *folders: Path) -> Path | None:
    paths = (os.path.join(folder, os.path.expanduser(name)) for folder in folders)
    return next((Path(path) for path in paths if found(path)), None)


def _names(own: Path, shipped: Path | None = None, suffix: str = "") -> Iterator[str]:
    """What might have been meant: files in the user's folder, and all that are shipped."""
    yield from (path.name for path in own.glob(f"*{suffix}") if path.is_file())
    if shipped is not None:
        yield from (path.relative_to(shipped).as_posix() for path in shipped.rglob(f"*{suffix}") if path.is_file())
