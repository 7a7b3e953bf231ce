"""Frame weights, quality offsets and distortions: what a stage says is what the loss and the encoder do."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.lively_models import clip, lively_model, read_stream, write_stream
from tests.small_model import SmallModel, make_small_model
from torchDVC.bitstream.container_reader import ContainerReader
from torchDVC.coding_structure import ByFrame, CodedFrame, CodingStructure, parse_pairs
from torchDVC.config import Modes, Stage, load_model_config, load_run
from torchDVC.entropy.symbol_streams import EstimatingStream
from torchDVC.models.distortions import l1, load_distortion, mse
from torchDVC.models.loss import StageLoss
from torchDVC.models.model_file import Model, load_model, save_model
from torchDVC.models.sequence import code_clip
from torchDVC.util.errors import ConfigError

LEVELS = 4
FRAMES = [CodedFrame(0), *parse_pairs("4 0>2<4 0>1<2")]
MODES = Modes("all", "i", "emcr", "emcr")
STAGE = Stage("all", "i", "emcr", "emcr", train="iemcr", rnn=1)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, clip_folder: Path) -> SmallModel:
    return make_small_model(tmp_path_factory.mktemp("levels") / "model", clip_folder, levels=LEVELS)


@pytest.fixture(scope="module")
def model(workspace: SmallModel) -> Model:
    return lively_model(load_model_config(str(workspace.path / "model.csv")))


def with_offsets(model: Model, offsets: ByFrame) -> Model:
    return Model(model.codec, dataclasses.replace(model.modes, quality_offsets=offsets), model.hash)


def test_offsets_by_layer_are_those_of_training_and_coding(model: Model) -> None:
    modes = dataclasses.replace(MODES, quality_offsets=ByFrame((1, 0, -1), layers=True))
    pictures = torch.stack(clip(5, (64, 64)), 1)
    with torch.no_grad():
        coded = list(code_clip(model.codec, pictures, FRAMES, modes, rnn=1, quality=1, new_stream=EstimatingStream))
    assert {p.info.index: int(p.quality) for p in coded} == {0: 2, 4: 2, 2: 1, 1: 0}


def test_offsets_are_carried_in_each_packet(model: Model, tmp_path: Path) -> None:
    encoder = with_offsets(model, ByFrame((0, 2, 1)))
    path = tmp_path / "a.lcp"
    expected = write_stream(path, encoder, CodingStructure(4), clip(6, (40, 50)), quality=2)
    with ContainerReader(path) as reader:
        assert [packet.quality for packet in reader.packets()] == [2, 3, 3, 2, 2, 3]
    decoded = read_stream(path, model)  # which knows of no offsets
    assert all(torch.equal(decoded[index], picture) for index, picture in expected.items())


def test_a_model_file_keeps_what_goes_with_its_modes(model: Model, tmp_path: Path) -> None:
    for offsets in (ByFrame((0, 2, 1)), ByFrame((0, -1), layers=True)):
        modes = dataclasses.replace(model.modes, quality_offsets=offsets, references=2, feature_reset=8, rdoq=0.1)
        save_model(tmp_path / "m.safetensors", dataclasses.replace(model, modes=modes, hash=digest_of(model, modes)))
        read = load_model(tmp_path / "m.safetensors").modes
        assert (read.quality_offsets, read.references, read.feature_reset, read.rdoq) == (offsets, 2, 8, 0.1)


def digest_of(model: Model, modes: Modes) -> str:
    from torchDVC.models.model_file import content_hash

    return content_hash(model.codec, modes)


def loss_of(model: Model, stage: Stage) -> Tensor:
    pictures = torch.stack(clip(5, (64, 64)), 1)
    quality = torch.ones(1, dtype=torch.int64)
    loss = StageLoss(model.codec, stage, load_distortion(stage.distortion))
    with torch.no_grad():
        model.codec.lmdas.copy_(torch.tensor([64.0, 128, 256, 512]))
        values = loss(pictures, FRAMES, quality, model.codec.lmdas[quality], EstimatingStream)
    return values["loss"]


def test_weights_count_the_distortion_of_their_frames(model: Model) -> None:
    alone = [
        loss_of(model, dataclasses.replace(STAGE, frame_weights=ByFrame(weights, layers=True), loss_r=()))
        for weights in ((1.0, 0, 0), (0, 1.0, 0), (0, 0, 1.0), (1.0, 1.0, 1.0), (2.0, 3.0, 0.5))
    ]
    assert all(value > 0 for value in alone)
    torch.testing.assert_close(sum(alone[:3]), alone[3])
    torch.testing.assert_close(2 * alone[0] + 3 * alone[1] + 0.5 * alone[2], alone[4])


def test_a_frame_of_another_level_has_the_lagrangian_of_that(model: Model) -> None:
    weights = ByFrame((1.0, 0, 0), layers=True)
    plain = dataclasses.replace(STAGE, frame_weights=weights, loss_r=(), loss_d=((1.0, "mc_distortion"),), pairs="")
    offset = dataclasses.replace(plain, quality_offsets=ByFrame((0, 1, 1), layers=True))
    torch.testing.assert_close(loss_of(model, offset), loss_of(model, plain))  # layer 0 is as it was
    intra = dataclasses.replace(plain, loss_d=((1.0, "distortion"),), imode="i", pmode="", bmode="")
    finer = dataclasses.replace(intra, quality_offsets=ByFrame((2,)))
    assert loss_of(model, finer) != loss_of(model, intra)


def test_distortions_are_chosen_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Model) -> None:
    (tmp_path / "mine.py").write_text(
        "from torchDVC.config.registry import distortion\n"
        "@distortion\ndef worst(a, b): return (a - b).abs().amax((1, 2, 3))\n"
    )
    monkeypatch.setenv("TORCHDVC_PLUGINS", str(tmp_path))
    a, b = torch.rand(2, 3, 3, 64, 64)
    assert torch.equal(load_distortion("mse")(a, b), mse(a, b)) and torch.equal(load_distortion("l1")(a, b), l1(a, b))
    assert torch.equal(load_distortion("worst")(a, b), (a - b).abs().flatten(1).amax(1))
    assert loss_of(model, dataclasses.replace(STAGE, distortion="worst")) != loss_of(model, STAGE)
    assert float(load_distortion("ms_ssim")(a, a).abs().max()) < 1e-5


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("distortion = mes", "3: unknown distortion 'mes'; did you mean 'mse'?"),
        ("distortion = lpips", "3: distortion lpips needs the package lpips, which is not installed"),
        ("frame_weights = 1 x", "3: frame_weights = '1 x'; expected a number of at least 0"),
        ("frame_weights = layer:", "3: frame_weights = 'layer:'; expected values by position such as 1 0.5, or by"),
        ("quality_offsets = 0 1.5", "3: quality_offsets = '0 1.5'; expected a whole number from -255 to 255"),
        ("quality_offsets = 0 1", "3: quality_offsets need modules with quality levels, such as a latent of type Gain"),
    ],
)
def test_what_a_stage_says_is_checked(
    line: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.json").write_text(json.dumps({"width": 4}))
    Path("m.csv").write_text("code,name,type,args,weights\ni,intra_codec,IntraCodec,c.json,\n")
    Path("t.cfg").write_text(f"[process: a]\nimode = i\n{line}\n")
    with pytest.raises(ConfigError) as caught:
        load_run("m.csv", "t.cfg", "train")
    assert str(caught.value).startswith(f"t.cfg:{expected}")
