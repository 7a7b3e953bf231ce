"""Module types: declared beside their class, found without importing it.

A class becomes a type that a model csv may name by its decorator::

    @codec_module(reads="refs flow_hat", writes="mc")
    class Refinement(nn.Module): ...

`scan` finds these classes by parsing source files, so that configuration is checked, and help is given, without waiting
for PyTorch. The declaration must therefore stand at the top level of its file and use literal values only.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from torchDVC.config.picture_formats import FULL, PICTURE_FORMATS
from torchDVC.config.problems import Report, Where, short_path
from torchDVC.util.errors import nearest

PACKAGE = Path(__file__).resolve().parents[1]
PLUGINS_VARIABLE = "TORCHDVC_PLUGINS"
"""Environment variable: folders of a user's own module files, separated as in ``PATH``."""

KINDS = ("picture", "flow", "feature", "latent", "map")
"""What a key of the frame state may hold; `docs/add_a_module.md` gives their forms."""

_DECORATOR = "codec_module"
_Class = TypeVar("_Class", bound=type)


@dataclass(frozen=True)
class Declaration:
    """What a module type does to the frame state.

    Attributes:
        name: the class's name, which the ``type`` column of a model csv gives.
        reads: keys it needs in the encoder and in the decoder.
        optional: keys it uses where they are there.
        encoder_reads: keys it needs only when encoding (the source frame, features of it).
        writes: keys it leaves in the state; ``kinds`` says for each what it is, one of `KINDS`.
        encoder_only: the decoder does not run it.
        codes: it codes symbols, so it has a rate.
        from_zero: arguments whose whole numbers may be 0; those of the others are at least 1.
        formats: the picture formats that it works in.
    """

    name: str
    reads: tuple[str, ...]
    optional: tuple[str, ...]
    encoder_reads: tuple[str, ...]
    writes: tuple[str, ...]
    kinds: tuple[str, ...]
    encoder_only: bool
    codes: bool
    from_zero: tuple[str, ...]
    formats: tuple[str, ...]

    @property
    def uses(self) -> tuple[str, ...]:
        """Every key that it looks at, in the encoder or the decoder."""
        return (*self.reads, *self.optional, *self.encoder_reads)

    def kind(self, key: str) -> str:
        """What it writes as ``key``; "" where it does not write that."""
        return dict(zip(self.writes, self.kinds, strict=True)).get(key, "")

    def least(self, argument: str) -> int:
        """The least whole number that an argument may have or hold."""
        return 0 if argument in self.from_zero else 1


@dataclass(frozen=True)
class Parameter:
    """A parameter of a module's ``__init__``: its annotation as source text ("" without one)."""

    name: str
    annotation: str
    required: bool

    def __str__(self) -> str:
        return f"{self.name}: {self.annotation or 'Any'}{'' if self.required else ' = …'}"


@dataclass(frozen=True)
class ModuleType(Declaration):
    """A declaration with where it was found and what arguments its class takes."""

    file: Path
    line: int
    parameters: tuple[Parameter, ...]


def codec_module(
    *, reads: str = "", optional: str = "", encoder_reads: str = "", writes: str, encoder_only: bool = False,
    codes: bool = False, from_zero: str = "", formats: str = " ".join(FULL),
) -> Callable[[_Class], _Class]:
    """Declare a class as a module type; names are separated by blanks. See `Declaration` for the arguments.

    ``writes`` gives each key with its kind, ``"mc:picture context:feature"``. A key without one is a feature, but
    ``recon`` is a picture.

    The class gets its `Declaration` as the attribute ``module_type`` and is otherwise left as it is.
    """

    def declare(cls: _Class) -> _Class:
        declaration = _declaration(
            cls.__name__, reads, optional, encoder_reads, writes, encoder_only, codes, from_zero, formats
        )
        cls.module_type = declaration  # type: ignore[attr-defined]
        return cls

    return declare


def _declaration(
    name: str, reads: str = "", optional: str = "", encoder_reads: str = "", writes: str = "",
    encoder_only: bool = False, codes: bool = False, from_zero: str = "", formats: str = " ".join(FULL),
) -> Declaration:
    keys, kinds = zip(*map(_key_and_kind, writes.split()), strict=True) if writes.split() else ((), ())
    return Declaration(
        name, tuple(reads.split()), tuple(optional.split()), tuple(encoder_reads.split()), keys, kinds, encoder_only,
        codes, tuple(from_zero.split()), tuple(formats.split()),
    )  # fmt: skip


def _key_and_kind(word: str) -> tuple[str, str]:
    key, _, kind = word.partition(":")
    return key, kind or ("picture" if key == "recon" else "feature")


