"""How a program begins: whatever ends it in its first moments ends it in one line.

Python's own handler of Ctrl-C raises `KeyboardInterrupt` wherever that comes, which among imports is a traceback. So
this file needs nothing that Python has not loaded by itself, not even ``signal`` but its part in C.
"""

import _signal  # type: ignore[import-not-found]
import os
import sys

EXIT_INTERRUPTED = 130


def program(module: str) -> None:
    """Run ``main`` of a module as this process's program, and end with its exit code."""
    until_ready()
    from importlib import import_module

    sys.exit(import_module(module).main())


def until_ready() -> None:
    """Until the program has handlers of its own (`torchDVC.util.interrupts`), signals that end it do so at once.

    Nothing is begun by then, so nothing is half-written. What is to be ignored (``nohup``) stays ignored.
    """
    for number in (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP):
        if _signal.getsignal(number) != _signal.SIG_IGN:
            _signal.signal(number, _end)


def _end(number: int, frame: object) -> None:
    try:
        os.write(2, b"interrupted\n")
    finally:  # also where the terminal has been closed
        os._exit(EXIT_INTERRUPTED)
