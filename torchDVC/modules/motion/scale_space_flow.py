"""Scale-space flow: motion that may blur what it moves."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchDVC.config.registry import codec_module
from torchDVC.entropy.streams import Stream
from torchDVC.modules.frame_state import FrameState
from torchDVC.modules.latent.scale_space import ScaleSpaceHyperprior, decoder, encoder, of_part, padded, padded_size


@codec_module(
    reads="refs", encoder_reads="frame", writes="mc:picture motion_latent:latent", codes=True,
    weights_from="translate_weights",
)  # fmt: skip
class ScaleSpaceFlow(nn.Module):
    """Codes a flow and a scale for each pixel, and predicts from the reference, blurred by the scale (Agustsson 2020).

    Frame and reference go into one network, without a motion estimator. Of several references the first is used. Takes
    the weights of CompressAI's ``ssf2020``.

    Args:
        levels: blurred versions of the reference, each with twice the deviation of the one before.
        sigma: standard deviation of the first, in pixels.
        width: channels of the transforms.
        planes: channels of latent and hyper-latent.
    """

    def __init__(self, levels: int = 5, sigma: float = 1.5, width: int = 128, planes: int = 192) -> None:
        super().__init__()
        self.levels = levels
        self.encoder, self.decoder = encoder(6, width, planes), decoder(planes, 3, width)
        self.hyperprior = ScaleSpaceHyperprior(planes)
        self.register_buffer("kernel", gaussian(sigma), persistent=False)

    def forward(self, state: FrameState, stream: Stream) -> dict[str, Tensor]:
        reference = padded(state["refs"][:, 0])
        y = None if stream.reading else self.encoder(torch.cat((padded(state["frame"]), reference), 1))
        y_hat = self.hyperprior(y, padded_size(state.size()), stream)
        prediction = self.predict(reference, self.decoder(y_hat).float())
        return {"mc": prediction[..., : state.height, : state.width], "motion_latent": y_hat}

    def predict(self, reference: Tensor, motion: Tensor) -> Tensor:
        """Look up each pixel of the prediction in the volume of blurred references.

        Args:
            reference: (N, 3, H, W).
            motion: (N, 3, H, W): displacements to the right and down in half widths and heights, and the place in the
                volume, from -1 (sharp) to 1.
        """
        with torch.autocast(reference.device.type, enabled=False):
            flow, scale = motion.split((2, 1), 1)
            at = F.affine_grid(torch.eye(2, 3, device=motion.device).expand(len(motion), 2, 3),
                               list(reference.shape), align_corners=False)  # fmt: skip
            at = torch.cat((at + flow.permute(0, 2, 3, 1), scale.permute(0, 2, 3, 1)), -1)[:, None]
            volume = self.volume(reference.float())
            return F.grid_sample(volume, at, padding_mode="border", align_corners=False)[:, :, 0]

    def volume(self, x: Tensor) -> Tensor:
        """(N, 3, levels + 1, H, W): the picture, and blurred ones made at ever smaller sizes (Yang et al. 2020)."""
        blurred = self.blur(x)
        planes = [x, blurred]
        for level in range(1, self.levels):
            blurred = self.blur(F.avg_pool2d(blurred, 2))
            enlarged = blurred
            for _ in range(level):
                enlarged = F.interpolate(enlarged, scale_factor=2, mode="bilinear", align_corners=False)
            planes.append(enlarged)
        return torch.stack(planes, 2)

    def blur(self, x: Tensor) -> Tensor:
        """A Gaussian filter, borders repeated."""
        kernel = self.get_buffer("kernel")
        reach, channels = kernel.shape[0] // 2, x.shape[1]
        x = F.pad(x, (reach,) * 4, mode="replicate")
        return F.conv2d(x, kernel.expand(channels, 1, *kernel.shape), groups=channels)

    @staticmethod
    def translate_weights(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The part of ``ssf2020`` that codes motion."""
        return of_part(tensors, "motion")


def gaussian(sigma: float) -> Tensor:
    """A square Gaussian kernel that reaches three standard deviations."""
    reach = math.ceil(3 * sigma)
    line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma).square())
    line = line / line.sum()
    return line[:, None] * line
