"""The translation of a DVC command line as the files and commands of the engine's own command lines."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from torchDVC.config import MODES, LossExpression, ModelConfig, Stage, TestConfig, TrainConfig
from torchDVC.config.command_line import RunOptions, TrainOptions
from torchDVC.config.model_csv import COLUMNS
from torchDVC.config.train_cfg import STAGE_KEYS
from torchDVC.dvc_front.translation import MODEL_FILE, TEST_FILE, TRAIN_FILE, Translation
from torchDVC.results.tables import csv_table


def files(translation: Translation) -> dict[str, str]:
    """The text of every file, by name: model csv, a json for each module with arguments, train and test cfg."""
    found = {MODEL_FILE: _csv(translation.model)}
    for spec in translation.model.modules:
        if spec.args:
            found[f"{spec.name}.json"] = json.dumps(dict(spec.args)) + "\n"
    if translation.train is not None:
        found[TRAIN_FILE] = _train_cfg(translation.train)
    found[TEST_FILE] = _test_cfg(translation.test)
    return found


def shown(engines: Sequence[RunOptions], translation: Translation) -> str:
    """All files one after the other, each below ``==> name <==``, and the commands that use them."""
    parts = [f"==> {name} <==\n{text}" for name, text in files(translation).items()]
    return "\n".join([*parts, "==> commands <==", *map(command, engines)])


def command(engine: RunOptions) -> str:
    """The command line of these options: what must be given, and every flag that is not as it is by default."""
    script, file = ("trainer.py", TRAIN_FILE) if isinstance(engine, TrainOptions) else ("tester.py", TEST_FILE)
    needed: dict[str, Any] = {"model_config": engine.model_config, "run_config": file, "lmda": engine.lmda}
    default = type(engine)(**needed)
    given = {field.name: getattr(engine, field.name) for field in fields(engine)} | needed
    flags = [word for name, value in given.items()
             if name in needed or value != getattr(default, name) for word in _flag(name, value)]  # fmt: skip
    return _environment() + shlex.join(["python", script, *flags])


def _environment() -> str:
    """The engine's name for the folder of data sets, where only this front's is set."""
    return f"DATASET={shlex.quote(os.environ['DATAROOT'])} " if os.environ.get("DATAROOT") else ""


def _flag(name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no-{name}"]
    values = value if isinstance(value, tuple) else (value,)
    return [f"--{name}", *map(_word, values)]


def _word(value: Any) -> str:
    """A value as a command line has it; files that are there by a path that holds in every folder."""
    if isinstance(value, Path) and value.exists():
        return str(value.absolute())
    return repr(value) if isinstance(value, float) else str(value)


def _csv(model: ModelConfig) -> str:
    lines = [
        (spec.code, spec.name, spec.type.name, f"{spec.name}.json" if spec.args else "", _word(spec.weights or ""))
        for spec in model.modules
    ]
    return csv_table(COLUMNS, lines)


def _train_cfg(train: TrainConfig) -> str:
    return "\n".join("\n".join([f"[process: {stage.name}]", *_entries(stage), ""]) for stage in train.stages)


def _entries(stage: Stage) -> Iterator[str]:
    """The keys of a stage, but those that are as they are by default."""
    default = Stage(stage.name)
    for key, k in STAGE_KEYS.items():
        value = getattr(stage, k.field)
        if k.field == "lr":
            yield from (f"lr.{module} = {_text(rate)}" for module, rate in value.items())
        elif k.field in ("epochs", "train", "frames") or value != getattr(default, k.field):
            yield f"{key} = {_text(value)}"


def _test_cfg(test: TestConfig) -> str:
    lines = ["[header]", f"data = {' '.join(test.data)}"]
    for process in test.processes:
        lines += ["", f"[process: {process.name}]"]
        lines += [f"{mode} = {getattr(process, mode)}" for mode in MODES if getattr(process, mode)]
    return "\n".join(lines) + "\n"


def _text(value: Any) -> str:
    """A value as a cfg file has it."""
    if isinstance(value, tuple):
        return _sum(value)
    return repr(value) if isinstance(value, float) else str(value)


def _sum(expression: LossExpression) -> str:
    terms = [name if weight == 1 else f"{weight!r}*{name}" for weight, name in expression]
    return "/".join(terms) or "None"
