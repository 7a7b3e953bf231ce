"""Module types: what is found in source files, what is refused, and that it agrees with the classes at run time."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from torchDVC.advance_modules import load_class, module_types
from torchDVC.config import load_model_config
from torchDVC.config.problems import Report
from torchDVC.config.registry import LATENT, Parameter
from torchDVC.config.scan import scan
from torchDVC.models.weights import build_codec
from torchDVC.util.errors import ConfigError

CHECKOUT = Path(__file__).resolve().parents[1]
HEAD = "from __future__ import annotations\nfrom torchDVC.config.registry import codec_module\n"


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of plug-in modules that the registry looks into."""
    monkeypatch.setenv("TORCHDVC_PLUGINS", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def problems() -> list[str]:
    with pytest.raises(ConfigError) as caught:
        module_types()
    return list(caught.value.problems)


def test_a_plugin_is_found_read_and_loaded(plugins: Path) -> None:
    (plugins / "mine.py").write_text(
        HEAD
        + "@codec_module(reads='refs mc', encoder_reads='frame', writes='recon extra', codes=True)\n"
        + "class Mine:\n"
        + "    def __init__(self, width: int, rate: float = 0.5, /, *, names: tuple[str, ...] = (), depth: int): ...\n"
    )
    mine = module_types()["Mine"]
    assert (mine.reads, mine.encoder_reads, mine.writes) == (("refs", "mc"), ("frame",), ("recon", "extra"))
    assert (mine.encoder_only, mine.codes, mine.file, mine.line) == (False, True, plugins / "mine.py", 4)
    assert mine.parameters == (
        Parameter("width", "int", True),
        Parameter("rate", "float", False, 0.5),
        Parameter("names", "tuple[str, ...]", False),
        Parameter("depth", "int", True),
    )
    assert load_class(mine).module_type.writes == mine.writes
    assert load_class(mine) is load_class(mine)


def test_arguments_come_from_a_base_class_in_the_same_file(plugins: Path) -> None:
    (plugins / "mine.py").write_text(
        HEAD
        + "class Base:\n    def __init__(self, width: int = 3): ...\n"
        + "class Between(Base): ...\n"
        + "@codec_module(writes='x')\nclass Derived(Between): ...\n"
        + "@codec_module(writes='x')\nclass Plain(nn.Module): ...\n"
    )
    types = module_types()
    assert types["Derived"].parameters == (Parameter("width", "int", False, 3),)
    assert types["Plain"].parameters == ()


def test_a_name_taken_twice_names_the_first_owner(plugins: Path) -> None:
    for file in ("a.py", "b.py"):
        (plugins / file).write_text(HEAD + "@codec_module(writes='x')\nclass Same: ...\n")
    assert problems() == ["b.py:4: module type 'Same' is already taken by a.py:4"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            "@codec_module(write=0)\nclass A: ...",
            "1: A: unknown argument 'write' of codec_module; did you mean 'writes'?",
        ),
        ("@codec_module(reads='x')\nclass A: ...", "1: A: writes nothing; expected writes="),
        ("@codec_module(writes=KEYS)\nclass A: ...", "1: A: codec_module(writes=…); expected a text in quotes"),
        ("@codec_module(writes='x', codes=1)\nclass A: ...", "1: A: codec_module(codes=…); expected True or False"),
        (
            "@codec_module(writes='x', from_zero='blocs')\nclass A:\n    def __init__(self, blocks: int): ...",
            "1: A: from_zero names 'blocs', no argument of __init__; did you mean 'blocks'?",
        ),
        ("@codec_module('x')\nclass A: ...", "1: A: codec_module takes keyword arguments only"),
        ("@codec_module(**ALL)\nclass A: ...", "1: A: unknown argument '**' of codec_module"),
        ("@codec_module(writes='x')\nclass A(Other): ...", "2: A: has no __init__ in this file"),
        (
            "@codec_module(writes='x')\nclass A:\n    def __init__(self, **kw): ...",
            "3: A: __init__ takes *args or **kwargs; expected named arguments only",
        ),
        ("@codec_module(\nclass A", "1: not Python: "),
        ("@codec_module\nclass A: ...", "1: A: codec_module without brackets; expected codec_module(…)"),
        ("@codec_module(writes='x:picure')\nclass A: ...", "1: A: writes 'x:picure', not a kind; did you mean 'pic"),
        ("@codec_module(writes='recon:map')\nclass A: ...", "1: A: writes 'recon:map', not a kind; known: picture"),
        ("@codec_module(writes='x', levels='n')\nclass A: ...", "1: A: levels names 'n', no argument of __init__"),
        (
            "@codec_module(writes='x', weights_from='f')\nclass A:\n    def __init__(self): ...",
            "1: A: weights_from names 'f', no method of the class",
        ),
        (
            "@codec_module(writes='x', options='a=1 b')\nclass A:\n    def __init__(self): ...",
            "1: A: options has 'b'; expected a name and its default, such as noise=0.5",
        ),
        ("@latent_codec(writes='x')\nclass A: ...", "1: A: unknown argument 'writes' of latent_codec"),
        ("@distortion\nclass A: ...", "1: A: distortion belongs on a function"),
        ("@latent_codec()\ndef a(): ...", "1: a: latent_codec belongs on a class"),
    ],
)
def test_a_bad_declaration_is_one_line(plugins: Path, source: str, expected: str) -> None:
    (plugins / "bad.py").write_text(source)
    (problem,) = problems()
    assert problem.startswith(f"bad.py:{expected}")


