"""Learned intra codec that takes the weights of compressai's zoo."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from torchDVC.config.registry import codec_module
from torchDVC.entropy.exact import ExactModule, Integers, expect
from torchDVC.entropy.fixed_point import FRACTION_BITS, FixedPoint
from torchDVC.entropy.lower_bound import lower_bound
from torchDVC.entropy.priors import FactorizedPrior, GaussianPrior, GaussianTables
from torchDVC.entropy.streams import Stream
from torchDVC.entropy.tables import BETWEEN_SCALES, GAUSSIAN_SCALES
from torchDVC.modules.frame_state import FrameState
from torchDVC.modules.layers import conv, deconv
from torchDVC.modules.transforms import PICTURE, PICTURE_GAIN, wavelet_transforms
from torchDVC.util.errors import CheckpointError


@codec_module(encoder_reads="frame", writes="recon", codes=True, weights_from="translate_weights")
class ScaleHyperpriorIntra(nn.Module):
    """Image codec with GDN transforms and a scale hyperprior (Ballé et al. 2018, "Variational image compression…").

    The networks are those of compressai's ``ScaleHyperprior``, so that the weights of its ``bmshj2018-hyperprior``
    load. The hyper-synthesis keeps their precision and runs in exact fixed-point arithmetic
    (`torchDVC.entropy.fixed_point`), so that every machine codes with the same tables.

    Args:
        width: channels of the transforms and of the hyper-latent (``N``; 128 in the zoo's qualities 1 to 5, else 192).
        channels: of the latent (``M``; 192, else 320).
    """

    def __init__(self, width: int = 128, channels: int = 192) -> None:
        super().__init__()
        self.g_a, self.g_s, spreads = wavelet_transforms(PICTURE, width, channels, gain=PICTURE_GAIN)
        first, last = conv(channels, width, 3, stride=1), conv(width, channels, 3, stride=1)
        self.h_a = nn.Sequential(first, nn.ReLU(), conv(width, width), nn.ReLU(), conv(width, width))
        self.h_s = FixedPoint(deconv(width, width), nn.ReLU(), deconv(width, width), nn.ReLU(), last, nn.ReLU())
        self.entropy_bottleneck = FactorizedPrior(width)
        self.nearest_row = NearestRow()
        self.y_tables = GaussianTables()
        first.weight = nn.Parameter(first.weight / torch.tensor(spreads)[:, None, None])
        last.bias = nn.Parameter(torch.tensor(spreads))

    def forward(self, state: FrameState, stream: Stream) -> dict[str, Tensor]:
        y = None if stream.reading else self.g_a(state["frame"])
        z = None if y is None else self.h_a(y.abs())
        z_prior = self.entropy_bottleneck.over(state.batch, state.height // STRIDE, state.width // STRIDE)
        index = self.nearest_row(self.h_s(stream.code(z, z_prior)))
        y_hat = stream.code(y, GaussianPrior(torch.zeros_like(index), index, self.y_tables.tables))
        return {"recon": self.g_s(y_hat).float()}

    @staticmethod
    def translate_weights(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights among the tensors of a compressai model (of any version), by the names that they have here.

        What compressai keeps beside them (its tables, bounds and targets) is left out: it is worked out anew.
        """
        return {_NAMES.sub(_renamed, name): x for name, x in tensors.items() if not _KEPT_BESIDE.search(name)}


STRIDE = 64
"""From the picture to the hyper-latent."""

_NAMES = re.compile(r"^entropy_bottleneck\._?(matrices|biases|factors)\.(\d)$")
_SINGULAR = {"matrices": "matrix", "biases": "bias", "factors": "factor"}
_KEPT_BESIDE = re.compile(
    r"_reparam\.|lower_bound|^gaussian_conditional\.|\.(target|_offset|_quantized_cdf|_cdf_length)$"
)


def _renamed(name: re.Match[str]) -> str:
    return f"entropy_bottleneck._{_SINGULAR[name[1]]}{name[2]}"


_STEP = math.log(GAUSSIAN_SCALES[-1] / GAUSSIAN_SCALES[0]) / (len(GAUSSIAN_SCALES) - 1)


class NearestRow(ExactModule):
    """The row of the Gaussian tables whose scale is nearest, on a logarithmic scale, to a standard deviation.

    Its integers are ``between`` (63,): from which scale on, in 1024ths, the next row is the nearer one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._use(self.work_out())

    def work_out(self) -> Integers:
        return {"between": np.ceil(BETWEEN_SCALES * 2**FRACTION_BITS).astype(np.int32)}

    def _use(self, integers: Integers) -> None:
        expect(integers, {"between": (len(GAUSSIAN_SCALES) - 1,)})
        between = integers["between"].astype(np.float64)
        if (np.diff(between) < 0).any():
            raise CheckpointError("integers 'between' of the Gaussian rows: expected ascending ones")
        self.register_buffer("between", torch.from_numpy(between), persistent=False)

    def forward(self, scale: Tensor) -> Tensor:
        """Float64 multiples of 1/1024 to rows in float32, of the same shape.

        The value follows from integers only. The gradient is that of the scale's logarithm; below the least scale, only
        one that leads up passes.
        """
        between = self.get_buffer("between")
        row = torch.bucketize(scale.detach() * 2**FRACTION_BITS, between, right=True).float()
        smooth = (lower_bound(scale, GAUSSIAN_SCALES[0]).log() / _STEP).float()
        return row + (smooth - smooth.detach())
