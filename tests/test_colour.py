"""The colour conversion against hand-computed values, exact rational arithmetic, and swscale."""

from __future__ import annotations

import math
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchDVC.dataset.colour import rgb_to_yuv420, yuv420_to_rgb
from torchDVC.dataset.procedural import procedural_clip
from torchDVC.util.errors import DataError

WEIGHTS = {
    "bt601": (Fraction(299, 1000), Fraction(587, 1000), Fraction(114, 1000)),
    "bt709": (Fraction(2126, 10000), Fraction(7152, 10000), Fraction(722, 10000)),
}
STEPS = {"limited": (16, 219, 224), "full": (0, 255, 255)}
COLOURS = [(matrix, value_range) for matrix in WEIGHTS for value_range in STEPS]

bytes_ = st.integers(0, 255)


def rounded(value: Fraction) -> int:
    """Half up, clipped to a byte."""
    return min(max(math.floor(value + Fraction(1, 2)), 0), 255)


def exact_rgb(y: int, u: Fraction, v: Fraction, matrix: str, value_range: str) -> tuple[int, int, int]:
    """The equations of the recommendations, solved for RGB in rational arithmetic."""
    kr, kg, kb = WEIGHTS[matrix]
    black, luma, chroma = STEPS[value_range]
    grey, pb, pr = Fraction(y - black, luma), (u - 128) / chroma, (v - 128) / chroma
    red, blue = grey + 2 * (1 - kr) * pr, grey + 2 * (1 - kb) * pb
    green = (grey - kr * red - kb * blue) / kg
    return rounded(255 * red), rounded(255 * green), rounded(255 * blue)


def exact_yuv(pixels: list[tuple[int, int, int]], matrix: str, value_range: str) -> tuple[list[int], int, int]:
    """Luma of four pixels and the chroma they share, in rational arithmetic."""
    kr, kg, kb = WEIGHTS[matrix]
    black, luma, chroma = STEPS[value_range]
    grey = [kr * r + kg * g + kb * b for r, g, b in pixels]
    pb = sum(b - y for (_, _, b), y in zip(pixels, grey, strict=True)) / (2 * (1 - kb)) / 4 / 255
    pr = sum(r - y for (r, _, _), y in zip(pixels, grey, strict=True)) / (2 * (1 - kr)) / 4 / 255
    return [rounded(black + luma * y / 255) for y in grey], rounded(128 + chroma * pb), rounded(128 + chroma * pr)


def one_colour(rgb: tuple[int, int, int]) -> np.ndarray:
    return np.array(rgb, np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)


@pytest.mark.parametrize(
    ("matrix", "value_range", "rgb", "yuv"),
    [
        # BT.601 limited red: Y = 16 + 219*0.299 = 81.48, U = 128 - 224*0.299/1.772 = 90.20, V = 128 + 112 = 240.
        ("bt601", "limited", (255, 0, 0), (81, 90, 240)),
        ("bt601", "limited", (0, 255, 0), (145, 54, 34)),
        ("bt601", "limited", (0, 0, 255), (41, 240, 110)),
        # BT.709 limited red: Y = 16 + 219*0.2126 = 62.56, U = 128 - 224*0.2126/1.8556 = 102.34, V = 240.
        ("bt709", "limited", (255, 0, 0), (63, 102, 240)),
        ("bt709", "limited", (0, 255, 0), (173, 42, 26)),
        ("bt709", "limited", (0, 0, 255), (32, 240, 118)),
        # JFIF red: Y = 255*0.299 = 76.245, U = 128 - 255*0.299/1.772 = 84.97, V = 128 + 127.5 = 255.5, clipped.
        ("bt601", "full", (255, 0, 0), (76, 85, 255)),
        ("bt601", "full", (0, 255, 0), (150, 44, 21)),
        ("bt601", "full", (0, 0, 255), (29, 255, 107)),
        ("bt709", "full", (255, 0, 0), (54, 99, 255)),
        ("bt709", "limited", (255, 255, 255), (235, 128, 128)),
        ("bt601", "full", (255, 255, 255), (255, 128, 128)),
        ("bt709", "limited", (0, 0, 0), (16, 128, 128)),
        ("bt709", "full", (128, 128, 128), (128, 128, 128)),
    ],
)
def test_hand_computed(matrix: str, value_range: str, rgb: tuple[int, int, int], yuv: tuple[int, int, int]) -> None:
    planes = rgb_to_yuv420(one_colour(rgb), matrix, value_range)
    assert tuple(int(plane.flat[0]) for plane in planes) == yuv
    assert all(len(np.unique(plane)) == 1 for plane in planes)


def test_blacker_than_black_and_whiter_than_white_are_clipped() -> None:
    grey = np.full((1, 1), 128, np.uint8)
    for code, value in ((0, 0), (16, 0), (235, 255), (255, 255), (125, 127), (126, 128)):
        rgb = yuv420_to_rgb(np.full((2, 2), code, np.uint8), grey, grey)
        assert np.unique(rgb).tolist() == [value]


