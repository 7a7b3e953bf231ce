"""Checks mode strings: every module must find what it reads, in the encoder and in the decoder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set

from torchDVC.config.records import ModelConfig, ModuleSpec
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


def check_mode(mode: str, codes: str, model: ModelConfig) -> list[str]:
    """What is wrong with a mode string of a model.

    Args:
        mode: ``imode``, ``pmode`` or ``bmode``.
        codes: module codes in the order in which they run.
    """
    said = f"{mode} '{codes}'"
    known = {module.code: module for module in model.modules}
    unknown = [code for code in dict.fromkeys(codes) if code not in known]
    if unknown:
        listed = ", ".join(f"{code} ({module.name})" for code, module in known.items())
        return [f"{said}: no module has the code '{code}'; known: {listed}" for code in unknown]
    twice = [code for code in dict.fromkeys(codes) if codes.count(code) > 1]
    if twice:
        return [f"{said}: {known[code]} runs more than once; expected each module once" for code in twice]
    return [f"{said}: {problem}" for problem in _walk(mode, model.of_codes(codes), model)]


def writes(codes: str, model: ModelConfig) -> frozenset[str]:
    """Keys that the modules of a mode string leave in the frame state."""
    return frozenset(key for module in model.of_codes(codes) for key in module.type.writes)


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
