"""Export refuses a model whose tables depend on floats, names the module, and marks it where that is allowed."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.lively_models import lively
from tests.small_model import SmallModel
from torchDVC.bitstream import commands
from torchDVC.codec import main
from torchDVC.config import Modes, load_model_config, load_run
from torchDVC.models import checkpoints, exactness
from torchDVC.models.codec import Codec
from torchDVC.models.exactness import differences
from torchDVC.models.model_file import fixed, load_model
from torchDVC.modules.inter.block_coder import BlockCoder

PLUGIN = '''
from __future__ import annotations
import torch
from torch import nn
from torch.nn import functional as F
from torchDVC.entropy.priors import GaussianPrior, GaussianTables
from torchDVC.config.registry import codec_module

@codec_module(reads="refs", encoder_reads="frame", writes="recon", codes=True)
class Predicted(nn.Module):
    """Codes cells of 16x16; ``how`` says what chooses the table of each."""

    def __init__(self, how: str = "constant"):
        super().__init__()
        self.how = how
        self.scale = nn.Conv2d(3, 3, 16, 16)
        self.tables = GaussianTables()

    def forward(self, state, stream):
        last = state["refs"][:, -1]
        index = torch.full((state.batch, 3, state.height // 16, state.width // 16), 20.0)
        if self.how == "picture" or (self.how == "picture of B" and state["refs"].shape[1] == 2):
            index = 20 + 8 * self.scale(last - 0.5).float().clamp(-2, 2)
        if self.how == "source" and "frame" in state:
            index = index + 1
        if self.how == "exact":
            index = 20 + F.avg_pool2d((last * 0).round(), 16)
        y = None if stream.reading else 40 * F.avg_pool2d(state["frame"] - last, 16)
        y_hat = stream.code(y, GaussianPrior(torch.zeros_like(index), index, self.tables.tables))
        return {"recon": last + F.interpolate(y_hat, scale_factor=16) / 40}
'''
CSV = """\
code,name,type,args,weights
i,intra_codec,IntraCodec,intra.json,
p,inter_codec,Predicted,inter.json,
"""
TEST = "[header]\ndata = DATA\nframes = 3\n[process: only]\nimode = i\npmode = p\nbmode = p\n"


@pytest.fixture
def workspace(small_model: SmallModel, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallModel]:
    (small_model.path / "plugins").mkdir()
    small_model.write("plugins/predicted.py", PLUGIN)
    small_model.write("model.csv", CSV)
    small_model.write("test.cfg", TEST)
    monkeypatch.setenv("TORCHDVC_PLUGINS", str(small_model.path / "plugins"))
    monkeypatch.setenv("LOG", str(small_model.path / "log"))
    monkeypatch.chdir(small_model.path)
    yield small_model


def codec_of(model: SmallModel, how: str) -> Codec:
    model.write("inter.json", f'{{"how": "{how}"}}\n')
    torch.manual_seed(0)
    return lively(Codec(load_model_config(str(model.path / "model.csv"))).eval())


def found(model: SmallModel, how: str, imode: str, pmode: str = "", bmode: str = "") -> list[str]:
    codec = codec_of(model, how)
    modes = Modes("x", imode, pmode, bmode)
    return list(map(str, differences(fixed(codec, modes).codec, modes)))


@pytest.mark.parametrize("how", ["constant", "exact"])
def test_exact_models_are_found_exact(workspace: SmallModel, how: str) -> None:
    assert found(workspace, how, "i", "p", "p") == []


def test_a_prior_that_a_prediction_decides_is_named(workspace: SmallModel) -> None:
    (difference,) = found(workspace, "picture", "i", "p")
    assert difference.startswith("inter_codec: frame P")
    assert difference.endswith("of 96 table indexes change")


def test_a_decoder_that_does_not_do_what_the_encoder_does_is_found(workspace: SmallModel) -> None:
    (difference,) = found(workspace, "source", "i", "p")
    assert difference == "inter_codec: frame P1, decoded as it was coded: 96 of 96 table indexes change"


def test_frames_of_several_references_are_proven(workspace: SmallModel) -> None:
    codec = codec_of(workspace, "picture of B")
    modes = Modes("x", "i", "p", references=2)
    (difference,) = differences(fixed(codec, modes).codec, modes)
    assert difference.frame.references == (1, 0)


def test_a_type_of_frame_that_is_not_exact_is_found(workspace: SmallModel) -> None:
    assert found(workspace, "picture of B", "i", "p") == []
    (difference,) = found(workspace, "picture of B", "i", "p", "p")
    assert "inter_codec: frame B1, decoded " in difference


def export(model: SmallModel, how: str, *flags: str) -> int:
    checkpoint = model.path / "trained.safetensors"
    checkpoints.save(checkpoint, {"model": codec_of(model, how).state_dict()})
    return main([
        "export", "--model_config", "model.csv", "--run_config", "test.cfg", "--checkpoint", str(checkpoint),
        "--out", "out.safetensors", *flags,
    ])  # fmt: skip


def test_export_refuses_and_writes_nothing(workspace: SmallModel, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(workspace, "picture") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "inter_codec: frame P1" in line or "inter_codec: frame P2" in line
    assert line.endswith("; expected exact integers wherever tables are chosen, or --allow_inexact")
    assert not Path("out.safetensors").exists() and not Path("log").exists()


def test_an_exact_model_is_not_marked(workspace: SmallModel, clip_folder: Path) -> None:
    assert export(workspace, "exact", "--allow_inexact") == 0
    assert load_model(Path("out.safetensors")).device == ""


def test_an_inexact_model_is_marked_and_a_decoder_elsewhere_says_so(
    workspace: SmallModel, clip_folder: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert export(workspace, "picture", "--allow_inexact") == 0
    assert caplog.messages[0].endswith("; only this device can decode")
    assert "same device only" in capsys.readouterr().out
    coded = ["encode", str(clip_folder / "one.y4m"), "out.lcp", "--model", "out.safetensors", "--frames", "3"]
    assert main(coded) == 0 and main(["decode", "out.lcp", "here.y4m"]) == 0
    capsys.readouterr()
    assert main(["info", "out.lcp"]) == 0
    assert "decoded by    only the device that wrote it" in capsys.readouterr().out
    assert "decoded pictures may be wrong" not in caplog.text
    monkeypatch.setattr(commands, "described", lambda device: "another machine")
    main(["decode", "out.lcp", "there.y4m"])
    assert "here is another machine: decoded pictures may be wrong" in caplog.text


def test_decisions_on_a_tape_are_compared_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder whose contexts are others reads something else."""
    model, tests = load_run("box.csv", "box.cfg", "test")
    (process,) = tests.processes
    codec = fixed(Codec(model), process).codec
    assert differences(codec, process) == []

    @contextlib.contextmanager
    def in_another_quality(codec: Codec) -> Iterator[Codec]:
        other = copy.deepcopy(codec)
        coder = other.get_submodule("block_codec")
        assert isinstance(coder, BlockCoder)
        coder.schedule = dataclasses.replace(coder.schedule, lowest=20.0)
        yield other

    monkeypatch.setattr(exactness, "_WAYS", {"in another quality": in_another_quality})
    (difference,) = differences(codec, process)
    assert (difference.module, difference.what) == ("block_codec", "it reads other decisions than were written")
