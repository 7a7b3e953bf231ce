"""Pictures of what a codec did to a frame: source, reconstruction, prediction, flow, bits and error."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from torchDVC.dataset.pictures import write_png
from torchDVC.models.codec import STRIDE, CodedPicture

FRAMES_SHOWN = 8
"""Frames of a sequence that get pictures, evenly spread."""
FILM_FRAMES = 32
FILM_PIXELS = 16_000_000
"""The first frames also get source and reconstruction, for a film: at most so many, of so many pixels together."""
FLOW_RANGE = 8.0
"""Displacement in pixels that a flow picture shows in full colour."""
BITS_RANGE = 2.0
"""Bits per pixel that a bit-allocation map shows in full brightness."""
ERROR_RANGE = 0.1
"""Mean absolute error, of a range of 1, that an error map shows in full brightness."""


def chosen_frames(count: int) -> set[int]:
    """The display indexes of the frames that get pictures, out of ``count``."""
    return {round(i) for i in np.linspace(0, count - 1, min(count, FRAMES_SHOWN))}


def filmed_frames(pixels: int) -> range:
    """The display indexes of the frames that are filmed, of pictures of so many ``pixels``."""
    return range(max(1, min(FILM_FRAMES, FILM_PIXELS // pixels)))


def write_pictures(folder: Path, frame: int, pictures: Mapping[str, np.ndarray]) -> None:
    """Write ``<frame>_<name>.png`` of each picture, uint8 RGB (3, H, W)."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rgb in pictures.items():
        write_png(folder / f"{frame:05}_{name}.png", rgb)


def maps(picture: CodedPicture, source: np.ndarray, recon: np.ndarray) -> dict[str, np.ndarray]:
    """``error`` of two RGB pictures, ``flow`` and ``bits``, the last two where the codec has such a thing."""
    difference = torch.from_numpy(recon.astype(np.float32) - source).abs().mean(0, keepdim=True) / 255
    found = {"error": _grey(difference, ERROR_RANGE)}
    if "flow_hat" in picture.state:
        found["flow"] = flow_picture(picture.state["flow_hat"])
    if picture.stream.maps is not None:
        found["bits"] = _grey(bit_map(picture, (recon.shape[1], recon.shape[2])), BITS_RANGE)
    return found


def flow_picture(flow: Tensor) -> np.ndarray:
    """The first reference's flow (1, R, 2, H, W) as uint8 (3, H, W): direction is hue, length is saturation."""
    dx, dy = flow[0, 0].float().cpu()
    hue = torch.atan2(dy, dx) / (2 * torch.pi)
    length = (torch.hypot(dx, dy) / FLOW_RANGE).clamp(0, 1)
    offsets = torch.tensor([0.0, 1 / 3, 2 / 3])[:, None, None]
    ramp = (torch.remainder(hue + offsets, 1) * 6 - 3).abs().sub(1).clamp(0, 1)
    return _pixels(1 - length * (1 - ramp))


def bit_map(picture: CodedPicture, size: tuple[int, int]) -> Tensor:
    """Bits per pixel at each position, (1, *size), all modules together; a latent's bits are spread over its block."""
    height, width = size
    total = torch.zeros(1, height, width, device=picture.state["recon"].device)
    for maps in (picture.stream.maps or {}).values():
        for bits in maps:
            total += _spread(bits, height, width)
    return total


def _spread(bits: Tensor, height: int, width: int) -> Tensor:
    """Bits per pixel (1, height, width) of positions (1, h, w), which share the padded picture evenly."""
    padded = [-(-side // STRIDE) * STRIDE for side in (height, width)]
    large = F.interpolate(bits[:, None], padded, mode="nearest")[:, 0, :height, :width]
    return large * (bits[0].numel() / math.prod(padded))


def _grey(values: Tensor, full: float) -> np.ndarray:
    """(1, H, W) as uint8 (3, H, W), ``full`` white."""
    return _pixels((values / full).expand(3, -1, -1))


def _pixels(x: Tensor) -> np.ndarray:
    """(3, H, W) in [0, 1] as uint8."""
    return (x.float().clamp(0, 1) * 255 + 0.5).to(torch.uint8).cpu().numpy()
