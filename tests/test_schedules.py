"""Learning rates, optimizers and averages over the stages of a run, as its checkpoints and metrics show them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from tests.small_model import TRAIN, SmallModel, different, make_small_model, metrics
from torchDVC.models import checkpoints

STEPS = 4


def rates(model: SmallModel, text: str, epochs: int, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The learning rate of every step of a run's only stage."""
    monkeypatch.setattr("torchDVC.training.trainer.LOG_EVERY", 1)
    body = f"epochs = {epochs}\nimode = i\nlr = 0.001\n{text}\n"
    header = TRAIN.split("[process")[0].replace("steps = 2", f"steps = {STEPS}")
    model.write("rates.cfg", f"{header}[process: a]\n{body}")
    assert model.train("rates", "--per_val", "1", cfg="rates.cfg") == 0
    return [float(row["lr"]) for row in metrics(model, "rates") if row["lr"]]


@pytest.mark.parametrize(
    ("text", "factors"),
    [
        ("lr_decay = 0.5", [0.5 ** (step // STEPS) for step in range(12)]),
        ("lr_schedule = step\nlr_decay = 0.1\nlr_steps = 2", [0.1 if step >= 8 else 1 for step in range(12)]),
        ("lr_schedule = cosine", [(1 + math.cos(math.pi * step / 12)) / 2 for step in range(12)]),
        ("lr_schedule = cosine\nlr_final = 0.5", [0.75 + math.cos(math.pi * step / 12) / 4 for step in range(12)]),
        ("lr_warmup = 3", [0.25, 0.5, 0.75, *[1] * 9]),
    ],
)
def test_rates_follow_their_schedule(
    small_model: SmallModel, text: str, factors: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rates(small_model, text, 3, monkeypatch) == pytest.approx([0.001 * factor for factor in factors], rel=1e-6)


def test_a_plateau_lowers_rates_after_validations_without_progress(
    small_model: SmallModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is learnt with a rate of 0, so no validation is better than the first."""
    losses = iter([5.0, 6.0, 4.0, 4.0, 4.0, 3.0])
    monkeypatch.setattr("torchDVC.training.validation.Validation.run", lambda *_, **__: {"val_loss": next(losses)})
    found = rates(small_model, "lr_schedule = plateau\nlr_decay = 0.5", 6, monkeypatch)
    assert found[::STEPS] == pytest.approx([0.001, 0.001, 0.001, 0.001, 0.001, 0.0005])


def test_a_plateau_outlives_resuming(small_model: SmallModel) -> None:
    text = TRAIN.replace("epochs = 2", "epochs = 4\nlr_schedule = plateau\nlr_decay = 0.5\nlr_patience = 1\nlr = 0.1")
    small_model.write("plateau.cfg", text)
    for name, stops in (("whole", ()), ("parts", ("2", "3", "4"))):
        for stop in stops:
            restore = ("--restore", "resume") if stop > "2" else ()
            assert small_model.train(name, "--per_val", "1", "--end_epoch", stop, *restore, cfg="plateau.cfg") == 0
        resumed = ("--restore", "resume") if stops else ()
        assert small_model.train(name, "--per_val", "1", *resumed, cfg="plateau.cfg") == 0
    whole, parts = (
        checkpoints.load(small_model.path / name / "checkpoints/last.safetensors") for name in ("whole", "parts")
    )
    assert different(whole["model"], parts["model"]) == set() and whole["plateau"] == parts["plateau"]


def test_a_rate_may_be_of_a_pattern_of_modules(small_model: SmallModel) -> None:
    lines = "lr.*_codec = 0.02\nlr.motion_* = 0.03\nlr.motion_codec = 0.04"
    small_model.write("pattern.cfg", TRAIN.replace("[process: intra]", f"[process: intra]\n{lines}"))
    assert small_model.train("run", "--end_epoch", "1", cfg="pattern.cfg") == 0
    groups = checkpoints.load(small_model.path / "run/checkpoints/last.safetensors")["optimizer"]["param_groups"]
    found = {group["name"]: group["lr"] for group in groups}
    expected = {"intra_codec": 0.02, "motion_estimator": 0.03, "motion_codec": 0.04, "motion_compensator": 0.03}
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_a_pattern_that_no_module_fits_is_said(small_model: SmallModel, capsys: pytest.CaptureFixture[str]) -> None:
    small_model.write("pattern.cfg", TRAIN.replace("[process: intra]", "[process: intra]\nlr.*_codek = 0.02"))
    assert small_model.train("run", cfg="pattern.cfg") == 2
    assert "unknown key 'lr.*_codek' in [process: intra]; did you mean 'lr.intra_codec'?" in capsys.readouterr().err


def test_each_stage_may_have_its_own_optimizer_and_resumes_with_it(small_model: SmallModel) -> None:
    text = TRAIN.replace("[process: motion]", "[process: motion]\noptimizer = sgd\nlr = 1e-3\nweight_decay = 0.1")
    small_model.write("kinds.cfg", text)
    assert small_model.train("whole", cfg="kinds.cfg") == 0
    for epoch in (1, 2, 3):  # at both ends of the stage and within it
        run = f"parts{epoch}"
        assert small_model.train(run, "--end_epoch", str(epoch), cfg="kinds.cfg") == 0
        assert small_model.train(run, "--restore", "resume", cfg="kinds.cfg") == 0
        assert different(small_model.weights("whole"), small_model.weights(run)) == set()
    states = {
        name: checkpoints.load(small_model.path / f"whole/checkpoints/{name}.safetensors")
        for name in ("01_intra", "02_motion", "03_joint")
    }
    assert [state["optimizer_kind"] for state in states.values()] == ["adam", "sgd", "adam"]
    assert {group["weight_decay"] for group in states["02_motion"]["optimizer"]["param_groups"]} == {0.1}


def test_the_average_of_the_weights_is_kept_tested_and_exported_by_choice(
    small_model: SmallModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small_model.write("ema.cfg", TRAIN.replace("steps = 2", "steps = 3\nema = 0.9").split("[process: motion]")[0])
    followed: list[dict[str, torch.Tensor]] = []
    from torchDVC.training.updater import Updater

    def step(self: Updater, *arguments: object) -> bool:
        followed.append({name: p.detach().clone() for name, p in self.codec.named_parameters()})
        return original(self, *arguments)  # type: ignore[arg-type]

    original = Updater.step
    monkeypatch.setattr(Updater, "step", step)
    assert small_model.train("run", cfg="ema.cfg") == 0
    last = small_model.path / "run/checkpoints/last.safetensors"
    state = checkpoints.load(last)
    name = "intra_codec.g_a.0.weight"
    expected = followed[0][name]
    for weights in (*followed[1:], state["model"]):
        expected = 0.9 * expected + 0.1 * weights[name]
    torch.testing.assert_close(state["ema"][name], expected)
    loaded = ("--restore", "load", "--checkpoint", str(last))
    for run, flags in (("plain", loaded), ("averaged", (*loaded, "--ema"))):
        assert small_model.test(run, *flags) == 0
    rows = [(small_model.path / run / "rd.csv").read_text().splitlines()[1] for run in ("plain", "averaged")]
    assert "averaged weights" in rows[1] and "averaged weights" not in rows[0]
    small_model.write("plain.cfg", TRAIN)
    assert small_model.train("without", "--end_epoch", "1", cfg="plain.cfg") == 0
    without = small_model.path / "without/checkpoints/last.safetensors"
    capsys.readouterr()
    assert small_model.test("none", "--restore", "load", "--checkpoint", str(without), "--ema") == 2
    assert "last.safetensors: holds no averaged weights for --ema" in capsys.readouterr().err


def test_a_run_that_averages_resumes_to_the_same_average(small_model: SmallModel) -> None:
    small_model.write("ema.cfg", TRAIN.replace("steps = 2", "steps = 2\nema = 0.5"))
    assert small_model.train("whole", cfg="ema.cfg") == 0
    assert small_model.train("parts", "--end_epoch", "2", cfg="ema.cfg") == 0
    assert small_model.train("parts", "--restore", "resume", cfg="ema.cfg") == 0
    whole, parts = (
        checkpoints.load(small_model.path / name / "checkpoints/last.safetensors")["ema"] for name in ("whole", "parts")
    )
    assert different(whole, parts) == set()


# --- what learns


def test_gains_stay_while_only_the_distortion_is_learnt(tmp_path: Path, clip_folder: Path) -> None:
    model = make_small_model(tmp_path / "levels", clip_folder, levels=3)
    stages = "[process: first]\nimode = i\nonly_distortion = true\nfreeze = gains\n[process: both]\nimode = i\n"
    model.write("first.cfg", TRAIN.split("[process")[0].replace("[header]", "[header]\nlmda = 64:1024") + stages)
    assert model.train("run", cfg="first.cfg") == 0
    first, both = (model.weights("run", name) for name in ("01_first", "02_both"))
    gains = {name for name in first if "gain" in name and name.startswith("intra_codec")}
    moved = {name for name in first if not torch.equal(first[name], both[name])}
    fresh = model.codec().state_dict()
    assert gains and gains <= moved
    for name in gains:
        torch.testing.assert_close(first[name], fresh[name], msg=name)
    assert not torch.equal(first["intra_codec.g_a.0.weight"], fresh["intra_codec.g_a.0.weight"])
    (row,) = (row for row in metrics(model, "run") if row["stage"] == "first" and row["loss"])
    assert float(row["rate"]) > 0
    assert 64 * float(row["distortion"]) <= float(row["loss"]) * 1.001 <= 1024 * float(row["distortion"]) * 1.01


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("freeze = intra_codek.*", ":11: freeze 'intra_codek.*' fits no parameter of the model; expected a pattern of"),
        ("freeze = intra_*", "train 'i' has nothing to learn but what freeze = intra_* names; expected a network"),
        ("freeze = intra_codec.g_? *.latent", "train 'i' has nothing to learn but what freeze = intra_codec.g_?"),
        ("only_distortion = true\nonly_rate = true", "only_rate and only_distortion are both true; expected one"),
        ("only_distortion = true\nloss.D = None", ":11: only_distortion = true with loss.D = None leaves nothing to"),
    ],
)
def test_a_stage_that_cannot_learn_is_refused(
    small_model: SmallModel, lines: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    small_model.write("bad.cfg", TRAIN.split("[process")[0] + "[process: a]\nimode = i\n" + lines + "\n")
    assert small_model.train("run", cfg="bad.cfg") == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
