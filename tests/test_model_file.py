"""Model files: what is read is what was written; anything else is refused and executes nothing."""

from __future__ import annotations

import pickle
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.lively_models import ALL_MODES, clip, lively_model, read_stream, small, write_stream
from torchDVC.coding_structure import CodingStructure
from torchDVC.config import ModelConfig, load_model_config
from torchDVC.entropy.exact import ExactModule
from torchDVC.models import checkpoints, model_store
from torchDVC.models.codec import Codec
from torchDVC.models.model_file import Model, _make, fixed, load_model, save_model, stored_hash
from torchDVC.util.errors import CheckpointError

STRUCTURE = CodingStructure(4, 1)


@pytest.fixture(scope="module")
def model() -> Model:
    return lively_model(small(load_model_config("baseline.csv")))


@pytest.fixture
def path(model: Model, tmp_path: Path) -> Path:
    save_model(tmp_path / "model.safetensors", model)
    return tmp_path / "model.safetensors"


def test_a_model_comes_back(model: Model, path: Path) -> None:
    loaded = load_model(path)
    assert (loaded.hash, loaded.name) == (model.hash, "baseline")
    assert stored_hash(path) == model.hash
    assert [getattr(loaded.modes, m) for m in ("imode", "pmode", "bmode")] == ["i", "emcr", "emcr"]
    own, other = model.codec.state_dict(), loaded.codec.state_dict()
    assert own.keys() == other.keys() and all(torch.equal(own[name], other[name]) for name in own)
    for name, module in model.codec.named_modules():
        if isinstance(module, ExactModule):
            again = loaded.codec.get_submodule(name)
            assert isinstance(again, ExactModule)
            for key, array in module.integers().items():
                np.testing.assert_array_equal(again.integers()[key], array)


def test_saving_again_gives_the_same_model(model: Model, path: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.safetensors"
    save_model(again, load_model(path))
    assert again.stat().st_size == path.stat().st_size
    assert load_model(again).hash == model.hash


def test_the_trainer_can_start_from_a_model_file(model: Model, path: Path) -> None:
    from torchDVC.models.weights import model_weights

    checkpoints.load_weights(Codec(model.codec.config), model_weights(path), str(path))


@pytest.mark.parametrize("name", ["intra_codec.g_s.0.bias", "motion_estimator.networks.0.0.weight", "lmdas"])
def test_any_weight_is_part_of_the_hash(model: Model, name: str) -> None:
    other = lively_model(model.codec.config)
    assert other.hash == model.hash
    with torch.no_grad():
        other.codec.state_dict()[name].add_(1e-3)
    assert fixed(other.codec, ALL_MODES).hash != model.hash


def test_arguments_and_modes_are_part_of_the_hash(model: Model) -> None:
    from torchDVC.config import Modes

    assert fixed(lively_model(model.codec.config).codec, Modes("all", "i", "emcr", "")).hash != model.hash


Change = Callable[[dict[str, Any]], Any]


def _set(*keys: Any, value: Any) -> Change:
    def change(contents: dict[str, Any]) -> None:
        place = contents
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value

    return change


WRONG: dict[str, tuple[Change, str]] = {
    "other weights": (_set("model", "lmdas", value=torch.ones(1)), "do not match their hash"),
    "other hash": (_set("hash", value="00"), "do not match their hash"),
    "no table": (lambda c: c.pop("modules"), "not a model file"),
    "a format of tomorrow": (_set("format", value=2), "format 2; expected 1"),
    "a list of tensors": (_set("integers", value={"a": [1]}), "do not match their hash"),
}


@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG.keys())
def test_contents_that_do_not_fit_the_hash_are_refused(change: Change, message: str, path: Path) -> None:
    contents = checkpoints.load(path)
    change(contents)
    checkpoints.save(path, contents)
    with pytest.raises(CheckpointError, match=message):
        load_model(path)


def nested(depth: int) -> dict[str, Any]:
    return {"type": "Gain", "latent": nested(depth - 1)} if depth else {"type": "Hyperprior"}


