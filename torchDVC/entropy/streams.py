"""Streams: the one place where training, estimating, writing and reading differ.

A coding module is written once, as a function of its inputs and of a stream::

    y = None if stream.reading else self.analysis(x)
    y_hat = stream.code(y, prior)
    return self.synthesis(y_hat)

Nothing after ``code`` may need the source, since a decoder does not have it. Integers that are to arrive as they are
(motion grids, block modes, gates) go through ``code_integers`` in the same way.

The stream that trains stands here; `torchDVC.entropy.symbol_streams` has those that code integers with tables.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from torchDVC.entropy.priors import GaussianPrior, Prior
from torchDVC.entropy.tape import Tape

Step = tuple[Tensor, Callable[[Tensor], Tensor]]
"""Positions of a latent, as `Prior.at`, and what gives means (N, C, H, W) from what is decoded before them."""


def round_through(x: Tensor) -> Tensor:
    """Round half to even; gradients pass unchanged (straight-through)."""
    return x + (x.round() - x).detach()


class Stream:
    """Codes latents and books their bits under the module that codes them.

    Attributes:
        reading: there is no source; ``code`` is given None and returns decoded latents.
        bits: (module label, part) -> bits of each item of the batch, (N,). ``part`` is ``"latent"`` or ``"hyper"``.
        maps: where ``keep_maps``, module label -> bits of each position, a list of (N, H, W), one a latent.

    Args:
        batch: number N of pictures; a latent's batch may be a multiple of it (N-major).
        keep_maps: remember where in the picture the bits went.
    """

    reading = False

    def __init__(self, batch: int = 1, *, keep_maps: bool = False) -> None:
        self.batch = batch
        self.maps: dict[str, list[Tensor]] | None = {} if keep_maps else None
        self.bits: dict[tuple[str, str], Tensor] = {}
        self._label = ""

    @property
    def label(self) -> str:
        """What is coded now is booked under this."""
        return self._label

    @contextlib.contextmanager
    def labelled(self, label: str) -> Iterator[None]:
        """Book what is coded inside under ``label``."""
        outer, self._label = self._label, label
        try:
            yield
        finally:
            self._label = outer

    def code(self, y: Tensor | None, prior: Prior) -> Tensor:
        """Code a latent.

        Args:
            y: (N, C, H, W) latent of any real values, or None where ``reading``.
            prior: its probability model.

        Returns:
            (N, C, H, W) the latent as the decoder has it, in float32; 0 beside ``prior.at``, if there is such.
        """
        raise NotImplementedError

    def code_in_steps(self, y: Tensor | None, prior: GaussianPrior, steps: Sequence[Step]) -> Tensor:
        """Code a latent all of whose scales are known, but whose means follow from what is decoded, step by step.

        Symbols are written or read at once. Arguments and result are those of `code`; ``prior`` has means of its own,
        which are not used, and each of ``steps`` the positions that it codes and what gives their means.
        """
        decoded = torch.zeros_like(prior.index)
        for at, mean_of in steps:
            decoded = decoded + self.code(y, replace(prior, mean=mean_of(decoded), at=at))
        return decoded

    def code_integers(self, values: Tensor | None, prior: Prior) -> Tensor:
        """Code integers without loss.

        Args:
            values: (N, C, H, W) whole numbers of any type, or None where ``reading``.
            prior: their probability model, of integers too: its ``mean`` is whole.

        Returns:
            (N, C, H, W) the same integers, in float32. Gradients of ``values`` pass; rate is learned through the prior.
        """
        raise NotImplementedError

    def open_tape(self) -> Tape:
        """A tape for decisions of a model that adapts as it codes, of one picture of the batch."""
        return Tape()

    def close_tape(self, tape: Tape, where: np.ndarray, item: int = 0, part: str = "latent") -> None:
        """End a tape and book its bits.

        Args:
            tape: from `open_tape`.
            where: (H, W) bits of each position, which is what the decisions cost.
            item: of which picture of the batch.
            part: see `bits`.
        """
        bits = torch.zeros(self.batch, 1, *where.shape)
        bits[item, 0] = torch.from_numpy(where)
        self._book(bits, part)

    def end(self) -> None:
        """Called when a frame is complete."""

    def rates(self) -> dict[str, Tensor]:
        """Bits of each module label, shape (N,), all parts together."""
        total: dict[str, Tensor] = {}
        for (label, _), bits in self.bits.items():
            total[label] = total[label] + bits if label in total else bits
        return total

    def _book(self, bits: Tensor, part: str) -> None:
        key = (self._label, part)
        if self.maps is not None:
            at = bits.sum(1).unflatten(0, (self.batch, -1)).sum(1)
            self.maps.setdefault(self._label, []).append(at)
        bits = bits.reshape(self.batch, -1).sum(1)
        self.bits[key] = self.bits[key] + bits if key in self.bits else bits


Noise = Callable[[Tensor], Tensor]
"""Gives uniform noise in [-0.5, 0.5] for a tensor, of its shape."""


def uniform_noise(like: Tensor) -> Tensor:
    """Noise of PyTorch's global generator."""
    return torch.empty_like(like).uniform_(-0.5, 0.5)


class TrainingStream(Stream):
    """Differentiable: bits from the likelihood of the latent with uniform noise in place of rounding.

    What is returned is rounded, with gradients straight through, so that the synthesis gets what a decoder will give it
    (mixed quantisation: Minnen & Singh 2020, "Channel-wise autoregressive entropy models", section 3.3). A
    hyper-latent keeps the noise (Ballé et al. 2018): rounded, it would be all zero at first, and a hyper-synthesis that
    sees nothing learns nothing.

    Args:
        batch, keep_maps: see `Stream`.
        new_noise: gives the source of the noise, which begins anew for the stream.
    """

    def __init__(
        self, batch: int = 1, *, keep_maps: bool = False, new_noise: Callable[[], Noise] = lambda: uniform_noise
    ) -> None:
        super().__init__(batch, keep_maps=keep_maps)
        self._new_noise, self._noise = new_noise, new_noise()

    def fresh(self) -> TrainingStream:
        """One that has coded nothing yet, with the same noise before it."""
        return TrainingStream(self.batch, keep_maps=self.maps is not None, new_noise=self._new_noise)

    def code(self, y: Tensor | None, prior: Prior) -> Tensor:
        assert y is not None
        with torch.autocast(y.device.type, enabled=False):
            v = y.float() - prior.mean
            noisy = v + self._noise(v)
            self._book(only_at(-torch.log2(prior.likelihood(noisy)), prior.at), prior.part)
            return only_at((noisy if prior.part == "hyper" else round_through(v)) + prior.mean, prior.at)

    def code_integers(self, values: Tensor | None, prior: Prior) -> Tensor:
        assert values is not None
        with torch.autocast(values.device.type, enabled=False):
            values = values.float()
            self._book(only_at(-torch.log2(prior.likelihood(values - prior.mean)), prior.at), prior.part)
            return only_at(values, prior.at)


def only_at(x: Tensor, at: Tensor | None) -> Tensor:
    """What stands at the positions ``at`` of each item, 0 elsewhere."""
    if at is None:
        return x
    here = torch.zeros_like(x[0], dtype=torch.bool).flatten().index_fill(0, at, True).view_as(x[0])
    return torch.where(here, x, 0.0)
