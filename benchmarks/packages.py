"""Packages that only benchmarks need."""

from __future__ import annotations

import importlib
import sys
from typing import Any


def needed(name: str) -> Any:
    """A package, imported; where it is missing, the program ends with a line that names it, and exit code 2."""
    try:
        return importlib.import_module(name)
    except ImportError:
        distribution = name.partition(".")[0]
        print(f"{distribution} is missing: pip install 'torchDVC[benchmarks]', or make env", file=sys.stderr)
        raise SystemExit(2) from None
