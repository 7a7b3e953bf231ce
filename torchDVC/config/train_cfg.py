"""Reads a train cfg: ``[header]``, then one ``[process: NAME]`` per stage, run in file order."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torchDVC.coding_structure import MAX_REFERENCES, PAIRS, STEPS, frames_needed, parse_pairs, steps_of
from torchDVC.config.cfg_values import Key, Values, header_and_processes, read_values
from torchDVC.config.losses import loss_expression
from torchDVC.config.modes import mode_string
from torchDVC.config.problems import Report
from torchDVC.config.records import ModelConfig, Stage, TrainConfig
from torchDVC.config.stage_checks import check_stage
from torchDVC.config.text_files import Section
from torchDVC.config.training_checks import SCHEDULES
from torchDVC.config.values import (
    MAX_OFFSET,
    Reader,
    Unexpected,
    by_frame,
    choice,
    number,
    optional,
    switch,
    unquoted,
    whole,
    words,
)
from torchDVC.util.errors import did_you_mean

DEFAULT_LR = 1e-4
LR_PREFIX = "lr."
OPTION_PREFIX = "option."


def _lagrangians(text: str) -> tuple[float, float]:
    """One value, or ``low:high``."""
    low, _, high = (part.strip() for part in text.partition(":"))
    try:
        ends = number(above=True)(low), number(above=True)(high or low)
    except Unexpected:
        ends = (1.0, 0.0)
    if ends[0] > ends[1]:
        raise Unexpected("a number above 0, or a range such as 256:2048")
    return ends


def _pairs(text: str) -> str:
    """A named step, or a list of pairs whose first reference is frame 0."""
    try:
        listed = steps_of(text) or parse_pairs(text)
    except ValueError:
        expected = f"{', '.join(STEPS)}, or {PAIRS}"
        raise Unexpected(f"{expected}{did_you_mean(text, STEPS)}") from None
    if not listed:
        raise Unexpected("at least one pair")
    return text


def _yuv_weights(text: str) -> tuple[float, ...]:
    """``6:1:1``."""
    try:
        weights = tuple(map(number(), text.split(":")))
    except Unexpected:
        weights = ()
    if len(weights) != 3 or not sum(weights):
        raise Unexpected("the weights of Y, U and V, such as 6:1:1")
    return weights


def _cut(text: str) -> str:
    """The first clips of a list, ``500``, or a range of them, ``500:1000``."""
    start, colon, stop = (part.strip() for part in text.partition(":"))
    bounds = [start, stop] if colon else [stop or start]
    if not any(bounds) or not all(bound == "" or bound.isdecimal() for bound in bounds):
        raise Unexpected("a number of clips, or a range of them such as 500:1000")
    return text


def _epochs(text: str) -> tuple[int, ...]:
    """Epochs within a stage, in rising order."""
    try:
        epochs = tuple(map(whole(1), text.split()))
    except Unexpected:
        epochs = ()
    if not epochs or list(epochs) != sorted(set(epochs)):
        raise Unexpected("whole numbers of epochs in rising order, such as 10 15")
    return epochs


def _patterns(text: str) -> tuple[str, ...]:
    """Patterns of names of parameters and parts; ``gains`` stands for those of all gains."""
    return tuple("*gain*" if word == "gains" else word for word in words(text).split())


def _trained(text: str) -> str:
    """Module codes, and parts of modules such as ``r.hyperprior``, separated by blanks."""
    for word in text.split():
        code, dot, path = word.partition(".")
        if dot and not (len(code) == 1 and all(name.isidentifier() or name.isdecimal() for name in path.split("."))):
            raise Unexpected("codes of modules, or of a part of one such as r.hyperprior")
        mode_string(code)
    return text


_READERS: dict[type, Reader] = {
    bool: switch, int: whole(-(2**31)), float: number(-math.inf), str: words,
}  # fmt: skip
"""By the type of an option's default."""

