"""Streams that code integers with integer tables: estimating, writing and reading."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from torchDVC.entropy.coder import Decoder, Encoder
from torchDVC.entropy.priors import GaussianPrior, Prior
from torchDVC.entropy.streams import Step, Stream, only_at
from torchDVC.entropy.tables import Tables
from torchDVC.entropy.tape import Tape


class SymbolStream(Stream):
    """Base of the streams that code integers with integer tables; bits are those of the tables.

    Args:
        batch, keep_maps: see `Stream`.
        rdoq: squared quantisation steps that a bit is worth to the encoder. Each element of a latent becomes the
            nearest integer or the one nearer zero, whichever costs less; 0: always the nearest. Hyper-latents, which
            decide others' tables, are rounded.
    """

    def __init__(self, batch: int = 1, *, keep_maps: bool = False, rdoq: float = 0.0) -> None:
        super().__init__(batch, keep_maps=keep_maps)
        self.rdoq = rdoq

    def code(self, y: Tensor | None, prior: Prior) -> Tensor:
        symbols = None if y is None else self._chosen(y.float() - prior.mean, prior)
        return self._code(symbols, prior)

    def code_integers(self, values: Tensor | None, prior: Prior) -> Tensor:
        return self._code(None if values is None else _to_symbols(values.float() - prior.mean), prior)

    def _chosen(self, v: Tensor, prior: Prior) -> Tensor:
        """The symbols of a latent's differences from its mean."""
        nearest = _to_symbols(v)
        if not self.rdoq or prior.part == "hyper":
            return nearest
        lower = nearest - nearest.sign()
        tables, indexes = prior.tables, prior.indexes
        costs = [(v - symbols) ** 2 + self.rdoq * tables.bits(symbols, indexes) for symbols in (nearest, lower)]
        return torch.where(costs[1] < costs[0], lower, nearest)

    def _code(self, symbols: Tensor | None, prior: Prior) -> Tensor:
        indexes, at = prior.indexes, prior.at
        if at is None:
            symbols = self._transfer(symbols, indexes, prior.tables)
            self._book(prior.tables.bits(symbols, indexes), prior.part)
            return symbols + prior.mean
        own_indexes = indexes.flatten(1)[:, at]
        few = self._transfer(None if symbols is None else symbols.flatten(1)[:, at], own_indexes, prior.tables)
        self._book(_spread(prior.tables.bits(few, own_indexes), at, indexes), prior.part)
        return only_at(_spread(few, at, indexes) + prior.mean, at)

    def code_in_steps(self, y: Tensor | None, prior: GaussianPrior, steps: Sequence[Step]) -> Tensor:
        order = torch.cat([at for at, _ in steps])
        indexes = prior.indexes.flatten(1)[:, order]
        symbols = self._transfer(None, indexes, prior.tables) if y is None else torch.zeros_like(indexes)
        decoded = torch.zeros_like(prior.index)
        for (at, mean_of), few in zip(steps, symbols.split([len(at) for at, _ in steps], 1), strict=True):
            mean = mean_of(decoded)
            if y is not None:
                few.copy_(self._chosen(y.float() - mean, prior).flatten(1)[:, at])
            decoded = decoded + only_at(_spread(few, at, mean) + mean, at)
        if y is not None:
            self._transfer(symbols, indexes, prior.tables)
        self._book(_spread(prior.tables.bits(symbols, indexes), order, decoded), prior.part)
        return decoded

    def _transfer(self, symbols: Tensor | None, indexes: Tensor, tables: Tables) -> Tensor:
        """Take symbols to the other side: return what the decoder has."""
        raise NotImplementedError


def _spread(few: Tensor, at: Tensor, like: Tensor) -> Tensor:
    """(N, K) to the shape of ``like``, at the positions ``at`` of each item."""
    whole = torch.zeros(like.shape, dtype=few.dtype, device=few.device)
    whole.view(len(like), -1)[:, at] = few
    return whole


SYMBOL_MAX = 2**20
"""Largest symbol that an encoder uses: far beyond any latent, and exact in float32 together with a mean."""


def _to_symbols(v: Tensor) -> Tensor:
    """The nearest integers in int32; what is not a number counts as 0."""
    return v.nan_to_num(0.0).round().clamp(-SYMBOL_MAX, SYMBOL_MAX).to(torch.int32)


class EstimatingStream(SymbolStream):
    """Counts the bits that the coder would write, and writes nothing."""

    def _transfer(self, symbols: Tensor | None, indexes: Tensor, tables: Tables) -> Tensor:
        assert symbols is not None
        return symbols


class DryStream(SymbolStream):
    """Reads zeros: runs exactly what a decoder runs, without a bitstream (for counting operations)."""

    reading = True

    def _transfer(self, symbols: Tensor | None, indexes: Tensor, tables: Tables) -> Tensor:
        return torch.zeros_like(indexes)

    def open_tape(self) -> Tape:
        return Tape(reading=True, words=np.zeros(0, np.uint32))


class WritingStream(SymbolStream):
    """Codes symbols into the payload of one frame. `docs/bitstream.md` gives the order of latents within it."""

    def __init__(self, batch: int = 1, *, keep_maps: bool = False, rdoq: float = 0.0) -> None:
        super().__init__(batch, keep_maps=keep_maps, rdoq=rdoq)
        self._encoder = Encoder()

    def _transfer(self, symbols: Tensor | None, indexes: Tensor, tables: Tables) -> Tensor:
        assert symbols is not None
        self._encoder.put(symbols.cpu().numpy(), indexes.cpu().numpy(), tables)
        return symbols

    def close_tape(self, tape: Tape, where: np.ndarray, item: int = 0, part: str = "latent") -> None:
        super().close_tape(tape, where, item, part)
        self._encoder.put_operations(tape.operations)

    def payload(self) -> bytes:
        """Everything coded so far."""
        return self._encoder.finish()


class ReadingStream(SymbolStream):
    """Decodes the symbols of one frame.

    Args:
        payload: what `WritingStream.payload` gave, or any bytes: damage raises `BitstreamError` and nothing else.
        name: what messages call it.
    """

    reading = True

    def __init__(self, payload: bytes, name: str = "frame", *, batch: int = 1) -> None:
        super().__init__(batch)
        self._decoder = Decoder(payload, name)

    def _transfer(self, symbols: Tensor | None, indexes: Tensor, tables: Tables) -> Tensor:
        return torch.from_numpy(self._decoder.get(indexes.cpu().numpy(), tables)).to(indexes.device)

    def open_tape(self) -> Tape:
        return self._decoder.open_tape()

    def close_tape(self, tape: Tape, where: np.ndarray, item: int = 0, part: str = "latent") -> None:
        super().close_tape(tape, where, item, part)
        self._decoder.close_tape(tape)

    def end(self) -> None:
        """Check that the payload held nothing more; raises `BitstreamError` where it did."""
        self._decoder.finish()
