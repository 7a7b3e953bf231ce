"""The documentation of configuration: complete, and its example works as it stands."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import torch

from torchDVC.coding_structure import CodedFrame, FrameInfo
from torchDVC.config import Modes, load_run, test_cfg, train_cfg
from torchDVC.config.command_line import TestOptions, TrainOptions
from torchDVC.entropy.streams import EstimatingStream
from torchDVC.models.buffer import Reference
from torchDVC.models.codec import Codec

DOCS = Path(__file__).resolve().parents[1] / "docs"
FILES = ("loop_filter.py", "loop_filter.json", "filtered.csv", "filtered_train.cfg", "filtered_test.cfg")


def test_every_key_and_flag_is_in_the_reference() -> None:
    text = (DOCS / "configuration.md").read_text(encoding="utf-8")
    flags = {f"--{field.name}" for options in (TrainOptions, TestOptions) for field in dataclasses.fields(options)}
    keys = {*train_cfg.STAGE_KEYS, *test_cfg.HEADER_KEYS, *test_cfg.PROCESS_KEYS}
    missing = [name for name in sorted(flags | keys) if not re.search(rf"`{re.escape(name)}[ `]", text)]
    assert not missing


def test_the_example_of_the_guide_codes_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (DOCS / "add_a_module.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w+\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    for file, content in zip(FILES, blocks, strict=True):
        (tmp_path / file).write_text(content, encoding="utf-8")
    monkeypatch.setenv("TORCHDVC_PLUGINS", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    model, train = load_run("filtered.csv", "filtered_train.cfg", "train")
    assert load_run("filtered.csv", "filtered_test.cfg", "test")[0] == model
    assert [stage.train for stage in train.stages] == ["f", "emcrf"]
    assert model.by_code("f").args == {"width": 16}

    codec = Codec(model).eval()
    source, picture = torch.rand(2, 1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    frame, references = CodedFrame(1, (0,)), [Reference(FrameInfo(0), picture)]
    with torch.no_grad():
        plain, filtered = (
            codec.code_frame(frame, modes, (64, 64), EstimatingStream(), references, source=source).state["recon"]
            for modes in (Modes("plain", pmode="emcr"), Modes("filtered", pmode="emcrf"))
        )
        correction = codec.get_submodule("loop_filter").get_submodule("body")(plain - 0.5)
    assert torch.equal(filtered, plain + correction)
