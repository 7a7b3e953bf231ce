"""The precision and layout that a stage computes in: measured, said, kept, and without a trace in the weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.lively_models import lively
from tests.small_model import TRAIN, SmallModel, different
from torchDVC.bitstream import arithmetic as coding
from torchDVC.bitstream.container_reader import ContainerReader
from torchDVC.codec import main as codec_main
from torchDVC.config import Modes
from torchDVC.models import checkpoints
from torchDVC.models.model_file import fixed
from torchDVC.util import arithmetic
from torchDVC.util.arithmetic import Arithmetic, candidates, fastest

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


def test_what_is_said_is_not_tried() -> None:
    device = torch.device("cpu")
    assert candidates("32", "contiguous", device) == [CHOICES[0]]
    said = candidates("bf16-mixed", "channels_last", device)
    assert said == [Arithmetic("bf16-mixed", "channels_last")]
    assert candidates("32", "auto", device) == CHOICES[:2]


# --- of coding


@pytest.fixture
def trial(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, float]:
    """Models of any size are tried; the seconds that a frame takes, by what it is computed in."""
    from torchDVC.models.codec import Codec

    seconds = {str(choice): 4.0 for choice in CHOICES}
    latest = [""]
    settle = Codec.compute_in

    def note(self: Codec, chosen: Arithmetic, device: torch.device) -> None:
        latest[0] = str(chosen)
        settle(self, chosen, device)

    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    monkeypatch.delenv("TORCHDVC_MODELS", raising=False)
    monkeypatch.setattr(arithmetic, "native_bf16", lambda device: True)
    monkeypatch.setattr(Codec, "compute_in", note)
    monkeypatch.setattr(coding, "SMALL", 0)
    monkeypatch.setattr(coding, "STRAY", 1.0)
    monkeypatch.setattr(coding, "timed", lambda action, _: (seconds[latest[0]], action()))
    return seconds


def test_an_encoder_takes_the_fastest_says_it_once_and_the_decoder_follows(
    small_model: SmallModel, trial: dict[str, float], clip_folder: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    model = str(tmp_path / "model.safetensors")
    checkpoints.save(tmp_path / "weights.safetensors", {"model": lively(small_model.codec()).state_dict()})
    folder = small_model.path
    sources = ["--model_config", str(folder / "model.csv"), "--run_config", str(folder / "test.cfg")]
    sources += ["--checkpoint", str(tmp_path / "weights.safetensors")]
    assert codec_main(["export", *sources, "--out", model]) == 0

    def encode(name: str, *flags: str) -> tuple[str, str]:
        """The precision of a stream, and what was said."""
        arguments = ["encode", str(clip_folder / "one.y4m"), str(tmp_path / name), "--model", model, "--frames", "3"]
        assert codec_main([*arguments, "--device", "cpu", *flags]) == 0
        with ContainerReader(tmp_path / name) as reader:
            return reader.header.precision, capsys.readouterr().err

    trial["bf16-mixed channels_last"] = 1.0
    precision, said = encode("first.lcp")
    assert precision == "bf16-mixed" and said.count("bf16-mixed channels_last, 1.000 s a frame of 256x192 (") == 1
    trial["32 contiguous"] = 0.1  # later: the choice is kept
    precision, said = encode("second.lcp")
    assert precision == "bf16-mixed" and "a frame of" not in said
    assert (tmp_path / "first.lcp").read_bytes() == (tmp_path / "second.lcp").read_bytes()
    assert encode("third.lcp", "--precision", "32")[0] == "32"
    assert codec_main(["decode", str(tmp_path / "first.lcp"), str(tmp_path / "out.y4m"), "--device", "cpu"]) == 0


def test_small_models_are_not_tried(
    small_model: SmallModel, trial: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coding, "SMALL", 10**9)
    model = fixed(small_model.codec(), Modes("i"))
    said: list[str] = []
    cpu = torch.device("cpu")
    chosen = [coding.fastest_here(model, cpu, precision, said.append) for precision in ("auto", "16-mixed")]
    assert chosen == [Arithmetic("32", "contiguous"), Arithmetic("16-mixed", "contiguous")] and not said
