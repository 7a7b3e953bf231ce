"""The training phases of a json file, as stages of the engine."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchDVC.config.losses import loss_expression
from torchDVC.config.problems import Report
from torchDVC.config.records import LossExpression, ModelConfig, Stage, TrainConfig
from torchDVC.config.stage_checks import check_stage
from torchDVC.config.train_cfg import DEFAULT_LR, STAGE_KEYS
from torchDVC.config.values import Unexpected, choice, number, switch, whole
from torchDVC.dvc_front.coders import ROLES
from torchDVC.dvc_front.trees import Item, TableReader, read_tree
from torchDVC.util.errors import nearest

ALSO_OF_STAGES = ("steps", "patch_size", "data", "cut", "precision", "memory_format", "aux_lr")
"""Keys of a phase that are those of a stage of a train cfg, with the same defaults."""
PHASE_KEYS = ("batch_size", "lr", "strategy", "mode", "frozen_modules", "train_intra", "loss_on", *ALSO_OF_STAGES)
STRATEGY_KEYS = ("stage", "random", "max_num_Pframe")
STAGES = ("2frames", "fullgop", "train_2frames", "train_fullgop")
DEFAULT_RATE = "default"
SEPTUPLET_P_FRAMES = 6

RATES = {"rate": "rate", "m_rate": "motion_rate", "r_rate": "residual_rate"}
DISTORTIONS = {name: name for name in ("distortion", "mc_distortion", "warped_distortion")}


@dataclass(frozen=True)
class Mode:
    """What a phase codes: the modes of I and P frames, and the loss terms that they give."""

    imode: str
    pmode: str
    without: tuple[str, ...] = ()


MODES = {"motion": Mode("i", "emc", ("r_rate", "distortion")), "residual": Mode("i", "emcr")}

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_PLACES = {
    "imode": "mode", "pmode": "mode", "loss.R": "loss_on", "loss.D": "loss_on", "train": "frozen_modules",
    "frames": "strategy", "pairs": "strategy",
}  # fmt: skip
"""Which key of a phase decides a key of a stage."""


def read_phases(path: Path, model: ModelConfig | None, report: Report) -> TrainConfig | None:
    """The phases of a json file; None, and notes in ``report``, where it cannot be read.

    Args:
        model: checked against where it is there.
    """
    tree = read_tree(path, report)
    if tree is None:
        return None
    ends = dict(_ends(tree, report))
    TableReader(tree, "the file", ("phase", *ends), report)
    stages, start = [], 0
    for name, end in ends.items():
        if name not in tree.value:
            unclaimed = [key for key in tree.value if key != "phase" and key not in ends]
            report.add(tree.value["phase"].where, f"phase '{name}' has no section{nearest(name, unclaimed)}")
        else:
            stages.append(_stage(name, end - start, tree.value[name], model, report))
        start = end
    return TrainConfig(path.stem, path, tuple(stages))


def _ends(tree: Item, report: Report) -> Iterator[tuple[str, int]]:
    """The phases and their last epochs, which must grow."""
    phases = tree.value.get("phase")
    if phases is None or not isinstance(phases.value, Mapping) or not phases.value:
        report.add(phases.where if phases else tree.where, "no phases; expected \"phase\": {name: last epoch, …}")
        return
    before = 0
    for name, item in phases.value.items():
        if not _NAME.fullmatch(name):
            report.add(item.where, f"phase '{name}'; expected a name of letters, digits, _ and -")
        try:
            end = whole(before + 1)(item.text())
        except Unexpected as error:
            report.add(item.where, f"phase '{name}' ends with epoch {item.shown()}; expected {error}")
            end = before + 1
        yield name, end
        before = end


def _stage(name: str, epochs: int, item: Item, model: ModelConfig | None, report: Report) -> Stage:
    """One phase as a stage; what is wrong with it goes to ``report``."""
    before = len(report.lines())
    table = TableReader(item, f"phase '{name}'", PHASE_KEYS, report)
    mode_name = table.take("mode", choice(*MODES), "residual")
    mode = MODES[mode_name]
    frozen = [ROLES[module].code for module in table.names("frozen_modules", ROLES)]
    if not table.take("train_intra", switch, False):
        frozen.append(ROLES["I"].code)
    running = mode.imode + mode.pmode
    loss_r, loss_d = _losses(table, mode_name, report)
    stage = Stage(
        name, imode=mode.imode, pmode=mode.pmode, where=str(item.where), epochs=epochs,
        batch_size=table.take("batch_size", whole(1), 1, needed=True),
        train="".join(code for code in running if code not in frozen),
        loss_r=loss_r, loss_d=loss_d, lr=_learning_rates(table, report),
        **_strategy(table, mode_name, report), **_as_in_stages(table),
    )  # fmt: skip
    if not stage.train:
        report.add(table.place("frozen_modules"), f"phase '{name}' freezes every module that mode '{mode_name}' runs")
    if model is not None and len(report.lines()) == before:
        for key, problem in check_stage(stage, model, ()):
            report.add(table.place(_PLACES.get(key, key)), problem)
    return stage


def _as_in_stages(table: TableReader) -> dict[str, Any]:
    keys = {key: STAGE_KEYS[key] for key in ALSO_OF_STAGES if key in table.items}
    read = {key.field: table.take(name, key.read) for name, key in keys.items()}
    return {name: value for name, value in read.items() if value is not None}


def _strategy(table: TableReader, mode: str, report: Report) -> dict[str, Any]:
    """Frames of a clip, what they refer to, and whether clips also run backwards."""
    item = table.items.get("strategy", Item({}, table.where))
    strategy = TableReader(item, "strategy", STRATEGY_KEYS, report)
    stage = strategy.take("stage", choice(*STAGES), STAGES[0], needed=True).removeprefix("train_")
    following = strategy.take("max_num_Pframe", whole(1), SEPTUPLET_P_FRAMES)
    reverse = 0.5 if strategy.take("random", switch, False) else 0.0
    if mode == "motion" and stage == "fullgop":
        report.add(strategy.place("stage"), "stage = fullgop with mode 'motion'; expected 2frames, since without the "
                   "residual no P frame is reconstructed to refer to")
    if mode == "motion" or stage == "2frames":
        return {"frames": 2, "rnn": 1, "reverse_rate": reverse}
    return {"frames": following + 1, "rnn": 1, "reverse_rate": reverse}


def _learning_rates(table: TableReader, report: Report) -> dict[str, float]:
    """By module of the engine: one rate for all, or a table of rates with a default for those that it leaves out."""
    item = table.items.get("lr")
    if item is None or not isinstance(item.value, Mapping):
        rate = table.take("lr", number(), DEFAULT_LR, needed=True)
        return {role.name: rate for role in ROLES.values()}
    rates = TableReader(item, "lr", (DEFAULT_RATE, *ROLES), report)
    default = rates.take(DEFAULT_RATE, number(), DEFAULT_LR, needed=True)
    return {role.name: rates.take(module, number(), default) for module, role in ROLES.items()}


def _losses(table: TableReader, mode: str, report: Report) -> tuple[LossExpression, LossExpression]:
    item = table.items.get("loss_on", Item({}, table.where))
    losses = TableReader(item, "loss_on", ("R", "D"), report)
    return _loss(losses, "R", RATES, mode, report), _loss(losses, "D", DISTORTIONS, mode, report)


def _loss(losses: TableReader, key: str, names: Mapping[str, str], mode: str, report: Report) -> LossExpression:
    """One expression, its terms by the engine's names."""
    given = losses.take(key, loss_expression, (), needed=True)
    known = [name for name in names if name not in MODES[mode].without]
    for _, term in given:
        if term not in known:
            why = f"which mode '{mode}' does not give" if term in names else "an unknown term"
            report.add(losses.place(key), f"loss_on {key} has '{term}', {why}{nearest(term, known)}")
    return tuple((weight, names[term]) for weight, term in given if term in known)
