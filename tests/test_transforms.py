"""The transforms: their sizes, and what they do before any training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import hadamard
from torch import Tensor, nn

from torchDVC.coding_structure import FrameInfo
from torchDVC.dataset.procedural import procedural_clip
from torchDVC.entropy.streams import TrainingStream
from torchDVC.entropy.symbol_streams import EstimatingStream
from torchDVC.modules.frame_state import FrameState
from torchDVC.modules.intra.intra_codec import IntraCodec
from torchDVC.modules.intra.scale_hyperprior import ScaleHyperpriorIntra
from torchDVC.modules.layers import GDN
from torchDVC.modules.transforms import FLOW, PICTURE, PICTURE_GAIN, analysis, start_as_wavelets, synthesis


def pictures() -> Tensor:
    """A picture of each of four embedded photographs, (4, 3, 256, 256) in [0, 1]."""
    return torch.stack([torch.from_numpy(procedural_clip(i, 1, (256, 256))[0].copy()) for i in range(4)]) / 255


def coded(codec: nn.Module, frames: Tensor, stream: EstimatingStream | TrainingStream) -> tuple[float, float]:
    """Bits per pixel and PSNR."""
    batch, _, height, width = frames.shape
    state = FrameState(FrameInfo(0), batch, height, width, torch.zeros(batch, dtype=torch.int64))
    state["frame"] = frames
    with torch.no_grad(), stream.labelled("intra"):
        recon = codec(state, stream)["recon"]
    bits = sum(float(bits.sum()) for bits in stream.bits.values())
    return bits / (batch * height * width), float(-10 * torch.log10(((recon - frames) ** 2).mean()))


def without_gdn(transform: nn.Sequential) -> nn.Sequential:
    return nn.Sequential(*(layer for layer in transform if not isinstance(layer, GDN)))


def test_transforms_change_the_size_by_sixteen_and_back() -> None:
    x = torch.rand(2, 3, 64, 128)
    y = analysis(3, 4, 5)(x)
    assert y.shape == (2, 5, 4, 8)
    assert synthesis(5, 4, 3)(y).shape == x.shape


@pytest.mark.parametrize("kernel_size", [3, 5, 7])
def test_with_room_for_all_bands_transforms_start_as_walsh_hadamard_and_its_inverse(kernel_size: int) -> None:
    down, up = analysis(2, 128, 512, kernel_size), synthesis(512, 128, 2, kernel_size)
    start_as_wavelets(down, up, FLOW)
    x = torch.randn(1, 2, 32, 48)
    with torch.no_grad():
        y = without_gdn(down)(x)
        back = without_gdn(up)(y)
    torch.testing.assert_close(back, x)
    blocks = x.unfold(2, 16, 16).unfold(3, 16, 16)
    matrix = torch.tensor(hadamard(16) / 4, dtype=torch.float32)
    expected = (matrix @ blocks @ matrix)[0].permute(0, 3, 4, 1, 2).flatten(0, 2)
    torch.testing.assert_close(y[0].abs().sort(0).values, expected.abs().sort(0).values)


def test_the_spread_of_an_untrained_latent_is_as_expected() -> None:
    down = analysis(3, 128, 192)
    expected = np.array(start_as_wavelets(down, synthesis(192, 128, 3), PICTURE))
    with torch.no_grad():
        found = down(PICTURE_GAIN * (pictures() - 0.5)).pow(2).mean((0, 2, 3)).sqrt().numpy()
    assert np.abs(np.log(expected / found)[expected > 0.5]).mean() < np.log(1.8)


@pytest.mark.parametrize(("codec", "bpp", "psnr"), [(IntraCodec, 2, 30), (ScaleHyperpriorIntra, 4, 24)])
def test_an_untrained_intra_codec_codes_pictures(codec: type[nn.Module], bpp: float, psnr: float) -> None:
    for stream in (EstimatingStream(4), TrainingStream(4)):
        rate, quality = coded(codec(), pictures(), stream)
        assert rate < bpp and quality > psnr


def test_channels_beyond_the_wavelets_begin_without_effect_and_learn() -> None:
    down, up = analysis(3, 24, 8), synthesis(8, 24, 3)
    start_as_wavelets(down, up, PICTURE)
    x = pictures()[:, :, :64, :64] - 0.5
    before = down(x)
    with torch.no_grad():
        down[0].weight[12:] += 1  # type: ignore[operator,index]
    torch.testing.assert_close(down(x), before)
    down(x).square().sum().backward()
    assert down[2].weight.grad[:12, 12:].abs().amax((0, 2, 3)).min() > 0  # type: ignore[index]


def test_transforms_of_single_pixels_start_at_random() -> None:
    down, up = analysis(3, 8, 8, 1), synthesis(8, 8, 3, 1)
    before = [parameter.detach().clone() for parameter in down.parameters()]
    assert len(start_as_wavelets(down, up, PICTURE)) == 8
    assert all(torch.equal(a, b) for a, b in zip(before, down.parameters(), strict=True))