@pytest.mark.parametrize(("matrix", "value_range"), COLOURS)
@settings(max_examples=60, deadline=None)
@given(y=bytes_, chroma=st.lists(bytes_, min_size=8, max_size=8))
def test_to_rgb_is_the_exact_value_rounded(matrix: str, value_range: str, y: int, chroma: list[int]) -> None:
    """Also between chroma samples: the second luma pixel of each axis takes 9, 3, 3, 1 sixteenths of its neighbours."""
    u, v = (np.array(values, np.uint8).reshape(2, 2) for values in (chroma[:4], chroma[4:]))
    rgb = yuv420_to_rgb(np.full((4, 4), y, np.uint8), u, v, matrix, value_range)
    weights = (9, 3, 3, 1)
    between = [sum(Fraction(w * int(c), 16) for w, c in zip(weights, plane.flat, strict=True)) for plane in (u, v)]
    corner = [Fraction(int(plane[0, 0])) for plane in (u, v)]
    assert tuple(rgb[:, 1, 1].tolist()) == exact_rgb(y, Fraction(between[0]), Fraction(between[1]), matrix, value_range)
    assert tuple(rgb[:, 0, 0].tolist()) == exact_rgb(y, corner[0], corner[1], matrix, value_range)


@pytest.mark.parametrize(("matrix", "value_range"), COLOURS)
@settings(max_examples=60, deadline=None)
@given(pixels=st.lists(st.tuples(bytes_, bytes_, bytes_), min_size=4, max_size=4))
def test_to_yuv_is_the_exact_value_rounded(matrix: str, value_range: str, pixels: list[tuple[int, int, int]]) -> None:
    picture = np.array(pixels, np.uint8).T.reshape(3, 2, 2)
    y, u, v = rgb_to_yuv420(picture, matrix, value_range)
    luma, blue, red = exact_yuv(pixels, matrix, value_range)
    assert (y.ravel().tolist(), int(u[0, 0]), int(v[0, 0])) == (luma, blue, red)


def test_exact_half_goes_up() -> None:
    """BT.601 full range, U = 253: blue is 1.772 * 125 = 221.5 above luma."""
    rgb = yuv420_to_rgb(np.zeros((2, 2), np.uint8), np.full((1, 1), 253, np.uint8), np.full((1, 1), 128, np.uint8),
                        "bt601", "full")  # fmt: skip
    assert rgb[2].tolist() == [[222, 222], [222, 222]]


@settings(max_examples=40, deadline=None)
@given(width=st.integers(1, 70), height=st.integers(1, 70), seed=st.integers(0, 99))
def test_any_size_and_back(width: int, height: int, seed: int) -> None:
    """Shapes of odd sizes; a picture of one colour per 2x2 pixels survives the way there and back within rounding."""
    colours = np.random.default_rng(seed).integers(60, 200, 3, dtype=np.uint8)
    picture = np.broadcast_to(colours[:, None, None], (3, height, width))
    y, u, v = rgb_to_yuv420(picture)
    assert y.shape == (height, width)
    assert u.shape == v.shape == ((height + 1) // 2, (width + 1) // 2)
    back = yuv420_to_rgb(y, u, v)
    assert back.shape == (3, height, width)
    assert np.abs(back.astype(int) - picture).max() <= 2


def test_odd_edge_counts_twice() -> None:
    """In a 1x3 picture the second chroma sample is the third pixel alone."""
    picture = np.array([[[10, 20, 200]], [[40, 50, 90]], [[70, 80, 30]]], np.uint8)
    _, u, v = rgb_to_yuv420(picture)
    _, u_alone, v_alone = rgb_to_yuv420(picture[:, :, 2:])
    assert (u[0, 1], v[0, 1]) == (u_alone[0, 0], v_alone[0, 0])


@pytest.mark.parametrize(("matrix", "value_range"), COLOURS)
def test_agrees_with_swscale(matrix: str, value_range: str) -> None:
    """With bilinear chroma and accurate rounding, swscale's fixed point gives the same within one, nearly always."""
    bilinear, full_chroma_accurate = 2, 0x2000 | 0x40000
    y, u, v = rgb_to_yuv420(procedural_clip(3, 1, (128, 96))[0], matrix, value_range)
    frame = av.VideoFrame.from_ndarray(
        np.concatenate([plane.ravel() for plane in (y, u, v)]).reshape(-1, 128), format="yuv420p"
    )
    theirs = frame.reformat(
        format="rgb24",
        src_colorspace={"bt601": 5, "bt709": 1}[matrix],
        src_color_range={"limited": 1, "full": 2}[value_range],
        dst_color_range=2,
        interpolation=bilinear | full_chroma_accurate,
    ).to_ndarray()
    difference = np.abs(theirs.transpose(2, 0, 1).astype(int) - yuv420_to_rgb(y, u, v, matrix, value_range))
    assert difference.max() <= 1
    assert difference.mean() < 0.01


def test_unknown_names_are_refused() -> None:
    picture = one_colour((1, 2, 3))
    with pytest.raises(DataError, match="unknown colour matrix 'bt708'; did you mean 'bt709'"):
        rgb_to_yuv420(picture, "bt708")
    with pytest.raises(DataError, match="unknown value range 'ful'; did you mean 'full'"):
        rgb_to_yuv420(picture, "bt709", "ful")
