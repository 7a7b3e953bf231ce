"""Motion estimators take published weights, in the namings of their ports, and give the flow that those describe."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from torchDVC.config import load_model_config
from torchDVC.models.weights import build_codec
from torchDVC.modules.layers import warp
from torchDVC.modules.motion.pwcnet import PWCNet, cost_volume
from torchDVC.modules.motion.spynet import SPyNet
from torchDVC.util.errors import CheckpointError

Tensors = dict[str, Tensor]
WIDTHS = (8, 32, 64, 32, 16, 2)


def start(folder: Path, type_name: str, arguments: str, tensors: Tensors, name: str) -> torch.nn.Module:
    """The motion estimator of a model csv whose ``weights`` column names a file of these tensors."""
    path = folder / name
    if not path.suffix:
        path.mkdir()
        for key, tensor in tensors.items():
            np.save(path / f"{key}.npy", tensor)
    elif path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path)
    (folder / "estimator.json").write_text(arguments)
    (folder / "model.csv").write_text(
        f"code,name,type,args,weights\ne,motion_estimator,{type_name},estimator.json,{name}\n"
    )
    return build_codec(load_model_config(str(folder / "model.csv"))).get_submodule("motion_estimator").eval()


def pictures() -> tuple[Tensor, Tensor]:
    frame, ref = torch.rand(2, 1, 3, 64, 128, generator=torch.Generator().manual_seed(1))
    return frame, ref


# --- SPyNet


def spynet_tensors(levels: int, name: Callable[[int, int], str]) -> Tensors:
    """Random weights of networks of 7x7 convolutions, by the names of a port."""
    torch.manual_seed(0)
    tensors = {}
    for level in range(levels):
        for layer, (a, b) in enumerate(zip(WIDTHS, WIDTHS[1:], strict=False)):
            tensors[f"{name(level, 2 * layer)}.weight"] = torch.randn(b, a, 7, 7) / (7 * a**0.5)
            tensors[f"{name(level, 2 * layer)}.bias"] = torch.randn(b) / 10
    return tensors


def published_spynet(tensors: Tensors, name: Callable[[int, int], str], levels: range, pair: tuple[Tensor, Tensor]
                     ) -> Tensor:
    """The flow of the paper's pyramid, from the coarsest of these levels on, at full size."""
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    deviation = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    scales = [[(x - mean) / deviation for x in pair]]
    for _ in levels[1:]:
        scales.insert(0, [F.avg_pool2d(x, 2) for x in scales[0]])
    flow = torch.zeros(1, 2, *scales[0][0].shape[2:])
    for level, (frame, ref) in zip(levels, scales, strict=True):
        if flow.shape[2:] != frame.shape[2:]:
            flow = 2 * F.interpolate(flow, scale_factor=2, mode="bilinear", align_corners=False)
        x = torch.cat((frame, warp(ref, flow), flow), 1)
        for layer in range(5):
            key = name(level, 2 * layer)
            x = F.conv2d(x, tensors[f"{key}.weight"], tensors[f"{key}.bias"], padding=3)
            x = F.relu(x) if layer < 4 else x
        flow = flow + x
    return flow


SPYNETS: dict[str, Callable[[int, int], str]] = {
    "moduleBasic": lambda level, layer: f"moduleBasic.{level}.moduleBasic.{layer}",
    "netBasic": lambda level, layer: f"netBasic.{level}.netBasic.{layer}",
    "Blocks": lambda level, layer: f"Blocks.{level}.{layer}",
}


def of_array(name: str) -> str:
    """The name that PyTorchVideoCompression gives a tensor of the first naming."""
    _, level, _, layer, kind = name.split(".")
    return f"modelL{int(level) + 1}_F-{int(layer) // 2 + 1}-{kind}"


@pytest.mark.parametrize("naming", SPYNETS)
@pytest.mark.parametrize(("levels", "file"), [(5, "spynet.pytorch"), (6, "spynet.safetensors")])
def test_spynet_takes_published_weights(tmp_path: Path, naming: str, levels: int, file: str) -> None:
    tensors = spynet_tensors(levels, SPYNETS[naming])
    estimator = start(tmp_path, "SPyNet", '{"levels": 5, "finest": 0, "imagenet": true}', tensors, file)
    assert isinstance(estimator, SPyNet)
    expected = published_spynet(tensors, SPYNETS[naming], range(levels - 5, levels), pictures())
    with torch.no_grad():
        torch.testing.assert_close(estimator.estimate(*pictures()), expected, rtol=1e-4, atol=1e-4)


