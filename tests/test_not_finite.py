"""Losses, gradients and weights that are not finite: skipped, counted, and in the end a reason to stop."""

from __future__ import annotations

import pytest
import torch

from tests.small_model import TRAIN, SmallModel, metrics
from torchDVC.models import checkpoints
from torchDVC.training.updater import Updater


def updater(model: SmallModel) -> Updater:
    codec = model.codec()
    return Updater(codec, "sgd", torch.amp.GradScaler("cpu", enabled=False), model.path / "batch.safetensors")


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_steps_that_are_not_finite_are_skipped_and_counted(small_model: SmallModel, factor: float) -> None:
    update = updater(small_model)
    parameter = next(update.codec.parameters())
    for value in (factor, 1.0, factor):
        loss = (parameter * value).sum()
        loss.backward()
        assert update.step(loss, torch.zeros(1)) == (value == 1.0)
        assert parameter.grad is None
    assert update.skipped == 2 and torch.isfinite(parameter).all()


def test_quantiles_stay_finite_too(small_model: SmallModel) -> None:
    update = updater(small_model)
    codec = update.codec
    for name, parameter in codec.named_parameters():
        parameter.grad = torch.full_like(parameter, torch.nan if name.endswith("quantiles") else 0.0)
    assert not update.step(torch.tensor(1.0), torch.zeros(1)) and update.skipped == 1
    assert all(bool(torch.isfinite(x).all()) for x in codec.state_dict().values())


@pytest.mark.parametrize("key", ["lr", "aux_lr"])
def test_a_codec_of_absurd_weights_is_measured_without_an_error(
    small_model: SmallModel, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    small_model.write("nan.cfg", TRAIN.replace("steps = 2", f"steps = 8\n{key} = 1e38"))
    assert small_model.train("run", "--end_epoch", "1", cfg="nan.cfg") == 0
    assert [int(row["skipped"]) for row in metrics(small_model, "run") if row["skipped"]] == [7]
    assert "validation of stage intra: the loss is not finite" in caplog.text


def test_a_flow_that_is_not_finite_is_a_skipped_step_too(small_model: SmallModel) -> None:
    """PyTorch 2.x dies of a segmentation fault where a warp's backward pass is given NaN."""
    text = TRAIN.split("[process: intra]")[0].replace("steps = 2", "steps = 4\nlr = 1e38")
    small_model.write("flow.cfg", f"{text}[process: flow]\npmode = em\nloss.R = None\nloss.D = warped_distortion\n")
    assert small_model.train("run", cfg="flow.cfg") == 0
    assert [int(row["skipped"]) for row in metrics(small_model, "run") if row["skipped"]] == [3]


def test_a_run_that_stays_not_finite_stops_and_saves_its_batch(
    small_model: SmallModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "400")  # no name is cut short
    nan = staticmethod(lambda a, b: (a - b).flatten(1).mean(1) * torch.nan)
    monkeypatch.setattr("torchDVC.models.distortions.mse", nan)
    small_model.write("nan.cfg", TRAIN.replace("steps = 2", "steps = 30"))
    assert small_model.train("run", cfg="nan.cfg") == 2
    dump = small_model.path / "run/nonfinite_batch.safetensors"
    assert f"not finite 10 times in a row; the last batch is in {dump}" in capsys.readouterr().err
    assert checkpoints.load(dump)["batch"].shape == (1, 1, 3, 64, 64)
    assert not (small_model.path / "run/checkpoints").exists()
