"""The documentation of configuration is complete."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from torchDVC.config import test_cfg, train_cfg
from torchDVC.config.command_line import TestOptions, TrainOptions

DOCS = Path(__file__).resolve().parents[1] / "docs"


def test_every_key_and_flag_is_in_the_reference() -> None:
    text = (DOCS / "configuration.md").read_text(encoding="utf-8")
    flags = {f"--{field.name}" for options in (TrainOptions, TestOptions) for field in dataclasses.fields(options)}
    keys = {*train_cfg.STAGE_KEYS, *test_cfg.HEADER_KEYS, *test_cfg.PROCESS_KEYS}
    missing = [name for name in sorted(flags | keys) if not re.search(rf"`{re.escape(name)}[ `]", text)]
    assert not missing
