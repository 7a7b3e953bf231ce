"""Programs that stand in for libbpg's where it is not installed: they copy the png they are to code."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

STAND_IN = """#!{python}
import shutil, sys
arguments = sys.argv[1:]
if arguments == ["-h"]:
    print("BPG Image Encoder version 0.0.0 (stand-in)")
elif open(arguments[-1], "rb").read(8) != b"\\x89PNG\\r\\n\\x1a\\n":
    sys.exit("Could not open BPG file")
else:
    assert "{name}" == "bpgdec" or arguments[:6] == ["-f", "444", "-m", "9", "-q", "27"], arguments
    shutil.copy(arguments[-1], arguments[arguments.index("-o") + 1])
"""


def put_stand_ins(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put ``bpgenc`` and ``bpgdec`` into ``folder``, and it on the PATH."""
    for name in ("bpgenc", "bpgdec"):
        program = folder / name
        program.write_text(STAND_IN.format(python=sys.executable, name=name))
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
