"""Checks mode strings: every module must find what it reads, in the encoder, in the decoder and of the references."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set

from torchDVC.config.migration import in_upper_case
from torchDVC.config.records import MODES, ModelConfig, Modes, ModuleSpec
from torchDVC.config.values import Unexpected

_SOURCE = "frame"
RECONSTRUCTION = "recon"
REFERENCES = "refs"
KEPT = "ref_"
"""``ref_<key>`` is what the modules of the reference frames wrote as ``<key>``."""


def mode_string(text: str) -> str:
    """Read a string of module codes; blanks between them are allowed, and it may be empty."""
    codes = "".join(text.split())
    if codes and not (codes.isascii() and codes.isalpha()):
        raise Unexpected("letters of the model's modules")
    return codes


def check_modes(modes: Modes, model: ModelConfig) -> Iterator[tuple[str, str]]:
    """What is wrong with the modes of a process: the key of each problem, and the problem."""
    problems = [(mode, problem) for mode in MODES for problem in check_mode(mode, getattr(modes, mode), model)]
    yield from problems or _check_references(modes, model)


def needs_of_references(codes: str, model: ModelConfig) -> dict[str, ModuleSpec]:
    """What the modules of a mode string must find with every reference beside its picture, and which asks for it."""
    modules = model.of_codes(codes)
    return {key: m for m in modules for key in (*m.type.reads, *m.type.encoder_reads) if key.startswith(KEPT)}


def _check_references(modes: Modes, model: ModelConfig) -> Iterator[tuple[str, str]]:
    """What is read of every reference must be left by every frame that may be one, and be handed on."""
    for mode in ("pmode", "bmode"):
        for key, module in needs_of_references(getattr(modes, mode), model).items():
            reads = f"{mode} '{getattr(modes, mode)}': {module} reads '{key}'"
            may = f"expected it in the optional of {module.type.name}"
            for other in ("imode", "pmode", *(["bmode"] if mode == "bmode" else [])):
                codes = getattr(modes, other)
                if key.removeprefix(KEPT) not in decoded(codes, model) and (codes or other == "imode"):
                    what = f"{other} '{codes}' does not write" if codes else "frames lack that no imode codes"
                    yield mode, f"{reads}, which {what}; {may}"
            if modes.feature_reset:
                yield "feature_reset", f"{reads}, which a reset takes away; {may}"


def check_mode(mode: str, codes: str, model: ModelConfig) -> list[str]:
    """What is wrong with a mode string of a model by itself.

    Args:
        mode: ``imode``, ``pmode`` or ``bmode``.
        codes: module codes in the order in which they run.
    """
    said = f"{mode} '{codes}'"
    known = {module.code: module for module in model.modules}
    unknown = unknown_codes(codes, model)
    if unknown and (old := in_upper_case(codes, "".join(known))):
        first = next(code for code in codes if code not in known)
        return [f"{said}: no module has the code '{first}'{old}"]
    if unknown:
        return [f"{said}: {problem}" for problem in unknown]
    twice = [code for code in dict.fromkeys(codes) if codes.count(code) > 1]
    if twice:
        return [f"{said}: {known[code]} runs more than once; expected each module once" for code in twice]
    return [f"{said}: {problem}" for problem in _walk(mode, model.of_codes(codes), model)]


def unknown_codes(codes: str, model: ModelConfig) -> list[str]:
    """What is wrong with codes that no module of a model has."""
    known = {module.code: module for module in model.modules}
    listed = ", ".join(f"{code} ({module.name})" for code, module in known.items())
    unknown = (code for code in dict.fromkeys(codes) if code not in known)
    return [f"no module has the code '{code}'; known: {listed}" for code in unknown]


def kinds(codes: str, model: ModelConfig) -> dict[str, str]:
    """What the modules of a mode string leave in the frame state, and what each is."""
    return {key: module.type.kind(key) for module in model.of_codes(codes) for key in module.type.writes}


def decoded(codes: str, model: ModelConfig) -> frozenset[str]:
    """Keys that they leave in the decoder."""
    return frozenset(key for m in model.of_codes(codes) if not m.type.encoder_only for key in m.type.writes)


def _walk(mode: str, modules: tuple[ModuleSpec, ...], model: ModelConfig) -> Iterator[str]:
    """Run through the modules as encoder and decoder do, and say what each of them misses."""
    encoder = {_SOURCE} if mode == "imode" else {_SOURCE, REFERENCES, *_kept(model)}
    decoder = encoder - {_SOURCE}
    for index, module in enumerate(modules):
        reads = module.type.reads
        missing = _missing((*reads, *module.type.encoder_reads), encoder)
        for key in missing:
            yield f"{module} reads '{key}', {_why_missing(mode, key, modules[index + 1 :], model)}"
        if not module.type.encoder_only:
            for key in _missing(reads, decoder.union(missing)):
                yield f"{module} reads '{key}' {_why_not_decoded(key, modules[:index])}"
            decoder.update(reads, module.type.writes)
        for key in sorted(decoder.intersection(module.type.writes) if module.type.encoder_only else ()):
            yield f"{module} writes '{key}' again, in the encoder only; expected another key"
        encoder.update(missing, module.type.writes)


def _kept(model: ModelConfig) -> Iterator[str]:
    """What P and B frames may find of their references beside the pictures."""
    for module in model.modules:
        if not module.type.encoder_only:
            yield from (KEPT + key for key in module.type.writes)


def _missing(keys: Iterable[str], available: Set[str]) -> list[str]:
    return [key for key in dict.fromkeys(keys) if key not in available]


def _why_missing(mode: str, key: str, later: tuple[ModuleSpec, ...], model: ModelConfig) -> str:
    if mode == "imode" and (key == REFERENCES or key.startswith(KEPT)):
        return "which I frames do not have"
    if key.startswith(KEPT):
        return f"but no module of the model that runs in the decoder writes '{key.removeprefix(KEPT)}'"
    after = [module for module in later if key in module.type.writes]
    if after:
        return f"which no module before it writes; {after[0]} runs only after it"
    writers = [str(module) for module in model.modules if key in module.type.writes]
    would = f"{' or '.join(writers)} would" if writers else "no module of the model does"
    return f"which no module before it writes; {would}"


def _why_not_decoded(key: str, before: tuple[ModuleSpec, ...]) -> str:
    if key == _SOURCE:
        return "in the decoder, which does not have it; expected it in the encoder_reads of its type"
    writers = " and ".join(str(module) for module in before if key in module.type.writes)
    return f"in the decoder, but {writers}, which writes it, runs in the encoder only"
