"""Pictures of what a codec did to a frame: source, reconstruction, prediction, flow, bits and error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from torchDVC.dataset.pictures import write_png
from torchDVC.models.codec import STRIDE, CodedPicture
from torchDVC.models.sequence import to_rgb

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


def write_pictures(folder: Path, picture: CodedPicture, maps: bool = True) -> None:
    """Write ``<frame>_source.png``, ``_recon`` and, with ``maps``, ``_error``, ``_mc``, ``_flow``, ``_bits``.

    The last three are left out where the codec has no such thing.
    """
    assert picture.source is not None
    pictures = {"source": to_rgb(picture.source), "recon": to_rgb(picture.state["recon"])}
    folder.mkdir(parents=True, exist_ok=True)
    for name, rgb in (pictures | (_maps(picture) if maps else {})).items():
        write_png(folder / f"{picture.frame.index:05}_{name}.png", rgb)


def _maps(picture: CodedPicture) -> dict[str, np.ndarray]:
    assert picture.source is not None
    state = picture.state
    found = {"error": _grey((state["recon"] - picture.source).abs().mean(1), ERROR_RANGE)}
    optional: Mapping[str, Callable[[Tensor], np.ndarray]] = {"mc": to_rgb, "flow_hat": flow_picture}
    found |= {key.removesuffix("_hat"): draw(state[key]) for key, draw in optional.items() if key in state}
    if picture.stream.maps is not None:
        found["bits"] = _grey(bit_map(picture), BITS_RANGE)
    return found


def flow_picture(flow: Tensor) -> np.ndarray:
    """The first reference's flow (1, R, 2, H, W) as uint8 (3, H, W): direction is hue, length is saturation."""
    dx, dy = flow[0, 0].float().cpu()
    hue = torch.atan2(dy, dx) / (2 * torch.pi)
    length = (torch.hypot(dx, dy) / FLOW_RANGE).clamp(0, 1)
    offsets = torch.tensor([0.0, 1 / 3, 2 / 3])[:, None, None]
    ramp = (torch.remainder(hue + offsets, 1) * 6 - 3).abs().sub(1).clamp(0, 1)
    return to_rgb((1 - length * (1 - ramp))[None])


def bit_map(picture: CodedPicture) -> Tensor:
    """Bits per pixel at each position, (1, H, W), all modules together; a latent's bits are spread over its block."""
    height, width = picture.state["recon"].shape[-2:]
    total = torch.zeros(1, height, width, device=picture.state["recon"].device)
    for maps in (picture.stream.maps or {}).values():
        for bits in maps:
            total += _spread(bits, height, width)
    return total


def _spread(bits: Tensor, height: int, width: int) -> Tensor:
    block = -(-height // STRIDE) * STRIDE // bits.shape[1]
    large = F.interpolate(bits[:, None], scale_factor=block, mode="nearest")[:, 0]
    return large[:, :height, :width] / block**2


def _grey(values: Tensor, full: float) -> np.ndarray:
    """(1, H, W) as uint8 (3, H, W), ``full`` white."""
    return to_rgb((values / full).clamp(0, 1)[:, None].expand(-1, 3, -1, -1))
