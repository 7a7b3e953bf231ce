"""Symbol streams: the one place where training, estimating, writing and reading differ.

A coding module is written once, as a function of its inputs and of a stream::

    y = None if stream.reading else self.analysis(x)
    y_hat = stream.code(y, prior)
    return self.synthesis(y_hat)

Nothing after ``code`` may need the source, since a decoder does not have it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor

from torchDVC.modules.entropy.priors import Prior
from torchDVC.modules.entropy.tables import Tables


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
            (N, C, H, W) the latent as the decoder has it, in float32.
        """
        raise NotImplementedError

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


class TrainingStream(Stream):
    """Differentiable: bits from the likelihood of the latent with uniform noise, values rounded straight-through.

    This mixed quantisation (Minnen & Singh 2020, "Channel-wise autoregressive entropy models", section 3.3) gives the
    synthesis what the decoder will give it, and the rate a smooth gradient.
    """

    def code(self, y: Tensor | None, prior: Prior) -> Tensor:
        assert y is not None
        with torch.autocast(y.device.type, enabled=False):
            v = y.float() - prior.mean
            noisy = v + torch.empty_like(v).uniform_(-0.5, 0.5)
            self._book(-torch.log2(prior.likelihood(noisy)), prior.part)
            return round_through(v) + prior.mean


class SymbolStream(Stream):
    """Base of the streams that code integers with integer tables; bits are those of the tables."""

    def code(self, y: Tensor | None, prior: Prior) -> Tensor:
        symbols = None if y is None else (y.float() - prior.mean).round().to(torch.int32)
        symbols = self._transfer(symbols, prior.rows, prior.tables)
        self._book(prior.tables.bits(symbols, prior.rows), prior.part)
        return symbols + prior.mean

    def _transfer(self, symbols: Tensor | None, rows: Tensor, tables: Tables) -> Tensor:
        """Take symbols to the other side: return what the decoder has."""
        raise NotImplementedError


class EstimatingStream(SymbolStream):
    """Counts the bits that the coder would write, and writes nothing."""

    def _transfer(self, symbols: Tensor | None, rows: Tensor, tables: Tables) -> Tensor:
        assert symbols is not None
        return symbols


class DryStream(SymbolStream):
    """Reads zeros: runs exactly what a decoder runs, without a bitstream (for counting operations)."""

    reading = True

    def _transfer(self, symbols: Tensor | None, rows: Tensor, tables: Tables) -> Tensor:
        return torch.zeros_like(rows)
