"""What decides symbols is exact: the same table rows and symbols however a decoder computes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.decode_matrix import VARIANTS, Coded, add_noise, read, write
from tests.lively_models import clip, lively_model, small
from torchDVC.coding_structure import CodingStructure
from torchDVC.config import load_model_config
from torchDVC.entropy.exact import ExactModule
from torchDVC.models.model_file import Model, load_model, save_model

SIZE = (70, 100)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(path, lively_model(small(load_model_config("baseline.csv"))))
    return load_model(path)


@pytest.fixture(scope="module")
def coded(model: Model) -> list[Coded]:
    return write(model, CodingStructure(8, 2), clip(4, SIZE))


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS.keys())
def test_every_way_of_decoding_gives_the_same_symbols(variant, model: Model, coded: list[Coded]) -> None:
    assert variant(model, coded, SIZE) == [item.symbols for item in coded]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize(("writer", "reader"), [("cpu", "cuda"), ("cuda", "cpu"), ("cuda", "cuda")])
def test_devices_decode_each_others_streams(writer: str, reader: str, model: Model) -> None:
    try:
        model.codec.to(writer)
        coded = write(model, CodingStructure(8, 2), [picture.to(writer) for picture in clip(4, SIZE)])
        model.codec.to(reader)
        assert read(model, coded, SIZE) == [item.symbols for item in coded]
    finally:
        model.codec.to("cpu")


def test_other_symbols_would_be_noticed(model: Model, coded: list[Coded]) -> None:
    """The comparison above sees a single table row that differs."""
    layer = model.codec.get_submodule("intra_codec.latent.hyper.h_s.last")
    assert isinstance(layer, ExactModule)
    integers = dict(layer.integers())
    try:
        layer.fix({**integers, "bias": integers["bias"] + (1 << 10)})
        with pytest.raises(Exception) as caught:
            assert read(model, coded[:1], SIZE) == [coded[0].symbols]
        assert caught.typename in ("AssertionError", "BitstreamError")
    finally:
        layer.fix(integers)


def test_fixed_modules_do_not_look_at_their_weights(model: Model, coded: list[Coded], tmp_path: Path) -> None:
    """Another library may round a logarithm or a sigmoid differently: only the integers of the file may count."""
    before = {name: tensor.clone() for name, tensor in model.codec.state_dict().items()}
    try:
        with torch.no_grad():
            for module in model.codec.modules():
                if isinstance(module, ExactModule):
                    for parameter in module.parameters():
                        parameter.copy_(torch.rand_like(parameter))
        assert read(model, coded, SIZE) == [item.symbols for item in coded]
    finally:
        model.codec.load_state_dict(before)


def test_noise_reaches_the_pictures(model: Model) -> None:
    """The noise of the matrix is not lost in rounding: it changes what is shown."""
    other = lively_model(model.codec.config)
    weight = other.codec.get_parameter("intra_codec.g_s.0.weight").clone()
    add_noise(other.codec)
    change = (other.codec.get_parameter("intra_codec.g_s.0.weight") / weight - 1).abs()
    assert 1e-5 < change.mean() < 1e-3
