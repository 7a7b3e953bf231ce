"""The precision and layout that a stage computes in: measured, said, kept, and without a trace in the weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.small_model import TRAIN, SmallModel, different
from torchDVC.models import checkpoints
from torchDVC.training import arithmetic
from torchDVC.training.arithmetic import Arithmetic, candidates, fastest

AUTO = TRAIN.replace("precision = 32", "precision = auto").replace("= contiguous", "= auto")
CHOICES = [Arithmetic(p, f) for p in ("32", "bf16-mixed") for f in ("contiguous", "channels_last")]


def clock(monkeypatch: pytest.MonkeyPatch, seconds: dict[str, float]) -> None:
    """Let the steps of each candidate take these seconds, and every device compute in bf16."""
    layouts: list[str] = []
    from torchDVC.training.stage import StageTraining

    settle = StageTraining._set_arithmetic

    def note(self: StageTraining, chosen: Arithmetic) -> None:
        layouts.append(str(chosen))
        settle(self, chosen)

    monkeypatch.setattr(StageTraining, "_set_arithmetic", note)
    monkeypatch.setattr(arithmetic, "native_bf16", lambda device: True)
    monkeypatch.setattr("torchDVC.training.stage.timed", lambda action, _: (seconds[layouts[-1]], action()))


def test_the_fastest_is_taken_said_once_and_kept(
    small_model: SmallModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small_model.write("auto.cfg", AUTO)
    small_model.write("fixed.cfg", TRAIN.replace("= contiguous", "= channels_last"))
    times = {str(choice): 4.0 for choice in CHOICES}
    clock(monkeypatch, times | {"32 channels_last": 1.0, "bf16-mixed channels_last": 2.0})
    assert small_model.train("part", "--end_epoch", "2", cfg="auto.cfg") == 0
    said = capsys.readouterr().out
    assert said.count("stage intra: 32 channels_last, 1.000 s a step (32 contiguous 4.000 s, ") == 1
    clock(monkeypatch, times)  # another machine, another choice: the run keeps to its own
    assert small_model.train("part", "--restore", "resume", "--end_epoch", "3", cfg="auto.cfg") == 0
    assert "stage motion" not in capsys.readouterr().out
    assert small_model.train("fixed", "--end_epoch", "3", cfg="fixed.cfg") == 0
    assert different(small_model.weights("part"), small_model.weights("fixed")) == set()
    state = checkpoints.load(small_model.path / "part/checkpoints/last.safetensors")
    assert state["arithmetic"] == {"intra": "32 channels_last", "motion": "32 channels_last"}


def test_a_trial_leaves_no_trace(small_model: SmallModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, optimizer, moving average, random numbers and position are as if there had been none."""
    small_model.write("auto.cfg", AUTO.replace("[header]", "[header]\nema = 0.9"))
    small_model.write("fixed.cfg", TRAIN.replace("[header]", "[header]\nema = 0.9"))
    clock(monkeypatch, {str(choice): 2.0 for choice in CHOICES} | {"32 contiguous": 1.0})
    states = []
    for name in ("auto", "fixed"):
        assert small_model.train(name, cfg=f"{name}.cfg") == 0
        state = checkpoints.load(small_model.path / name / "checkpoints/last.safetensors")
        del state["conditions"], state["arithmetic"]
        states.append(state)
    assert different(states[0].pop("model"), states[1].pop("model")) == set()
    assert different(states[0].pop("ema"), states[1].pop("ema")) == set()
    assert str(states[0]) == str(states[1])


def test_a_precision_that_strays_from_float32_is_no_candidate() -> None:
    losses = {"32": 10.0, "bf16-mixed": 10.3}
    seconds = {"32": 1.0, "bf16-mixed": 0.1}
    chosen, times = fastest(CHOICES, lambda c, steps: (seconds[c.precision], losses[c.precision]))
    assert chosen == CHOICES[0] and set(times) == set(CHOICES[:2])
    losses["bf16-mixed"] = 10.1
    assert fastest(CHOICES, lambda c, steps: (0.1, losses[c.precision]))[0] == CHOICES[0]
    chosen, _ = fastest(CHOICES, lambda c, steps: (1.0 + (c.precision == "32"), losses[c.precision]))
    assert chosen == CHOICES[2]


def test_a_candidate_that_was_disturbed_once_has_another_turn() -> None:
    turns = {choice: iter([1.2, 0.5] if choice == CHOICES[1] else [1.0, 1.0]) for choice in CHOICES}
    assert fastest(CHOICES, lambda choice, steps: (next(turns[choice]), 1.0))[0] == CHOICES[1]


def test_what_a_cfg_or_a_flag_says_is_not_tried(small_model: SmallModel, tmp_path: Path) -> None:
    from torchDVC.config import Stage

    device = torch.device("cpu")
    assert candidates(Stage("a", precision="32", memory_format="contiguous"), None, device) == [CHOICES[0]]
    said = candidates(Stage("a", memory_format="channels_last"), "bf16-mixed", device)
    assert said == [Arithmetic("bf16-mixed", "channels_last")]
    assert candidates(Stage("a", precision="32"), None, device) == CHOICES[:2]
