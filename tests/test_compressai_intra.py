"""CompressAI's image models as intra codecs: beside CompressAI's own coder, through the command lines, and refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
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

SMALL: dict[str, dict[str, Any]] = {
    "bmshj2018-factorized": {"N": 24, "M": 36},
    "bmshj2018-factorized-relu": {"N": 24, "M": 36},
    "bmshj2018-hyperprior": {"N": 24, "M": 36},
    "mbt2018-mean": {"N": 24, "M": 36},
    "mbt2018": {"N": 36, "M": 36},
    "cheng2020-anchor": {"N": 36},
    "cheng2020-attn": {"N": 36},
    "cheng2020-anchor-checkerboard": {"N": 36},
    "elic2022-official": {"N": 12, "M": 160},
    "elic2022-chandelier": {"N": 12, "M": 160},
    "bmshj2018-hyperprior-vbr": {"N": 24, "M": 36, "levels": 8},
    "mbt2018-mean-vbr": {"N": 24, "M": 36, "levels": 8},
    "mbt2018-vbr": {"N": 36, "M": 36, "levels": 8},
}
LEVELS = [(name, 3) for name in SMALL] + [("bmshj2018-hyperprior-vbr", 7), ("mbt2018-mean-vbr", 7)]
SIZE = (256, 384)


def photograph() -> Tensor:
    """(1, 3, 256, 384)."""
    return cut(data.astronaut())


def cut(picture: np.ndarray) -> Tensor:
    """(1, 3, 256, 384) of a picture (H, W, 3), or (H, W) in grey."""
    part = np.atleast_3d(picture)[: SIZE[0], 64 : 64 + SIZE[1]]
    return torch.from_numpy(part.copy()).permute(2, 0, 1)[None].expand(-1, 3, -1, -1) / 255


def untrained(name: str) -> Any:
    """A small model of CompressAI."""
    return build(name, N=SMALL[name]["N"], M=SMALL[name].get("M")).eval()


def calibrated(name: str, picture: Tensor | None = None) -> Any:
    """A small model with random transforms, whose densities fit the latent of a picture, as training makes them.

    What comes out of the last layer before the Gaussians is the latent's spread and mean in each channel, and some of
    what the hyper-latent and the context say. Spreads are of all sizes that published weights give; so are medians.
    """
    torch.manual_seed(1)
    model, picture = untrained(name), photograph() if picture is None else picture
    with torch.no_grad():
        y = model.g_a(picture)
        last: Any = [layer for layer in model.g_a if isinstance(layer, torch.nn.Conv2d)][-1]
        last.weight.mul_((torch.logspace(-0.5, 1.2, y.shape[1]) / y.std((0, 2, 3)))[:, None, None, None])
        if name.startswith("bmshj2018"):  # nothing tells a mean
            last.bias.sub_(model.g_a(picture).mean((0, 2, 3)))
        y = model.g_a(picture)
        mean, spread = y.mean((0, 2, 3)), y.std((0, 2, 3))
        begin = 0
        for layer, order in _parameter_layers(model):
            channels = layer.out_channels // len(order)
            own = slice(begin, begin + channels)
            begin += channels
            layer.weight.mul_(0.05 / layer.weight.std() / layer.weight[0].numel())
            layer.bias.copy_(torch.cat([{"scales": spread, "means": mean}[kind][own] for kind in order]))
        if hasattr(model, "Gain"):
            model.Gain.mul_(4)
            model.QuantABCD[-1].weight.mul_(0.2)
            model.entropy_bottleneck.quantiles[:, 0, 1].uniform_(-0.5, 0.5)
            model.update(force=True)
        else:
            model.update(force=True, update_quantiles=True)
    return model


def _parameter_layers(model: Any) -> list[tuple[Any, tuple[str, ...]]]:
    """The layers that give scales and means, with their order, by group of channels."""
    def last(network: Any) -> Any:
        return [layer for layer in network.modules() if hasattr(layer, "out_channels")][-1]

    if hasattr(model, "entropy_parameters"):
        return [(last(model.entropy_parameters), ("scales", "means"))]
    if hasattr(model, "h_s"):
        return [(last(model.h_s), ("scales", "means")[: 1 + type(model).__name__.startswith("Mean")])]
    if not hasattr(model, "latent_codec"):
        return []
    parts = getattr(model.latent_codec.y, "latent_codec", {})
    parts = parts.values() if "y0" in parts else [model.latent_codec.y]
    return [(last(part.entropy_parameters), part.y.chunks) for part in parts]


def coded(module: CompressAIIntra, stream: Any, picture: Tensor | None, level: int = 0) -> Tensor:
    state = FrameState(FrameInfo.of(CodedFrame(0)), 1, *SIZE, torch.tensor([level]))
    if picture is not None:
        state["frame"] = picture
    with torch.no_grad():
        return module(state, stream)["recon"]


@pytest.mark.parametrize("fitted", ["astronaut", "camera"])
@pytest.mark.parametrize(("name", "level"), LEVELS)
def test_rate_and_distortion_are_those_of_compressai(name: str, level: int, fitted: str) -> None:
    """Of a photograph in colour, also with densities that were fitted to another one in grey."""
    model = calibrated(name, cut(getattr(data, fitted)()))
    module = CompressAIIntra(name, **SMALL[name]).eval()
    module.load_state_dict(dict(module.translate_weights(model.state_dict())))
    writing = WritingStream()
    encoded = coded(module, writing, photograph(), level)
    payload = writing.payload()
    decoded = coded(module, ReadingStream(payload), None, level)
    assert torch.equal(encoded, decoded)
    which = {"s": level} if "levels" in SMALL[name] else {}
    with torch.no_grad():
        if which:
            model.update(force=True, scale=model.Gain[level])
        theirs = model.compress(photograph(), **which)
        picture = model.decompress(theirs["strings"], theirs["shape"], **which)["x_hat"]
    size = sum(len(string) for strings in theirs["strings"] for string in strings)
    assert len(payload) == pytest.approx(size, rel=0.005) and size > 5000
    errors = [float((x.clamp(0, 1) - photograph()).square().mean()) for x in (decoded, picture)]
    assert errors[0] == pytest.approx(errors[1], rel=0.005)


@pytest.mark.parametrize("name", ["elic2022-chandelier", "mbt2018-mean-vbr"])
def test_a_model_through_the_command_lines(name: str, tmp_path: Path, clip_folder: Path) -> None:
    """Trained with weights of CompressAI to start from, exported, coded and decoded; I frames alone."""
    model = make_small_model(tmp_path / "model", clip_folder)
    torch.save(calibrated(name).state_dict(), model.path / "theirs.pth.tar")
    model.write("intra.json", json.dumps({"model": name, **SMALL[name]}))
    model.write("model.csv", CSV.replace("IntraCodec,intra.json,", "CompressAIIntra,intra.json,theirs.pth.tar"))
    model.write("train.cfg", "[process: intra]\nimode = i\ndata = DATA\nsteps = 1\nbatch_size = 1\npatch_size = 64\n")
    assert model.train("run") == 0
    kept = ["--model_config", str(model.path / "model.csv"), "--run_config", str(model.path / "test.cfg")]
    kept += ["--checkpoint", str(model.path / "run/checkpoints"), "--intra_period", "1", "--frames", "2"]
    sizes = []
    for level in (0, SMALL[name].get("levels", 1) - 1):
        stream, out = tmp_path / f"{level}.lcp", tmp_path / f"{level}.y4m"
        command = ["encode", str(clip_folder / "one.y4m"), str(stream), *kept, "--quality", str(level)]
        assert codec_command.main(command) == 0
        assert codec_command.main(["decode", str(stream), str(out)]) == 0 and out.stat().st_size > 2 * 96 * 80
        sizes.append(stream.stat().st_size)
    assert (sizes[0] < sizes[1]) == ("levels" in SMALL[name])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"model": "mbt2018-men"}, "model 'mbt2018-men'; did you mean 'mbt2018-mean'?"),
        ({"model": "mbt2018-vbr", "N": 8, "M": 12}, "model 'mbt2018-vbr' with levels 1; expected 8"),
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
