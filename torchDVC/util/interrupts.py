"""Ending by a signal: as an exception anywhere, or between two steps instead of in the middle of one."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")
Handler = Callable[[int, FrameType | None], None]

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, what batch systems and ``kill`` send, and a terminal that is closed."""


PATIENCE = 3.0
"""Seconds in which several of `ENDING` count as one, unless typed: a closed terminal and its shell both send one."""
RETRY = 0.05
"""Seconds after which one is looked at again that came while a module was imported, which it could not end cleanly."""
AGAIN = 0.5
"""Seconds after which a command that goes on is interrupted again: something on the way has kept the exception."""


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """While open, each of `ENDING` raises `KeyboardInterrupt`, between two imports.

    What libraries make of it on its way is one too. Where it cannot be passed on, as in a finalizer or while numba
    compiles, it is dropped without a word, and raised again.
    """
    quiet_until = 0.0
    hook = sys.unraisablehook

    def dropped(unraisable: sys.UnraisableHookArgs) -> None:
        if not isinstance(unraisable.exc_value, KeyboardInterrupt):
            hook(unraisable)

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal quiet_until
        if _importing(frame):
            signal.setitimer(signal.ITIMER_REAL, RETRY)
        elif number == signal.SIGALRM and quiet_until and sys.exception():  # what is on its way is not cut short
            signal.setitimer(signal.ITIMER_REAL, AGAIN)
        elif number in (signal.SIGINT, signal.SIGALRM) or time.monotonic() > quiet_until:
            quiet_until = time.monotonic() + PATIENCE
            signal.setitimer(signal.ITIMER_REAL, AGAIN)
            raise KeyboardInterrupt

    before = _take((*ENDING, signal.SIGALRM), interrupt)
    sys.unraisablehook = dropped
    try:
        yield
    except Exception as error:
        if quiet_until:
            raise KeyboardInterrupt from error
        raise
    finally:
        sys.unraisablehook = hook
        if before:
            signal.setitimer(signal.ITIMER_REAL, 0)
        _give_back(before)


def _importing(frame: FrameType | None) -> bool:
    """Whether a module is being imported."""
    while frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None


class Interrupts:
    """While open, the first of `SIGNALS` only sets ``requested``; Ctrl-C after it interrupts at once.

    ``number`` is then that signal's. One that is opened inside another takes the signals until it is closed; Python
    hands them to the main thread only.
    """

    SIGNALS = (*ENDING, signal.SIGUSR1)

    def __init__(self) -> None:
        self.requested = False
        self.number = 0

    def __enter__(self) -> Interrupts:
        self._before = _take(self.SIGNALS, self._handle)
        return self

    def watch(self, items: Iterable[T]) -> Iterator[T]:
        """``items`` one after another, in any thread; `KeyboardInterrupt` instead of the next once it is requested."""
        for item in items:
            if self.requested:
                raise KeyboardInterrupt
            yield item

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.requested:  # a closed terminal and its shell both send one
            self.requested, self.number = True, number

    def __exit__(self, *_: object) -> None:
        _give_back(self._before)


def _take(numbers: Iterable[signal.Signals], handler: Handler) -> dict[signal.Signals, Any]:
    """Handle signals in the main thread; what handled them before. What is to be ignored (``nohup``) stays ignored."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    handled = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in handled}


def _give_back(before: Mapping[signal.Signals, Any]) -> None:
    for number, handler in before.items():
        signal.signal(number, handler)
