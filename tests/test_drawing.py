"""Drawings of models: made from the csv, by the command, and the same in `docs/models.md`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from torchDVC.config import load_model_config
from torchDVC.config.drawing import draw
from torchDVC.config.problems import CONFIGS
from torchDVC.config.records import Modes

ROOT = Path(__file__).parents[1]
MODELS = sorted(path.relative_to(CONFIGS / "model").as_posix() for path in (CONFIGS / "model").rglob("*.csv"))


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "torchDVC.advance_modules", *arguments], capture_output=True, text=True, cwd=ROOT,
        encoding="utf-8",
    )


def test_a_drawing_shows_who_writes_and_who_reads_a_key() -> None:
    drawing = draw(load_model_config("baseline.csv"), [Modes("m", pmode="emcr")])
    title, *rows = drawing.splitlines()[:5]
    assert title.startswith("P frames: emcr")

    def column(key: str) -> str:
        middle = title.index(f" {key} ") + 1 + len(key) // 2
        near = [row.ljust(len(title))[middle - 1 : middle + 1].strip() or " " for row in rows]
        return "".join(near)

    assert column("flow") == "◆○  "
    assert column("flow_hat") == " ◆● "
    assert column("frame") == "○││○"
    assert "encoder only" in rows[0] and "bits" in rows[1] and "FlowCodec · Hyperprior" in rows[1]


@pytest.mark.parametrize("model", MODELS)
def test_every_shipped_model_is_drawn_in_the_documentation_as_the_command_draws_it(model: str) -> None:
    """At least one of its drawings stands in `docs/models.md`, or its heading says which like it does."""
    document = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    run = command("--draw", model)
    assert run.returncode == 0, run.stderr
    blocks = run.stdout.strip().split("\n\n")[:-1]
    assert f"`{model}`" in document or f"## {model}" in document
    if f"## {model}" in document:
        section = document.split(f"## {model}\n")[1].split("\n## ")[0]
        assert any(block in section for block in blocks)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--draw", "contextal.csv"], "did you mean 'contextual.csv'?"),
        (["--draw", "baseline.csv", "--run_config", "implicit.cfg"], "implicit.cfg:"),
        (["--run_config", "baseline.cfg"], "--run_config is for --draw; expected both"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_a_line(arguments: list[str], said: str) -> None:
    run = command(*arguments)
    assert run.returncode == 2
    assert said in run.stderr and "Traceback" not in run.stderr


def test_a_users_own_model_is_drawn(tmp_path: Path) -> None:
    csv = tmp_path / "mine.csv"
    csv.write_text("code,name,type,args,weights\na,estimator,SPyNet,,\nb,coder,FlowCodec,,\n")
    cfg = tmp_path / "mine.cfg"
    run = command("--draw", str(csv))
    assert run.returncode == 0 and re.search(r"P frames: ab +frame +refs +flow", run.stdout), run.stderr
    cfg.write_text("[process: mine]\nimode = b\n")
    assert command("--draw", str(csv), "--run_config", str(cfg)).returncode == 2
