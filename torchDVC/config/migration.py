"""What files and flags of *Learned Codec Protocol* are called here, for messages; ``docs/migration.md`` has it all."""

from __future__ import annotations

import re

PAGE = "docs/migration.md"

TYPES = {
    "BPG": "BPGIntra", "Intra_Codec": "CompressAIIntra", "MENet": "SPyNet", "MCNet": "Refinement",
    "MotionCoder": "FlowCodec", "ResidualCoder": "ResidualCodec",
}  # fmt: skip
"""Module types of its ``advance_modules.py``."""
KEYS = {"epoch": "epochs", "train_cutN": "cut", "hmode": "bmode"}
"""Keys of its cfg."""
COLUMNS = {"args_path": "args"}
"""Columns of its model csv."""
HEADINGS = ("* Header", "* Process", "* End")
"""Lines that its cfg begins and ends its parts with."""
RESTORE = "load_same"
"""Its way of loading what fits of a checkpoint."""


def renamed(name: str, names: dict[str, str]) -> str:
    """The end of a message about a name of its: what is called so here; nothing for other names."""
    return f"; {names[name]} takes its place, see {PAGE}" if name in names else ""


def of_a_module(key: str) -> str:
    """The end of a message about a free key of its, which begins with a module's code; nothing for others."""
    return f"; option.NAME.{key[2:]} takes its place, see {PAGE}" if re.fullmatch(r"[A-Za-z]_\w+", key) else ""


def in_upper_case(codes: str, known: str) -> str:
    """The end of a message about a mode string whose upper case marked what learns; nothing for others."""
    learning = "".join(code.lower() for code in codes if code.isupper())
    if not learning or not set(codes.lower()) <= set(known):
        return ""
    return f"; expected '{codes.lower()}' and train = {learning}, see {PAGE}"
