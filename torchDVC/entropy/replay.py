"""A frame coded once, and decoded again without its stream: does a decoder ask for what was coded?

`NotingStream` keeps what an encoder hands to the coder. `ToldStream` hands a decoder the same symbols, whatever it asks
for, and notes where it asks for something else; a stream that is read for real ends at the first such place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from torchDVC.entropy.coder import Decoder, Encoder
from torchDVC.entropy.symbol_streams import EstimatingStream, SymbolStream
from torchDVC.entropy.tables import Tables
from torchDVC.entropy.tape import Tape
from torchDVC.util.errors import BitstreamError


@dataclass(frozen=True)
class Coded:
    """Symbols that a module coded with tables."""

    label: str
    symbols: Tensor
    indexes: Tensor
    tables: Tables


@dataclass(frozen=True)
class Taped:
    """Decisions of an adaptive model, as a stream of their own."""

    label: str
    data: bytes


class NotingStream(EstimatingStream):
    """Keeps everything that is coded, in ``events``."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Coded | Taped] = []

    def _transfer(self, symbols: Tensor | None, indexes: Tensor, tables: Tables) -> Tensor:
        symbols = super()._transfer(symbols, indexes, tables)
        self.events.append(Coded(self.label, symbols.clone(), indexes.clone(), tables))
        return symbols

    def close_tape(self, tape: Tape, where: np.ndarray, item: int = 0, part: str = "latent") -> None:
        super().close_tape(tape, where, item, part)
        encoder = Encoder()
        encoder.put_operations(tape.operations)
        self.events.append(Taped(self.label, encoder.finish()))


class DifferentError(Exception):
    """Decoding cannot go on, as it asks for something else."""


class ToldStream(SymbolStream):
    """Gives what was coded.

    Attributes:
        found: labels of modules, and what they asked for that was not coded.

    Args:
        events: those of a `NotingStream`.

    Raises `DifferentError` where nothing that was coded fits what is asked for.
    """

    reading = True

    def __init__(self, events: list[Coded | Taped]) -> None:
        super().__init__()
        self._events = iter(events)
        self._decoder = Decoder(b"")
        self.found: list[tuple[str, str]] = []

    def _transfer(self, symbols: Tensor | None, indexes: Tensor, tables: Tables) -> Tensor:
        event = next(self._events, None)
        if not isinstance(event, Coded) or event.label != self.label or event.indexes.shape != indexes.shape:
            raise self._other()
        changed = int((indexes != event.indexes).sum())
        if changed:
            self._note(f"{changed} of {indexes.numel()} table indexes change")
        if not _same(tables, event.tables):
            self._note("its tables change")
        return event.symbols

    def open_tape(self) -> Tape:
        event = next(self._events, None)
        if not isinstance(event, Taped) or event.label != self.label:
            raise self._other()
        self._decoder = Decoder(event.data)
        return self._decoder.open_tape()

    def close_tape(self, tape: Tape, where: np.ndarray, item: int = 0, part: str = "latent") -> None:
        super().close_tape(tape, where, item, part)
        try:
            self._decoder.close_tape(tape)
            self._decoder.finish()
        except BitstreamError:
            self._note("it reads other decisions than were written")
            raise DifferentError from None

    def _note(self, what: str) -> None:
        self.found.append((self.label, what))

    def _other(self) -> DifferentError:
        self._note("it codes other latents")
        return DifferentError()


def _same(a: Tables, b: Tables) -> bool:
    arrays = zip(a.to_arrays().values(), b.to_arrays().values(), strict=True)
    return a is b or all(np.array_equal(x, y) for x, y in arrays)
