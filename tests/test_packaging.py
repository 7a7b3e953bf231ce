"""The project installs anywhere with what its lists name, and its Makefile sets up once and for good."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
LISTS = ("requirements.txt", "test.txt", "dev.txt")
OWN = {"torchDVC", "tests", "plots", "benchmarks", "DVC"}
DISTRIBUTIONS = {"skimage": "scikit-image", "PIL": "pillow", "lightning_fabric": "lightning-fabric", "yaml": "pyyaml"}


def requirements(name: str) -> list[str]:
    lines = (ROOT / "Requirements" / name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def names(lines: Iterable[str]) -> set[str]:
    return {re.split(r"[<>=!~\[]", line)[0] for line in lines}


def imported(*folders: str) -> set[str]:
    """Distributions that Python files under ``folders`` import."""
    found: set[str] = set()
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found.update(alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.split(".")[0])
    beside_tests = {path.stem for path in (ROOT / "tests").glob("*.py")}
    return {DISTRIBUTIONS.get(name, name) for name in found - OWN - beside_tests - set(sys.stdlib_module_names)}


def test_every_import_of_the_package_is_required() -> None:
    assert imported("torchDVC", "plots") <= names(requirements("requirements.txt"))


def test_every_import_of_the_tests_is_required() -> None:
    assert imported("tests", "benchmarks") <= names(requirements("requirements.txt") + requirements("test.txt"))


def test_what_only_benchmarks_need_is_in_an_extra_and_missed_in_one_line() -> None:
    listed = names(requirements("benchmarks.txt"))
    scripts = "".join(path.read_text() for path in (ROOT / "benchmarks").glob("*.py"))
    assert listed and all(f'"{name}"' in scripts for name in listed)
    for name in listed:
        code = f"import sys; sys.modules['{name}'] = None; from benchmarks.packages import needed; needed('{name}')"
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
        expected = f"{name} is missing: pip install 'torchDVC[benchmarks]', or make env\n"
        assert (done.returncode, done.stderr) == (2, expected)


def test_nothing_is_required_in_vain() -> None:
    used = imported("torchDVC", "plots", "tests", "benchmarks", "DVC")
    pictures_only = {"scikit-image"}
    assert names(requirements("requirements.txt")) <= used | pictures_only


@pytest.mark.parametrize(
    ("file", "name"),
    [("Requirements/learned_codec_protocol.yml", "Learned_Codec_Protocol"), ("DVC/environment.yml", "DVC")],
)
def test_the_conda_environments_equal_the_pip_lists(file: str, name: str) -> None:
    environment = yaml.safe_load((ROOT / file).read_text())
    *conda, pip = environment["dependencies"]
    assert pip == {"pip": [line for name in LISTS for line in requirements(name)]}
    assert conda == ["python=3.11", "pip"]
    assert environment["name"] == name


def test_the_package_imports_without_compressai() -> None:
    """It holds numpy back, so machines with a newer one go without; only comparisons with it need it."""
    code = ("import pkgutil, importlib, sys, torchDVC; sys.modules['compressai'] = None; "
            "[importlib.import_module(module.name) for module in pkgutil.walk_packages("
            "torchDVC.__path__, 'torchDVC.')]")
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


# --- the wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing is left in the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "Requirements", source / "Requirements")
    shutil.copytree(ROOT / "torchDVC", source / "torchDVC",
                    ignore=shutil.ignore_patterns("__pycache__", "log", "results"))
    (source / "torchDVC" / "configs" / "keys.json").write_text('{"comet_api_key": "secret"}')
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", str(folder), "."]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_every_module_and_config_and_no_key(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if name.startswith("torchDVC/")}
    there = {path.relative_to(ROOT) for path in (ROOT / "torchDVC").rglob("*") if path.is_file()}
    assert held == {path.as_posix() for path in there
                    if path.name != "keys.json" and not {"__pycache__", "log", "results"} & set(path.parts)}


def test_the_wheel_finds_its_configuration_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = ("from torchDVC.config import load_run; import torchDVC; "
            "model, train = load_run('baseline.csv', 'baseline/scratch.cfg', 'train'); "
            "print(torchDVC.__file__, model.path, train.path, len(train.stages))")
    finished = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True,
                              env={**os.environ, "PYTHONPATH": str(tmp_path / "site")})
    *paths, stages = finished.stdout.split()
    assert all(path.startswith(str(tmp_path / "site")) for path in paths) and int(stages) > 1


# --- the Makefile

MAKE_VARIABLES = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PYTHON", "VENV", "MINUTES", "TESTS", "JOBS", "VIDEO"}

FAKE_PYTHON = """#!/bin/sh
echo "$@" >> "$CALLS"
if [ "$1 $2" = "-m venv" ]; then mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; fi
case "$*" in *--editable*) exit "${INSTALL:-0}";; esac
"""


class Make:
    """Runs make in a copy of the project's build files, with a Python that only writes down what it is asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("Makefile", "setup.py", "pyproject.toml"):
            shutil.copy(ROOT / name, folder)
        shutil.copytree(ROOT / "Requirements", folder / "Requirements")
        (folder / "python").write_text(FAKE_PYTHON)
        (folder / "python").chmod(0o755)

    def __call__(self, *words: str, install: int = 0) -> tuple[int, list[str]]:
        """Exit code, and the command lines that Python was given."""
        calls = self.folder / "calls"
        calls.write_text("")
        ours = {name: value for name, value in os.environ.items() if name not in MAKE_VARIABLES}
        environment = {**ours, "CALLS": calls.name, "INSTALL": str(install)}
        finished = subprocess.run(["make", "PYTHON=./python", *words], cwd=self.folder, check=False,
                                  capture_output=True, env=environment)
        return finished.returncode, calls.read_text().splitlines()


@pytest.fixture
def make(tmp_path: Path) -> Make:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    return Make(tmp_path)


INSTALLATION = ["-m venv .venv", "-m pip install --upgrade pip", "-m pip install --editable .[test,dev,benchmarks]"]


PYTEST = "-m pytest --numprocesses auto --maxprocesses 8 --dist worksteal"


def test_make_installs_once(make: Make) -> None:
    assert make("env") == (0, INSTALLATION)
    assert make("env") == (0, [])
    assert make("test") == (0, [PYTEST])


def test_an_interrupted_installation_is_taken_up_again(make: Make) -> None:
    code, calls = make("test", install=1)
    assert code != 0 and calls == INSTALLATION
    assert make("test") == (0, [*INSTALLATION, PYTEST])


def test_changed_requirements_are_installed(make: Make) -> None:
    make("env")
    later = (make.folder / ".venv" / ".ready").stat().st_mtime + 10
    os.utime(make.folder / "Requirements" / "requirements.txt", (later, later))
    assert make("env") == (0, INSTALLATION)


def test_make_demo_passes_a_clip_with_any_name(make: Make) -> None:
    make("env")
    assert make("demo") == (0, ["-m torchDVC.demo"])
    assert make("demo", "VIDEO=my clip.mp4", "MINUTES=2") == (0, ["-m torchDVC.demo --minutes 2 --video my clip.mp4"])
