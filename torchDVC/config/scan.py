"""Finds the types that configuration may name, by parsing source files; imports them when they are wanted."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchDVC.config.picture_formats import PICTURE_FORMATS
from torchDVC.config.problems import Report, Where, short_path
from torchDVC.config.registry import (
    DISTORTION,
    KINDS,
    LATENT,
    MODULE,
    Declaration,
    ModuleType,
    Parameter,
    Types,
    declaration,
)
from torchDVC.util.errors import nearest
from torchDVC.util.files import visible_below

PACKAGE = Path(__file__).resolve().parents[1]
PLUGINS_VARIABLE = "TORCHDVC_PLUGINS"
"""Environment variable: folders of a user's own module files, separated as in ``PATH``."""

_ARGUMENTS: Mapping[str, Mapping[str, type]] = {
    MODULE: {
        "reads": str, "optional": str, "encoder_reads": str, "writes": str, "encoder_only": bool, "codes": bool,
        "from_zero": str, "levels": str, "weights_from": str, "options": str, "formats": str,
    },
    LATENT: {"from_zero": str, "levels": str},
    DISTORTION: {"requires": str, "formats": str},
}  # fmt: skip
"""What each decorator takes."""


def scan(report: Report, decorator: str = MODULE) -> Types:
    """Find every type of a decorator, by name: in the package, ``advance_modules.py`` included, and in plug-in folders.

    Two types of one name, source that does not parse and declarations that are not literal are noted in ``report``.
    """
    types: dict[str, ModuleType] = {}
    for file in _source_files(report):
        for found in _types_of(file, report):
            owner = types.setdefault(found.name, found)
            if owner is not found:
                first = f"{short_path(owner.file)}:{owner.line}"
                report.add(Where(file, found.line), f"module type '{found.name}' is already taken by {first}")
    return {name: found for name, found in types.items() if found.decorator == decorator}


def undeclared(name: str) -> str:
    """Where a class of this name stands that is no module type, for the end of a message; nothing where none does."""
    begins = re.compile(rf"^class {re.escape(name)}\b", re.MULTILINE)
    for file in _source_files(Report()):
        found = begins.search(file.read_text(encoding="utf-8", errors="replace"))
        if found:
            line = found.string.count("\n", 0, found.start()) + 1
            faulty = any(isinstance(item, _Fault) for item in _found_in(file))
            missing = "cannot be read as it stands" if faulty else f"needs @{MODULE}(reads=…, writes=…)"
            return f"; {short_path(file)}:{line} has a class of this name, which {missing}"
    return ""


def load_class(module_type: ModuleType) -> Any:
    """Import the class (or function) of a type, and with it PyTorch."""
    if module_type.file.is_relative_to(PACKAGE):
        dotted = ".".join(module_type.file.relative_to(PACKAGE.parent).with_suffix("").parts)
        module = importlib.import_module(dotted)
    else:
        module = _import_file(module_type.file)
    return getattr(module, module_type.name)


def _import_file(path: Path) -> Any:
    """Import a plug-in file once, under a name of its own."""
    name = f"torchDVC_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None, path
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def _source_files(report: Report) -> Iterable[Path]:
    yield from sorted((PACKAGE / "modules").rglob("*.py"))
    yield PACKAGE / "models" / "distortions.py"
    yield PACKAGE / "advance_modules.py"
    for folder in filter(None, os.environ.get(PLUGINS_VARIABLE, "").split(os.pathsep)):
        path = Path(folder).expanduser().resolve()
        if not path.is_dir():
            report.add(Where(path), f"named by {PLUGINS_VARIABLE}, but there is no such folder")
        yield from sorted(file for file in visible_below(path) if file.suffix == ".py")


def _types_of(file: Path, report: Report) -> Iterator[ModuleType]:
    try:
        found = _found_in(file)
    except OSError as error:
        report.add(Where(file), f"cannot be read: {error.strerror}")
        return
    for item in found:
        if isinstance(item, ModuleType):
            yield item
        else:
            report.add(Where(file, item.line), item.what)


@dataclass(frozen=True)
class _Fault:
    line: int
    what: str


def _found_in(file: Path) -> tuple[ModuleType | _Fault, ...]:
    status = file.stat()
    return _parsed(file, status.st_mtime_ns, status.st_size)


@functools.cache
def _parsed(file: Path, mtime_ns: int, size: int) -> tuple[ModuleType | _Fault, ...]:
    """The types of a file in its present state, and what is wrong with it."""
    try:
        source = file.read_bytes()
        if not any(decorator.encode() in source for decorator in _ARGUMENTS):
            return ()
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        return (_Fault(getattr(error, "lineno", None) or 0, f"not Python: {getattr(error, 'msg', error)}"),)
    return tuple(_types_in(tree, file))


def _types_in(tree: ast.Module, file: Path) -> Iterator[ModuleType | _Fault]:
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    for node in tree.body:
        for call in getattr(node, "decorator_list", ()):
            if _last_name(call.func if isinstance(call, ast.Call) else call) in _ARGUMENTS:
                try:
                    yield _module_type(file, node, call, classes)
                except _BadDeclarationError as error:
                    yield _Fault(error.line, f"{getattr(node, 'name', '')}: {error}")


