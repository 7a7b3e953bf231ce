"""Image codecs of CompressAI's registry as the intra codec of a model."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from inspect import signature
from typing import Any

from torch import Tensor, nn

from torchDVC.config.registry import codec_module
from torchDVC.entropy.streams import Stream
from torchDVC.modules.frame_state import FrameState
from torchDVC.modules.latent.compressai import Factorized
from torchDVC.modules.latent.compressai_models import latent_of
from torchDVC.modules.layers import GDN
from torchDVC.util.errors import first_line, nearest


@codec_module(
    encoder_reads="frame", writes="recon", codes=True, levels="levels", weights_from="translate_weights"
)
class CompressAIIntra(nn.Module):
    """An image model of CompressAI, coded by this framework's coder.

    Its transforms are CompressAI's own; its entropy model (a scale or mean-scale hyperprior, a context model, a
    checkerboard, channel groups, or a factorised prior; with the gains and steps of models of variable rate) runs in
    exact fixed-point arithmetic (`torchDVC.modules.latent.compressai`), so that every machine codes with the same
    tables. It takes CompressAI's weights, and needs CompressAI.

    Args:
        model: the name in CompressAI's registry, such as ``mbt2018-mean`` or ``elic2022-official``.
        quality: takes N and M from CompressAI's zoo.
        N, M: the arguments that the model's class has; without them and ``quality``, its defaults.
        levels: how many quality levels it has: 8 of a ``-vbr`` model, 1 of others.
        vr_entbttlnck: of ``-vbr`` models that have this argument, as published: the hyper-latent has steps too.
    """

    def __init__(
        self, model: str = "bmshj2018-hyperprior", quality: int | None = None, N: int | None = None,
        M: int | None = None, levels: int = 1, vr_entbttlnck: bool = True,
    ) -> None:
        super().__init__()
        network = build(model, quality, N, M, vr_entbttlnck)
        if levels != (found := levels_of(network)):
            raise ValueError(f"model '{model}' with levels {levels}; expected {found}")
        self.g_a, self.g_s = with_own_gdn(network.g_a), with_own_gdn(network.g_s)
        try:
            self.latent = latent_of(network)
        except (AttributeError, TypeError, ValueError) as error:
            raise ValueError(f"model '{model}' cannot be run in fixed point: {first_line(error)}") from error

    def forward(self, state: FrameState, stream: Stream) -> dict[str, Tensor]:
        y = None if stream.reading else self.g_a(state["frame"])
        y_hat = self.latent(y, state, stream)
        return {"recon": self.g_s(y_hat).float()}

    def translate_weights(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The weights of a CompressAI model (of any version) by the names that they have here.

        What CompressAI keeps beside them (its tables, bounds and targets) is left out: it is worked out anew.
        """
        found = {renamed(name): x for name, x in tensors.items() if not _KEPT_BESIDE.search(name)}
        if isinstance(self.latent, Factorized):
            found = {name.replace(".hyper.", ".", 1): x for name, x in found.items()}
        return found


def build(
    model: str, quality: int | None = None, N: int | None = None, M: int | None = None, vr_entbttlnck: bool = True
) -> Any:
    """An untrained model of CompressAI's registry; the arguments are those of `CompressAIIntra`.

    Raises `ValueError` for what cannot be had.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # what its import gives away is no concern of the user's
            from compressai.registry import MODELS
            from compressai.zoo.image import cfgs
    except ImportError:
        raise ValueError("needs CompressAI, which is not installed; pip install compressai") from None
    if model not in MODELS:
        raise ValueError(f"model '{model}'{nearest(model, MODELS)}")
    if any(kind in MODELS[model].__module__ for kind in (".video", ".pointcloud")):
        raise ValueError(f"model '{model}' is no image model; expected one")
    given = {name: value for name, value in (("N", N), ("M", M)) if value is not None}
    if quality is not None:
        known = cfgs.get(model, {})
        if quality not in known:
            raise ValueError(f"quality {quality} of '{model}'; expected {_range(known) or 'N and M, as it has none'}")
        given = dict(zip(("N", "M"), known[quality], strict=False)) | given
    steps = {"vr_entbttlnck": vr_entbttlnck} if "vr_entbttlnck" in signature(MODELS[model]).parameters else {}
    try:
        return MODELS[model](**given, **steps)
    except TypeError as error:
        raise ValueError(f"model '{model}' with {given or 'no arguments'}: {first_line(error)}") from error


def levels_of(network: Any) -> int:
    """How many quality levels a model of CompressAI has."""
    return len(network.Gain) if hasattr(network, "Gain") else 1


def with_own_gdn(network: nn.Module) -> nn.Module:
    """A network of CompressAI with the `GDN` of this framework, which keeps nothing beside its weights."""
    for name, child in network.named_children():
        if type(child).__name__ == "GDN":
            setattr(network, name, GDN(child.get_parameter("beta").numel(), inverse=bool(child.inverse)))
        else:
            with_own_gdn(child)
    return network


def _range(known: Mapping[int, Any]) -> str:
    return f"{min(known)} to {max(known)}" if known else ""


_KEPT_BESIDE = re.compile(
    r"_reparam\.|lower_bound|gaussian_conditional\.|\.(target|_offset|_quantized_cdf|_cdf_length|scale_table)$"
)
_RULES = tuple(
    (re.compile(pattern), new)
    for pattern, new in (
        (r"^latent_codec\.", "latent."),
        (r"^(Gain|gayn2zqstep)\b", r"entropy_bottleneck.\1"),
        (r"^(h_a|h_s|entropy_bottleneck)\.", r"latent.hyper.\1."),
        (r"^(context_prediction|entropy_parameters|scale_to_context)\.", r"latent.y.\1."),
        (r"^QuantABCD\.", "latent.y.coder.QuantABCD."),
        (r"(context_prediction|scale_to_context)\.(weight|bias|mask)$", r"\1.0.\2"),
        (r"(entropy_bottleneck)\._?matrices\.(\d)$", r"\1._matrix\2"),
        (r"(entropy_bottleneck)\._?biases\.(\d)$", r"\1._bias\2"),
        (r"(entropy_bottleneck)\._?factors\.(\d)$", r"\1._factor\2"),
    )
)


def renamed(name: str) -> str:
    """CompressAI's name of a weight as it is here."""
    for pattern, new in _RULES:
        name = pattern.sub(new, name)
    return name
