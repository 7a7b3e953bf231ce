"""Checks that need the model: may a stage, or a test process, run as it says."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator

from torchDVC.coding_structure import CodedFrame, frames_needed, parse_pairs, steps_of
from torchDVC.config.losses import check_distortion, check_losses, terms_reached
from torchDVC.config.modes import RECONSTRUCTION, check_modes, kinds, needs_of_references
from torchDVC.config.picture_formats import RGB
from torchDVC.config.records import MODES, ModelConfig, Modes, Process, Stage
from torchDVC.config.training_checks import check_training

Problem = tuple[str, str]
"""The key to complain about, and what is wrong."""


def check_stage(stage: Stage, model: ModelConfig, given: Container[str]) -> Iterator[Problem]:
    """What is wrong with a stage of a train cfg.

    Args:
        given: keys that the stage gives itself; a default that has no use in this stage is no problem.
    """
    yield from check_training(stage, given)
    problems = list(_check_modes(stage, model))
    if problems:
        yield from problems
        return
    if stage.rnn:
        yield from _check_reconstruction(stage, model, f"RNN = {stage.rnn} refers to", _referred_to(stage))
    for code in dict.fromkeys(stage.train):
        if code not in stage.codes:
            yield "train", f"train has '{code}', which runs in no mode of the stage; expected some of '{stage.codes}'"
    yield from _check_pairs(stage, model, given)
    yield from list(_check_loss(stage, model, given)) or _check_learning(stage, model)


def check_process(process: Process, model: ModelConfig) -> Iterator[Problem]:
    """What is wrong with a process of a test cfg."""
    problems = list(_check_modes(process, model))
    yield from problems or _check_reconstruction(process, model, "a test needs")
    if not process.imode:
        yield "imode", "imode is empty; expected modules for I frames, since every sequence starts with one"


def _check_modes(modes: Modes, model: ModelConfig) -> Iterator[Problem]:
    yield from check_modes(modes, model)
    if any(modes.quality_offsets.values) and not model.levels:
        yield "quality_offsets", "quality_offsets need modules with quality levels, such as a latent of type Gain"
    if not modes.codes:
        yield "imode", f"[process: {modes.name}] runs nothing; expected imode, pmode or bmode"


def _referred_to(stage: Stage) -> set[str]:
    """The types of the frames that others of a clip refer to."""
    if steps := steps_of(stage.pairs):
        return {"I"} if stage.frames <= 2 * min(steps) else {"I", "P"}
    types = {0: "I"} | {frame.index: frame.type for frame in parse_pairs(stage.pairs)}
    return {types.get(index, "I") for frame in parse_pairs(stage.pairs) for index in frame.references}


def _check_reconstruction(
    modes: Modes, model: ModelConfig, why: str, types: Container[str] = "IPB"
) -> Iterator[Problem]:
    for mode, frame_type in MODES.items():
        codes = getattr(modes, mode)
        if codes and frame_type in types and RECONSTRUCTION not in kinds(codes, model):
            writers = [str(module) for module in model.modules if RECONSTRUCTION in module.type.writes]
            would = f"; {' or '.join(writers)} would" if writers else ""
            yield mode, f"{mode} '{codes}': {why} '{RECONSTRUCTION}', which no module of it writes{would}"


def _check_pairs(stage: Stage, model: ModelConfig, given: Container[str]) -> Iterator[Problem]:
    """The pairs and the modes must fit together, and the clips must be long enough for the pairs."""
    said = f"pairs '{stage.pairs}'"
    frames = () if steps_of(stage.pairs) else parse_pairs(stage.pairs)
    types = {frame.type for frame in frames if frame.index or frame.references} or {"P"}
    for mode, frame_type, example in (("imode", "I", ""), ("pmode", "P", "0>1 1>2"), ("bmode", "B", "0>2 0>1<2")):
        codes = getattr(stage, mode)
        if codes and frame_type not in types and example:
            yield "pairs", f"{said} has no {frame_type} frame for {mode} '{codes}'; expected one, as in {example}"
        if not codes and frame_type in types and "pairs" in given:
            yield "pairs", f"{said} has {frame_type} frames; expected {mode} to code them"
    least = frames_needed(stage.pairs, stage.types)
    if stage.frames < least:
        yield "frames", f"frames = {stage.frames}; expected at least {least} for {said}"
    needs = {**needs_of_references(stage.pmode, model), **needs_of_references(stage.bmode, model)}
    why = f"RNN = {stage.rnn}" if stage.rnn else next((f"{module}" for module in needs.values()), "")
    for problem in _misordered(frames, why):
        yield "pairs", f"{said}: {problem}"


def _misordered(frames: Iterable[CodedFrame], why: str) -> Iterator[str]:
    """Frames that refer to themselves or, where that is needed, ``why``, to one that is not coded yet."""
    coded = {0}
    for frame in frames:
        if frame.index in frame.references:
            yield f"{frame} refers to itself"
        elif why and not coded.issuperset(frame.references):
            yield f"{frame} refers to a frame that is not coded before it; expected coding order for {why}"
        coded.add(frame.index)


def _check_loss(stage: Stage, model: ModelConfig, given: Container[str]) -> Iterator[Problem]:
    loss_r = () if stage.only_distortion and "loss.R" not in given else stage.loss_r
    loss_d = () if stage.only_rate and "loss.D" not in given else stage.loss_d
    if "yuv_weights" in given and model.format == RGB:
        yield "yuv_weights", f"yuv_weights has no use, since {model.name} works in {RGB}"
    yield from check_losses(loss_r, loss_d, model, stage).items()
    yield from check_distortion(stage.distortion, model)
    if stage.only_rate and stage.only_distortion:
        yield "only_rate", "only_rate and only_distortion are both true; expected one of them"
    elif stage.only_rate and not stage.loss_r:
        yield "only_rate", "only_rate = true with loss.R = None leaves nothing to minimise; expected a rate term"
    elif stage.only_distortion and not stage.loss_d:
        yield "only_distortion", "only_distortion = true with loss.D = None leaves nothing to minimise; expected a term"
    elif not stage.loss_r and not stage.loss_d:
        yield "loss.D", "loss.R and loss.D are both None; expected at least one term"


def _check_learning(stage: Stage, model: ModelConfig) -> Iterator[Problem]:
    """Some trained module must lie before some term of the loss."""
    terms = dict.fromkeys(name for _, name in (*stage.rate_terms, *stage.distortion_terms))
    if terms.keys() & terms_reached(stage, stage.train, model):
        return
    would = "".join(code for code in stage.codes if terms.keys() & terms_reached(stage, code, model))
    expected = f"; expected some of '{would}'" if would else ""
    yield "train", f"train '{stage.train}': the loss ({', '.join(terms)}) does not depend on it{expected}"