def test_all_bad_files_are_reported_together(plugins: Path) -> None:
    (plugins / "a.py").write_text("@codec_module(\n")
    (plugins / "b.py").write_text("@codec_module()\nclass B: ...\n")
    assert [problem.split(":")[0] for problem in problems()] == ["a.py", "b.py"]


def test_a_model_that_names_a_type_of_a_bad_file_is_told_which_it_is(plugins: Path) -> None:
    (plugins / "mine.py").write_text(HEAD + "@codec_module(writes='x')\nclass Mine(nn.Module):\n    def f(self) pass\n")
    (plugins / "m.csv").write_text("code,name,type,args,weights\nm,mine,Mine,,\n")
    with pytest.raises(ConfigError) as caught:
        load_model_config("m.csv")
    assert caught.value.problems == (
        "mine.py:5: not Python: expected ':'",
        "m.csv:2: unknown module type 'Mine'; mine.py:4 has a class of this name, which cannot be read as it stands",
    )


def test_a_package_that_a_plugin_lacks_is_one_line(plugins: Path) -> None:
    source = "import no_such_package\n" + HEAD.partition("\n")[2] + "@codec_module(writes='x')\n"
    (plugins / "mine.py").write_text(source + "class Mine:\n    def __init__(self): ...\n")
    (plugins / "m.csv").write_text("code,name,type,args,weights\nm,mine,Mine,,\n")
    with pytest.raises(ConfigError) as caught:
        build_codec(load_model_config("m.csv"))
    assert caught.value.problems == ("m.csv:2: Mine: No module named 'no_such_package'",)


def test_a_missing_plugin_folder_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHDVC_PLUGINS", str(tmp_path / "nowhere"))
    assert problems() == [f"{tmp_path / 'nowhere'}: named by TORCHDVC_PLUGINS, but there is no such folder"]


LATENTS = scan(Report(), LATENT)


@pytest.mark.parametrize("name", sorted([*module_types(), *LATENTS]))
def test_shipped_classes_agree_with_what_is_read_from_their_source(name: str) -> None:
    found = {**module_types(), **LATENTS}[name]
    cls = load_class(found)
    declared = cls.module_type
    for attribute in vars(declared):
        assert getattr(found, attribute) == getattr(declared, attribute)
    signature = list(inspect.signature(cls).parameters.values())[name in LATENTS :]
    for read, p in zip(found.parameters, signature, strict=True):
        annotation = "" if p.annotation is p.empty else p.annotation
        assert (read.name, read.annotation, read.required) == (p.name, annotation, p.default is p.empty)
        assert read.default in (p.default, None)


def test_the_table_prints_every_type_without_pytorch() -> None:
    script = "import sys; from torchDVC.advance_modules import main; main(); assert 'torch' not in sys.modules"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=CHECKOUT)
    assert run.returncode == 0, run.stderr
    for name in module_types():
        assert f"{name}(" in run.stdout
