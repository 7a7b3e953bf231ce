"""Pyramid motion estimator."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchDVC.config.registry import codec_module
from torchDVC.entropy.streams import Stream
from torchDVC.modules.frame_state import FrameState
from torchDVC.modules.layers import conv, fold, unfold, warp
from torchDVC.util.errors import CheckpointError

MOST_FINEST = 6
"""At 1/2^6 of its size a picture, whose sides are multiples of 64, has still a pixel."""
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of R, G and B that published weights expect pictures to be normalised by."""
_PUBLISHED = re.compile(r"(?:(?:module|net)Basic|Blocks)\.(\d+)\.(?:(?:module|net)Basic\.)?(\d+)\.(weight|bias)")
"""Names of ports of the published networks: the level, from the coarsest, the layer in it, and which tensor."""
_ARRAYS = re.compile(r"modelL(\d+)_F-(\d+)-(weight|bias)")
"""Their names as arrays of PyTorchVideoCompression: the level and the convolution in it count from 1."""


@codec_module(
    reads="refs", encoder_reads="frame", writes="flow:flow flow_warped:picture", encoder_only=True, from_zero="finest",
    weights_from="translate_weights",
)
class SPyNet(nn.Module):
    """Spatial pyramid network (Ranjan & Black 2017): from coarse to fine, each level corrects the flow.

    Writes ``flow`` (N, R, 2, H, W) in pixels, from the frame to each reference, zero before training, and
    ``flow_warped`` (N, 3, H, W), the mean of the references warped by it, for losses.

    Args:
        levels: number of pyramid levels, each half the size of the one below.
        finest: the finest level works at 1/2^finest of the size; its flow is enlarged bilinearly. The paper's 0 costs
            four times the operations of 1; pictures are large enough for 6.
        kernel_size: of all convolutions (7 in the paper).
        widths: channels of the hidden layers of each level's network.
        imagenet: normalise pictures as the published weights expect it; else only shift them to be around 0.
    """

    def __init__(
        self, levels: int = 4, finest: int = 1, kernel_size: int = 7, widths: tuple[int, ...] = (32, 64, 32, 16),
        imagenet: bool = False,
    ) -> None:
        super().__init__()
        if finest > MOST_FINEST:
            raise ValueError(f"finest {finest}; expected at most {MOST_FINEST}")
        self.finest, self.imagenet = finest, imagenet
        mean, deviation = IMAGENET if imagenet else ((0.5,) * 3, (1.0,) * 3)
        for name, values in (("mean", mean), ("deviation", deviation)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)
        self.networks = nn.ModuleList(_level_network(kernel_size, (8, *widths, 2)) for _ in range(levels))

    def forward(self, state: FrameState, stream: Stream) -> dict[str, Tensor]:
        refs = state["refs"]
        batch, references = refs.shape[:2]
        frame = state["frame"].repeat_interleave(references, 0)
        flow = self.estimate(frame, fold(refs))
        warped = unfold(warp(fold(refs), flow), batch).mean(1)
        return {"flow": unfold(flow, batch), "flow_warped": warped}

    def estimate(self, frame: Tensor, ref: Tensor) -> Tensor:
        """Flow (N, 2, H, W) in pixels such that warping ``ref`` by it gives ``frame``; both (N, 3, H, W) in [0, 1]."""
        mean, deviation = self.get_buffer("mean"), self.get_buffer("deviation")
        frames, refs = self._pyramid(frame), self._pyramid(ref)
        flow = frame.new_zeros(frame.shape[0], 2, *frames[-1].shape[2:])
        for network, x, y in zip(self.networks, reversed(frames), reversed(refs), strict=True):
            flow = enlarge(flow, x.shape[2:])
            seen = ((x - mean) / deviation, (warp(y, flow) - mean) / deviation, flow)
            flow = flow + network(torch.cat(seen, 1)).float()
        return enlarge(flow, frame.shape[2:])

    def _pyramid(self, x: Tensor) -> list[Tensor]:
        """The picture at each level's size, finest first."""
        if self.finest:
            x = F.avg_pool2d(x, 2**self.finest)
        pictures = [x]
        for _ in range(len(self.networks) - 1):
            pictures.append(F.avg_pool2d(pictures[-1], 2, ceil_mode=True))
        return pictures

    def translate_weights(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Tensors of the published networks by names here: those of ports (``moduleBasic.N.moduleBasic.M``,
        ``Blocks.N.M``), or arrays of PyTorchVideoCompression (``modelLN_F-M-weight``).

        Their last network is that of the full size; the levels that this estimator has are taken. Others' tensors are
        returned as they are. Raises `CheckpointError` where it has levels that they lack, or ``imagenet`` is False.
        """
        found = {name: place for name in tensors if (place := _published_place(name))}
        if not found:
            return tensors
        count = 1 + max(level for level, _ in found.values())
        coarsest = count - self.finest - len(self.networks)
        if coarsest < 0 or not self.imagenet:
            raise CheckpointError(
                f"published weights of SPyNet with {count} levels; expected arguments with levels + finest of at most "
                f'{count}, "kernel_size": 7 and "imagenet": true'
            )
        return {
            f"networks.{level - coarsest}.{layer}": tensors[name]
            for name, (level, layer) in found.items()
            if level - coarsest in range(len(self.networks))
        }


def _published_place(name: str) -> tuple[int, str] | None:
    """The level, from the coarsest, and the layer's tensor in it that a published name stands for; None of others."""
    if match := _PUBLISHED.fullmatch(name):
        return int(match[1]), f"{match[2]}.{match[3]}"
    if match := _ARRAYS.fullmatch(name):
        return int(match[1]) - 1, f"{2 * int(match[2]) - 2}.{match[3]}"
    return None


def _level_network(kernel_size: int, widths: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layers += [conv(a, b, kernel_size, stride=1), nn.ReLU()]
    for parameter in layers[-2].parameters():
        nn.init.zeros_(parameter)
    return nn.Sequential(*layers[:-1])


def enlarge(flow: Tensor, size: torch.Size) -> Tensor:
    """Bilinear resize of a flow in pixels; the displacements grow with the picture."""
    if flow.shape[2:] == size:
        return flow
    factor = size[0] / flow.shape[2]
    return F.interpolate(flow, size=size, mode="bilinear", align_corners=False) * factor
