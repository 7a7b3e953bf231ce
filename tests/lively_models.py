"""Models whose latents are not all zero, small ones of any csv, and streams coded with them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from torchDVC.bitstream.container_reader import ContainerReader
from torchDVC.bitstream.container_writer import write_container
from torchDVC.bitstream.streams import header_of, read_frames, write_frames
from torchDVC.coding_structure import CodingStructure
from torchDVC.config import ModelConfig, Modes
from torchDVC.dataset.frame import VideoInfo
from torchDVC.entropy.integer import IntegerConv2d
from torchDVC.models.codec import Codec
from torchDVC.models.model_file import Model, fixed
from torchDVC.util.errors import BitstreamError

SMALL = {"width": 6, "channels": 8, "kernel_size": 3, "widths": [4, 4], "blocks": 1}
"""Arguments that make a module small, for those types that have them."""
ALL_MODES = Modes("all", "i", "emcr", "emcr")


def small(config: ModelConfig) -> ModelConfig:
    """The model with small modules."""
    modules = []
    for spec in config.modules:
        names = {parameter.name for parameter in spec.type.parameters}
        args = {**spec.args, **{name: value for name, value in SMALL.items() if name in names}}
        if "latent" in names:
            args["latent"] = _small_latent(spec.args.get("latent", {"type": "Hyperprior"}))
        modules.append(dataclasses.replace(spec, args=args, weights=None))
    return dataclasses.replace(config, modules=tuple(modules))


def _small_latent(latent: Mapping[str, Any]) -> dict[str, Any]:
    """The same latent codecs with a few channels."""
    args = {key: _small_latent(value) if isinstance(value, Mapping) else value for key, value in latent.items()}
    return args if args["type"] in ("Factorized", "Gain", "Skip") else {**args, "width": SMALL["width"]}


def lively(codec: Codec, seed: int = 0) -> Codec:
    """Give every convolution random weights that keep the size of what passes; the last of an analysis enlarges it."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, module in codec.named_modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | IntegerConv2d):
                weight = module.weight
                gain = 12.0 if name.endswith(("g_a.6", "h_a.4")) else 1.0
                transposed = isinstance(module, nn.ConvTranspose2d)
                fan_in = weight[:, 0].numel() if transposed else weight[0].numel()
                weight.copy_(torch.randn(weight.shape, generator=generator) * (gain / math.sqrt(fan_in)))
    return codec


def lively_model(config: ModelConfig, modes: Modes = ALL_MODES, seed: int = 0) -> Model:
    """A model with such weights, fixed to integers."""
    torch.manual_seed(seed)
    return fixed(lively(Codec(config), seed), modes)


def clip(frames: int, size: tuple[int, int], seed: int = 0) -> list[Tensor]:
    """Pictures (1, 3, H, W) in [0, 1] that drift, with some noise; size is height, width."""
    generator = torch.Generator().manual_seed(seed)
    large = nn.functional.interpolate(
        torch.rand((1, 3, 4 + size[0] // 8, 4 + size[1] // 8), generator=generator), scale_factor=12, mode="bilinear"
    )
    noise = 0.05 * torch.rand((frames, 1, 3, *size), generator=generator)
    return [large[..., t : t + size[0], 2 * t : 2 * t + size[1]] * 0.9 + noise[t] for t in range(frames)]


def write_stream(
    path: Path, model: Model, structure: CodingStructure, pictures: list[Tensor], quality: int = 0
) -> dict[int, Tensor]:
    """Code pictures into a file; what the encoder has for each frame."""
    height, width = pictures[0].shape[-2:]
    info = VideoInfo(width, height, len(pictures), Fraction(25), source="test")
    with write_container(path, header_of(model, info, structure, quality)) as writer:
        return {p.frame.index: p.state["recon"] for p in write_frames(model, writer, pictures)}


def read_stream(path: Path, model: Model, conceal: list[BitstreamError] | None = None) -> dict[int, Tensor]:
    """Decode a file; each frame."""
    with ContainerReader(path) as reader:
        pictures = read_frames(model, reader, None if conceal is None else conceal.append)
        return {p.frame.index: p.state["recon"] for p in pictures}
