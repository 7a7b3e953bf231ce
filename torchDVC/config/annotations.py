"""Fits values from a JSON file to the annotations of a module's parameters, without evaluating any code."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Mapping
from typing import Any

_SEQUENCES = {"list": list, "List": list, "tuple": tuple, "Tuple": tuple, "Sequence": tuple}


class MismatchError(ValueError):
    """The value is not what the annotation asks for; what more it asks for than it says, as ``" of at least 1"``."""


def fit(value: Any, annotation: str, least: int) -> Any:
    """The value as the annotated parameter expects it: a list becomes a tuple for ``tuple[int, ...]``, 1 becomes 1.0.

    Understood are int (from ``least`` on), float, bool, str, None, ``X | Y``, Optional, Literal and (nested) list,
    tuple, Sequence, dict and Mapping of them. Any other annotation accepts every value. Raises `MismatchError` where
    the value does not fit.
    """
    try:
        return _fit(value, ast.parse(annotation, mode="eval").body if annotation else None, least)
    except SyntaxError:
        return value


def _fit(value: Any, node: ast.expr | None, least: int) -> Any:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return fit(value, node.value, least)
    if isinstance(node, ast.Constant) and node.value is None:
        return _only(value, value is None)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _either(value, [node.left, node.right], least)
    if isinstance(node, ast.Subscript):
        items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        return _fit_subscript(value, _name(node.value), items, least)
    name = _name(node)
    if name in _SEQUENCES:
        return _sequence(value, name, [ast.Name("Any"), ast.Constant(...)], least)
    if name == "int":
        return _fit_int(value, least)
    return _SCALARS[name](value) if name in _SCALARS else value


def _fit_subscript(value: Any, name: str, items: list[ast.expr], least: int) -> Any:
    if name == "Optional":
        return _either(value, [*items, ast.Constant(None)], least)
    if name == "Union":
        return _either(value, items, least)
    if name == "Literal":
        allowed = [getattr(item, "value", None) for item in items]
        return _only(value, any(value == a and type(value) is type(a) for a in allowed))
    if name in _SEQUENCES:
        return _sequence(value, name, items, least)
    if name in ("dict", "Dict", "Mapping") and len(items) == 2:
        _only(value, isinstance(value, Mapping))
        return {_fit(k, items[0], least): _fit(v, items[1], least) for k, v in value.items()}
    return value


def _sequence(value: Any, name: str, items: list[ast.expr], least: int) -> Any:
    _only(value, isinstance(value, list))
    fixed = _SEQUENCES[name] is tuple and name != "Sequence" and not (items and _is_ellipsis(items[-1]))
    kinds = items if fixed else items[:1] * len(value)
    _only(value, len(kinds) == len(value))
    return _SEQUENCES[name](_fit(item, kind, least) for item, kind in zip(value, kinds, strict=True))


def _is_ellipsis(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is ...


def _either(value: Any, nodes: list[ast.expr], least: int) -> Any:
    """The first alternative that fits; an exact type goes before a conversion (``float | int`` leaves 1 as it is)."""
    fitted, misfits = [], []
    for node in nodes:
        try:
            fitted.append(_fit(value, node, least))
        except MismatchError as error:
            misfits.append(error)
    exact = [item for item in fitted if type(item) is type(value)]
    if not fitted:
        raise max(misfits, key=lambda error: len(str(error)))
    return (exact or fitted)[0]


def _name(node: ast.expr | None) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _only(value: Any, condition: bool) -> Any:
    if not condition:
        raise MismatchError
    return value


def _fit_int(value: Any, least: int) -> int:
    _only(value, isinstance(value, int) and not isinstance(value, bool))
    if value < least:
        raise MismatchError(f" of at least {least}")
    return int(value)


def _fit_float(value: Any) -> float:
    _only(value, isinstance(value, (int, float)) and not isinstance(value, bool))
    return float(_only(value, abs(value) <= sys.float_info.max))


_SCALARS: dict[str, Callable[[Any], Any]] = {
    "float": _fit_float,
    "bool": lambda value: _only(value, isinstance(value, bool)),
    "str": lambda value: _only(value, isinstance(value, str)),
}
