"""The DVC command line: modules that have no weights to start from, and those that have."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.dvc_workspace import NORMALISED, PHASE, TRAINING, DVCFolder, moved
from tests.test_published_weights import SPYNETS, spynet_tensors
from torchDVC.dvc_front import intra_weights
from torchDVC.dvc_front import main as main_module
from torchDVC.dvc_front.translation import translate
from torchDVC.modules.intra.scale_hyperprior import ScaleHyperpriorIntra


def test_modules_without_weights_are_trained_first(dvc: DVCFolder, caplog: pytest.LogCaptureFixture) -> None:
    """Each in a phase of its own; epochs keep the numbers that the json gives them."""
    dvc.phases({"two": 1, "more": 2}, two={**PHASE, "steps": 1}, more={**PHASE, "steps": 1})
    unweighted = [flag for flag in TRAINING if flag != "--no_sanity"]
    assert dvc.bare("--experiment_name", "run", *unweighted, "--no_sanity", "--end_epoch", "1") == 0
    assert [line.partition(":")[0] for line in caplog.messages if "trained by itself first" in line] == [
        "intra_codec has no weights", "motion_estimator has no weights"
    ]  # fmt: skip
    intra, both, first = (dvc.checkpoint("run", f"epoch_{epoch:04}") for epoch in (20, 23, 24))
    assert moved(intra, both) == {"motion_estimator"}
    assert moved(both, first) == {"motion_codec", "motion_compensator", "residual_codec"}
    assert dvc.bare("--experiment_name", "run", *TRAINING, "--restore", "resume") == 0
    assert moved(first, dvc.checkpoint("run", "epoch_0025")) == moved(both, first)
    for epoch, code in (("1", 0), ("2", 0), ("3", 2), ("23", 2)):
        restored = ("--restore", "load", "--restore_exp_key", "run", "--restore_exp_epoch", epoch)
        assert dvc.bare("--test", "--no-write_stream", *restored) == code


def test_an_estimator_that_learns_from_the_first_phase_on_needs_no_weights(dvc: DVCFolder) -> None:
    dvc.phases({"two": 1}, two={**PHASE, "frozen_modules": [], "train_intra": True})
    _, translation = translate(dvc.flags(*TRAINING))
    assert main_module.weighted(translate(dvc.flags(*TRAINING))[0], translation).train == translation.train


def test_an_estimator_that_cannot_be_trained_by_itself_needs_weights(
    dvc: DVCFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dvc.write("plugins/estimator.py", NORMALISED)
    monkeypatch.setenv("TORCHDVC_PLUGINS", str(dvc.path / "plugins"))
    assert dvc.bare(*TRAINING, "--intra_weights", "none", estimator="NormalisedEstimator") == 2
    said = "--MENet: NormalisedEstimator has no weights and cannot be trained by itself; expected --ME_weights (loss.D"
    assert capsys.readouterr().err.startswith(said)


def test_the_estimator_finds_its_weights_where_the_ancestor_has_them(
    dvc: DVCFolder, caplog: pytest.LogCaptureFixture
) -> None:
    """In ``./models``; ``--ME_weights none`` leaves them there."""
    tensors = spynet_tensors(5, SPYNETS["Blocks"])
    (dvc.path / "models").mkdir()
    torch.save(tensors, dvc.path / "models/spy_net-sintel-final.pytorch")
    dvc.phases({"two": 1}, two={**PHASE, "steps": 1})
    for name, flags in (("found", ()), ("none", ("--ME_weights", "none"))):
        assert dvc.bare("--experiment_name", name, *TRAINING, "--intra_weights", "none", *flags) == 0
        first = dvc.checkpoint(name)["model"]["motion_estimator.networks.0.0.weight"]
        assert torch.equal(first, tensors["Blocks.0.0.weight"]) == (name == "found")
    assert not [line for line in caplog.messages if "motion_estimator has no weights" in line]


def test_published_weights_of_the_estimator(dvc: DVCFolder) -> None:
    """The estimator of a codec that a phase freezes keeps the weights of the file, those of its finest levels."""
    tensors = spynet_tensors(6, SPYNETS["moduleBasic"])
    torch.save(tensors, dvc.path / "spynet.pytorch")
    dvc.phases({"two": 1}, two={**PHASE, "steps": 1})
    assert dvc.train("--experiment_name", "run", "--ME_weights", "spynet.pytorch") == 0
    trained = dvc.checkpoint("run")["model"]
    assert torch.equal(trained["motion_estimator.networks.0.0.weight"], tensors["moduleBasic.1.moduleBasic.0.weight"])
    assert torch.equal(trained["motion_estimator.networks.4.8.bias"], tensors["moduleBasic.5.moduleBasic.8.bias"])


def test_weights_of_every_module(dvc: DVCFolder) -> None:
    """A run's checkpoint gives each module its own."""
    dvc.phases({"two": 1}, two={**PHASE, "steps": 1})
    assert dvc.train("--experiment_name", "run", "--seed", "1") == 0
    last = "log/run_q6/checkpoints/last.safetensors"
    names = ("intra", "ME", "Motion", "MC", "Residual")
    flags = [word for name in names for word in (f"--{name}_weights", last)]
    dvc.phases({"two": 1}, two={**PHASE, "steps": 1, "lr": 0, "aux_lr": 0})
    assert dvc.train("--experiment_name", "again", *flags, "--seed", "2") == 0
    assert moved(dvc.checkpoint("run"), dvc.checkpoint("again")) == set()


# --- intra weights


def test_that_weights_cannot_be_downloaded_is_said_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(quality: int, path: Path) -> None:
        raise OSError("no route to host")

    monkeypatch.setenv("TORCHDVC_CACHE", str(tmp_path))
    monkeypatch.setattr(intra_weights, "_download", refuse)
    assert intra_weights.intra_weights(None, 3, of_zoo=True) is None
    (record,) = caplog.records
    assert "quality 3 could not be downloaded (no route to host)" in record.getMessage()
    assert intra_weights.intra_weights("none", 3, of_zoo=True) is None
    assert intra_weights.intra_weights(None, 3, of_zoo=False) is None
    intra_weights.cached(3).parent.mkdir()
    intra_weights.cached(3).touch()
    assert intra_weights.intra_weights(None, 3, of_zoo=True) == intra_weights.cached(3)
    assert len(caplog.records) == 1


def test_intra_weights_are_started_from(dvc: DVCFolder) -> None:
    torch.manual_seed(5)
    weights = ScaleHyperpriorIntra(6, 8).state_dict()
    save_file(weights, dvc.path / "intra.safetensors")
    dvc.phases({"two": 1}, two={**PHASE, "steps": 1})
    assert dvc.train("--experiment_name", "run", "--intra_weights", "intra.safetensors") == 0
    trained = dvc.checkpoint("run")["model"]
    assert all(torch.equal(trained[f"intra_codec.{name}"], x) for name, x in weights.items())
