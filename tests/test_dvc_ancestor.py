"""Checkpoints of the DVC ancestor: they give its networks' outputs, and nothing in them runs."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.dvc_workspace import DVCFolder, make_dvc_folder
from tests.test_published_weights import SPYNETS, spynet_tensors
from torchDVC.models.checkpoints import load
from torchDVC.modules.compensation.unet import UNetCompensation
from torchDVC.modules.layers import GDN
from torchDVC.results.rows import read_rows

Tensors = dict[str, Tensor]
RESTORE = ("--restore", "load", "--restore_exp_key", "abc123", "--restore_exp_epoch", "7")


@pytest.fixture
def dvc(tmp_path: Path, clip_folder: Path, monkeypatch: pytest.MonkeyPatch) -> DVCFolder:
    folder = make_dvc_folder(tmp_path, clip_folder, monkeypatch)
    folder.coder("DVC_motion", 2, "GoogleFactorizedPrior")
    return folder


def transforms(inputs: int, width: int, channels: int, kernel: int) -> tuple[nn.Sequential, nn.Sequential]:
    """The ancestor's analysis and synthesis."""
    sides = [(inputs, width), (width, width), (width, width), (width, channels)]
    g_a: list[nn.Module] = []
    g_s: list[nn.Module] = []
    for a, b in sides:
        g_a += [nn.Conv2d(a, b, kernel, 2, kernel // 2), GDN(b)]
    for b, a in reversed(sides):
        g_s += [nn.ConvTranspose2d(a, b, kernel, 2, kernel // 2, 1), GDN(b, inverse=True)]
    return nn.Sequential(*g_a[:-1]), nn.Sequential(*g_s[:-1])


def density(channels: int) -> Tensors:
    """An entropy bottleneck, with what is kept beside its weights."""
    widths = (1, 3, 3, 3, 3, 1)
    own: Tensors = {"quantiles": torch.tensor([-9.0, 0.5, 9.0]).repeat(channels, 1, 1)}
    for i, (a, b) in enumerate(zip(widths, widths[1:], strict=False)):
        own |= {f"_matrix{i}": torch.rand(channels, b, a), f"_bias{i}": torch.rand(channels, b, 1)}
        own |= {f"_factor{i}": torch.rand(channels, b, 1)} if i < 4 else {}
    own |= {"_offset": torch.zeros(3), "_quantized_cdf": torch.zeros(3, 4), "_cdf_length": torch.zeros(3),
            "target": torch.zeros(3), "likelihood_lower_bound.bound": torch.zeros(1)}  # fmt: skip
    return {f"entropy_bottleneck.{name}": x for name, x in own.items()}


def ancestor_state() -> tuple[Tensors, dict[str, nn.Module]]:
    """What ``epoch=N.pth.tar`` holds of a small codec, and networks of it."""
    torch.manual_seed(3)
    motion = nn.ModuleDict(dict(zip(("g_a", "g_s"), transforms(2, 6, 8, 3), strict=True)))
    residual = nn.ModuleDict(dict(zip(("g_a", "g_s"), transforms(3, 6, 8, 3), strict=True)))
    residual["h_a"] = nn.Sequential(nn.Conv2d(8, 6, 3, 1, 1), nn.ReLU(), nn.Conv2d(6, 6, 5, 2, 2), nn.ReLU(),
                                    nn.Conv2d(6, 6, 5, 2, 2))  # fmt: skip
    up = [nn.ConvTranspose2d(6, 6, 5, 2, 2, 1) for _ in range(2)]
    residual["h_s"] = nn.Sequential(up[0], nn.ReLU(), up[1], nn.ReLU(), nn.ConvTranspose2d(6, 8, 3, 1, 1))
    mc = UNetCompensation()
    parts: dict[str, Tensors] = {
        "MENet": {**spynet_tensors(5, SPYNETS["Blocks"]), "mean": torch.zeros(3, 1, 1), "std": torch.ones(3, 1, 1)},
        "Motion": {**motion.state_dict(), **density(8)},
        "MCNet": mc.state_dict(),
        "Residual": {**residual.state_dict(), **density(6), "gaussian_conditional.scale_table": torch.zeros(64)},
        "if_model": {"g_a.0.weight": torch.zeros(1)},
    }
    state = {f"{part}.module.{name}": x for part, own in parts.items() for name, x in own.items()}
    return state, {"motion": motion, "residual": residual, "mc": mc}


def put(dvc: DVCFolder, state: Any) -> Path:
    path = dvc.path / "log/Video_Compression/abc123/checkpoints/epoch=7.pth.tar"
    path.parent.mkdir(parents=True)
    torch.save({"epoch": 7, "state_dict": state, "loss": 0.5, "optimizer": {"state": {}}}, path)
    return path


def test_a_checkpoint_is_tested(dvc: DVCFolder) -> None:
    """Its coders give what the ancestor's networks give, with no factor before or after them."""
    state, networks = ancestor_state()
    path = put(dvc, state)
    assert dvc.run("--test", "--gop", "4", "--experiment_name", "old", *RESTORE) == 0
    (row,) = read_rows(dvc.path / "results/old/rd.csv")
    assert row.bpp and row.checkpoint
    own = load(path.with_name("epoch=7.safetensors"))["model"]
    flow = 8 * torch.rand(1, 2, 64, 64) - 4
    for name, inputs, gain in (("motion", flow, 0.5), ("residual", torch.rand(1, 3, 64, 64) - 0.5, 8.0)):
        g_a, g_s = transforms(inputs.shape[1], 6, 8, 3)
        for part, module in (("g_a", g_a), ("g_s", g_s)):
            prefix = f"{name}_codec.{part}."
            module.load_state_dict({k.removeprefix(prefix): x for k, x in own.items() if k.startswith(prefix)})
        network: Any = networks[name]
        with torch.no_grad():
            torch.testing.assert_close(g_s(g_a(inputs * gain)) / gain, network["g_s"](network["g_a"](inputs)))
    assert torch.equal(own["residual_codec.latent.h_s.4.weight"], state["Residual.module.h_s.4.weight"])
    assert torch.equal(own["motion_codec.latent.density._matrix2"], state["Motion.module.entropy_bottleneck._matrix2"])
    assert torch.equal(own["motion_estimator.networks.4.8.weight"], state["MENet.module.Blocks.4.8.weight"])


def test_training_goes_on_from_it(dvc: DVCFolder) -> None:
    put(dvc, ancestor_state()[0])
    assert dvc.train("--experiment_name", "on", "--end_epoch", "1", *RESTORE) == 0
    assert dvc.checkpoint("on", "epoch_0001")["model"]


def test_a_checkpoint_that_does_not_fit_is_one_line(dvc: DVCFolder, capsys: pytest.CaptureFixture[str]) -> None:
    state, _ = ancestor_state()
    path = put(dvc, {name: x for name, x in state.items() if "Residual.module.h_s.4" not in name})
    path = path.relative_to(dvc.path)
    assert dvc.run("--test", *RESTORE) == 2
    error = capsys.readouterr().err
    assert f"{path}: Residual: does not fit ResidualCodec" in error and "2 missing (latent.h_s.4.weight" in error


class Evil:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("ran"),)


def test_nothing_in_a_checkpoint_runs(dvc: DVCFolder, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path("log/Video_Compression/abc123/checkpoints/epoch=7.pth.tar")
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle.dumps({"state_dict": Evil()}))
    assert dvc.run("--test", *RESTORE) == 2
    assert f"{path}: " in capsys.readouterr().err
    assert not list(dvc.path.rglob("ran"))


def test_epochs_that_are_not_there_are_said(dvc: DVCFolder, capsys: pytest.CaptureFixture[str]) -> None:
    put(dvc, {})
    assert dvc.run("--test", *RESTORE[:-1], "8") == 2
    assert "--restore_exp_epoch 8: no such checkpoint in log/Video_Compression/abc123/checkpoints; it has 7" in (
        capsys.readouterr().err
    )
