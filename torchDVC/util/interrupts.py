"""Stopping between two steps instead of in the middle of one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import TypeVar

T = TypeVar("T")


class Interrupts:
    """While open, the first of `SIGNALS` only sets ``requested``; a second one interrupts at once.

    ``number`` is then that signal's. A signal that the program was told to ignore (``nohup``) stays ignored.
    One that is opened inside another takes the signals until it is closed; Python hands them to the main thread only.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)

    def __init__(self) -> None:
        self.requested = False
        self.number = 0

    def __enter__(self) -> Interrupts:
        main = threading.current_thread() is threading.main_thread()
        handled = [number for number in self.SIGNALS if main and signal.getsignal(number) != signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._handle) for number in handled}
        return self

    def watch(self, items: Iterable[T]) -> Iterator[T]:
        """``items`` one after another, in any thread; `KeyboardInterrupt` instead of the next once it is requested."""
        for item in items:
            if self.requested:
                raise KeyboardInterrupt
            yield item

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested, self.number = True, number

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
