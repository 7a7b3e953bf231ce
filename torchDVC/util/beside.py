"""Work that goes on beside other work of the same process, in a thread of its own."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")


def read_ahead(items: Iterable[T], depth: int = 2) -> Iterator[T]:
    """``items``, of which up to ``depth`` are made beside what is done with the one before; errors come in their place.

    Ending the iteration early ends the thread that makes them.
    """
    return merged([items], 1, depth)


def merged(sources: Iterable[Iterable[T]], most: int, depth: int = 2) -> Iterator[T]:
    """The items of all ``sources`` as they come, those of one in order; an error comes in its place.

    Up to ``most`` sources are gone through at once, each in a thread of its own, and up to ``depth`` items wait.
    Ending the iteration early ends the threads.
    """
    made: queue.Queue[tuple[T | None, BaseException | None, bool]] = queue.Queue(depth)
    ended, threads, running = threading.Event(), list[threading.Thread](), 0

    def put(entry: tuple[T | None, BaseException | None, bool]) -> None:
        while not ended.is_set():
            try:
                return made.put(entry, timeout=0.1)
            except queue.Full:
                continue

    def make(items: Iterable[T]) -> None:
        try:
            for item in items:
                put((item, None, False))
                if ended.is_set():
                    return
            put((None, None, True))
        except BaseException as error:  # whatever it is, it belongs to whom the items are for
            put((None, error, True))

    waiting = iter(sources)
    try:
        while True:
            while running < most and (items := next(waiting, None)) is not None:
                threads.append(threading.Thread(target=make, args=(items,), daemon=True))
                threads[-1].start()
                running += 1
            if not running:
                return
            item, error, last = made.get()
            if error is not None:
                raise error
            if last:
                running -= 1
            else:
                yield item  # type: ignore[misc]
    finally:
        ended.set()
        for thread in threads:
            thread.join()


class Beside(Generic[T]):
    """Calls functions in order in one other thread, a few of them behind at most; use it as a context manager.

    Results come in the order of the calls. An error of a call is raised when its result is taken.

    Args:
        most: calls that may be waiting; one more waits for the oldest.
    """

    def __init__(self, most: int = 4) -> None:
        self._most = most
        self._pool = ThreadPoolExecutor(1)
        self._waiting: deque[Future[T]] = deque()

    def call(self, function: Callable[..., T], *arguments: object) -> list[T]:
        """Call a function; gives the results that have come, in order, since the last call."""
        self._waiting.append(self._pool.submit(function, *arguments))
        found = []
        while self._waiting and (self._waiting[0].done() or len(self._waiting) > self._most):
            found.append(self._waiting.popleft().result())
        return found

    def rest(self) -> list[T]:
        """The results that are still to come."""
        found = [future.result() for future in self._waiting]
        self._waiting.clear()
        return found

    def __enter__(self) -> Beside[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
