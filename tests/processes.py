"""Waiting for what another process does, and where it listens."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable

LIMIT = 300
"""Seconds; far more than anything takes, as other programs may run beside the tests."""


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
