"""Checkpoints come back to the bit, appear whole or not at all, and never run code."""

from __future__ import annotations

import collections
import errno
import math
import os
import pickle
import random
import re
import struct
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from torchDVC.models import checkpoints
from torchDVC.training.randomness import rng_state, set_rng_state
from torchDVC.util.errors import CheckpointError

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16,
          torch.int8, torch.uint8, torch.bool)


def identical(a: Any, b: Any) -> bool:
    """Equality of type, structure, order and bits (NaN equals the same NaN; -0.0 differs from 0.0)."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        same_form = a.dtype == b.dtype and a.shape == b.shape
        return same_form and a.contiguous().reshape(-1).view(torch.uint8).equal(
            b.contiguous().reshape(-1).view(torch.uint8))
    if isinstance(a, dict):
        return list(a) == list(b) and all(type(i) is type(j) for i, j in zip(a, b, strict=True)) and all(
            identical(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(identical, a, b))
    if isinstance(a, float):
        return struct.pack(">d", a) == struct.pack(">d", b)
    return a == b


def tensor(dtype: torch.dtype, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    values = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 200 - 100
    return values.to(dtype)


tensors = st.builds(tensor, st.sampled_from(DTYPES), st.lists(st.integers(0, 3), max_size=4).map(tuple),
                    st.integers(0, 99))
plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
states = st.recursive(
    tensors | plain,
    lambda inner: st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple)
    | st.dictionaries(st.text(max_size=4) | st.integers(), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(state=states)
def test_any_nesting_comes_back_to_the_bit(tmp_path_factory: pytest.TempPathFactory, state: object) -> None:
    path = tmp_path_factory.mktemp("state") / "a.safetensors"
    checkpoints.save(path, state)
    assert identical(checkpoints.load(path), state)


def test_optimizer_and_rng_states_come_back(tmp_path: Path) -> None:
    layer = nn.Conv2d(3, 8, 3).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1 + 0.2)
    layer(torch.rand(1, 3, 8, 8)).sum().backward()
    optimizer.step()
    state = {"model": dict(layer.state_dict()), "optimizer": optimizer.state_dict(), "rng": rng_state()}
    checkpoints.save(tmp_path / "a.safetensors", state)
    loaded = checkpoints.load(tmp_path / "a.safetensors")
    assert identical(loaded, state)
    moment = loaded["optimizer"]["state"][0]["exp_avg"]
    assert moment.stride() == optimizer.state_dict()["state"][0]["exp_avg"].stride()  # fused Adam insists


def test_shared_sliced_expanded_and_transposed_tensors_keep_their_values(tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(2, 3, 4)
    state = {"base": base, "again": base, "slice": base[:, 1:], "expanded": base[0, 0, :1].expand(5), "t": base.mT,
             "parameter": nn.Parameter(base), "ordered": collections.OrderedDict(a=base)}
    checkpoints.save(tmp_path / "a.safetensors", state)
    loaded = checkpoints.load(tmp_path / "a.safetensors")
    assert all(loaded[key].equal(state[key]) for key in ("base", "again", "slice", "expanded", "t", "parameter"))
    loaded["base"].zero_()
    assert loaded["again"].equal(base) and loaded["ordered"]["a"].equal(base)


def test_names_that_meet_after_joining_stay_apart(tmp_path: Path) -> None:
    state = {"a.b": torch.tensor(1), "a": {"b": torch.tensor(2)}}
    checkpoints.save(tmp_path / "a.safetensors", state)
    assert identical(checkpoints.load(tmp_path / "a.safetensors"), state)


def test_other_programs_read_the_tensors_by_their_path(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    checkpoints.save(tmp_path / "a.safetensors", {"model": {"conv.weight": torch.ones(2)}, "step": 3})
    assert load_file(tmp_path / "a.safetensors")["model.conv.weight"].tolist() == [1, 1]
    assert checkpoints.load_foreign(tmp_path / "a.safetensors")["model.conv.weight"].tolist() == [1, 1]


def test_what_a_checkpoint_cannot_hold_is_named(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"a\.1: a complex"):
        checkpoints.save(tmp_path / "a.safetensors", {"a": [1, 2j]})
    assert not list(tmp_path.iterdir())


def test_generators_continue_where_they_were() -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), float(numpy.random.rand()), float(torch.rand(()))

    random.gauss(0, 1), numpy.random.randn()  # leaves half a pair behind in both
    state = rng_state()
    first, gauss = draw(), (random.gauss(0, 1), numpy.random.randn())
    set_rng_state(state)
    assert draw() == first
    assert (random.gauss(0, 1), numpy.random.randn()) == gauss


# --- damage


def test_every_truncation_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    checkpoints.save(path, {"w": torch.arange(5.0), "step": 3})
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(CheckpointError, match=re.escape(str(path))):
            checkpoints.load(path)


def test_every_flipped_byte_is_refused_or_harmless(tmp_path: Path) -> None:
    path, state = tmp_path / "a.safetensors", {"w": torch.arange(5.0), "step": 3}
    checkpoints.save(path, state)
    data = path.read_bytes()
    for position in range(len(data)):
        path.write_bytes(data[:position] + bytes([data[position] ^ 0x11]) + data[position + 1:])
        try:
            loaded = checkpoints.load(path)
        except CheckpointError as error:
            assert "\n" not in str(error) and str(path) in str(error)
        else:
            assert identical(loaded, state)


@pytest.mark.parametrize("data", [b"", b"hello", b"\xff" * 64, b"{}" * 40, bytes(8) + b"{}"], ids=range(5))
def test_foreign_files_are_refused_by_name(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=re.escape(str(path))):
        checkpoints.load(path)


def test_safetensors_of_another_program_are_told_apart(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"w": torch.ones(2)}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="another program"):
        checkpoints.load(tmp_path / "a.safetensors")
    assert checkpoints.load_foreign(tmp_path / "a.safetensors")["w"].tolist() == [1, 1]


def test_a_missing_checkpoint_suggests_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "epoch_0003.safetensors").touch()
    with pytest.raises(CheckpointError, match=r"epoch_003.safetensors: no such checkpoint; did you mean 'epoch_0003"):
        checkpoints.load(tmp_path / "epoch_003.safetensors")
    with pytest.raises(CheckpointError, match="not a file"):
        checkpoints.load(tmp_path)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        checkpoints.load(tmp_path / "nowhere" / "a.safetensors")


def test_a_full_disk_is_one_error_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> int:
        with open(path, "wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "a.safetensors"
    checkpoints.save(path, {"step": 1})
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError) as caught:
        checkpoints.save(path, {"step": 2})
    assert caught.value.filename == str(path)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert checkpoints.load(path) == {"step": 1}


# --- checkpoints of PyTorch


class Malicious:
    """Unpickling this would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_of_pytorch_are_read(tmp_path: Path, legacy: bool) -> None:
    state = {"state_dict": collections.OrderedDict(w=torch.ones(2)), "epoch": 3}
    torch.save(state, tmp_path / "a.pth", _use_new_zipfile_serialization=not legacy)
    assert identical(checkpoints.load_foreign(tmp_path / "a.pth"), state)


