"""Command lines of several rate points: ``--lmda 256 512 1024`` stands for three runs, or tests of one curve."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from torchDVC.config.command_line import RunOptions, TestOptions, TrainOptions, parse_tester, parse_trainer
from torchDVC.util.errors import ConfigError, did_you_mean
from torchDVC.util.files import environment_folder

LMDA = "--lmda"
CHECKPOINTS = "checkpoints"
Options = TypeVar("Options", bound=RunOptions)


def parse_trainers(arguments: Sequence[str]) -> list[TrainOptions]:
    """The options of each run, in a folder of its own. Raises `ConfigError` with all problems."""
    points = [parse_trainer(words) for words in _one_by_one(arguments)]
    if len(points) == 1:
        return points
    problems = list(_twice(points))
    if points[0].experiment_key is not None:
        problems.append(f"--experiment_key with {len(points)} values of {LMDA}; expected one, a key is of one run")
    if points[0].final_copy is not None and points[0].final_copy.suffix:
        problems.append(f"--final_copy '{points[0].final_copy}' of {len(points)} runs; expected a folder")
    if problems:
        raise ConfigError(problems)
    named = [_of_its_own(options) for options in points]
    return [replace(o, save_dir=o.save_dir / o.name) if o.save_dir else o for o in named]


def parse_testers(arguments: Sequence[str]) -> list[TestOptions]:
    """The options of each test, all in one folder. Raises `ConfigError` with all problems.

    With ``--restore load`` each takes the run that `parse_trainers` named, below ``--checkpoint`` or where runs go;
    where that is a checkpoint or the folder of one run, of a codec of variable rate, all take it.
    """
    lines = _one_by_one(arguments)
    if len(lines) == 1:
        return [parse_tester(lines[0])]
    points = [parse_tester(_with_runs(words)) for words in lines]
    problems = [*_twice(points), *filter(None, map(_missing_run, points))]
    if problems:
        raise ConfigError(problems)
    first = points[0]
    curve = first.experiment_name or Path(first.model_config).stem + "_ssim" * first.ssim
    folder = replace(first, experiment_name=curve).folder
    return [replace(o, save_dir=folder, checkpoint=_checkpoint(o)) for o in points]


def _one_by_one(arguments: Sequence[str]) -> list[list[str]]:
    """The command line of each value of ``--lmda``."""
    words = list(arguments)
    if LMDA not in words:
        return [words]
    start = words.index(LMDA) + 1
    end = next((i for i in range(start, len(words)) if words[i].startswith("--")), len(words))
    return [[*words[:start], value, *words[end:]] for value in words[start:end]] or [words]


def _twice(points: Sequence[RunOptions]) -> Iterator[str]:
    lmdas = [options.lmda for options in points]
    for lmda in dict.fromkeys(lmdas):
        if lmdas.count(lmda) > 1:
            yield f"{LMDA} has {lmda:g} {lmdas.count(lmda)} times; expected it once"


def _of_its_own(options: Options) -> Options:
    """With a name that tells the Lagrangian, as the default does."""
    name = options.experiment_name
    return replace(options, experiment_name=f"{name}_{options.lmda:g}") if name else options


def _with_runs(words: list[str]) -> list[str]:
    """With the folder where runs go as ``--checkpoint``, where none is given."""
    given = any(word.partition("=")[0] == "--checkpoint" for word in words)
    loads = "load" in words or "--restore=load" in words
    return [*words, "--checkpoint", str(environment_folder("LOG", "log"))] if loads and not given else words


def _checkpoint(options: TestOptions) -> Path | None:
    """The checkpoint, or the folder of them, that a test takes."""
    path = options.checkpoint
    if path is None or path.is_file() or any(path.glob("*.safetensors")):
        return path
    of_all = path / CHECKPOINTS
    return of_all if of_all.is_dir() else path / _of_its_own(options).name / CHECKPOINTS


def _missing_run(options: TestOptions) -> str:
    path = _checkpoint(options)
    if path is None or path.exists():
        return ""
    run = path.parent
    beside = [folder.name for folder in run.parent.iterdir() if (folder / CHECKPOINTS).is_dir()]
    expected = f"expected one of {LMDA} {options.lmda:g} that trainer.py named"
    return f"{run}: no run; {expected}{did_you_mean(run.name, beside)}"
