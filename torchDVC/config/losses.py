"""Loss expressions, ``distortion/0.5*mc_distortion``: how they are written, and which terms modes can provide."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import permutations

from torchDVC.config.modes import KEPT, RECONSTRUCTION, REFERENCES, kinds
from torchDVC.config.problems import Report
from torchDVC.config.records import MODES, LossExpression, ModelConfig, Modes, Stage
from torchDVC.config.registry import DISTORTION
from torchDVC.config.scan import scan
from torchDVC.config.values import Unexpected, number
from torchDVC.util.errors import nearest

_NAME = re.compile(r"[A-Za-z_]\w*(~[A-Za-z_]\w*)?")
PAIR = "~"
"""Between two pictures whose distortion is meant; a single one is compared with the source."""

_EXPECTED = "terms such as distortion/0.5*mc_distortion, or None"


def loss_expression(text: str) -> LossExpression:
    """Read a sum of terms separated by ``/``, each with an optional weight; ``None`` is the empty sum."""
    if text.lower() == "none":
        return ()
    return tuple(_term(item.strip()) for item in text.split("/"))


def _term(text: str) -> tuple[float, str]:
    weight, star, name = text.rpartition("*")
    name = name.strip()
    try:
        value = number()(weight.strip()) if star else 1.0
    except Unexpected:
        raise Unexpected(_EXPECTED) from None
    if not _NAME.fullmatch(name):
        raise Unexpected(_EXPECTED)
    return value, name


def rate_terms(model: ModelConfig, modes: Modes) -> list[str]:
    """Terms that ``loss.R`` may name: ``rate`` and ``<label>_rate`` of each coding module that runs."""
    running = model.of_codes(modes.codes)
    return ["rate", *(f"{module.label}_rate" for module in running if module.type.codes)]


def distortion_terms(model: ModelConfig, modes: Modes) -> list[str]:
    """Terms that ``loss.D`` may name: ``distortion`` of ``recon`` and ``<key>_distortion`` of each other picture.

    Pairs of pictures of one frame, ``<key>~<key>_distortion``, follow in both orders.
    """
    of_modes = [_pictures(getattr(modes, mode), model) for mode in MODES]
    single = dict.fromkeys(_distortion_of(key) for pictures in of_modes for key in pictures)
    pairs = dict.fromkeys(_distortion_of(a, b) for pictures in of_modes for a, b in permutations(pictures, 2))
    return [*single, *pairs]


def _pictures(codes: str, model: ModelConfig) -> list[str]:
    return [key for key, kind in kinds(codes, model).items() if kind == "picture"]


def pictures_of(term: str) -> tuple[str, str]:
    """The keys of the pictures that a distortion term compares; the second is "" where that is the source."""
    if term == DISTORTION:
        return RECONSTRUCTION, ""
    first, _, second = term.removesuffix(f"_{DISTORTION}").partition(PAIR)
    return first, second


def terms_reached(stage: Stage, trained: str, model: ModelConfig) -> set[str]:
    """Terms that depend on what modules ``trained`` learn, on those frames of a stage that run one of them."""
    reached: set[str] = set()
    carried: set[str] = set()
    for _ in range(2 if stage.rnn == 2 else 1):  # the second time by way of the references
        left: set[str] = set()
        for codes in (getattr(stage, mode) for mode in MODES):
            keys, terms = _pass_on(carried, codes, trained, model)
            left |= keys
            reached |= terms if set(codes) & set(trained) else set()
        carried = {REFERENCES if key == RECONSTRUCTION else KEPT + key for key in left}
    return reached


def _pass_on(keys: set[str], codes: str, trained: str, model: ModelConfig) -> tuple[set[str], set[str]]:
    """Which keys and terms of a frame follow from ``keys`` and from what modules ``trained`` learn."""
    rates: set[str] = set()
    for module in model.of_codes(codes):
        declared = module.type
        if module.code in trained or keys.intersection(declared.uses):
            keys = keys.union(declared.writes)
            rates |= {"rate", f"{module.label}_rate"} if declared.codes else set()
        else:
            keys = keys.difference(declared.writes)
    pictures = _pictures(codes, model)
    reached = [pair for pair in permutations(pictures, 2) if keys.intersection(pair)]
    single = map(_distortion_of, keys.intersection(pictures))
    return keys, rates.union(single, (_distortion_of(*pair) for pair in reached))


def _distortion_of(key: str, other: str = "") -> str:
    if other:
        return f"{key}{PAIR}{other}_{DISTORTION}"
    return DISTORTION if key == RECONSTRUCTION else f"{key}_{DISTORTION}"


def check_distortion(name: str, model: ModelConfig) -> Iterator[tuple[str, str]]:
    """What is wrong with a distortion that a stage names, and the key."""
    known = scan(Report(), DISTORTION)
    if name not in known:
        yield DISTORTION, f"unknown distortion '{name}'{nearest(name, known)}"
    elif model.format not in known[name].formats:
        yield DISTORTION, f"distortion {name} is of {', '.join(known[name].formats)}, {model.name} is {model.format}"
    elif known[name].requires and find_spec(known[name].requires) is None:
        yield DISTORTION, f"distortion {name} needs the package {known[name].requires}, which is not installed"


def check_losses(loss_r: LossExpression, loss_d: LossExpression, model: ModelConfig, modes: Modes) -> dict[str, str]:
    """What is wrong with the two expressions for these modes, by cfg key."""
    ran = ", ".join(f"{mode} '{getattr(modes, mode)}'" for mode in MODES if getattr(modes, mode))
    problems = {}
    for key, expression, known in (
        ("loss.R", loss_r, rate_terms(model, modes)),
        ("loss.D", loss_d, distortion_terms(model, modes)),
    ):
        unknown = [term for _, term in expression if term not in known]
        if unknown:
            problems[key] = f"{key} has '{unknown[0]}', which {ran} does not give{nearest(unknown[0], known)}"
    return problems
