"""Latent codecs that code a latent in several passes, each with what the passes before it have decoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchDVC.config.registry import latent_codec
from torchDVC.entropy.integer import ACTIVATION_MAX, IntegerStack
from torchDVC.entropy.priors import GaussianTables
from torchDVC.entropy.streams import Stream, round_through
from torchDVC.modules.frame_state import FrameState
from torchDVC.modules.latent.hyperprior import HyperLatent, gaussian, untrained
from torchDVC.modules.latent.slot import Form

CONTEXT_KERNEL = 5
"""Side of the square of decoded elements around each that a parameter network sees."""
CONTEXT_STEPS = 4
"""Parameter networks see decoded latents in quarters."""


@dataclass(frozen=True)
class Pass:
    """What one pass codes.

    Attributes:
        first, last: the range of channels, ``last`` not among them.
        parity: of those, row plus column being even (0) or odd (1); None: all. Of the channels' second half it is the
            other way round where the pass ``swaps``.
    """

    first: int
    last: int
    parity: int | None = None
    swaps: bool = False

    def at(self, height: int, width: int, device: torch.device) -> Tensor | None:
        """Flat indexes into the elements of its channels; None: all."""
        if self.parity is None:
            return None
        channels = self.last - self.first
        row, column = torch.arange(height, device=device)[:, None], torch.arange(width, device=device)
        second = torch.arange(channels, device=device)[:, None, None] >= (channels + 1) // 2
        odd = (row + column + second * self.swaps) % 2
        return (odd.expand(channels, height, width) == self.parity).flatten().nonzero().flatten()


class InPasses(nn.Module):
    """Base of the latent codecs that code a latent pass by pass.

    The parameters of each pass come from the hyper-latent and from what is decoded so far, by an exact integer network
    (`torchDVC.entropy.integer`) of its own; with ``temporal`` also from the latent of the most important reference that
    has one, which is exact as well.

    Args:
        form: of the latent.
        passes: in coding order; together they code every element once.
        width: channels of the hyper-latent and of the hidden layers.
        temporal: read the latent of a reference.
    """

    def __init__(self, form: Form, passes: Sequence[Pass], width: int, temporal: bool = False) -> None:
        super().__init__()
        self.form, self.passes, self.temporal = form, tuple(passes), temporal
        self.hyper = HyperLatent(form, width, width, features=True)
        contexts = len(self.passes) > 1
        inputs = width + form.channels * (contexts + temporal)
        self.networks = nn.ModuleList()
        start = untrained(form)
        for one in self.passes:
            kernel = CONTEXT_KERNEL if contexts or temporal else 1
            network = IntegerStack(inputs, 2 * width, width, 2 * (one.last - one.first), kernel_size=kernel)
            network.start_at(start[one.first : one.last] + start[form.channels :][one.first : one.last])
            self.networks.append(network)
        self.y_tables = GaussianTables()

    def forward(self, y: Tensor | None, stream: Stream, state: FrameState) -> Tensor:
        known = self._known(y, stream, state)
        decoded = self._coded(y, stream, known, known.new_zeros(self.form.shape(state)))
        if self.temporal:
            state.keep(_key(stream), decoded)
        return decoded

    def _known(self, y: Tensor | None, stream: Stream, state: FrameState) -> Tensor:
        """What every network sees: the hyper-latent, and the latent of the reference."""
        hyper: Tensor = self.hyper(y, stream, state)
        if not self.temporal:
            return hyper
        return torch.cat((hyper, seen(self._recalled(stream, state, hyper.new_zeros(self.form.shape(state))))), 1)

    def _coded(self, y: Tensor | None, stream: Stream, known: Tensor, decoded: Tensor) -> Tensor:
        """Pass by pass."""
        for one, network in zip(self.passes, self.networks, strict=True):
            parameters = network(torch.cat((known, seen(decoded)), 1) if len(self.passes) > 1 else known)
            at = one.at(decoded.shape[2], decoded.shape[3], decoded.device)
            prior = gaussian(parameters, self.y_tables.tables, at)
            part = stream.code(None if y is None else y[:, one.first : one.last], prior)
            decoded = decoded + F.pad(part, (0, 0, 0, 0, one.first, decoded.shape[1] - one.last))
        return decoded

    @staticmethod
    def _recalled(stream: Stream, state: FrameState, nothing: Tensor) -> Tensor:
        found = state.recall(_key(stream))
        return nothing if found is None or found.shape != nothing.shape else found


def _key(stream: Stream) -> str:
    return f"{stream.label}_latent"


def seen(decoded: Tensor) -> Tensor:
    """A decoded latent, multiples of 1/16, as a parameter network sees it: rounded to quarters, limited to ±255."""
    return round_through(CONTEXT_STEPS * decoded).clamp(-ACTIVATION_MAX, ACTIVATION_MAX)


@latent_codec()
class TemporalHyperprior(InPasses):
    """A hyperprior that also sees the latent of the reference, where that was kept (as in Li et al. 2022, "DCVC-HEM").

    Args:
        width: channels of the hyper-latent and of the hidden layers.
    """

    def __init__(self, form: Form, width: int = 96) -> None:
        super().__init__(form, [Pass(0, form.channels)], width, temporal=True)


@latent_codec()
class Checkerboard(InPasses):
    """Two passes, the second of which sees the neighbours of each element (He et al. 2021, "Checkerboard…").

    Args:
        width: channels of the hyper-latent and of the hidden layers.
        temporal: also see the latent of the reference.
    """

    def __init__(self, form: Form, width: int = 96, temporal: bool = False) -> None:
        super().__init__(form, [Pass(0, form.channels, parity) for parity in (0, 1)], width, temporal)


@latent_codec()
class ChannelGroups(InPasses):
    """Groups of channels one after the other (Minnen & Singh 2020, "Channel-wise autoregressive entropy models").

    Args:
        width: channels of the hyper-latent and of the hidden layers.
        groups: how many, of nearly equal size.
        checkerboard: each group in the two passes of a checkerboard (as in He et al. 2022, "ELIC").
        temporal: also see the latent of the reference.
    """

    def __init__(
        self, form: Form, width: int = 96, groups: int = 4, checkerboard: bool = False, temporal: bool = False
    ) -> None:
        if groups > form.channels:
            raise ValueError(f"{groups} groups of {form.channels} channels; expected at most as many")
        ends = [round(i * form.channels / groups) for i in range(groups + 1)]
        parities = (0, 1) if checkerboard else (None,)
        passes = [Pass(first, last, parity) for first, last in pairwise(ends) for parity in parities]
        super().__init__(form, passes, width, temporal)


@latent_codec()
class DualPrior(InPasses):
    """Two passes of which each sees half of the channels at every position (Li et al. 2023, "DCVC-DC").

    The first codes the first half of the channels at the even positions of a checkerboard and the second half at the
    odd ones; the second codes the rest.

    Args:
        width: channels of the hyper-latent and of the hidden layers.
        temporal: also see the latent of the reference.
        means_only: the second pass moves means alone, so that all symbols are read at once.
    """

    def __init__(self, form: Form, width: int = 96, temporal: bool = False, means_only: bool = False) -> None:
        passes = [Pass(0, form.channels, parity, swaps=True) for parity in (0, 1)]
        super().__init__(form, passes, width, temporal)
        self.means_only = means_only
        if means_only:
            inputs = width + form.channels * (1 + temporal)
            self.networks[1] = IntegerStack(inputs, 2 * width, width, form.channels, kernel_size=CONTEXT_KERNEL)

    def _coded(self, y: Tensor | None, stream: Stream, known: Tensor, decoded: Tensor) -> Tensor:
        if not self.means_only:
            return super()._coded(y, stream, known, decoded)
        first, second = self.networks
        prior = gaussian(first(torch.cat((known, seen(decoded)), 1)), self.y_tables.tables)

        def moved(decoded: Tensor) -> Tensor:
            return prior.mean + second(torch.cat((known, seen(decoded)), 1)) / 16

        ats = [one.at(decoded.shape[2], decoded.shape[3], decoded.device) for one in self.passes]
        at, rest = (at for at in ats if at is not None)
        return stream.code_in_steps(y, prior, [(at, lambda _: prior.mean), (rest, moved)])
