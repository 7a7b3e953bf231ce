"""What runs on a GPU only; skipped, with the reason, where there is none."""

from __future__ import annotations

import pytest
import torch

from tests.small_model import TRAIN, SmallModel, metrics
from torchDVC.models import checkpoints

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


def trained(model: SmallModel, run: str, *flags: str) -> dict[str, torch.Tensor]:
    assert model.train(run, "--device", "cuda", *flags) == 0
    return model.weights(run)


def test_a_gpu_learns_what_the_cpu_does(small_model: SmallModel) -> None:
    """With sgd, as Adam makes much of the sign of gradients near zero."""
    small_model.write("train.cfg", TRAIN.replace("[header]", "[header]\noptimizer = sgd"))
    on_gpu = trained(small_model, "gpu")
    assert small_model.train("cpu") == 0
    for name, value in small_model.weights("cpu").items():
        torch.testing.assert_close(on_gpu[name], value, atol=1e-4, rtol=1e-2, msg=name)


def test_batches_are_pinned_and_a_run_resumes(small_model: SmallModel, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchDVC.training.stage import StageTraining

    pinned: list[bool] = []
    original = StageTraining.step

    def step(self: StageTraining, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        pinned.append(batch.is_pinned())
        return original(self, batch)

    monkeypatch.setattr(StageTraining, "step", step)
    trained(small_model, "part", "--end_epoch", "2", "--num_workers", "2")
    trained(small_model, "part", "--restore", "resume", "--num_workers", "2")
    assert pinned and all(pinned)
    assert checkpoints.load(small_model.path / "part/checkpoints/last.safetensors")["position"]["epoch"] == 4


def test_compiled_networks_train_in_measured_arithmetic(small_model: SmallModel) -> None:
    text = TRAIN.replace("precision = 32", "precision = auto").replace("= contiguous", "= auto")
    small_model.write("train.cfg", text)
    trained(small_model, "compiled", "--compile")
    rows = [row for row in metrics(small_model, "compiled") if row["loss"]]
    assert {row["arithmetic"].split()[1] for row in rows} <= {"contiguous", "channels_last"}
    assert all(float(row["loss"]) > 0 for row in rows)
