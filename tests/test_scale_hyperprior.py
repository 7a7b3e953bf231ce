"""The intra codec of compressai's zoo: the same networks, an exact hyper-synthesis, and weights that load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from torchDVC.coding_structure import FrameInfo
from torchDVC.config import load_model_config
from torchDVC.entropy.fixed_point import FixedPoint, scaled
from torchDVC.entropy.priors import GaussianTables
from torchDVC.entropy.scale_row import SCALES, ScaleRow
from torchDVC.entropy.streams import TrainingStream
from torchDVC.entropy.symbol_streams import EstimatingStream
from torchDVC.models.codec import Codec
from torchDVC.models.weights import build_codec
from torchDVC.modules.frame_state import FrameState
from torchDVC.modules.intra.scale_hyperprior import ScaleHyperpriorIntra
from torchDVC.modules.layers import conv, deconv
from torchDVC.util.errors import CheckpointError


def frame_state(picture: Tensor) -> FrameState:
    batch, _, height, width = picture.shape
    state = FrameState(FrameInfo(0), batch, height, width, torch.zeros(batch, dtype=torch.int64))
    state["frame"] = picture
    return state


def network() -> FixedPoint:
    torch.manual_seed(0)
    return FixedPoint(deconv(4, 5), nn.ReLU(), conv(5, 6, 3, stride=1), nn.ReLU(), conv(6, 3))


def in_integers(layers: FixedPoint, x: Tensor) -> Tensor:
    """The same sums by PyTorch's convolutions of int64, and rounding by exact division."""
    x = x.long() * 1024
    for layer in layers.children():
        if isinstance(layer, nn.ReLU):
            x = x.clamp(min=0)
            continue
        assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
        weight, bias, shift = (t.detach().long() for t in scaled(layer))
        if isinstance(layer, nn.ConvTranspose2d):
            total = F.conv_transpose2d(x, weight, None, layer.stride, layer.padding, layer.output_padding)  # type: ignore[arg-type]
        else:
            total = F.conv2d(x, weight, None, layer.stride, layer.padding)
        total = total + (bias << shift)[:, None, None]
        half = 1 << int(shift) - 1
        down, rest = total >> int(shift), total & ((1 << int(shift)) - 1)
        x = down + ((rest > half) | ((rest == half) & (down & 1 == 1)))
    return x


def test_fixed_point_equals_integer_arithmetic() -> None:
    layers = network()
    x = torch.randint(-40, 40, (2, 4, 5, 7), generator=torch.Generator().manual_seed(0)).float()
    assert torch.equal(layers(x) * 1024, in_integers(layers, x).double())


def test_fixed_point_does_not_depend_on_layout_or_batch() -> None:
    layers = network()
    x = torch.randint(-40, 40, (3, 4, 5, 7), generator=torch.Generator().manual_seed(0)).float()
    expected = layers(x)
    assert torch.equal(layers(x.contiguous(memory_format=torch.channels_last)), expected)
    assert torch.equal(torch.cat([layers(item[None]) for item in x]), expected)


def test_fixed_point_is_near_to_the_network() -> None:
    layers = network()
    x = torch.randint(-40, 40, (1, 4, 5, 7), generator=torch.Generator().manual_seed(0)).float()
    torch.testing.assert_close(layers(x), nn.Sequential(*layers.children())(x).double(), atol=4e-3, rtol=1e-3)


def test_fixed_integers_stay_when_the_weights_change() -> None:
    layers = network()
    x = torch.randint(-40, 40, (1, 4, 5, 7), generator=torch.Generator().manual_seed(0)).float()
    expected, integers = layers(x), layers.integers()
    assert all(array.dtype == np.int32 for array in integers.values())
    other = network()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.5)
    other.fix(integers)
    assert torch.equal(other(x), expected)
    with pytest.raises(CheckpointError, match="reach"):
        other.fix({**integers, "0.weight": integers["0.weight"] + 2**16})