STAGE_KEYS = {
    "imode": Key("imode", mode_string),
    "pmode": Key("pmode", mode_string),
    "bmode": Key("bmode", mode_string),
    "references": Key("references", whole(1, MAX_REFERENCES)),
    "feature_reset": Key("feature_reset", whole(0)),
    "quality_offsets": Key("quality_offsets", by_frame(whole(-MAX_OFFSET, MAX_OFFSET))),
    "train": Key("train", _trained),
    "epochs": Key("epochs", whole(1)),
    "steps": Key("steps", optional(whole(1), "all")),
    "batch_size": Key("batch_size", whole(1)),
    "RNN": Key("rnn", whole(0, 2)),
    "val_RNN": Key("val_rnn", whole(0, 2)),
    "pairs": Key("pairs", _pairs),
    "loss.R": Key("loss_r", loss_expression),
    "loss.D": Key("loss_d", loss_expression),
    "distortion": Key("distortion", words),
    "frame_weights": Key("frame_weights", by_frame(number())),
    "yuv_weights": Key("yuv_weights", _yuv_weights),
    "lr": Key("lr", number()),
    "aux_lr": Key("aux_lr", number()),
    "lr_schedule": Key("lr_schedule", choice(*SCHEDULES)),
    "lr_decay": Key("lr_decay", number(0, 1, above=True)),
    "lr_steps": Key("lr_steps", _epochs),
    "lr_patience": Key("lr_patience", whole(1)),
    "lr_final": Key("lr_final", number(0, 1)),
    "lr_warmup": Key("lr_warmup", whole(0)),
    "optimizer": Key("optimizer", choice("adam", "adamw", "sgd")),
    "weight_decay": Key("weight_decay", number()),
    "grad_clip": Key("grad_clip", number()),
    "ema": Key("ema", number(0, 0.999999)),
    "patch_size": Key("patch_size", whole(16)),
    "frames": Key("frames", whole(1)),
    "data": Key("data", unquoted),
    "cut": Key("cut", optional(_cut, "None")),
    "reverse_rate": Key("reverse_rate", number(0, 1)),
    "frame_distance": Key("frame_distance", whole(1)),
    "forth_and_back": Key("forth_and_back", switch),
    "brightness": Key("brightness", number(0, 1)),
    "gray_intra": Key("gray_intra", number(0, 1)),
    "lmda": Key("lmda", optional(_lagrangians, "None")),
    "only_rate": Key("only_rate", switch),
    "only_distortion": Key("only_distortion", switch),
    "freeze": Key("freeze", _patterns),
    "update": Key("update", choice("clip", "frame")),
    "truncate": Key("truncate", optional(whole(1), "None")),
    "checkpointing": Key("checkpointing", switch),
    "accumulate": Key("accumulate", whole(1)),
    "rnn_grad_clip": Key("rnn_grad_clip", number()),
    "adapt": Key("adapt", switch),
    "precision": Key("precision", choice("auto", "32", "bf16-mixed", "16-mixed")),
    "memory_format": Key("memory_format", choice("auto", "contiguous", "channels_last")),
}


def read_train_cfg(path: Path, model: ModelConfig | None, report: Report, said: Sequence[str] = ()) -> TrainConfig:
    """Read a train cfg and check it against the model, where that could be read. Problems go to ``report``."""
    header, processes = header_and_processes(path, report, said)
    base = read_values(header, {**STAGE_KEYS, **_lr_keys(header, model), **_option_keys(header, model)}, report)
    stages = []
    for name, section in processes.items():
        own = read_values(section, {**STAGE_KEYS, **_lr_keys(section, model), **_option_keys(section, model)}, report)
        values = own.over(base)
        stage = _stage(name, values, _learning_rates(own, base, model))
        if values.sound and model is not None:
            for key, problem in check_stage(stage, model, own.where):
                report.add(values.place(key), problem)
        stages.append(stage)
    return TrainConfig(path.stem, path, tuple(stages))


def _lr_keys(section: Section, model: ModelConfig | None) -> dict[str, Key]:
    """A key ``lr.<module>`` for every module, and for each pattern of names in the section that some module fits."""
    keys = [key for key in section.entries if key.startswith(LR_PREFIX)]
    if model is not None:
        names = [LR_PREFIX + module.name for module in model.modules]
        keys = [*names, *(key for key in keys if fnmatch.filter(names, key))]
    return {key: Key(key, number()) for key in keys}


def _option_keys(section: Section, model: ModelConfig | None) -> dict[str, Key]:
    """A key ``option.<module>.<name>`` for every option that a module declares, of the kind that its default is."""
    if model is None:
        return {key: Key(key, words) for key in section.entries if key.startswith(OPTION_PREFIX)}
    declared = {
        f"{OPTION_PREFIX}{spec.name}.{name}": default
        for spec in model.modules
        for name, default in spec.type.option_defaults.items()
    }
    return {key: Key(key, _READERS[type(default)]) for key, default in declared.items()}


def _learning_rates(own: Values, base: Values, model: ModelConfig | None) -> dict[str, float]:
    """By module: the section's ``lr.<module>`` or pattern, else its ``lr``; else the header's, in the same order."""
    rates = {}
    for module in model.modules if model else ():
        found = (_rate(values.fields, module.name) for values in (own, base))
        rates[module.name] = next((rate for rate in found if rate is not None), DEFAULT_LR)
    return rates


def _rate(fields: Mapping[str, Any], module: str) -> float | None:
    """What a section says of a module: by its name, else by the last pattern that it fits, else of all."""
    own = LR_PREFIX + module
    patterns = [key for key in fields if key.startswith(LR_PREFIX) and fnmatch.fnmatchcase(own, key)]
    key = own if own in fields else patterns[-1] if patterns else "lr"
    return fields.get(key)


def _stage(name: str, values: Values, rates: Mapping[str, float]) -> Stage:
    """The record of a stage. Left out, ``train`` is every code that runs, and ``frames`` lets every pair occur."""
    fields = {key.field: values.fields[key.field] for key in STAGE_KEYS.values() if key.field in values.fields}
    trained = fields.get("train", "").split()
    fields["train"] = "".join(word.partition(".")[0] for word in trained)
    fields["parts"] = tuple(word for word in trained if "." in word)
    places = {key: str(where) for key, where in values.where.items()}
    start = len(OPTION_PREFIX)
    options = {key[start:]: value for key, value in values.fields.items() if key.startswith(OPTION_PREFIX)}
    stage = Stage(name, **{**fields, "lr": rates, "options": options}, where=str(values.section.where), places=places)
    frames = frames_needed(stage.pairs, stage.types)
    steps = steps_of(stage.pairs)
    if steps and stage.pmode:  # every step may be drawn, and every P frame have its references
        frames = max(steps) * stage.references + 1
    return replace(stage, train=stage.train or stage.codes, frames=fields.get("frames", frames))