@pytest.mark.parametrize("name", ["a.pth", "a.tar", "a.pt"])
@pytest.mark.parametrize("legacy", [False, True, None])
def test_a_malicious_pickle_is_refused_and_runs_nothing(tmp_path: Path, name: str, legacy: bool | None) -> None:
    path, victim = tmp_path / name, tmp_path / "victim"
    if legacy is None:
        path.write_bytes(pickle.dumps(Malicious(victim)))
    else:
        torch.save({"w": Malicious(victim)}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError) as caught:
        checkpoints.load_foreign(path)
    asked = "refused by PyTorch's restricted reader" if legacy is None else "refused: it asks for posix.system"
    assert str(caught.value).startswith(f"{path}: {asked}") and "\n" not in str(caught.value)
    assert not victim.exists()


@pytest.mark.parametrize("data", [b"", b"hello", bytes(100), b"PK\x03\x04" + bytes(50)], ids=range(4))
def test_damaged_pickles_are_refused_in_one_line(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.pth").write_bytes(data)
    with pytest.raises(CheckpointError) as caught:
        checkpoints.load_foreign(tmp_path / "a.pth")
    assert str(caught.value).startswith(str(tmp_path / "a.pth")) and "\n" not in str(caught.value)


def test_a_truncated_pytorch_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({"w": torch.ones(1000)}, path)
    path.write_bytes(path.read_bytes()[:-700])
    with pytest.raises(CheckpointError, match=re.escape(str(path))):
        checkpoints.load_foreign(path)


# --- weights


def test_weights_are_loaded_strictly() -> None:
    layer = nn.Linear(3, 2)
    given = {"weight": torch.ones(2, 3), "bias": torch.zeros(2)}
    checkpoints.load_weights(layer, given, "a.safetensors")
    assert layer.weight.equal(torch.ones(2, 3)) and layer.bias.equal(torch.zeros(2))


def test_weights_that_do_not_fit_are_listed_in_one_line() -> None:
    layer = nn.Linear(3, 2)
    before = layer.weight.clone()
    with pytest.raises(CheckpointError) as caught:
        checkpoints.load_weights(layer, {"weights": torch.ones(2, 3), "bias": torch.zeros(4)}, "a.safetensors")
    assert str(caught.value) == (
        "a.safetensors: does not fit Linear (2 tensors): 1 missing (weight); "
        "1 unexpected (weights; did you mean 'weight'?); 1 of another form (bias is (4,), expected (2,))")
    assert layer.weight.equal(before)


def test_many_names_are_counted_not_listed() -> None:
    module = nn.Sequential(*(nn.Linear(1, 1) for _ in range(9)))
    with pytest.raises(CheckpointError, match=r"18 missing \(0\.weight, 0\.bias, 1\.weight, …\)$"):
        checkpoints.load_weights(module, {}, "a.safetensors")


def test_integer_tables_are_not_filled_with_floats() -> None:
    module = nn.Module()
    module.register_buffer("tables", torch.zeros(2, dtype=torch.int32))
    with pytest.raises(CheckpointError, match=r"tables is torch\.float32, expected torch\.int32"):
        checkpoints.load_weights(module, {"tables": torch.ones(2)}, "a.safetensors")


# --- which file


def test_the_last_checkpoint_of_a_folder_is_the_one_called_so(tmp_path: Path) -> None:
    """Whatever was touched since."""
    with pytest.raises(CheckpointError, match="no checkpoint"):
        checkpoints.last(tmp_path)
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for name in ("01_intra.safetensors", ".last.partial.safetensors", "d.txt"):
        (folder / name).touch()
    assert checkpoints.last(folder) == checkpoints.last(tmp_path) == folder / "01_intra.safetensors"
    (folder / "02_joint.safetensors").touch()
    with pytest.raises(CheckpointError, match=r"no last\.safetensors here; .*: 01_intra\S*, 02_joint\S*$"):
        checkpoints.last(tmp_path)
    (folder / "last.safetensors").touch()
    os.utime(folder / "last.safetensors", (1, 1))
    assert checkpoints.last(folder) == checkpoints.last(tmp_path) == folder / "last.safetensors"


def test_sha256_is_the_standard_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert checkpoints.sha256(tmp_path / "a") == "ba7816bf8f01"


def test_not_a_number_keeps_its_payload(tmp_path: Path) -> None:
    odd = struct.unpack(">d", bytes.fromhex("fff8000000000123"))[0]
    checkpoints.save(tmp_path / "a.safetensors", [odd, -0.0, math.inf])
    assert identical(checkpoints.load(tmp_path / "a.safetensors"), [odd, -0.0, math.inf])
