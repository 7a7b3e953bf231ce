"""Every latent codec in every coder: what is written is read, in any arithmetic, and it learns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.decode_matrix import VARIANTS, read, write
from tests.lively_models import ALL_MODES, clip, lively_model, read_stream, small, write_stream
from torchDVC.coding_structure import CodedFrame, CodingStructure, FrameInfo, parse_pairs
from torchDVC.config import ModelConfig, load_model_config
from torchDVC.entropy.streams import Stream, TrainingStream
from torchDVC.entropy.symbol_streams import EstimatingStream
from torchDVC.models.codec import Codec
from torchDVC.models.model_file import Model, load_model, save_model
from torchDVC.models.sequence import code_clip
from torchDVC.modules.frame_state import FrameState
from torchDVC.modules.latent.gain import Gain
from torchDVC.modules.latent.slot import Form, build_latent
from torchDVC.util.errors import ConfigError

LATENTS: dict[str, dict[str, Any]] = {
    "factorized": {"type": "Factorized"},
    "hyperprior": {"type": "Hyperprior", "width": 6},
    "checkerboard": {"type": "Checkerboard", "width": 6},
    "groups": {"type": "ChannelGroups", "width": 6, "groups": 3},
    "groups in a checkerboard": {"type": "ChannelGroups", "width": 6, "groups": 2, "checkerboard": True},
    "dual": {"type": "DualPrior", "width": 6},
    "dual of means": {"type": "DualPrior", "width": 6, "temporal": True, "means_only": True},
    "temporal": {"type": "TemporalHyperprior", "width": 6},
    "dual, temporal": {"type": "DualPrior", "width": 6, "temporal": True},
    "raster": {"type": "Raster", "width": 6},
    "scales": {"type": "ScaleHyperprior", "width": 6},
    "gain of scales": {"type": "Gain", "levels": 8, "latent": {"type": "ScaleHyperprior", "width": 6}},
    "gain": {"type": "Gain", "levels": 64, "latent": {"type": "Checkerboard", "width": 6}},
}
SIZE = (64, 96)


def config(folder: Path, latent: dict[str, Any]) -> ModelConfig:
    """The baseline, small, whose coders all have this latent codec."""
    (folder / "latent.json").write_text(json.dumps({"width": 6, "channels": 7, "kernel_size": 3, "latent": latent}))
    coders = "i,intra_codec,IntraCodec\nm,motion_codec,FlowCodec\nr,residual_codec,ResidualCodec"
    lines = [f"{line},latent.json," for line in coders.split("\n")]
    others = ["e,motion_estimator,SPyNet,,", "c,motion_compensator,Refinement,,"]
    (folder / "m.csv").write_text("\n".join(["code,name,type,args,weights", *lines, *others]) + "\n")
    read_config = load_model_config(str(folder / "m.csv"))
    shrunk = {spec.name: spec for spec in small(read_config).modules}
    modules = tuple(spec if "latent" in spec.args else shrunk[spec.name] for spec in read_config.modules)
    return ModelConfig("m", read_config.path, modules)


@pytest.fixture(params=list(LATENTS.values()), ids=list(LATENTS))
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Model:
    return lively_model(config(tmp_path, request.param))


def test_a_decoder_gets_the_encoders_pictures(model: Model, tmp_path: Path) -> None:
    save_model(tmp_path / "model.safetensors", model)
    decoder = load_model(tmp_path / "model.safetensors")
    assert decoder.hash == model.hash
    for structure in (CodingStructure(3, 1), CodingStructure(0, 2)):
        expected = write_stream(tmp_path / "a.lcp", model, structure, clip(4, (50, 90)), model.codec.levels // 2)
        decoded = read_stream(tmp_path / "a.lcp", decoder)
        assert all(torch.equal(decoded[index], picture) for index, picture in expected.items())


def test_every_way_of_decoding_gives_the_same_symbols(model: Model) -> None:
    coded = write(model, CodingStructure(8, 2), clip(4, SIZE))
    for variant in VARIANTS.values():
        assert variant(model, coded, SIZE) == [item.symbols for item in coded]
    assert read(model, coded, SIZE) == [item.symbols for item in coded]


def test_it_learns_to_its_last_parameter(model: Model) -> None:
    codec = Codec(model.codec.config).train()
    torch.manual_seed(0)
    with torch.no_grad():
        for name, module in codec.named_modules():
            if name.endswith("g_a.6") and isinstance(module, nn.Conv2d):
                module.weight.mul_(8)
    pictures = torch.stack(clip(3, SIZE), 1)
    quality = torch.full((1,), codec.levels // 3)
    frames = [CodedFrame(0), *parse_pairs("0>1 1>2")]
    coded = code_clip(codec, pictures, frames, ALL_MODES, rnn=1, quality=quality)
    loss = sum((sum(p.stream.rates().values()) + p.state["recon"].square().sum()).sum() for p in coded)
    assert isinstance(loss, Tensor)
    loss.backward()
    latents = [(n, p) for n, p in codec.named_parameters() if ".latent." in n and "quantiles" not in n]
    assert latents
    untouched = [n for n, p in latents if p.grad is None or not bool(torch.isfinite(p.grad).all())]
    assert not untouched


def test_estimates_are_the_bits_of_the_file(model: Model) -> None:
    pictures = clip(1, SIZE)
    estimated = EstimatingStream(1, keep_maps=True)
    with torch.no_grad():
        picture = model.codec.code_frame(CodedFrame(0), model.modes, SIZE, estimated, source=pictures[0])
    coded = write(model, CodingStructure(8, 1), pictures)
    bits = float(picture.stream.rates()["intra"])
    assert bits / 8 - 4 <= len(coded[0].payload) <= bits / 8 + 8
    assert estimated.maps is not None
    assert sum(float(m.sum()) for m in estimated.maps["intra"]) == pytest.approx(bits, rel=1e-4)


def state_of(height: int, width: int, level: int = 0) -> FrameState:
    return FrameState(FrameInfo(0), 1, height, width, torch.tensor([level]))


@pytest.mark.parametrize("latent", LATENTS.values(), ids=LATENTS.keys())
def test_training_and_coding_give_the_same_latent(latent: dict[str, Any]) -> None:
    torch.manual_seed(0)
    coder = build_latent({"type": "Factorized"} if latent["type"] == "Factorized" else latent, Form(5))
    y = 3 * torch.randn(1, 5, 4, 8)
    trained = coder(y, TrainingStream(), state_of(64, 128, 3))
    coded = coder(y, EstimatingStream(), state_of(64, 128, 3))
    assert (trained - y).abs().max() < (6 if latent["type"] == "Gain" else 0.51)
    assert (coded - y).abs().max() < (6 if latent["type"] == "Gain" else 0.51)


def test_what_is_decoded_tells_about_what_follows() -> None:
    """Neighbours of a smooth latent tell each element more than a hyper-latent does."""
    torch.manual_seed(0)
    y = 20 * nn.functional.avg_pool2d(torch.randn(8, 2, 18, 18), 3, 1)
    bits = {name: learned_bits({"type": name, "width": 8}, y) for name in ("Hyperprior", "Checkerboard", "Raster")}
    assert bits["Checkerboard"] < 0.9 * bits["Hyperprior"]
    assert bits["Raster"] < 0.9 * bits["Hyperprior"]


def learned_bits(latent: dict[str, Any], y: Tensor, steps: int = 100) -> float:
    """What a latent costs a codec that was trained on it."""
    torch.manual_seed(1)
    coder = build_latent(latent, Form(y.shape[1]))
    state = FrameState(FrameInfo(0), len(y), 256, 256, torch.zeros(len(y), dtype=torch.int64))
    optimizer = torch.optim.Adam(coder.parameters(), 1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        spent(coder, TrainingStream(len(y)), y, state).backward()
        optimizer.step()
    with torch.no_grad():
        return float(spent(coder, EstimatingStream(len(y)), y, state))


def spent(coder: nn.Module, stream: Stream, y: Tensor, state: FrameState) -> Tensor:
    coder(y, stream, state)
    return torch.stack([bits.sum() for bits in stream.bits.values()]).sum()


def test_gains_span_the_lagrangians_and_are_smooth() -> None:
    gain = Gain(Form(3), levels=64, anchors=8)
    logarithms = (gain.shares @ gain.log_gain)[:, 0].detach()
    assert float((logarithms[-1] - logarithms[0]).exp() ** 2) == pytest.approx(768, rel=1e-4)
    steps = logarithms.diff()
    assert (steps > 0).all() and float(steps.max() / steps.min()) < 1.01
    assert sum(p.numel() for n, p in gain.named_parameters() if n.startswith("log_gain")) == 2 * 8 * 3


def test_a_reference_without_the_latent_is_no_obstacle() -> None:
    torch.manual_seed(0)
    coder = build_latent({"type": "TemporalHyperprior", "width": 4}, Form(2))
    state = state_of(64, 64)
    stream = EstimatingStream()
    with stream.labelled("residual"):
        first = coder(4 * torch.randn(1, 2, 4, 4), stream, state)
        assert torch.equal(state.kept["residual_latent"], first)
        later = state_of(64, 64)
        later.refer("residual_latent", [None, state.kept["residual_latent"]])
        assert later.recall("residual_latent") is not None
        coder(4 * torch.randn(1, 2, 4, 4), stream, later)


@pytest.mark.parametrize(
    ("latent", "expected"),
    [
        ('"Hyperprior"', '3: latent = "Hyperprior"; expected {"type": …}; known types: ChannelGroups, Checkerboard, '),
        ('{"type": "Hyperprier"}', "3: latent: unknown type 'Hyperprier'; did you mean 'Hyperprior'?"),
        ('{"type": "Hyperprior",\n"widht": 3}', "4: Hyperprior has no argument 'widht'; did you mean 'width'?"),
        ('{"type": "Gain", "latent":\n{"type": "Hyperprior", "width": 0}}', "4: width = 0; expected int of at least 1"),
    ],
)
def test_what_a_json_says_of_a_latent_codec_is_checked_with_its_line(
    latent: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.json").write_text(f'{{\n"width": 8,\n"latent": {latent}}}')
    (tmp_path / "m.csv").write_text("code,name,type,args,weights\ni,intra_codec,IntraCodec,a.json,\n")
    with pytest.raises(ConfigError) as caught:
        load_model_config("m.csv")
    assert str(caught.value).startswith(f"a.json:{expected}")


def test_unequal_levels_are_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, levels in (("a", 4), ("b", 8)):
        (tmp_path / f"{name}.json").write_text(json.dumps({"latent": {"type": "Gain", "levels": levels}}))
    lines = ["i,intra_codec,IntraCodec,a.json,", "r,residual_codec,ResidualCodec,b.json,", "x,other_codec,IntraCodec,,"]
    (tmp_path / "m.csv").write_text("\n".join(["code,name,type,args,weights", *lines]) + "\n")
    with pytest.raises(ConfigError) as caught:
        load_model_config("m.csv")
    assert str(caught.value) == (
        "m.csv: modules of unequal quality levels: 4 of intra_codec (i), 8 of residual_codec (r); "
        "expected the same of all"
    )
