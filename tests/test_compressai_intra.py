"""CompressAI's image models as intra codecs: beside CompressAI's own coder, through the command lines, and refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from skimage import data
from torch import Tensor

from tests.small_model import CSV, SmallModel, make_small_model
from torchDVC import codec as codec_command
from torchDVC.coding_structure import CodedFrame, FrameInfo
from torchDVC.entropy.symbol_streams import ReadingStream, WritingStream
from torchDVC.modules.frame_state import FrameState
from torchDVC.modules.intra.compressai_intra import CompressAIIntra, build

pytest.importorskip("compressai")

SMALL: dict[str, dict[str, int]] = {
    "bmshj2018-factorized": {"N": 8, "M": 12},
    "bmshj2018-factorized-relu": {"N": 8, "M": 12},
    "bmshj2018-hyperprior": {"N": 8, "M": 12},
    "mbt2018-mean": {"N": 8, "M": 12},
    "mbt2018": {"N": 12, "M": 12},
    "cheng2020-anchor": {"N": 12},
    "cheng2020-attn": {"N": 12},
    "cheng2020-anchor-checkerboard": {"N": 12},
    "elic2022-official": {"N": 12, "M": 160},
    "elic2022-chandelier": {"N": 12, "M": 160},
}
STATE_BYTES = 4
"""What each of CompressAI's strings has beside its symbols: models of several passes have many."""


def photograph() -> Tensor:
    """(1, 3, 192, 256)."""
    return torch.from_numpy(data.astronaut()[:192, 100:356].copy()).permute(2, 0, 1)[None] / 255


def calibrated(name: str) -> Any:
    """A small model with random transforms, whose densities fit the latent of the photograph, as training makes them.

    What comes out of the last layer before the Gaussians is the latent's spread and mean in each channel, and some of
    what the hyper-latent and the context say.
    """
    torch.manual_seed(1)
    model = build(name, None, SMALL[name]).eval()
    with torch.no_grad():
        y = model.g_a(photograph())
        last: Any = [layer for layer in model.g_a if isinstance(layer, torch.nn.Conv2d)][-1]
        last.weight.mul_((3 / y.std((0, 2, 3)))[:, None, None, None])
        if name.startswith("bmshj2018"):  # nothing tells a mean
            last.bias.sub_(model.g_a(photograph()).mean((0, 2, 3)))
        y = model.g_a(photograph())
        mean, spread = y.mean((0, 2, 3)), y.std((0, 2, 3))
        begin = 0
        for layer, order in _parameter_layers(model):
            channels = layer.out_channels // len(order)
            own = slice(begin, begin + channels)
            begin += channels
            layer.weight.mul_(0.05 / layer.weight.std() / layer.weight[0].numel())
            layer.bias.copy_(torch.cat([{"scales": spread, "means": mean}[kind][own] for kind in order]))
    model.update(force=True)
    return model


def _parameter_layers(model: Any) -> list[tuple[Any, tuple[str, ...]]]:
    """The layers that give scales and means, with their order, by group of channels."""
    def last(network: Any) -> Any:
        return [layer for layer in network.modules() if hasattr(layer, "out_channels")][-1]

    if hasattr(model, "entropy_parameters"):
        return [(last(model.entropy_parameters), ("scales", "means"))]
    if hasattr(model, "h_s"):
        return [(last(model.h_s), ("scales", "means")[: 1 + (type(model).__name__ == "MeanScaleHyperprior")])]
    if not hasattr(model, "latent_codec"):
        return []
    parts = getattr(model.latent_codec.y, "latent_codec", {})
    parts = parts.values() if "y0" in parts else [model.latent_codec.y]
    return [(last(part.entropy_parameters), part.y.chunks) for part in parts]


def coded(module: CompressAIIntra, stream: Any, picture: Tensor | None) -> Tensor:
    state = FrameState(FrameInfo.of(CodedFrame(0)), 1, 192, 256, torch.zeros(1, dtype=torch.int64))
    if picture is not None:
        state["frame"] = picture
    with torch.no_grad():
        return module(state, stream)["recon"]


