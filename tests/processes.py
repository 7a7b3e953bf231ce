"""Waiting for what another process does."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

LIMIT = 120
"""Seconds; far more than anything takes, as other programs may run beside the tests."""


def wait_for(condition: Callable[[], object], process: subprocess.Popen) -> None:
    """Until a condition holds, which it must while the process runs."""
    limit = time.monotonic() + LIMIT
    while not condition():
        assert process.poll() is None and time.monotonic() < limit, process.communicate()
        time.sleep(0.005)
