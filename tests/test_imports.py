"""Imports point downwards, and never in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import torchDVC

PACKAGE = Path(torchDVC.__file__).parent
ORDER = (
    "trainer tester codec demo utils advance_modules", "dvc_front", "report", "anchors",
    "training testing bitstream runner", "results", "models", "modules", "entropy", "dataset", "config",
    "coding_structure", "util",
)  # fmt: skip
"""From the top down; what stands together may import each other."""
LEVELS = {room: level for level, rooms in enumerate(ORDER) for room in rooms.split()}


def rooms() -> Iterator[Path]:
    return (path for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists())


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every import of this package, inside functions and for types too.

    A script's import of itself from the package, when it is run by its path, is none.
    """
    tree = ast.parse(file.read_text(encoding="utf-8"))
    as_script = {id(x) for node in ast.walk(tree) if _is_script_part(node) for x in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in as_script:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == PACKAGE.name:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, a.name) for a in node.names if a.name.split(".")[0] == PACKAGE.name)


def _is_script_part(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'"


def files() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py"))


def test_every_room_has_its_place() -> None:
    assert {path.stem for path in rooms()} - {"__init__"} == set(LEVELS)


@pytest.mark.parametrize("file", files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downwards(file: Path) -> None:
    own = LEVELS.get(file.relative_to(PACKAGE).parts[0].removesuffix(".py"))
    upward = [
        f"{file.relative_to(PACKAGE)}:{line}: {name}"
        for line, name in imports(file)
        if own is not None and len(name.split(".")) > 1 and LEVELS[name.split(".")[1]] < own
    ]
    assert upward == []


def test_no_module_imports_itself_through_others() -> None:
    """Circles within a room; between rooms there are none, as imports point downwards."""
    names = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in files()}
    graph = {name: {_module(found, names) for _, found in imports(path)} & names.keys() for name, path in names.items()}
    assert list(circles(graph)) == []


def _module(name: str, names: dict[str, Path]) -> str:
    return name if name in names else name.rpartition(".")[0]


def circles(graph: dict[str, set[str]]) -> Iterator[list[str]]:
    """Each circle that a walk from any module meets, once."""
    done: set[str] = set()

    def walk(name: str, path: list[str]) -> Iterator[list[str]]:
        if name in path:
            yield path[path.index(name) :]
        elif name not in done:
            for other in sorted(graph[name]):
                yield from walk(other, [*path, name])
            done.add(name)

    for name in graph:
        yield from walk(name, [])


def test_circles_are_found() -> None:
    assert list(circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()})) == [["b", "c"]]