class _BadDeclarationError(Exception):
    def __init__(self, node: ast.AST, what: str) -> None:
        super().__init__(what)
        self.line: int = getattr(node, "lineno", 0)


def _last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _module_type(file: Path, node: Any, call: ast.expr, classes: Mapping[str, ast.ClassDef]) -> ModuleType:
    decorator = _last_name(call.func if isinstance(call, ast.Call) else call)
    if isinstance(node, ast.ClassDef) == (decorator == DISTORTION):
        kind = "function" if decorator == DISTORTION else "class"
        raise _BadDeclarationError(call, f"{decorator} belongs on a {kind}")
    given = _literals(call, decorator)
    if decorator == DISTORTION:
        given.setdefault("formats", " ".join(PICTURE_FORMATS))
    declared = declaration(node.name, **given)
    parameters = () if decorator == DISTORTION else _parameters(node, classes)
    if decorator == LATENT:
        parameters = parameters[1:]
    _check(declared, decorator, parameters, node, call)
    return ModuleType(**vars(declared), file=file, line=node.lineno, parameters=parameters, decorator=decorator)


def _check(
    declared: Declaration, decorator: str, parameters: Iterable[Parameter], node: Any, call: ast.expr
) -> None:
    """Raises `_BadDeclarationError` where a declaration contradicts itself or its class."""
    if decorator == MODULE and not declared.writes:
        raise _BadDeclarationError(call, 'writes nothing; expected writes="…", the keys it leaves in the frame state')
    for key, kind in zip(declared.writes, declared.kinds, strict=True):
        if kind not in KINDS or (key == "recon" and kind != "picture"):
            expected = ["picture"] if key == "recon" else KINDS
            raise _BadDeclarationError(call, f"writes '{key}:{kind}', not a kind{nearest(kind, expected)}")
    for name in declared.formats:
        if name not in PICTURE_FORMATS:
            raise _BadDeclarationError(call, f"formats names '{name}', no format{nearest(name, PICTURE_FORMATS)}")
    known = [parameter.name for parameter in parameters]
    for what, name in [*(("from_zero", name) for name in declared.from_zero), ("levels", declared.levels)]:
        if name and name not in known:
            raise _BadDeclarationError(call, f"{what} names '{name}', no argument of __init__{nearest(name, known)}")
    for word in declared.options:
        name, _, default = word.partition("=")
        if not (name.isidentifier() and default):
            said = f"options has '{word}'; expected a name and its default, such as noise=0.5"
            raise _BadDeclarationError(call, said)
    methods = [item.name for item in node.body if isinstance(item, ast.FunctionDef)]
    if declared.weights_from and declared.weights_from not in methods:
        hint = nearest(declared.weights_from, methods)
        raise _BadDeclarationError(call, f"weights_from names '{declared.weights_from}', no method of the class{hint}")


def _literals(call: Any, decorator: str) -> dict[str, Any]:
    """The decorator's arguments, which must be those that it takes with literal values of their type."""
    expected = _ARGUMENTS[decorator]
    if not isinstance(call, ast.Call):
        if decorator != DISTORTION:
            raise _BadDeclarationError(call, f"{decorator} without brackets; expected {decorator}(…)")
        return {}
    if call.args:
        raise _BadDeclarationError(call, f"{decorator} takes keyword arguments only")
    values = {}
    for keyword in call.keywords:
        name = keyword.arg or "**"
        if name not in expected:
            raise _BadDeclarationError(keyword, f"unknown argument '{name}' of {decorator}{nearest(name, expected)}")
        values[name] = getattr(keyword.value, "value", None)
        if not (isinstance(keyword.value, ast.Constant) and isinstance(values[name], expected[name])):
            kind = "a text in quotes" if expected[name] is str else "True or False"
            raise _BadDeclarationError(keyword.value, f"{decorator}({name}=…); expected {kind}")
    return values


def _parameters(node: ast.ClassDef, classes: Mapping[str, ast.ClassDef]) -> tuple[Parameter, ...]:
    """Parameters of ``__init__``, the class's own or that of a base class in the same file."""
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return tuple(_signature(item))
    bases = [name for name in map(_last_name, node.bases) if name in classes and name != node.name]
    if bases:
        return _parameters(classes[bases[0]], {k: v for k, v in classes.items() if k != node.name})
    if all(_last_name(base) == "Module" for base in node.bases):
        return ()
    raise _BadDeclarationError(node, "has no __init__ in this file; expected one, since it names the arguments")


def _signature(function: ast.FunctionDef) -> Iterable[Parameter]:
    arguments = function.args
    if arguments.vararg or arguments.kwarg:
        raise _BadDeclarationError(function, "__init__ takes *args or **kwargs; expected named arguments only")
    positional = [*arguments.posonlyargs, *arguments.args][1:]
    defaults = [*[None] * (len(positional) - len(arguments.defaults)), *arguments.defaults, *arguments.kw_defaults]
    for argument, default in zip([*positional, *arguments.kwonlyargs], defaults, strict=True):
        annotation = ast.unparse(argument.annotation) if argument.annotation else ""
        value = default.value if isinstance(default, ast.Constant) else None
        yield Parameter(argument.arg, annotation, required=default is None, default=value)
