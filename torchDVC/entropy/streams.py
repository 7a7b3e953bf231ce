"""Symbol streams: the one place where training, estimating, writing and reading differ.

A coding module is written once, as a function of its inputs and of a stream::

    y = None if stream.reading else self.analysis(x)
    y_hat = stream.code(y, prior)
    return self.synthesis(y_hat)

Nothing after ``code`` may need the source, since a decoder does not have it. Integers that are to arrive as they are
(motion grids, block modes, gates) go through ``code_integers`` in the same way.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from torchDVC.entropy.coder import Decoder, Encoder
from torchDVC.entropy.priors import GaussianPrior, Prior
from torchDVC.entropy.tables import Tables
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


class SharedNoise:
    """The part of a process, or of a part of a batch, in the noise that one process would draw for all of them.

    Args:
        seed: of the noise, the same for all parts.
        part, parts: which part of the whole batch this is, of how many of equal size.
    """

    def __init__(self, seed: int, part: int, parts: int) -> None:
        self._seed, self._part, self._parts = seed, part, parts
        self._generator: torch.Generator | None = None

    def __call__(self, like: Tensor) -> Tensor:
        if self._generator is None:
            self._generator = torch.Generator(like.device).manual_seed(self._seed)
        shape = (self._parts * len(like), *like.shape[1:])
        whole = torch.rand(shape, generator=self._generator, device=like.device, dtype=like.dtype)
        return whole[self._part * len(like) : (self._part + 1) * len(like)] - 0.5


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
            self._book(_only(-torch.log2(prior.likelihood(noisy)), prior.at), prior.part)
            return _only((noisy if prior.part == "hyper" else round_through(v)) + prior.mean, prior.at)

    def code_integers(self, values: Tensor | None, prior: Prior) -> Tensor:
        assert values is not None
        with torch.autocast(values.device.type, enabled=False):
            values = values.float()
            self._book(_only(-torch.log2(prior.likelihood(values - prior.mean)), prior.at), prior.part)
            return _only(values, prior.at)


def _only(x: Tensor, at: Tensor | None) -> Tensor:
    """What stands at the positions ``at`` of each item, 0 elsewhere."""
    if at is None:
        return x
    here = torch.zeros_like(x[0], dtype=torch.bool).flatten().index_fill(0, at, True).view_as(x[0])
    return torch.where(here, x, 0.0)


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
        return _only(_spread(few, at, indexes) + prior.mean, at)

    def code_in_steps(self, y: Tensor | None, prior: GaussianPrior, steps: Sequence[Step]) -> Tensor:
        order = torch.cat([at for at, _ in steps])
        indexes = prior.indexes.flatten(1)[:, order]
        symbols = self._transfer(None, indexes, prior.tables) if y is None else torch.zeros_like(indexes)
        decoded = torch.zeros_like(prior.index)
        for (at, mean_of), few in zip(steps, symbols.split([len(at) for at, _ in steps], 1), strict=True):
            mean = mean_of(decoded)
            if y is not None:
                few.copy_(self._chosen(y.float() - mean, prior).flatten(1)[:, at])
            decoded = decoded + _only(_spread(few, at, mean) + mean, at)
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