def test_the_table_row_is_that_of_compressai() -> None:
    entropy_models = pytest.importorskip("compressai.entropy_models")
    models = pytest.importorskip("compressai.models.base")
    scales = torch.arange(1, 280 * 1024, 7, dtype=torch.float64, requires_grad=True)
    rows = ScaleRow()(scales / 1024)
    theirs = entropy_models.GaussianConditional(models.get_scale_table().tolist())
    assert torch.equal(rows.detach().int(), theirs.build_indexes(scales.detach() / 1024))
    rows.sum().backward()
    assert scales.grad is not None and bool((scales.grad[2000:] > 0).all())


def test_symbols_cost_what_they_do_by_the_tables_of_compressai() -> None:
    entropy_models = pytest.importorskip("compressai.entropy_models")
    theirs = entropy_models.GaussianConditional(list(SCALES))
    theirs.update()
    tables = GaussianTables(SCALES, tail=0.0).tables
    for row, (cdf, scale) in enumerate(zip(theirs.quantized_cdf, theirs.scale_table, strict=True)):
        frequencies = cdf[: int(theirs.cdf_length[row])].diff()[:-1]  # the last is the escape's
        symbols = torch.arange(len(frequencies)) + int(theirs.offset[row])
        more = tables.bits(symbols, torch.tensor(row)) - (16 - frequencies.double().log2())
        assert bool((more < 1.01).all()) and float((theirs._likelihood(symbols, scale) * more).sum()) < 1e-4


def test_table_rows_follow_the_integers_of_the_model_file() -> None:
    module, scales = ScaleRow(), torch.arange(1, 400, dtype=torch.float64) / 1024
    before, up_to = module(scales), module.integers()["up_to"]
    module.fix({"up_to": up_to + 3})
    assert torch.equal(module(scales)[3:], before[:-3]) and module(scales).max() > 0
    with pytest.raises(CheckpointError, match="ascending"):
        module.fix({"up_to": up_to[::-1].copy()})


def reference() -> nn.Module:
    """A small model of compressai whose latents are of a likely size for its tables."""
    google = pytest.importorskip("compressai.models.google")
    torch.manual_seed(0)
    model = google.ScaleHyperprior(16, 24).eval()
    with torch.no_grad():
        model.g_a[6].weight.mul_(30)
        model.h_s[4].bias.fill_(1.5)
    return model


def test_it_computes_what_compressai_computes() -> None:
    theirs: Any = reference()
    ours = ScaleHyperpriorIntra(16, 24).eval()
    ours.load_state_dict(ours.translate_weights(theirs.state_dict()))
    picture = torch.rand(1, 3, 128, 192, generator=torch.Generator().manual_seed(0))
    stream = EstimatingStream()
    with torch.no_grad():
        theirs.update()
        expected = theirs.compress(picture)["strings"]
        recon = ours(frame_state(picture), stream)["recon"]
        torch.testing.assert_close(recon, theirs(picture)["x_hat"], atol=1e-5, rtol=1e-5)
    for part, (string,) in zip(("latent", "hyper"), expected, strict=True):
        assert 8 * len(string) - 64 < float(stream.bits["", part]) <= 8 * len(string)  # it ends in a state of 64 bits


def test_every_weight_gets_a_gradient() -> None:
    module = ScaleHyperpriorIntra(6, 8)
    stream = TrainingStream()
    picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    recon = module(frame_state(picture), stream)["recon"]
    (stream.rates()[""].sum() + (recon - picture).square().sum()).backward()
    without = [name for name, p in module.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert without == ["entropy_bottleneck.quantiles"]


def test_a_model_csv_takes_the_weights_of_compressai(tmp_path: Path) -> None:
    tensors = {name: x.contiguous().clone() for name, x in reference().state_dict().items()}
    save_file(tensors, tmp_path / "zoo.safetensors")
    (tmp_path / "intra.json").write_text('{"width": 16, "channels": 24}')
    (tmp_path / "model.csv").write_text(
        "code,name,type,args,weights\ni,intra_codec,ScaleHyperpriorIntra,intra.json,zoo.safetensors\n"
    )
    codec: Codec = build_codec(load_model_config(str(tmp_path / "model.csv")))
    assert torch.equal(codec.state_dict()["intra_codec.g_s.0.weight"], tensors["g_s.0.weight"])
