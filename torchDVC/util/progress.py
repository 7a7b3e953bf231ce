"""Progress of long work: a bar in a terminal, an occasional line in a log file."""

from __future__ import annotations

import contextlib
import io
import sys
import time
from typing import IO, Any

from torchDVC.util.launch import first_process

LINE_EVERY = 30.0  # seconds between the lines of a log file


class Progress:
    """Counts ``total`` steps of ``title`` on ``stream``, with the latest values and the time left.

    Use as a context manager. ``total`` may be None when it is not known; ``done`` steps are counted as done before
    (a resumed run), so that the time left is right. Values such as ``rate="0.123 bpp"`` stand behind the bar as given.
    Without a ``stream`` it is standard error, and of several processes only the first shows anything.
    """

    def __init__(self, total: int | None, title: str, *, done: int = 0, unit: str = "step",
                 stream: IO[str] | None = None) -> None:
        if stream is None:
            stream = sys.stderr if first_process() else io.StringIO()
        kind = _Bar if stream.isatty() else _Lines
        self._display: _Bar | _Lines = kind(total, title, done, unit, _Lasting(stream))

    def update(self, steps: int = 1, **values: object) -> None:
        """Count ``steps`` more; ``values`` replace those shown."""
        self._display.update(steps, values)

    def say(self, line: str) -> None:
        """Show a line above the bar; nothing where it is empty."""
        if line:
            self._display.say(line)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._display.close()


class _Lasting:
    """A stream that takes what it can: a terminal may be closed, and a pipe be broken, while work goes on."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Bar:
    def __init__(self, total: int | None, title: str, done: int, unit: str, stream: Any) -> None:
        from tqdm import tqdm

        self._bar: Any = tqdm(total=total, desc=title, initial=done, unit=unit, file=stream, dynamic_ncols=True,
                              mininterval=0.2)

    def update(self, steps: int, values: dict[str, object]) -> None:
        if values:
            self._bar.set_postfix(values, refresh=False)
        self._bar.update(steps)

    def say(self, line: str) -> None:
        self._bar.write(line, file=self._bar.fp)

    def close(self) -> None:
        self._bar.close()


class _Lines:
    """A line every `LINE_EVERY` seconds and one at the end."""

    def __init__(self, total: int | None, title: str, done: int, unit: str, stream: Any) -> None:
        self._total, self._title, self._unit, self._stream = total, title, unit, stream
        self._first = self._done = done
        self._shown = done
        self._values: dict[str, object] = {}
        self._start = self._last = time.monotonic()

    def update(self, steps: int, values: dict[str, object]) -> None:
        self._done += steps
        self._values = values or self._values
        if time.monotonic() - self._last >= LINE_EVERY:
            self._write()

    def say(self, line: str) -> None:
        print(line, file=self._stream, flush=True)

    def close(self) -> None:
        if self._done != self._shown:
            self._write()

    def _write(self) -> None:
        self._last = time.monotonic()
        self._shown = self._done
        of_total = "" if self._total is None else f"/{self._total}"
        shown = [f"{name} {value}" for name, value in self._values.items()]
        words = [f"{self._title}: {self._done}{of_total} {self._unit}s", *shown, self._times()]
        print(", ".join(words), file=self._stream, flush=True)

    def _times(self) -> str:
        """Time taken and, while something is left and its pace is known, time left."""
        taken = self._last - self._start
        counted = self._done - self._first
        if self._total is None or not counted or self._done >= self._total:
            return f"{clock(taken)} taken"
        return f"{clock(taken / counted * (self._total - self._done))} left"


def clock(seconds: float) -> str:
    """Seconds as ``1:02:03`` or ``2:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
