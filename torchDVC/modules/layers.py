"""Building blocks that several modules share."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchDVC.entropy.lower_bound import lower_bound

Border = Literal["zeros", "reflect", "replicate", "circular"]
"""PyTorch's padding modes."""


def conv(inputs: int, outputs: int, kernel_size: int = 5, stride: int = 2, border: Border = "zeros") -> nn.Conv2d:
    """A convolution that divides height and width by ``stride``; `ValueError` unless ``kernel_size`` is odd."""
    _check_layer(inputs, outputs, kernel_size)
    return nn.Conv2d(inputs, outputs, kernel_size, stride=stride, padding=kernel_size // 2, padding_mode=border)


def deconv(inputs: int, outputs: int, kernel_size: int = 5, stride: int = 2) -> nn.ConvTranspose2d:
    """A transposed convolution that multiplies height and width by ``stride``; errors as of `conv`."""
    _check_layer(inputs, outputs, kernel_size)
    return nn.ConvTranspose2d(
        inputs, outputs, kernel_size, stride=stride, padding=kernel_size // 2, output_padding=stride - 1
    )


def _check_layer(inputs: int, outputs: int, kernel_size: int) -> None:
    if min(inputs, outputs) < 1:
        raise ValueError(f"{min(inputs, outputs)} channels; expected at least 1")
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"kernel_size {kernel_size}; expected an odd number")


class GDN(nn.Module):
    r"""Generalised divisive normalisation (Ballé et al. 2016).

    .. math:: y_i = x_i / \sqrt{\beta_i + \sum_j \gamma_{ij} x_j^2}

    ``inverse`` multiplies instead. Parameter names, shapes and reparametrisation equal those of compressai's ``GDN``.
    """

    PEDESTAL = 2.0**-36

    def __init__(self, channels: int, inverse: bool = False, beta_min: float = 1e-6, gamma_init: float = 0.1) -> None:
        super().__init__()
        self.inverse, self.beta_min = inverse, beta_min
        self.beta = nn.Parameter(torch.sqrt(torch.ones(channels) + self.PEDESTAL))
        self.gamma = nn.Parameter(torch.sqrt(gamma_init * torch.eye(channels) + self.PEDESTAL))

    def _non_negative(self, x: Tensor, minimum: float = 0.0) -> Tensor:
        return lower_bound(x, (minimum + self.PEDESTAL) ** 0.5) ** 2 - self.PEDESTAL

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        gamma = self._non_negative(self.gamma)[:, :, None, None]
        norm = F.conv2d(x * x, gamma, self._non_negative(self.beta, self.beta_min))
        return x * (norm.sqrt() if self.inverse else norm.rsqrt())


def zeroed(layer: nn.Conv2d) -> nn.Conv2d:
    """The layer, which gives zeros before training."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def warp(picture: Tensor, flow: Tensor) -> Tensor:
    """Backward bilinear warping in float32, borders repeated: out(x) = picture(x + flow(x)), NaN where the flow is.

    Args:
        picture: (N, C, H, W).
        flow: (N, 2, H, W), horizontal then vertical displacement in pixels.
    """
    with torch.autocast(picture.device.type, enabled=False):
        picture, flow = picture.float(), flow.float()
        _, _, height, width = picture.shape
        x = torch.arange(width, device=flow.device, dtype=torch.float32)
        y = torch.arange(height, device=flow.device, dtype=torch.float32)
        grid_x = (flow[:, 0] + x) * (2 / max(width - 1, 1)) - 1
        grid_y = (flow[:, 1] + y[:, None]) * (2 / max(height - 1, 1)) - 1
        grid = torch.stack((grid_x, grid_y), dim=-1)
        nowhere = grid.isnan()  # which PyTorch's backward pass takes for an address
        grid = grid.masked_fill(nowhere, 0.0)
        warped = F.grid_sample(picture, grid, mode="bilinear", padding_mode="border", align_corners=True)
        return warped.masked_fill(nowhere.any(-1).unsqueeze(1), torch.nan)


def fold(x: Tensor) -> Tensor:
    """References into the batch: (N, R, C, H, W) to (N * R, C, H, W)."""
    return x.flatten(0, 1)


def unfold(x: Tensor, batch: int) -> Tensor:
    """References out of the batch: (N * R, C, H, W) to (N, R, C, H, W)."""
    return x.unflatten(0, (batch, -1))