LYING: dict[str, tuple[Change, str]] = {
    "unknown type": (_set("modules", 0, "type", value="IntraCodek"), "did you mean 'IntraCodec'"),
    "a name of Python's": (_set("modules", 0, "name", value="__class__"), "expected a name such as"),
    "a name of the codec's": (_set("modules", 0, "name", value="forward"), "taken by the codec"),
    "unknown argument": (_set("modules", 0, "args", "wide", value=3), "IntraCodec has no argument 'wide'"),
    "argument of another kind": (_set("modules", 0, "args", "width", value="8"), 'width = "8"; expected int'),
    "impossible argument": (_set("modules", 0, "args", "width", value=-1), "width = -1; expected int of at least 1"),
    "unknown latent codec": (
        _set("modules", 0, "args", "latent", value={"type": "Hyperprier"}), "did you mean 'Hyperprior'"
    ),
    "slots without end": (_set("modules", 0, "args", "latent", value=nested(60)), "deep; expected at most"),
    "no module": (_set("modules", 0, value=[]), "is not a module"),
    "another width": (_set("modules", 0, "args", "width", value=7), "does not fit"),
    "unknown code": (_set("modes", "pmode", value="emxr"), "no module has the code 'x'"),
    "no mode": (_set("modes", value={}), "lacks a mode string"),
    "a path as its name": (_set("name", value="../../evil"), "expected a plain name"),
    "a hidden name": (_set("name", value=".."), "expected a plain name"),
    "a name that writes to the terminal": (_set("name", value="a\x1b[2J"), "expected a plain name"),
    "integers that are none": (
        lambda c: c["integers"].update({k: {"shift": torch.zeros(1, dtype=torch.bfloat16)} for k in c["integers"]}),
        "'shift': torch.bfloat16; expected torch.int32",
    ),
    "more memory than there is": (_set("modules", 0, "args", "width", value=10**6), "claim far more memory"),
    "more quality levels than there is memory": (
        _set("modules", 0, "args", "latent", value={"type": "Gain", "levels": 2**31}), "claim far more memory"
    ),
    "a weight that is not finite": (
        lambda c: next(iter(c["model"].values())).fill_(torch.nan), "is not finite; expected a trained model"
    ),
    "no integers": (_set("integers", value={}), "lacks the integers of"),
}


@pytest.mark.parametrize(("change", "message"), LYING.values(), ids=LYING.keys())
def test_a_hostile_file_with_the_right_hash_is_refused(change: Change, message: str, path: Path) -> None:
    from torchDVC.models.model_file import _digest
    from torchDVC.util.errors import LCPError

    contents = checkpoints.load(path)
    change(contents)
    checkpoints.save(path, {**contents, "hash": _digest(contents)})
    with pytest.raises(LCPError, match=message):
        load_model(path)


