"""Options of a module that a training stage sets: read, checked, and there while the stage runs."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.small_model import CSV as SMALL_CSV
from tests.small_model import SmallModel

SHARPEN = '''
from pathlib import Path

import torch
from torch import nn

from torchDVC.config.registry import codec_module


@codec_module(reads="mc", writes="mc:picture", options="noise=0.5 hard=false mode=soft count=3")
class Sharpen(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, state, stream):
        with Path("options.txt").open("a") as file:
            file.write(f"{self.training} {self.options}\\n")
        return {"mc": state["mc"] * self.scale}
'''
STAGE = "imode = i\npmode = emcfr\ntrain = f\nsteps = 1\ndata = DATA\nbatch_size = 1\npatch_size = 64\n"
DEFAULTS = {"noise": 0.5, "hard": False, "mode": "soft", "count": 3}


@pytest.fixture
def with_options(small_model: SmallModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallModel:
    """A model whose compensator's picture passes through a plug-in that has options, and which notes them."""
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "sharpen.py").write_text(SHARPEN)
    monkeypatch.setenv("TORCHDVC_PLUGINS", str(tmp_path / "plugins"))
    monkeypatch.chdir(small_model.path)
    small_model.write("model.csv", SMALL_CSV + "f,sharpen,Sharpen,,\n")
    return small_model


def seen(folder: Path) -> list[dict[str, object]]:
    """What each training frame found, repetitions left out."""
    noted = [line.split(" ", 1) for line in (folder / "options.txt").read_text().splitlines()]
    found = [ast.literal_eval(options) for training, options in noted if training == "True"]
    return [now for before, now in zip([None, *found], found, strict=False) if now != before]


def test_a_stage_sets_them_for_itself(with_options: SmallModel) -> None:
    """The header's hold for every stage, and a stage's own go before them."""
    with_options.write("a.cfg", "[header]\noption.sharpen.mode = firm\n"
                       f"[process: a]\noption.sharpen.noise = 0.25\noption.sharpen.hard = true\n{STAGE}"
                       f"[process: b]\noption.sharpen.count = 5\noption.sharpen.mode = soft\n{STAGE}")  # fmt: skip
    assert with_options.train("run", cfg="a.cfg") == 0
    first, second = seen(with_options.path)
    assert first == {**DEFAULTS, "mode": "firm", "noise": 0.25, "hard": True}
    assert second == {**DEFAULTS, "count": 5}
    (with_options.path / "options.txt").unlink()
    with_options.write("test.cfg", "[process: a]\nimode = i\npmode = emcfr\n")
    weights = str(with_options.path / "run/checkpoints/last.safetensors")
    clip = str(with_options.data / "one.y4m")
    assert with_options.test("tested", "--restore", "load", "--checkpoint", weights, "--test_datasets", clip) == 0
    assert str(DEFAULTS) in (with_options.path / "options.txt").read_text()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("option.sharpen.niose = 1", "unknown key 'option.sharpen.niose' in [process: a]; did you mean 'option.sh"),
        ("option.sharpen.noise = loud", "option.sharpen.noise = 'loud'; expected a number"),
        ("option.sharpen.hard = 7", "option.sharpen.hard = '7'; expected true or false"),
        ("option.sharpen.count = 1.5", "option.sharpen.count = '1.5'; expected a whole number"),
    ],
)
def test_what_is_not_declared_is_one_line(
    with_options: SmallModel, line: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with_options.write("a.cfg", f"[process: a]\n{line}\n{STAGE}")
    assert with_options.train("run", cfg="a.cfg") == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith(f"a.cfg:2: {expected}")


def test_a_resumed_run_has_the_same(with_options: SmallModel, capsys: pytest.CaptureFixture[str]) -> None:
    text = f"[process: a]\noption.sharpen.noise = 1\nepochs = 2\n{STAGE}"
    with_options.write("a.cfg", text)
    assert with_options.train("run", "--end_epoch", "1", cfg="a.cfg") == 0
    with_options.write("a.cfg", text.replace("noise = 1", "noise = 2"))
    assert with_options.train("run", "--restore", "resume", cfg="a.cfg") == 2
    assert "option.sharpen.noise of stage a" in capsys.readouterr().err
