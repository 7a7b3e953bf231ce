"""The conditional residual coder: it begins as the plain one, makes use of the prediction, and is decoded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.lively_models import clip, lively_model, read_stream, write_stream
from torchDVC.coding_structure import CodingStructure, FrameInfo
from torchDVC.config import load_model_config
from torchDVC.entropy.streams import TrainingStream
from torchDVC.entropy.symbol_streams import EstimatingStream
from torchDVC.models.model_file import load_model, save_model
from torchDVC.modules.frame_state import FrameState
from torchDVC.modules.inter.conditional_residual import ConditionalResidual
from torchDVC.modules.inter.residual_codec import ResidualCodec

SMALL: dict[str, Any] = {"width": 8, "channels": 8, "kernel_size": 3}
SCALES = {"type": "ScaleHyperprior", "width": 6}


def coded(module: torch.nn.Module, frame: Tensor, prediction: Tensor, stream: Any) -> Tensor:
    state = FrameState(FrameInfo(1), len(frame), 64, 64, torch.zeros(len(frame), dtype=torch.int64))
    state["frame"], state["mc"] = frame, prediction
    written: Tensor = module(state, stream)["recon"]
    return written


def test_it_begins_as_the_plain_residual_coder() -> None:
    torch.manual_seed(0)
    plain, conditional = ResidualCodec(**SMALL), ConditionalResidual(**SMALL)
    missing = conditional.load_state_dict(plain.state_dict(), strict=False)
    assert not missing.unexpected_keys
    frame, prediction = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        pictures = [coded(module, frame, prediction, EstimatingStream(2)) for module in (plain, conditional)]
    assert torch.equal(*pictures)


def test_what_it_sees_of_the_prediction_helps() -> None:
    """Frames are predictions with their contrast reversed: nothing of that needs to be coded."""
    torch.manual_seed(0)
    errors: dict[type, float] = {}
    for kind in (ResidualCodec, ConditionalResidual):
        module = kind(**SMALL, latent={"type": "Factorized"})
        optimizer = torch.optim.Adam(module.parameters(), 3e-3)
        generator = torch.Generator().manual_seed(1)
        for _ in range(80):
            prediction = torch.rand(2, 3, 64, 64, generator=generator)
            stream = TrainingStream(2)
            error = (coded(module, 1 - prediction, prediction, stream) - 1 + prediction).square().mean()
            optimizer.zero_grad()
            error.backward()
            optimizer.step()
        errors[kind] = float(error.detach())
    assert errors[ConditionalResidual] < 0.7 * errors[ResidualCodec]


@pytest.mark.parametrize("latent", [{"type": "Gain", "levels": 4, "latent": SCALES}, SCALES], ids=["levels", "one"])
def test_a_decoder_gets_the_encoders_pictures(latent: dict[str, Any], tmp_path: Path) -> None:
    """With quality levels too, of the ancestor's coders."""
    (tmp_path / "coder.json").write_text(json.dumps({**SMALL, "latent": latent}))
    table = ["i,intra_codec,IntraCodec,coder.json,", "e,motion_estimator,SPyNet,,",
             "m,motion_codec,FlowCodec,coder.json,",
             "c,motion_compensator,UNetCompensation,,", "r,residual_codec,ConditionalResidual,coder.json,"]  # fmt: skip
    (tmp_path / "m.csv").write_text("\n".join(["code,name,type,args,weights", *table]) + "\n")
    model = lively_model(load_model_config(str(tmp_path / "m.csv")))
    save_model(tmp_path / "model.safetensors", model)
    level = model.codec.levels - 1
    expected = write_stream(tmp_path / "a.lcp", model, CodingStructure(3, 1), clip(4, (50, 90)), level)
    decoded = read_stream(tmp_path / "a.lcp", load_model(tmp_path / "model.safetensors"))
    assert all(torch.equal(decoded[index], picture) for index, picture in expected.items())
