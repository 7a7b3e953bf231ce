"""Clips made from photographs that scikit-image ships: a moving camera, moving objects, and exactly known motion.

A scene is a stack of layers. The lowest is a photograph seen by a camera that pans, zooms and turns; above it move up
to three cut-outs of other photographs. Where the layer of a scene shows its texture is an affine map per frame, so the
motion between two frames is known for every pixel. All is a function of the clip's index and size: the same clip comes
out on every machine (but for the last bit of ``sin`` in its mathematics library), however many frames are asked for.

Clips of index `TEST_INDEX` and above show other photographs than those below, so that a codec trained on the one kind
can be tested on the other.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from torchDVC.dataset.colour import Plane
from torchDVC.dataset.frame import Frame, IndexedReader, ReadOptions
from torchDVC.dataset.pictures import read_picture
from torchDVC.util.errors import DataError

TEST_INDEX = 1_000_000
VERSION = 1
"""Changes whenever the clips do; part of what caches and results are known by."""

# File in scikit-image's data folder, and the colour its white is given (grey pictures would teach a codec little).
_Photograph = tuple[str, tuple[float, float, float]]
_WHITE = (1.0, 1.0, 1.0)
_TRAINING_PHOTOGRAPHS: tuple[_Photograph, ...] = (
    ("astronaut.png", _WHITE),
    ("rocket.jpg", _WHITE),
    ("motorcycle_left.png", _WHITE),
    ("motorcycle_right.png", _WHITE),
    ("hubble_deep_field.jpg", _WHITE),
    ("ihc.png", _WHITE),
    ("camera.png", _WHITE),
    ("brick.png", (1.0, 0.78, 0.66)),
    ("grass.png", (0.85, 1.0, 0.6)),
)
_TEST_PHOTOGRAPHS: tuple[_Photograph, ...] = (
    ("coffee.png", _WHITE),
    ("chelsea.png", _WHITE),
    ("gravel.png", (1.0, 0.94, 0.85)),
)

_MAX_STEP = 1.2  # texture pixels per picture pixel; more would alias
_EDGE = 1.5  # picture pixels over which a cut-out's edge fades

Coordinates = NDArray[np.float32]


@dataclass(frozen=True)
class _Wave:
    """A value that swings for ever about ``middle``: ``middle + swing sin(rate t + phase)``, t in frames."""

    middle: float
    swing: float
    rate: float
    phase: float

    def at(self, t: float) -> float:
        return self.middle + self.swing * math.sin(self.rate * t + self.phase)


@dataclass(frozen=True)
class _Map:
    """The affine map ``texture = matrix @ picture + offset`` of a layer in one frame."""

    matrix: NDArray[np.float64]
    offset: NDArray[np.float64]

    def __call__(self, x: Coordinates, y: Coordinates) -> tuple[Coordinates, Coordinates]:
        (a, b), (c, d) = self.matrix.astype(np.float32)
        e, f = self.offset.astype(np.float32)
        return a * x + b * y + e, c * x + d * y + f


@dataclass(frozen=True)
class _Path:
    """How a layer moves: which texture point lies at which picture point, at which scale and angle.

    ``step`` is the logarithm of texture pixels per picture pixel, ``angle`` in radians plus ``spin`` per frame.
    """

    texture: tuple[_Wave, _Wave]
    picture: tuple[_Wave, _Wave]
    step: _Wave
    angle: _Wave
    spin: float = 0.0

    def at(self, t: int) -> _Map:
        """The map of frame ``t``."""
        angle, step = self.angle.at(t) + self.spin * t, math.exp(self.step.at(t))
        cos, sin = step * math.cos(angle), step * math.sin(angle)
        matrix = np.array([[cos, -sin], [sin, cos]])
        texture, picture = (np.array([wave.at(t) for wave in waves]) for waves in (self.texture, self.picture))
        return _Map(matrix, texture - matrix @ picture)


@dataclass(frozen=True)
class _Outline:
    """A closed curve round ``centre`` (texture pixels): the radius is a constant plus three harmonics of the angle."""

    centre: tuple[float, float]
    radius: float
    harmonics: tuple[tuple[float, float], ...]

    def inside(self, x: Coordinates, y: Coordinates) -> Coordinates:
        """Distance in texture pixels from the curve, measured along the radius; positive inside."""
        dx, dy = x - np.float32(self.centre[0]), y - np.float32(self.centre[1])
        angle = np.arctan2(dy, dx)
        radius = np.full_like(angle, 1.0)
        for order, (swing, phase) in enumerate(self.harmonics, start=2):
            radius += np.float32(swing) * np.cos(order * angle + np.float32(phase))
        return np.float32(self.radius) * radius - np.hypot(dx, dy)

    @property
    def reach(self) -> float:
        """The largest radius the curve can have."""
        return self.radius * (1 + sum(swing for swing, _ in self.harmonics))


@dataclass(frozen=True)
class _Layer:
    """A texture, how it moves, and where it is cut out (None: it covers the picture)."""

    photograph: _Photograph
    path: _Path
    outline: _Outline | None = None


class Scene:
    """Clip ``index`` at ``size`` = (width, height): any of its frames, and the motion between them."""

    def __init__(self, index: int, size: tuple[int, int]) -> None:
        if index < 0 or min(size) < 1:
            raise DataError(f"procedural clip {index} of {size[0]}x{size[1]}: index from 0 and sizes from 1 are needed")
        self.size = size
        rng = np.random.default_rng([VERSION, index])
        photographs = _TRAINING_PHOTOGRAPHS if index < TEST_INDEX else _TEST_PHOTOGRAPHS
        order = [photographs[i] for i in rng.permutation(len(photographs))]
        objects = int(rng.integers(0, 4))
        self._layers = [_background(rng, order[0], size)]
        self._layers += [_cut_out(rng, order[1 + i % (len(order) - 1)], size) for i in range(objects)]

    def render(self, t: int) -> Plane:
        """Frame ``t`` from 0, RGB (3, H, W) uint8."""
        picture = np.zeros((self.size[1], self.size[0], 3), np.float32)
        for layer in self._layers:
            rows, columns, x, y, alpha = self._cover(layer, t)
            shown = _sample(_texture(layer.photograph), x, y)
            under = picture[rows, columns]
            picture[rows, columns] = under + alpha[..., None] * (shown - under)
        return np.ascontiguousarray((picture + np.float32(0.5)).astype(np.uint8).transpose(2, 0, 1))

    def flow(self, t: int) -> Coordinates:
        """(2, H, W) float32: what to add to the (x, y) of a pixel of frame ``t`` >= 1 to find it in frame ``t - 1``."""
        flow = np.zeros((2, self.size[1], self.size[0]), np.float32)
        for layer in self._layers:
            now, before = layer.path.at(t), layer.path.at(t - 1)
            back = np.linalg.inv(before.matrix)
            motion = _Map(back @ now.matrix - np.eye(2), back @ (now.offset - before.offset))
            rows, columns, _, _, alpha = self._cover(layer, t)
            x, y = _grid(rows, columns)
            for component, moved in zip(flow[:, rows, columns], motion(x, y), strict=True):
                np.copyto(component, moved, where=alpha > 0.5)
        return flow

    def _cover(self, layer: _Layer, t: int) -> tuple[slice, slice, Coordinates, Coordinates, Coordinates]:
        """Rows and columns of the picture that a layer may cover, their texture coordinates, and its opacity there."""
        width, height = self.size
        mapping = layer.path.at(t)
        if layer.outline is None:
            rows, columns = slice(0, height), slice(0, width)
            x, y = mapping(*_grid(rows, columns))
            return rows, columns, x, y, np.ones((height, width), np.float32)
        step = math.sqrt(abs(np.linalg.det(mapping.matrix)))
        centre = np.linalg.solve(mapping.matrix, np.array(layer.outline.centre) - mapping.offset)
        reach = layer.outline.reach / step + _EDGE
        columns, rows = (
            slice(*(min(max(int(edge), 0), side) for edge in (middle - reach, middle + reach + 2)))
            for middle, side in zip(centre, (width, height), strict=True)
        )
        x, y = mapping(*_grid(rows, columns))
        alpha = np.clip(layer.outline.inside(x, y) / np.float32(step * _EDGE) + np.float32(0.5), 0, 1)
        return rows, columns, x, y, alpha


def procedural_clip(index: int, frames: int, size: tuple[int, int]) -> Plane:
    """The first ``frames`` frames of clip ``index`` at ``size`` = (width, height): (T, 3, H, W) RGB uint8."""
    scene = Scene(index, size)
    return np.stack([scene.render(t) for t in range(frames)])


class ProceduralReader(IndexedReader):
    """A procedural clip as a video; frames are drawn when they are asked for."""

    def __init__(self, index: int, frames: int, size: tuple[int, int], options: ReadOptions) -> None:
        super().__init__(options.info(Path(f"procedural clip {index}"), size, frames))
        self._scene = Scene(index, size)

    def frame(self, index: int) -> Frame:
        """Frame ``index``."""
        return Frame(rgb=self._scene.render(index), matrix=self.info.matrix, value_range=self.info.range)


def _background(rng: np.random.Generator, photograph: _Photograph, size: tuple[int, int]) -> _Layer:
    """A camera that never looks past the edges of the photograph, nor faster than about ten pixels a frame."""
    height, width = _texture(photograph).shape[:2]
    tilt = float(rng.uniform(0, 0.12)) * float(rng.random() < 0.5)
    zoom = float(rng.uniform(0, 0.15)) * float(rng.random() < 0.6)
    extent = [side * math.cos(tilt) + other * math.sin(tilt) for side, other in (size, size[::-1])]
    fit = min((width - 3) / extent[0], (height - 3) / extent[1])
    largest = min(fit * float(rng.uniform(0.6, 0.9)), _MAX_STEP)
    speed = math.exp(rng.uniform(math.log(0.3), math.log(8.0))) * largest
    texture = []
    for side, seen in ((width, extent[0] * largest), (height, extent[1] * largest)):
        swing = (side - 3 - seen) / 2 * float(rng.uniform(0.3, 1))
        rate = min(speed / max(swing, 1), 0.4) * float(rng.uniform(0.3, 1))
        texture.append(_Wave((side - 1) / 2, swing, rate, _phase(rng)))
    path = _Path(
        texture=(texture[0], texture[1]),
        picture=(_still((size[0] - 1) / 2), _still((size[1] - 1) / 2)),
        step=_Wave(math.log(largest) - zoom, zoom, float(rng.uniform(0.02, 0.1)), _phase(rng)),
        angle=_Wave(0.0, tilt, float(rng.uniform(0.02, 0.12)), _phase(rng)),
    )
    return _Layer(photograph, path)


def _cut_out(rng: np.random.Generator, photograph: _Photograph, size: tuple[int, int]) -> _Layer:
    """A piece of a photograph, with a round or lobed outline, that swings across the picture and may turn."""
    height, width = _texture(photograph).shape[:2]
    harmonics = tuple((float(rng.uniform(0, 0.12)), _phase(rng)) for _ in range(3))
    lobes = 1 + sum(swing for swing, _ in harmonics)
    shown = max(min(size) * float(rng.uniform(0.08, 0.25)), 1.0)
    radius = min(min(width, height) / 2 * float(rng.uniform(0.25, 0.9)) / lobes, shown * _MAX_STEP)
    room = [side / 2 - 2 - radius * lobes for side in (width, height)]
    centre = [
        (side - 1) / 2 + free * float(rng.uniform(-1, 1)) for side, free in zip((width, height), room, strict=True)
    ]
    speed = math.exp(rng.uniform(math.log(0.5), math.log(12.0)))
    picture = []
    for side in size:
        swing = side * float(rng.uniform(0.2, 0.5))
        middle = side * float(rng.uniform(0.3, 0.7))
        picture.append(_Wave(middle, swing, min(speed / max(swing, 1), 0.4) * float(rng.uniform(0.3, 1)), _phase(rng)))
    zoom = float(rng.uniform(0, 0.2))
    path = _Path(
        texture=(_still(centre[0]), _still(centre[1])),
        picture=(picture[0], picture[1]),
        step=_Wave(math.log(radius / shown) - zoom, zoom, float(rng.uniform(0.02, 0.15)), _phase(rng)),
        angle=_still(0.0),
        spin=float(rng.normal(0, 0.02)),
    )
    return _Layer(photograph, path, _Outline((centre[0], centre[1]), radius, harmonics))


def _phase(rng: np.random.Generator) -> float:
    return float(rng.uniform(0, 2 * math.pi))


def _still(value: float) -> _Wave:
    return _Wave(value, 0.0, 0.0, 0.0)


def _grid(rows: slice, columns: slice) -> tuple[Coordinates, Coordinates]:
    """x (1, columns) and y (rows, 1) of the pixels of a part of the picture."""
    x = np.arange(columns.start, columns.stop, dtype=np.float32)
    y = np.arange(rows.start, rows.stop, dtype=np.float32)
    return x[None, :], y[:, None]


def _sample(texture: Plane, x: Coordinates, y: Coordinates) -> NDArray[np.float32]:
    """Bilinear values (…, 3) of ``texture`` (H, W, 3); beyond its edge the last pixel continues."""
    height, width = texture.shape[:2]
    x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
    left, top = np.minimum(x.astype(np.int32), width - 2), np.minimum(y.astype(np.int32), height - 2)
    fx, fy = (x - left)[..., None], (y - top)[..., None]
    pixels, corner = texture.reshape(-1, 3), top * width + left
    upper = pixels[corner] * (1 - fx) + pixels[corner + 1] * fx
    lower = pixels[corner + width] * (1 - fx) + pixels[corner + width + 1] * fx
    return upper + (lower - upper) * fy


@functools.cache
def _texture(photograph: _Photograph) -> Plane:
    """The photograph (H, W, 3) uint8, tinted."""
    name, tint = photograph
    path = resources.files("skimage") / "data" / name
    with resources.as_file(path) as file:
        if not file.exists():
            raise DataError(f"{file}: scikit-image does not ship it here; install scikit-image 0.22 or later")
        rgb = read_picture(file).transpose(1, 2, 0)
    return np.ascontiguousarray((rgb * np.array(tint, np.float32)).astype(np.uint8))
