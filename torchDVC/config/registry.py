"""Types that configuration may name: declared beside their class or function, found without importing it.

A class becomes a module type of a model csv, or a latent codec that a coder's json may name, by its decorator; a
function becomes a distortion::

    @codec_module(reads="refs flow_hat", writes="mc:picture")
    class Refinement(nn.Module): ...

    @latent_codec()
    class Hyperprior(nn.Module): ...

    @distortion
    def l1(a: Tensor, b: Tensor) -> Tensor: ...

`torchDVC.config.scan` finds them by parsing source files, so that configuration is checked, and help is given, without
waiting for PyTorch. A declaration must therefore stand at the top level of its file and use literal values only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, overload

from torchDVC.config.picture_formats import FULL

KINDS = ("picture", "flow", "feature", "latent", "map")
"""What a key of the frame state may hold; `docs/add_a_module.md` gives their forms."""
MODULE, LATENT, DISTORTION = "codec_module", "latent_codec", "distortion"
"""What a type may be, by the name of its decorator."""
SLOTS = {"Latent": LATENT}
"""Annotations of arguments that hold a type and its arguments, ``{"type": "Hyperprior", …}``: which types."""

_Class = TypeVar("_Class", bound=type)
_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Declaration:
    """What a type says of itself.

    Attributes:
        name: the class's name, which the ``type`` column of a model csv gives, or ``"type"`` in a json file.
        reads: keys it needs in the encoder and in the decoder.
        optional: keys it uses where they are there.
        encoder_reads: keys it needs only when encoding (the source frame, features of it).
        writes: keys it leaves in the state; ``kinds`` says for each what it is, one of `KINDS`.
        encoder_only: the decoder does not run it.
        codes: it codes symbols, so it has a rate.
        from_zero: arguments whose whole numbers may be 0; those of the others are at least 1.
        levels: the argument that says how many quality levels it has; "": it has none.
        requires: a package that must be installed for it; "": none.
        formats: the picture formats that it works in.
        weights_from: its method that makes its own weights of those of another program; "": it needs none.
        options: ``name=default`` of each option that a training stage may set; see `option_defaults`.
    """

    name: str
    reads: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    encoder_reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    encoder_only: bool = False
    codes: bool = False
    from_zero: tuple[str, ...] = ()
    levels: str = ""
    weights_from: str = ""
    options: tuple[str, ...] = ()
    requires: str = ""
    formats: tuple[str, ...] = ()

    @property
    def uses(self) -> tuple[str, ...]:
        """Every key that it looks at, in the encoder or the decoder."""
        return (*self.reads, *self.optional, *self.encoder_reads)

    def kind(self, key: str) -> str:
        """What it writes as ``key``; "" where it does not write that."""
        return dict(zip(self.writes, self.kinds, strict=True)).get(key, "")

    @property
    def option_defaults(self) -> dict[str, bool | int | float | str]:
        """What the dictionary ``options`` of its objects holds, unless a training stage says otherwise."""
        return {name: _literal(text) for name, _, text in (word.partition("=") for word in self.options)}

    def least(self, argument: str) -> int:
        """The least whole number that an argument may have or hold."""
        return 0 if argument in self.from_zero else 1


@dataclass(frozen=True)
class Parameter:
    """A parameter of a type's ``__init__``.

    Attributes:
        annotation: as source text; "" without one.
        default: its value where that is written out, else None.
    """

    name: str
    annotation: str
    required: bool
    default: Any = None

    def __str__(self) -> str:
        return f"{self.name}: {self.annotation or 'Any'}{'' if self.required else ' = …'}"

    @property
    def slot(self) -> str:
        """What types it may hold with their arguments; "" where it holds a value."""
        return SLOTS.get(self.annotation.rpartition(".")[2], "")


@dataclass(frozen=True)
class ModuleType(Declaration):
    """A declaration with what it is of, where it was found, and what arguments configuration may give."""

    file: Path = Path()
    line: int = 0
    parameters: tuple[Parameter, ...] = ()
    decorator: str = MODULE


def codec_module(
    *, reads: str = "", optional: str = "", encoder_reads: str = "", writes: str, encoder_only: bool = False,
    codes: bool = False, from_zero: str = "", levels: str = "", weights_from: str = "", options: str = "",
    formats: str = " ".join(FULL),
) -> Callable[[_Class], _Class]:
    """Declare a class as a module type; names are separated by blanks. See `Declaration` for the arguments.

    ``writes`` gives each key with its kind, ``"mc:picture context:feature"``. A key without one is a feature, but
    ``recon`` is a picture.

    The class gets its `Declaration` as the attribute ``module_type`` and is otherwise left as it is.
    """
    return _declare(
        reads=reads, optional=optional, encoder_reads=encoder_reads, writes=writes, encoder_only=encoder_only,
        codes=codes, from_zero=from_zero, levels=levels, weights_from=weights_from, options=options, formats=formats,
    )  # fmt: skip


def latent_codec(*, from_zero: str = "", levels: str = "") -> Callable[[_Class], _Class]:
    """Declare a class as a latent codec, which the json of any coder may name.

    The first argument of its ``__init__`` is the coder's `torchDVC.modules.latent.slot.Form`; the others are those of
    the json. The class gets its `Declaration` as the attribute ``module_type``.
    """
    return _declare(from_zero=from_zero, levels=levels)


@overload
def distortion(function: _Function) -> _Function: ...
@overload
def distortion(*, requires: str = "", formats: str = "") -> Callable[[_Function], _Function]: ...
def distortion(function: Any = None, *, requires: str = "", formats: str = "") -> Any:
    """Declare a function of two pictures (N, 3, H, W) in [0, 1], the second the original, that gives (N,) a distortion.

    A train cfg names it by its name. ``requires`` is a package that must be there for it; ``formats`` are the picture
    formats that it is of, all where none is named.
    """
    return function or (lambda declared: declared)


def _declare(**given: Any) -> Callable[[_Class], _Class]:
    def declare(cls: _Class) -> _Class:
        cls.module_type = declaration(cls.__name__, **given)  # type: ignore[attr-defined]
        return cls

    return declare


def declaration(name: str, writes: str = "", formats: str = " ".join(FULL), **given: Any) -> Declaration:
    """The declaration of what a decorator was given."""
    keys, kinds = zip(*map(_key_and_kind, writes.split()), strict=True) if writes.split() else ((), ())
    listed = ("reads", "optional", "encoder_reads", "from_zero", "options")
    values: dict[str, Any] = {k: tuple(value.split()) if k in listed else value for k, value in given.items()}
    return Declaration(name, writes=keys, kinds=kinds, formats=tuple(formats.split()), **values)


def _literal(text: str) -> bool | int | float | str:
    """``true`` and ``false``, numbers, or a word."""
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


def _key_and_kind(word: str) -> tuple[str, str]:
    key, _, kind = word.partition(":")
    return key, kind or ("picture" if key == "recon" else "feature")


Types = Mapping[str, ModuleType]
"""Types of one decorator, by name."""
