"""Procedural clips: determinism, sizes, and that the known motion is the motion seen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from torchDVC.dataset.frame import ReadOptions
from torchDVC.dataset.procedural import TEST_INDEX, ProceduralReader, Scene, _texture, procedural_clip
from torchDVC.util.errors import DataError


def warped(picture: np.ndarray, flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``picture`` (3, H, W) sampled at each pixel plus ``flow``, and where that lies inside it; by scipy."""
    rows, columns = np.mgrid[: picture.shape[1], : picture.shape[2]].astype(np.float64)
    rows, columns = rows + flow[1], columns + flow[0]
    inside = (rows >= 0) & (rows <= picture.shape[1] - 1) & (columns >= 0) & (columns <= picture.shape[2] - 1)
    planes = [map_coordinates(plane.astype(float), [rows, columns], order=1, mode="nearest") for plane in picture]
    return np.stack(planes), inside


def known_flow(index: int, frames: int, size: tuple[int, int]) -> np.ndarray:
    """(T - 1, 2, H, W), in pixels: entry t - 1 leads from each pixel of frame t to its place in frame t - 1."""
    scene = Scene(index, size)
    return np.stack([scene.flow(t) for t in range(1, frames)])


@settings(max_examples=30, deadline=None)
@given(
    index=st.one_of(st.integers(0, 500), st.integers(TEST_INDEX, TEST_INDEX + 50)),
    width=st.integers(1, 90),
    height=st.integers(1, 90),
)
def test_any_index_and_size(index: int, width: int, height: int) -> None:
    clip = procedural_clip(index, 3, (width, height))
    assert clip.shape == (3, 3, height, width)
    assert clip.dtype == np.uint8
    flow = known_flow(index, 3, (width, height))
    assert flow.shape == (2, 2, height, width)
    assert np.abs(flow).max() < 30
    assert np.isfinite(flow).all()


def test_clips_are_functions_of_index_and_size() -> None:
    longer = procedural_clip(7, 6, (64, 48))
    assert np.array_equal(longer[:2], procedural_clip(7, 2, (64, 48)))
    assert not np.array_equal(longer, procedural_clip(8, 6, (64, 48)))


def test_clips_stay_as_they_are() -> None:
    """Means of a few clips, so that a change of the clips comes with a change of their version."""
    means = [procedural_clip(index, 3, (96, 64)).mean() for index in (0, 3, 11, TEST_INDEX)]
    assert means == pytest.approx([83.32, 87.03, 91.27, 98.34], abs=0.2)


@pytest.mark.parametrize("index", [2, 3, 7, 9, TEST_INDEX + 1, TEST_INDEX + 4])
def test_flow_predicts_the_next_frame(index: int) -> None:
    """Warping by the flow beats no motion, and every flow half a pixel off."""
    clip, flow = procedural_clip(index, 8, (128, 96)).astype(float), known_flow(index, 8, (128, 96))

    def error(shift: tuple[float, float]) -> float:
        errors = []
        for t in range(1, 8):
            prediction, inside = warped(clip[t - 1], flow[t - 1] + np.array(shift)[:, None, None])
            # The median over pixels: what was just uncovered cannot be predicted.
            errors.append(np.median(np.abs(prediction - clip[t])[:, inside].mean(axis=0)))
        return float(np.mean(errors))

    exact = error((0, 0))
    assert exact < min(error(shift) for shift in ((0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5)))
    assert exact < 4


def test_flow_differs_between_layers() -> None:
    """A clip with objects has motion edges; one without has a smooth field."""
    kinds = set()
    for index in range(12):
        flow = Scene(index, (96, 64)).flow(3)
        kinds.add(bool(np.abs(np.diff(flow, axis=2)).max() > 0.3))
    assert kinds == {True, False}


@pytest.mark.parametrize("size", [(1, 1), (96, 64), (64, 96), (416, 240), (1920, 1080), (2000, 16)])
def test_the_camera_never_leaves_the_photograph(size: tuple[int, int]) -> None:
    """The corners of the picture lie on the photograph in every frame; beyond its edge the last pixel would repeat."""
    corners = np.array([[0, 0, size[0] - 1, size[0] - 1], [0, size[1] - 1, 0, size[1] - 1]], np.float32)
    for index in (*range(60), *range(TEST_INDEX, TEST_INDEX + 12)):
        background = Scene(index, size)._layers[0]
        height, width = _texture(background.photograph).shape[:2]
        for t in range(0, 2000, 13):
            x, y = background.path.at(t)(corners[0], corners[1])
            assert x.min() >= 0 and y.min() >= 0 and x.max() <= width - 1 and y.max() <= height - 1


def test_training_and_test_clips_show_other_photographs() -> None:
    training = {layer.photograph for index in range(60) for layer in Scene(index, (32, 32))._layers}
    testing = {layer.photograph for index in range(60) for layer in Scene(TEST_INDEX + index, (32, 32))._layers}
    assert len(training) >= 8
    assert len(testing) >= 3
    assert not training & testing


def test_reader_gives_the_clip() -> None:
    reader = ProceduralReader(5, 4, (33, 21), ReadOptions(frames=3, matrix="bt601"))
    assert (reader.info.width, reader.info.height, reader.info.frames, reader.info.matrix) == (33, 21, 3, "bt601")
    clip = procedural_clip(5, 3, (33, 21))
    assert all(np.array_equal(frame.rgb, rgb) for frame, rgb in zip(reader, clip, strict=True))
    assert np.array_equal(reader.read([2])[0].rgb, clip[2])


def test_impossible_clips_are_refused() -> None:
    with pytest.raises(DataError, match="procedural clip -1"):
        procedural_clip(-1, 2, (8, 8))
    with pytest.raises(DataError, match="0x8"):
        procedural_clip(1, 2, (0, 8))