@pytest.mark.parametrize("name", SMALL)
def test_rate_and_distortion_are_those_of_compressai(name: str) -> None:
    model = calibrated(name)
    module = CompressAIIntra(name, **SMALL[name]).eval()
    module.load_state_dict(dict(module.translate_weights(model.state_dict())))
    writing = WritingStream()
    encoded = coded(module, writing, photograph())
    payload = writing.payload()
    decoded = coded(module, ReadingStream(payload), None)
    assert torch.equal(encoded, decoded)
    with torch.no_grad():
        theirs = model.compress(photograph())
        picture = model.decompress(theirs["strings"], theirs["shape"])["x_hat"]
    size = sum(len(string) for strings in theirs["strings"] for string in strings)
    size -= STATE_BYTES * len(theirs["strings"])
    assert len(payload) == pytest.approx(size, rel=0.005, abs=8) and size > 1000
    errors = [float((x.clamp(0, 1) - photograph()).square().mean()) for x in (decoded, picture)]
    assert errors[0] == pytest.approx(errors[1], rel=0.005)


def test_a_model_through_the_command_lines(tmp_path: Path, clip_folder: Path) -> None:
    """Trained with weights of CompressAI to start from, exported, coded and decoded; I frames alone."""
    model = make_small_model(tmp_path / "model", clip_folder)
    torch.save(calibrated("elic2022-chandelier").state_dict(), model.path / "elic.pth.tar")
    model.write("intra.json", json.dumps({"model": "elic2022-chandelier", **SMALL["elic2022-chandelier"]}))
    model.write("model.csv", CSV.replace("IntraCodec,intra.json,", "CompressAIIntra,intra.json,elic.pth.tar"))
    model.write("train.cfg", "[process: intra]\nimode = i\ndata = DATA\nsteps = 1\nbatch_size = 1\npatch_size = 64\n")
    assert model.train("run") == 0
    stream, out = tmp_path / "one.lcp", tmp_path / "one.y4m"
    kept = ["--model_config", str(model.path / "model.csv"), "--run_config", str(model.path / "test.cfg")]
    kept += ["--checkpoint", str(model.path / "run/checkpoints"), "--intra_period", "1", "--frames", "2"]
    assert codec_command.main(["encode", str(clip_folder / "one.y4m"), str(stream), *kept]) == 0
    assert codec_command.main(["decode", str(stream), str(out)]) == 0 and out.stat().st_size > 2 * 96 * 80


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"model": "mbt2018-men"}, "model 'mbt2018-men'; did you mean 'mbt2018-mean'?"),
        ({"model": "mbt2018-vbr"}, "model 'mbt2018-vbr' cannot be run in fixed point: its gains have no counterpart"),
        ({"model": "ssf2020"}, "model 'ssf2020' is no image model"),
        ({"model": "mbt2018-mean", "quality": 9}, "quality 9 of 'mbt2018-mean'; expected 1 to 8"),
        ({"model": "elic2022-official", "quality": 3}, "quality 3 of 'elic2022-official'; expected N and M, as it has"),
        ({"model": "mbt2018-mean"}, "model 'mbt2018-mean' with no arguments: "),
    ],
)
def test_what_cannot_be_had_is_one_line(
    small_model: SmallModel, arguments: dict[str, Any], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    small_model.write("intra.json", json.dumps(arguments))
    small_model.write("model.csv", CSV.replace("IntraCodec", "CompressAIIntra"))
    assert small_model.train("run") == 2
    error = capsys.readouterr().err
    said = f"{small_model.path / 'model.csv'}:2: CompressAIIntra: {expected}"
    assert error.startswith(said) and error.count("\n") == 1


def test_without_compressai_it_is_one_line(
    small_model: SmallModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "compressai", None)
    monkeypatch.setitem(sys.modules, "compressai.registry", None)
    small_model.write("intra.json", "{}")
    small_model.write("model.csv", CSV.replace("IntraCodec", "CompressAIIntra"))
    assert small_model.train("run") == 2
    said = "needs CompressAI, which is not installed; pip install compressai\n"
    assert capsys.readouterr().err == f"{small_model.path / 'model.csv'}:2: CompressAIIntra: {said}"
