"""Streams and a model file of an earlier day decode as they did then."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.golden_streams import FOLDER, MODEL, STRUCTURES, frames_of, sha256, symbols
from tests.lively_models import read_stream
from torchDVC.models.model_file import Model, load_model

GOLDEN = json.loads((FOLDER / "golden.json").read_text())


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(MODEL)


def test_the_model_file_reads_as_ever(model: Model) -> None:
    assert model.hash == GOLDEN["model"]


@pytest.mark.parametrize("name", STRUCTURES)
def test_symbols_are_those_of_then(name: str, model: Model) -> None:
    assert symbols(name, model) == GOLDEN["streams"][name]["symbols"]


@pytest.mark.parametrize("name", STRUCTURES)
def test_frames_are_those_of_then(name: str, model: Model) -> None:
    """Symbols must be the same everywhere; pixels are floating point, and may round the other way elsewhere."""
    frames = frames_of(read_stream(FOLDER / f"{name}.lcp", model))
    with np.load(FOLDER / "frames.npz") as stored:
        expected = stored[name]
    assert sha256(expected) == GOLDEN["streams"][name]["frames"]
    assert np.abs(frames.astype(int) - expected).max() <= 1