def test_spynet_takes_a_folder_of_arrays(tmp_path: Path) -> None:
    naming = SPYNETS["moduleBasic"]
    tensors = spynet_tensors(6, naming)
    arrays = {of_array(name): tensor for name, tensor in tensors.items()}
    estimator = start(tmp_path, "SPyNet", '{"levels": 4, "finest": 0, "imagenet": true}', arrays, "arrays")
    assert isinstance(estimator, SPyNet)
    expected = published_spynet(tensors, naming, range(2, 6), pictures())
    with torch.no_grad():
        torch.testing.assert_close(estimator.estimate(*pictures()), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY\x01\x00v\x00{'descr': '|O'", pickle.dumps([1])])
def test_a_damaged_array_is_one_line(tmp_path: Path, damage: bytes) -> None:
    """And nothing in a pickle runs."""
    arrays = {of_array(name): tensor for name, tensor in spynet_tensors(5, SPYNETS["moduleBasic"]).items()}
    start(tmp_path, "SPyNet", '{"levels": 5, "finest": 0, "imagenet": true}', arrays, "arrays")
    damaged = tmp_path / "arrays/modelL3_F-2-bias.npy"
    damaged.write_bytes(damage)
    with pytest.raises(CheckpointError, match=f"^{damaged}: damaged, or not an array of numpy ") as error:
        build_codec(load_model_config(str(tmp_path / "model.csv")))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("arguments", ['{"imagenet": true, "levels": 7, "finest": 0}', '{"levels": 4}'])
def test_arguments_that_do_not_fit_are_one_line(tmp_path: Path, arguments: str) -> None:
    tensors = spynet_tensors(6, SPYNETS["moduleBasic"])
    with pytest.raises(CheckpointError) as error:
        start(tmp_path, "SPyNet", arguments, tensors, "spynet.pytorch")
    assert str(error.value) == (
        f"{tmp_path / 'model.csv'}:2: {tmp_path / 'spynet.pytorch'}: published weights of SPyNet with 6 levels; "
        'expected arguments with levels + finest of at most 6, "kernel_size": 7 and "imagenet": true'
    )


# --- PWC-Net

PYRAMID = (3, 16, 32, 64, 96, 128, 196)
DENSE = (128, 128, 96, 64, 32)


def pwcnet_tensors() -> Tensors:
    """Random weights by the authors' names."""
    torch.manual_seed(0)
    shapes: dict[str, tuple[int, ...]] = {}
    for level, (a, b) in enumerate(zip(PYRAMID, PYRAMID[1:], strict=False), start=1):
        for name, inputs in zip(("aa", "a", "b") if level == 6 else ("a", "aa", "b"), (a, b, b), strict=True):
            shapes[f"conv{level}{name}.0"] = (b, inputs, 3, 3)
    for level in range(2, 7):
        seen = 81 if level == 6 else 81 + PYRAMID[level] + 4
        for k, width in enumerate(DENSE):
            shapes[f"conv{level}_{k}.0"] = (width, seen, 3, 3)
            seen += width
        shapes[f"predict_flow{level}"] = (2, seen, 3, 3)
        shapes[f"deconv{level}"] = (2, 2, 4, 4)
        if level > 2:
            shapes[f"upfeat{level}"] = (seen, 2, 4, 4)
    widest = 81 + PYRAMID[2] + 4 + sum(DENSE)
    for k, (a, b) in enumerate(((widest, 128), (128, 128), (128, 128), (128, 96), (96, 64), (64, 32)), start=1):
        shapes[f"dc_conv{k}.0"] = (b, a, 3, 3)
    shapes["dc_conv7"] = (2, 32, 3, 3)
    tensors = {}
    for name, shape in shapes.items():
        fan = shape[1] * shape[2] * shape[3] if "conv" in name or "predict" in name else 4 * shape[0]
        tensors[f"{name}.weight"] = torch.randn(shape) / fan**0.5
        tensors[f"{name}.bias"] = torch.randn(shape[1] if name.startswith(("deconv", "upfeat")) else shape[0]) / 50
    return tensors


def of_port(tensors: Tensors) -> Tensors:
    """The same by the port's names."""
    words = ("", "One", "Two", "Three", "Four", "Five", "Six")
    renamed = {}
    for name, tensor in tensors.items():
        layer, tail = name.replace(".0.", ".").split(".")
        kind, rest = layer.rstrip("0123456789_ab"), layer
        if kind == "conv" and "_" in rest:
            level, k = rest.removeprefix("conv").split("_")
            new = f"module{words[int(level)]}.module{words[int(k) + 1]}.0"
        elif kind == "conv":
            level, place = rest[4], rest[5:]
            order = ("aa", "a", "b") if level == "6" else ("a", "aa", "b")
            new = f"moduleExtractor.module{words[int(level)]}.{2 * order.index(place)}"
        elif kind == "predict_flow":
            new = f"module{words[int(rest[-1])]}.moduleSix.0"
        elif kind in ("deconv", "upfeat"):
            if rest[-1] == "2":
                continue
            new = f"module{words[int(rest[-1]) - 1]}.module{'Upflow' if kind == 'deconv' else 'Upfeat'}"
        else:
            new = f"moduleRefiner.moduleMain.{2 * int(rest[-1]) - 2}"
        renamed[f"{new}.{tail}"] = tensor
    return renamed


def published_pwcnet(w: Tensors, frame: Tensor, ref: Tensor) -> Tensor:
    """The flow that the authors' network describes, enlarged to the full size."""

    def conv(x: Tensor, name: str, leaky: bool = True, **how: int) -> Tensor:
        y = F.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], padding=how.get("dilation", 1), **how)
        return F.leaky_relu(y, 0.1) if leaky else y

    def up(x: Tensor, name: str) -> Tensor:
        return F.conv_transpose2d(x, w[f"{name}.weight"], w[f"{name}.bias"], stride=2, padding=1)

    maps = []
    for x in (frame.flip(1), ref.flip(1)):  # blue first
        of_picture = []
        for level in range(1, 7):
            a, b, c = ("aa", "a", "b") if level == 6 else ("a", "aa", "b")
            x = conv(conv(conv(x, f"conv{level}{a}.0", stride=2), f"conv{level}{b}.0"), f"conv{level}{c}.0")
            of_picture.append(x)
        maps.append(of_picture)
    flow, x = frame, ref  # of the level above, once there is one
    for level in range(6, 1, -1):
        own, other = maps[0][level - 1], maps[1][level - 1]
        if level == 6:
            x = F.leaky_relu(cost_volume(own, other, 4), 0.1)
        else:
            up_flow, up_feat = up(flow, f"deconv{level + 1}"), up(x, f"upfeat{level + 1}")
            costs = F.leaky_relu(cost_volume(own, warp(other, up_flow * 20 / 2**level), 4), 0.1)
            x = torch.cat((costs, own, up_flow, up_feat), 1)
        for k in range(5):
            x = torch.cat((conv(x, f"conv{level}_{k}.0"), x), 1)
        flow = conv(x, f"predict_flow{level}", leaky=False)
    for k, dilation in enumerate((1, 2, 4, 8, 16, 1), start=1):
        x = conv(x, f"dc_conv{k}.0", dilation=dilation)
    flow = flow + conv(x, "dc_conv7", leaky=False)
    return 20 * F.interpolate(flow, scale_factor=4, mode="bilinear", align_corners=False)


@pytest.mark.parametrize("port", [False, True])
def test_pwcnet_takes_published_weights(tmp_path: Path, port: bool) -> None:
    tensors = pwcnet_tensors()
    given = of_port(tensors) if port else tensors
    estimator = start(tmp_path, "PWCNet", "{}", given, "pwc_net.pth.tar")
    assert isinstance(estimator, PWCNet)
    with torch.no_grad():
        expected = published_pwcnet(tensors, *pictures())
        torch.testing.assert_close(estimator.estimate(*pictures()), expected, rtol=1e-4, atol=1e-3)
    assert float(expected.std()) > 0.1
