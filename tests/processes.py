"""Other processes: waiting for what they do, ending them at a moment of their work, and where they listen."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable

from tests.conftest import CHECKOUT

LIMIT = 300
"""Seconds; far more than anything takes, as other programs may run beside the tests."""

_SIGNALLED = """
import os, sys
from importlib import import_module
place, call, number, script, *sys.argv[1:] = sys.argv[1:]
module, owner, method = place.split(":")
owner, calls = getattr(import_module(module), owner), 0
original = getattr(owner, method)
def signalling(*arguments, **named):
    global calls
    calls += 1
    if calls == int(call):
        os.killpg(0, int(number))
    return original(*arguments, **named)
setattr(owner, method, signalling)
sys.exit(import_module(f"torchDVC.{script}").main())
"""


def signalled(number: signal.Signals, place: str, call: int, script: str, *flags: str) -> subprocess.Popen[str]:
    """One of the scripts, which with all its processes gets a signal as it calls a method for the ``call``-th time.

    Whoever waits for a moment of another process's work may be too late on a busy machine; this one never is.

    Args:
        place: of the method, ``module:Class:method``.
    """
    command = [sys.executable, "-c", _SIGNALLED, place, str(call), str(int(number)), script, *flags]

    def heed() -> None:  # a shell's background jobs ignore SIGINT, and nohup's SIGHUP
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)

    return subprocess.Popen(
        command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=heed,
    )  # fmt: skip


def wait_for(condition: Callable[[], object], process: subprocess.Popen) -> None:
    """Until a condition holds, which it must while the process runs; where it does not, the process is killed."""
    limit = time.monotonic() + LIMIT
    while not condition():
        if process.poll() is not None or time.monotonic() > limit:
            process.kill()  # or what it says would never end
            raise AssertionError(process.communicate())
        time.sleep(0.005)


def free_port() -> str:
    """One that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])
