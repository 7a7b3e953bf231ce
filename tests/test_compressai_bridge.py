"""The scripts in ``compressai/``, and that the folder never takes the place of the package of that name."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from skimage import data

from tests.test_compressai_intra import SMALL, build, calibrated, photograph

ROOT = Path(__file__).resolve().parents[1]
MODEL = "mbt2018-mean"


def script(name: str, *arguments: str | Path, expected: int = 0) -> str:
    """Run a script of the bridge in its folder; what it printed."""
    finished = subprocess.run(
        [sys.executable, f"{name}.py", *map(str, arguments)], cwd=ROOT / "compressai", capture_output=True, text=True,
        check=False, env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )  # fmt: skip
    assert finished.returncode == expected, finished.stderr
    return finished.stdout + finished.stderr


@pytest.mark.parametrize("folder", ["", "compressai", "torchDVC", "DVC", "plots", "tests"])
def test_compressai_is_the_package_in_every_folder(folder: str) -> None:
    assert not list((ROOT / "compressai").rglob("__init__.py"))
    code = "import importlib.util; print(importlib.util.find_spec('compressai').origin)"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT / folder, capture_output=True, text=True, check=True)
    assert found.stdout.strip().endswith("site-packages/compressai/__init__.py")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with weights as CompressAI keeps them, the module's json and two photographs."""
    folder = tmp_path_factory.mktemp("bridge")
    torch.save({"state_dict": calibrated(MODEL).state_dict()}, folder / "theirs.pth.tar")
    (folder / "intra.json").write_text(json.dumps({"model": MODEL, **SMALL[MODEL]}))
    for name, picture in (("a", data.astronaut()[:100, :150]), ("b", data.chelsea()[:64, :128])):
        (folder / "pictures").mkdir(exist_ok=True)
        Image.fromarray(picture).save(folder / "pictures" / f"{name}.png")
    return folder


@pytest.mark.slow
def test_weights_go_there_and_back(files: Path) -> None:
    ours, back = files / "ours.safetensors", files / "back.pth.tar"
    said = script("convert", files / "theirs.pth.tar", ours, "--json", files / "intra.json")
    assert said == f"{ours}: {len(load_file(ours))} tensors of {MODEL}\n"
    run = {f"model.intra_codec.{name}": x for name, x in load_file(ours).items()}
    torch.save(run, files / "run.pth")
    script("convert", files / "run.pth", back, "--json", files / "intra.json", "--back")
    first, again = (build(MODEL, None, SMALL[MODEL]).eval() for _ in range(2))
    first.load_state_dict(torch.load(files / "theirs.pth.tar", weights_only=True)["state_dict"])
    again.load_state_dict(torch.load(back, weights_only=True))
    with torch.no_grad():
        assert first.compress(photograph())["strings"] == again.compress(photograph())["strings"]


@pytest.mark.slow
def test_both_coders_in_one_table(files: Path) -> None:
    flags = ("--json", files / "intra.json", "--weights", files / "theirs.pth.tar", "--out", files / "table.md")
    lines = script("compare", files / "pictures", *flags).splitlines()
    assert lines[0].split() == ["picture", "coder", "bytes", "bpp", "PSNR", "encode", "s", "decode", "s"]
    rows = [line.split() for line in lines[1:]]
    assert [row[:2] for row in rows] == [[f"{n}.png", c] for n in "ab" for c in ("CompressAI", "torchDVC")]
    for theirs, ours in zip(rows[::2], rows[1::2], strict=True):
        assert int(ours[2]) == pytest.approx(int(theirs[2]), rel=0.005, abs=16)
        assert float(ours[4]) == pytest.approx(float(theirs[4]), abs=0.01)
    assert len(re.findall(r"^\| [ab]\.png ", (files / "table.md").read_text(), re.MULTILINE)) == 4


@pytest.mark.slow
def test_errors_are_one_line(files: Path, tmp_path: Path) -> None:
    command = (files / "theirs.pth.tar", tmp_path / "x.pth", "--json", tmp_path / "wrong.json")
    (tmp_path / "wrong.json").write_text('{"model": "mbt2018-mean", "N": 8, "M": 24}')
    said = script("convert", *command, expected=2)
    assert "theirs.pth.tar: does not fit CompressAIIntra" in said and said.count("\n") == 1
    (tmp_path / "wrong.json").write_text('{"modell": "mbt2018-mean"}')
    said = script("convert", *command, expected=2)
    assert said.endswith("wrong.json:1: CompressAIIntra has no argument 'modell'; did you mean 'model'?\n")
    assert not (tmp_path / "x.pth").exists()
