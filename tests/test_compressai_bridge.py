"""The scripts in ``compressai/``, and that the folder never takes the place of the package of that name."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from skimage import data

from tests.test_compressai_intra import SMALL, calibrated, photograph, untrained
from tests.test_files import full_disk

ROOT = Path(__file__).resolve().parents[1]
MODEL = "mbt2018-mean"


Script = Callable[..., str]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Script:
    """Runs a script of the bridge and gives what it printed."""
    monkeypatch.syspath_prepend(ROOT / "compressai")

    def run(name: str, *arguments: str | Path, expected: int = 0) -> str:
        main = importlib.import_module(name).main
        code, (out, error) = main(list(map(str, arguments))), capsys.readouterr()
        assert code == expected, error
        return out + error

    return run


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
def test_weights_go_there_and_back(files: Path, script: Script) -> None:
    ours, back = files / "ours.safetensors", files / "back.pth.tar"
    said = script("convert", files / "theirs.pth.tar", ours, "--json", files / "intra.json")
    assert said == f"{ours}: {len(load_file(ours))} tensors of {MODEL}\n"
    run = {f"model.intra_codec.{name}": x for name, x in load_file(ours).items()}
    torch.save(run, files / "run.pth")
    script("convert", files / "run.pth", back, "--json", files / "intra.json", "--back")
    first, again = (untrained(MODEL) for _ in range(2))
    first.load_state_dict(torch.load(files / "theirs.pth.tar", weights_only=True)["state_dict"])
    again.load_state_dict(torch.load(back, weights_only=True))
    with torch.no_grad():
        assert first.compress(photograph())["strings"] == again.compress(photograph())["strings"]


@pytest.mark.slow
def test_both_coders_in_one_table(files: Path) -> None:
    flags = ("--json", files / "intra.json", "--weights", files / "theirs.pth.tar", "--out", files / "table.md")
    command = [sys.executable, "compare.py", *map(str, (files / "pictures", *flags))]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    finished = subprocess.run(
        command, cwd=ROOT / "compressai", capture_output=True, text=True, check=True, env=environment
    )
    lines = finished.stdout.splitlines()
    assert lines[0].split() == ["picture", "coder", "bytes", "bpp", "PSNR", "encode", "s", "decode", "s"]
    rows = [line.split() for line in lines[1:]]
    assert [row[:2] for row in rows] == [[f"{n}.png", c] for n in "ab" for c in ("CompressAI", "torchDVC")]
    for theirs, ours in zip(rows[::2], rows[1::2], strict=True):
        assert int(ours[2]) == pytest.approx(int(theirs[2]), rel=0.005, abs=16)
        assert float(ours[4]) == pytest.approx(float(theirs[4]), abs=0.01)
    assert len(re.findall(r"^\| [ab]\.png ", (files / "table.md").read_text(), re.MULTILINE)) == 4


@pytest.mark.slow
def test_each_level_of_a_model_of_variable_rate_is_compared(tmp_path: Path, script: Script) -> None:
    """With weights that went there and back."""
    name, ours, back = "mbt2018-mean-vbr", tmp_path / "ours.safetensors", tmp_path / "back.pth"
    torch.save(calibrated(name).state_dict(), tmp_path / "theirs.pth")
    (tmp_path / "intra.json").write_text(json.dumps({"model": name, **SMALL[name]}))
    Image.fromarray((photograph()[0].permute(1, 2, 0) * 255).byte().numpy()).save(tmp_path / "a.png")
    script("convert", tmp_path / "theirs.pth", ours, "--json", tmp_path / "intra.json")
    script("convert", ours, back, "--json", tmp_path / "intra.json", "--back")
    flags = ("--json", tmp_path / "intra.json", "--weights", back, "--quality", "3", "7")
    rows = [line.split() for line in script("compare", tmp_path / "a.png", *flags).splitlines()[1:]]
    assert [row[:3] for row in rows] == [["a.png", f"q{n}", c] for n in (3, 7) for c in ("CompressAI", "torchDVC")]
    for theirs, ours_ in zip(rows[::2], rows[1::2], strict=True):
        assert int(ours_[3]) == pytest.approx(int(theirs[3]), rel=0.005)
        assert float(ours_[5]) == pytest.approx(float(theirs[5]), abs=0.01)
    assert int(rows[0][3]) < int(rows[2][3])
    assert script("compare", tmp_path / "a.png", *flags[:-1], "8", expected=2) == (
        "--quality 8; expected 0 to 7 with this model\n"
    )


@pytest.mark.slow
def test_a_folder_of_mixed_files_is_compared(files: Path, tmp_path: Path, script: Script) -> None:
    """Pictures of odd sizes, in grey and with alpha, and what is none; damaged ones are named before any is coded."""
    whole, grey = data.astronaut()[:45, :77], data.camera()[:33, :64]
    Image.fromarray(whole).save(tmp_path / "a.jpg")
    Image.fromarray(np.dstack([whole, whole[..., 0]])).save(tmp_path / "b.png")
    Image.fromarray(grey).save(tmp_path / "c.png")
    (tmp_path / "notes.txt").write_text("none")
    flags = ("--json", files / "intra.json", "--weights", files / "theirs.pth.tar")
    rows = [line.split() for line in script("compare", *flags, tmp_path).splitlines()[1:]]
    assert [row[0] for row in rows[::2]] == ["a.jpg", "b.png", "c.png"]
    for theirs, ours in zip(rows[::2], rows[1::2], strict=True):
        assert int(ours[2]) == pytest.approx(int(theirs[2]), rel=0.005, abs=16)
        assert float(ours[4]) == pytest.approx(float(theirs[4]), abs=0.01)
    for name in ("d.png", "e.png"):
        (tmp_path / name).write_bytes((tmp_path / "c.png").read_bytes()[:200])
    said = script("compare", tmp_path, *flags, expected=2).splitlines()
    assert [line.partition(": ")[0] for line in said] == [str(tmp_path / "d.png"), str(tmp_path / "e.png")]


@pytest.mark.slow
def test_errors_are_one_line(files: Path, tmp_path: Path, script: Script) -> None:
    command = (files / "theirs.pth.tar", tmp_path / "x.pth", "--json", tmp_path / "wrong.json")
    (tmp_path / "wrong.json").write_text('{"model": "mbt2018-mean", "N": 8, "M": 24}')
    said = script("convert", *command, expected=2)
    assert "theirs.pth.tar: does not fit CompressAIIntra" in said and said.count("\n") == 1
    (tmp_path / "wrong.json").write_text('{"modell": "mbt2018-mean"}')
    said = script("convert", *command, expected=2)
    assert said.endswith("wrong.json:1: CompressAIIntra has no argument 'modell'; did you mean 'model'?\n")
    said = script("convert", command[0], tmp_path / "x.bin", "--json", files / "intra.json", expected=2)
    assert said == f"OUTPUT '{tmp_path / 'x.bin'}'; expected a file .safetensors, .pth or .pth.tar\n"
    with full_disk():
        for name in ("x.pth", "x.safetensors"):
            said = script("convert", command[0], tmp_path / name, "--json", files / "intra.json", expected=2)
            assert said == f"{tmp_path / name}: file too large\n"
    assert [path.name for path in tmp_path.iterdir()] == ["wrong.json"]
