"""The names that published weights of PWC-Net have: the authors' (``conv1a.0``), and those of a well-known port.

The port (``moduleExtractor.moduleOne.0``, or ``net…`` for ``module…``) numbers in words. Both see pictures as B, G, R.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from torch import Tensor

LEVELS = 6
_NUMBERS = {word: number for number, word in enumerate(("One", "Two", "Three", "Four", "Five", "Six"), start=1)}
_ORDER = {"a": 0, "aa": 1, "b": 2}
_ORDER_OF_LAST = {"aa": 0, "a": 1, "b": 2}
"""The authors' coarsest level begins with the layer that is second in the others."""
_FIRST = "pyramid.0.0.weight"

Rule = tuple[re.Pattern[str], Callable[..., str]]


def _decoder(level: int) -> str:
    return f"decoders.{LEVELS - level}"


def _word(text: str) -> int:
    return _NUMBERS[text]


def _of_authors(level: str, place: str, tail: str) -> str:
    order = _ORDER_OF_LAST if int(level) == LEVELS else _ORDER
    return f"pyramid.{int(level) - 1}.{2 * order[place]}.{tail}"


_TAIL = r"\.(weight|bias)"
_OF = "(?:module|net)"
_LEVEL = "(Two|Three|Four|Five|Six)"
_RULES: tuple[Rule, ...] = tuple(
    (re.compile(pattern + _TAIL), name)
    for pattern, name in (
        (r"conv([1-6])(aa|a|b)\.0", _of_authors),
        (r"conv([2-6])_([0-4])\.0", lambda n, k, tail: f"{_decoder(int(n))}.dense.{k}.{tail}"),
        (r"predict_flow([2-6])", lambda n, tail: f"{_decoder(int(n))}.flow.{tail}"),
        (r"deconv([3-6])", lambda n, tail: f"{_decoder(int(n) - 1)}.up_flow.{tail}"),
        (r"upfeat([3-6])", lambda n, tail: f"{_decoder(int(n) - 1)}.up_hidden.{tail}"),
        (r"dc_conv([1-7])(?:\.0)?", lambda k, tail: f"context.{2 * int(k) - 2}.{tail}"),
        (rf"{_OF}Extractor\.{_OF}(\w+)\.([024])", lambda n, k, tail: f"pyramid.{_word(n) - 1}.{k}.{tail}"),
        (rf"{_OF}{_LEVEL}\.{_OF}Six\.0", lambda n, tail: f"{_decoder(_word(n))}.flow.{tail}"),
        (rf"{_OF}{_LEVEL}\.{_OF}(One|Two|Three|Four|Five)\.0",
         lambda n, k, tail: f"{_decoder(_word(n))}.dense.{_word(k) - 1}.{tail}"),
        (rf"{_OF}{_LEVEL}\.{_OF}Upflow", lambda n, tail: f"{_decoder(_word(n))}.up_flow.{tail}"),
        (rf"{_OF}{_LEVEL}\.{_OF}Upfeat", lambda n, tail: f"{_decoder(_word(n))}.up_hidden.{tail}"),
        (rf"{_OF}Refiner\.{_OF}Main\.(\d+)", lambda k, tail: f"context.{k}.{tail}"),
    )
)
_UNUSED = re.compile(r"(deconv|upfeat)2\..*")
"""Layers that the authors' files hold and their network does not run."""


def translated(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Published weights by the names of `torchDVC.modules.motion.pwcnet.PWCNet`; others' tensors as they are."""
    found = {_renamed(name): tensor for name, tensor in tensors.items() if not _UNUSED.fullmatch(name)}
    if found.keys() <= tensors.keys():
        return tensors
    if _FIRST in found:
        found[_FIRST] = found[_FIRST].flip(1)  # its pictures are R, G, B here
    return found


def _renamed(name: str) -> str:
    for pattern, new in _RULES:
        if match := pattern.fullmatch(name):
            return new(*match.groups())
    return name