def scan(report: Report) -> Mapping[str, ModuleType]:
    """Find every module type of the package, ``advance_modules.py`` included, and of plug-in folders, by name.

    Two types of one name, source that does not parse and declarations that are not literal are noted in ``report``.
    """
    types: dict[str, ModuleType] = {}
    for file in _source_files(report):
        for found in _types_of(file, report):
            owner = types.setdefault(found.name, found)
            if owner is not found:
                first = f"{short_path(owner.file)}:{owner.line}"
                report.add(Where(file, found.line), f"module type '{found.name}' is already taken by {first}")
    return types


def undeclared(name: str) -> str:
    """Where a class of this name stands that is no module type, for the end of a message; nothing where none does."""
    begins = re.compile(rf"^class {re.escape(name)}\b", re.MULTILINE)
    for file in _source_files(Report()):
        found = begins.search(file.read_text(encoding="utf-8", errors="replace"))
        if found:
            line = found.string.count("\n", 0, found.start()) + 1
            return f"; {short_path(file)}:{line} has a class of this name, which needs @{_DECORATOR}(reads=…, writes=…)"
    return ""


def load_class(module_type: ModuleType) -> type[Any]:
    """Import the class of a module type (and with it PyTorch)."""
    if module_type.file.is_relative_to(PACKAGE):
        dotted = ".".join(module_type.file.relative_to(PACKAGE.parent).with_suffix("").parts)
        module = importlib.import_module(dotted)
    else:
        module = _import_file(module_type.file)
    loaded: type[Any] = getattr(module, module_type.name)
    return loaded


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
    yield PACKAGE / "advance_modules.py"
    for folder in filter(None, os.environ.get(PLUGINS_VARIABLE, "").split(os.pathsep)):
        path = Path(folder).expanduser().resolve()
        if not path.is_dir():
            report.add(Where(path), f"named by {PLUGINS_VARIABLE}, but there is no such folder")
        yield from sorted(path.rglob("*.py"))


def _types_of(file: Path, report: Report) -> Iterable[ModuleType]:
    try:
        source = file.read_bytes()
        if f"{_DECORATOR}(".encode() not in source:
            return
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        report.add(Where(file, getattr(error, "lineno", None) or 0), f"not Python: {getattr(error, 'msg', error)}")
        return
    except OSError as error:
        report.add(Where(file), f"cannot be read: {error.strerror}")
        return
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    for node in classes.values():
        for call in filter(_is_declaration, node.decorator_list):
            try:
                yield _module_type(file, node, call, classes)
            except _BadDeclarationError as error:
                report.add(Where(file, error.line), f"{node.name}: {error}")


class _BadDeclarationError(Exception):
    def __init__(self, node: ast.AST, what: str) -> None:
        super().__init__(what)
        self.line: int = getattr(node, "lineno", 0)


def _is_declaration(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and _last_name(node.func) == _DECORATOR


def _last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _module_type(file: Path, node: ast.ClassDef, call: ast.expr, classes: Mapping[str, ast.ClassDef]) -> ModuleType:
    declaration = _declaration(node.name, **_literals(call))
    if not declaration.writes:
        raise _BadDeclarationError(call, 'writes nothing; expected writes="…", the keys it leaves in the frame state')
    for key, kind in zip(declaration.writes, declaration.kinds, strict=True):
        if kind not in KINDS or (key == "recon" and kind != "picture"):
            expected = ["picture"] if key == "recon" else KINDS
            raise _BadDeclarationError(call, f"writes '{key}:{kind}', not a kind{nearest(kind, expected)}")
    for name in declaration.formats:
        if name not in PICTURE_FORMATS:
            raise _BadDeclarationError(call, f"formats names '{name}', no format{nearest(name, PICTURE_FORMATS)}")
    parameters = _parameters(node, classes)
    known = [parameter.name for parameter in parameters]
    for name in declaration.from_zero:
        if name not in known:
            raise _BadDeclarationError(call, f"from_zero names '{name}', no argument of __init__{nearest(name, known)}")
    return ModuleType(**vars(declaration), file=file, line=node.lineno, parameters=parameters)


def _literals(call: Any) -> dict[str, Any]:
    """The decorator's arguments, which must be those of `codec_module` with literal values of their type."""
    expected = {
        "reads": str, "optional": str, "encoder_reads": str, "writes": str, "encoder_only": bool, "codes": bool,
        "from_zero": str, "formats": str,
    }  # fmt: skip
    if call.args:
        raise _BadDeclarationError(call, f"{_DECORATOR} takes keyword arguments only")
    values = {}
    for keyword in call.keywords:
        name = keyword.arg or "**"
        if name not in expected:
            raise _BadDeclarationError(keyword, f"unknown argument '{name}' of {_DECORATOR}{nearest(name, expected)}")
        values[name] = getattr(keyword.value, "value", None)
        if not (isinstance(keyword.value, ast.Constant) and isinstance(values[name], expected[name])):
            kind = "a text in quotes" if expected[name] is str else "True or False"
            raise _BadDeclarationError(keyword.value, f"{_DECORATOR}({name}=…); expected {kind}")
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
        yield Parameter(argument.arg, annotation, required=default is None)
