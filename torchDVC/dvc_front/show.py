"""The translation of a DVC command line as the files and commands of the engine's own command lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from torchDVC.dvc_front.options import DVCOptions
from torchDVC.dvc_front.translation import MODEL_FILE, TEST_FILE, TRAIN_FILE, Translation
from torchDVC.util.configuration import MODES, LossExpression, ModelConfig, Stage, TestConfig, TrainConfig
from torchDVC.util.configuration.train_cfg import HEADER_KEYS, STAGE_KEYS


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


def shown(options: DVCOptions, translation: Translation) -> str:
    """All files one after the other, each below ``==> name <==``, and the commands that use them."""
    parts = [f"==> {name} <==\n{text}" for name, text in files(translation).items()]
    return "\n".join([*parts, "==> commands <==", *_commands(options, translation)])


def _commands(options: DVCOptions, translation: Translation) -> Iterator[str]:
    common = f"--lmda {options.lmda!r} --model_config {MODEL_FILE}"
    if translation.train is not None:
        trained = f"--experiment_name {options.name} --run_config {TRAIN_FILE} --per_keep 1 --seed {options.seed}"
        yield f"python trainer.py {common} {trained}"
    restored = "--restore load --checkpoint CHECKPOINT"
    tested = f"--experiment_name {options.codec} --run_config {TEST_FILE} --intra_period {options.gop} --gop_size 1"
    yield f"python tester.py {common} {tested} {restored}"


def _csv(model: ModelConfig) -> str:
    lines = ["code,name,type,args,weights"]
    for spec in model.modules:
        args = f"{spec.name}.json" if spec.args else ""
        lines.append(f"{spec.code},{spec.name},{spec.type.name},{args},{spec.weights or ''}")
    return "\n".join(lines) + "\n"


def _train_cfg(train: TrainConfig) -> str:
    lines = ["[header]", *(f"{key} = {_text(getattr(train, k.field))}" for key, k in HEADER_KEYS.items())]
    for stage in train.stages:
        lines += ["", f"[process: {stage.name}]", *_entries(stage)]
    return "\n".join(lines) + "\n"


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
