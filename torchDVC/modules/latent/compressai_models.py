"""From CompressAI's image models to the parts that code their latents here."""

from __future__ import annotations

from typing import Any

from torch import nn

from torchDVC.modules.latent.compressai import (
    ChannelGroups,
    Checkerboard,
    Coder,
    Density,
    Factorized,
    Gaussian,
    Hyper,
    Hyperprior,
    Part,
    Raster,
)
from torchDVC.modules.latent.compressai_rates import VariableBottleneck, VariableCoder, VariableHyper


def latent_of(model: Any) -> nn.Module:
    """The entropy model of a CompressAI image model, which takes its networks.

    Raises `ValueError` for one whose latent is coded in another way.
    """
    coder = VariableCoder(model.QuantABCD) if hasattr(model, "Gain") else Coder()
    if hasattr(model, "latent_codec"):
        return _of_codec(model.latent_codec, coder)
    if not hasattr(model, "h_a"):
        return Factorized(model.entropy_bottleneck.channels)
    hyper = _hyper(model, of_magnitudes=not _has_means(model))
    if hasattr(model, "context_prediction"):
        of_scale = getattr(model, "scale_to_context", None)
        return Hyperprior(hyper, Raster(coder, model.context_prediction, model.entropy_parameters, of_scale))
    return Hyperprior(hyper, Gaussian(coder) if _has_means(model) else Gaussian(coder, ("scales",)))


def _has_means(model: Any) -> bool:
    """Whether the hyper-synthesis gives two parameters for each channel of the latent."""
    *_, last = (layer for layer in model.h_s.modules() if hasattr(layer, "out_channels"))
    *_, latent = (layer for layer in model.g_a.modules() if hasattr(layer, "out_channels"))
    return last.out_channels > latent.out_channels or hasattr(model, "context_prediction")


def _hyper(holder: Any, of_magnitudes: bool = False) -> Hyper:
    channels = holder.entropy_bottleneck.channels
    if not hasattr(holder, "Gain"):
        return Hyper(holder.h_a, holder.h_s, Density(channels), of_magnitudes)
    z_steps = getattr(holder, "gayn2zqstep", None)
    return VariableHyper(holder.h_a, holder.h_s, VariableBottleneck(channels, holder.Gain, z_steps), of_magnitudes)


def _of_codec(codec: Any, coder: Coder) -> Hyperprior:
    if type(codec).__name__ != "HyperpriorLatentCodec":
        raise ValueError(f"{type(codec).__name__} is not known; expected a HyperpriorLatentCodec")
    return Hyperprior(_hyper(codec.hyper), _part(codec.y, coder))


def _part(codec: Any, coder: Coder) -> Part:
    kind = type(codec).__name__
    if kind == "GaussianConditionalLatentCodec" and isinstance(codec.entropy_parameters, nn.Identity):
        return Gaussian(coder, codec.chunks)
    if kind == "CheckerboardLatentCodec":
        even_first = codec.anchor_parity == "even"
        return Checkerboard(_part(codec.y, coder), codec.context_prediction, codec.entropy_parameters, even_first)
    if kind == "ChannelGroupsLatentCodec":
        parts = {name: _part(own, coder) for name, own in codec.latent_codec.items()}
        return ChannelGroups(codec.groups, codec.channel_context, parts)
    raise ValueError(f"{kind} is not known; expected a Gaussian, checkerboard or channel groups")