MADE: dict[str, Callable[[int], object]] = {
    "linspace": lambda n: torch.linspace(0, 1, n),
    "arange": lambda n: torch.arange(0.0, float(n)),
    "randn": lambda n: torch.randn(8, n),
    "repeat": lambda n: torch.ones(2)[:, None].repeat(1, n),
    "repeat_interleave": lambda n: torch.ones(2).repeat_interleave(n),
    "new_zeros": lambda n: torch.ones(2).new_zeros(n),
    "pad": lambda n: nn.functional.pad(torch.ones(2), (0, n)),
    "eye": lambda n: torch.eye(n // 2**16),
    "outer": lambda n: torch.outer(torch.ones(n // 2**16), torch.ones(n // 2**16)),
    "parameter": lambda n: nn.Parameter(torch.empty(n).uniform_()),
    "layers": lambda n: [nn.Linear(1024, 1024) for _ in range(n)],
    "small layers": lambda n: [nn.Linear(2, 2) for _ in range(n)],
}


@pytest.mark.parametrize("way", MADE)
def test_making_more_than_the_weights_take_is_refused_before_it_is_made(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torchDVC.models.model_file.Codec", lambda config: MADE[way](2**31))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match="^file: .* claim far more memory"):
        _make(ModelConfig("hostile", Path("file"), ()), {"w": torch.zeros(100)})
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20  # KiB


def test_integers_beyond_exact_arithmetic_are_refused(model: Model) -> None:
    layer = lively_model(model.codec.config).codec.get_submodule("intra_codec.latent.hyper.h_s.last")
    assert isinstance(layer, ExactModule)
    integers = layer.integers()
    for key, value in (("weight", 128), ("bias", 1 << 24), ("shift", 15)):
        with pytest.raises(CheckpointError, match="expected sums below"):
            layer.fix({**integers, key: np.full_like(integers[key], value)})
    with pytest.raises(CheckpointError, match="'bias': nothing; expected integers of shape"):
        layer.fix({"weight": integers["weight"], "shift": integers["shift"]})


def test_weights_that_are_not_finite_are_refused(model: Model) -> None:
    codec = Codec(model.codec.config)
    with torch.no_grad():
        codec.get_parameter("intra_codec.g_s.0.bias")[0] = float("nan")
    with pytest.raises(CheckpointError, match="'intra_codec.g_s.0.bias' is not finite"):
        fixed(codec, ALL_MODES)


def test_truncated_and_foreign_files_are_refused(path: Path, tmp_path: Path) -> None:
    data = path.read_bytes()
    for length in (0, 7, 8, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(CheckpointError, match="model.safetensors"):
            load_model(path)
        assert stored_hash(path) == ""


class _Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


def test_a_pickle_is_refused_and_executes_nothing(tmp_path: Path) -> None:
    for name in ("model.safetensors", "model.pth"):
        (tmp_path / name).write_bytes(pickle.dumps(_Bomb(tmp_path / "executed")))
        with pytest.raises(CheckpointError):
            load_model(tmp_path / name)
    assert not (tmp_path / "executed").exists()


# --- finding models


def test_models_are_kept_and_found(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    with pytest.raises(CheckpointError, match=f"model {model.hash[:12]}… is not here.*{tmp_path}/log/models"):
        model_store.find(model.hash[:32])
    kept = model_store.keep(model)
    assert kept == tmp_path / "log" / "models" / f"baseline-{model.hash[:12]}.safetensors"
    assert model_store.keep(model) == kept
    assert model_store.find(model.hash[:32]).hash == model.hash
    assert model_store.open_model(kept.stem).hash == model.hash
    with pytest.raises(CheckpointError, match=f"did you mean '{kept.stem}'"):
        model_store.open_model(kept.stem[:-2])


def test_damaged_copies_stand_in_nobodys_way(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG", str(tmp_path))
    kept = model_store.keep(model)
    whole = kept.read_bytes()
    damaged = bytearray(whole)
    damaged[-50] ^= 1
    kept.write_bytes(damaged)
    with pytest.raises(CheckpointError, match="damaged"):
        model_store.find(model.hash)
    other = kept.with_name("zz.safetensors")
    other.write_bytes(whole)
    assert model_store.find(model.hash).hash == model.hash
    assert model_store.keep(model) == other
    other.unlink()
    assert model_store.keep(model) == kept
    assert model_store.find(model.hash).hash == model.hash


def test_a_folder_of_ones_own_goes_first(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    monkeypatch.setenv("TORCHDVC_MODELS", f"{tmp_path / 'a'}:{tmp_path / 'b'}")
    assert model_store.keep(model).parent == tmp_path / "a"
    (tmp_path / "b").mkdir()
    renamed = model_store.keep(model).rename(tmp_path / "b" / "renamed.safetensors")
    (tmp_path / "a" / f"baseline-{model.hash[:12]}.safetensors").write_bytes(b"no model at all")
    assert model_store.keep(model) == renamed
    assert model_store.find(model.hash[:32]).hash == model.hash


def test_streams_refuse_another_model(model: Model, tmp_path: Path) -> None:
    write_stream(tmp_path / "a.lcp", model, STRUCTURE, clip(1, (64, 64)))
    other = lively_model(model.codec.config, seed=1)
    with pytest.raises(CheckpointError, match=f"coded with model {model.hash[:12]}; the one given is baseline"):
        read_stream(tmp_path / "a.lcp", other)
