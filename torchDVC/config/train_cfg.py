"""Reads a train cfg: ``[header]``, then one ``[process: NAME]`` per stage, run in file order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torchDVC.coding_structure import MAX_REFERENCES, PAIRS, STEPS, frames_needed, parse_pairs
from torchDVC.config.cfg_values import Key, Values, header_and_processes, read_values
from torchDVC.config.losses import loss_expression
from torchDVC.config.modes import mode_string
from torchDVC.config.problems import Report
from torchDVC.config.records import ModelConfig, Stage, TrainConfig
from torchDVC.config.stage_checks import check_stage
from torchDVC.config.text_files import Section
from torchDVC.config.values import Unexpected, choice, number, optional, switch, whole, words
from torchDVC.util.errors import did_you_mean

DEFAULT_LR = 1e-4
LR_PREFIX = "lr."


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
        listed = [] if text in STEPS else parse_pairs(text)
    except ValueError:
        expected = f"{', '.join(STEPS)}, or {PAIRS}"
        raise Unexpected(f"{expected}{did_you_mean(text, STEPS)}") from None
    if text not in STEPS and not listed:
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


STAGE_KEYS = {
    "imode": Key("imode", mode_string),
    "pmode": Key("pmode", mode_string),
    "bmode": Key("bmode", mode_string),
    "references": Key("references", whole(1, MAX_REFERENCES)),
    "feature_reset": Key("feature_reset", whole(0)),
    "train": Key("train", mode_string),
    "epochs": Key("epochs", whole(1)),
    "steps": Key("steps", optional(whole(1), "all")),
    "batch_size": Key("batch_size", whole(1)),
    "RNN": Key("rnn", whole(0, 2)),
    "pairs": Key("pairs", _pairs),
    "loss.R": Key("loss_r", loss_expression),
    "loss.D": Key("loss_d", loss_expression),
    "yuv_weights": Key("yuv_weights", _yuv_weights),
    "lr": Key("lr", number()),
    "aux_lr": Key("aux_lr", number()),
    "lr_decay": Key("lr_decay", number(0, 1, above=True)),
    "patch_size": Key("patch_size", whole(16)),
    "frames": Key("frames", whole(1)),
    "data": Key("data", words),
    "cut": Key("cut", optional(_cut, "None")),
    "reverse_rate": Key("reverse_rate", number(0, 1)),
    "lmda": Key("lmda", optional(_lagrangians, "None")),
    "only_rate": Key("only_rate", switch),
    "precision": Key("precision", choice("auto", "32", "bf16-mixed", "16-mixed")),
    "memory_format": Key("memory_format", choice("contiguous", "channels_last")),
}
HEADER_KEYS = {
    "optimizer": Key("optimizer", choice("adam", "adamw", "sgd")),
    "weight_decay": Key("weight_decay", number()),
    "grad_clip": Key("grad_clip", number()),
}


def _belongs_in_header(text: str) -> str:
    raise Unexpected("in [header], since it holds for the whole run")


_ELSEWHERE = {key: Key(key, _belongs_in_header) for key in HEADER_KEYS}


def read_train_cfg(path: Path, model: ModelConfig | None, report: Report) -> TrainConfig:
    """Read a train cfg and check it against the model, where that could be read. Problems go to ``report``."""
    header, processes = header_and_processes(path, report)
    base = read_values(header, {**STAGE_KEYS, **HEADER_KEYS, **_lr_keys(header, model)}, report)
    stages = []
    for name, section in processes.items():
        own = read_values(section, {**STAGE_KEYS, **_ELSEWHERE, **_lr_keys(section, model)}, report)
        values = own.over(base)
        stage = _stage(name, values, _learning_rates(own, base, model))
        if values.sound and model is not None:
            for key, problem in check_stage(stage, model, own.where):
                report.add(values.place(key), problem)
        stages.append(stage)
    run = {key.field: base.fields[key.field] for key in HEADER_KEYS.values() if key.field in base.fields}
    return TrainConfig(path.stem, path, tuple(stages), **run)


def _lr_keys(section: Section, model: ModelConfig | None) -> dict[str, Key]:
    """A key ``lr.<module>`` for every module; without a model, for whatever the section names."""
    given = [key for key in section.entries if key.startswith(LR_PREFIX)]
    keys = given if model is None else [LR_PREFIX + module.name for module in model.modules]
    return {key: Key(key, number()) for key in keys}


def _learning_rates(own: Values, base: Values, model: ModelConfig | None) -> dict[str, float]:
    """By module: the section's ``lr.<module>``, else its ``lr``, else the header's ``lr.<module>``, else its ``lr``."""
    default = base.fields.get("lr", DEFAULT_LR)
    rates = {}
    for module in model.modules if model else ():
        key = LR_PREFIX + module.name
        rates[module.name] = own.fields.get(key, own.fields.get("lr", base.fields.get(key, default)))
    return rates


def _stage(name: str, values: Values, rates: Mapping[str, float]) -> Stage:
    """The record of a stage. Left out, ``train`` is every code that runs, and ``frames`` lets every pair occur."""
    fields = {key.field: values.fields[key.field] for key in STAGE_KEYS.values() if key.field in values.fields}
    places = {key: str(where) for key, where in values.where.items()}
    stage = Stage(name, **{**fields, "lr": rates}, where=str(values.section.where), places=places)
    frames = frames_needed(stage.pairs, stage.types)
    if stage.pairs in STEPS and stage.pmode:  # every step may be drawn, and every P frame have its references
        frames = max(STEPS[stage.pairs]) * stage.references + 1
    return replace(stage, train=stage.train or stage.codes, frames=fields.get("frames", frames))
