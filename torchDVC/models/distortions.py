"""Distortions that a train cfg may name.

Each takes two pictures, or planes of them, (N, C, H, W) in [0, 1], the second the original, and gives (N,), which is
least for equal ones. A user's own stand in a plug-in file, declared in the same way.
"""

from __future__ import annotations

import functools
import importlib

import torch
from torch import Tensor, nn

from torchDVC.config.problems import Report
from torchDVC.config.registry import DISTORTION, distortion
from torchDVC.config.scan import load_class, scan
from torchDVC.dataset.picture_format import Distortion
from torchDVC.models import ms_ssim as structural_similarity


@distortion
def mse(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared error."""
    return (a - b).square().flatten(1).mean(1)


@distortion
def l1(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute error."""
    return (a - b).abs().flatten(1).mean(1)


@distortion
def ms_ssim(a: Tensor, b: Tensor) -> Tensor:
    """1 - MS-SSIM (Wang et al. 2003)."""
    return 1 - structural_similarity.ms_ssim(a, b)


@distortion(requires="lpips", formats="rgb")
def lpips(a: Tensor, b: Tensor) -> Tensor:
    """LPIPS of version 0.1 with AlexNet (Zhang et al. 2018), by the package of its authors."""
    distance: Tensor = _lpips(a.device)(2 * a - 1, 2 * b - 1)
    return distance.flatten()


def load_distortion(name: str) -> Distortion:
    """The distortion of a name that configuration was checked for."""
    found: Distortion = load_class(scan(Report(), DISTORTION)[name])
    return found


@functools.cache
def _lpips(device: torch.device) -> nn.Module:
    package = importlib.import_module("lpips")
    network: nn.Module = package.LPIPS(net="alex", verbose=False).to(device).eval().requires_grad_(False)
    return network
