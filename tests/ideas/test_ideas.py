"""Ideas as a user would write them, each one Python file, a csv and a stage: they train, write a real stream, and
decode to the bit in another process with another number of threads."""

from __future__ import annotations

import csv
import hashlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from torchDVC.bitstream.container_reader import ContainerReader
from torchDVC.bitstream.streams import read_frames
from torchDVC.config import load_model_config
from torchDVC.dataset.video import open_video
from torchDVC.models.codec import Codec
from torchDVC.models.model_store import open_model
from torchDVC.tester import main as run_tester
from torchDVC.trainer import main as run_trainer
from torchDVC.util.arithmetic import CODING

FOLDER = Path(__file__).parent
CHECKOUT = FOLDER.parents[1]
HEADER = """\
[header]
data = procedural
batch_size = 1
patch_size = 64
steps = 2
precision = 32
memory_format = contiguous
"""


@dataclass(frozen=True)
class Idea:
    """A folder beside this file, the coding structure of its codec, and the depth and form of its pictures."""

    folder: str
    intra_period: int = 0
    gop_size: int = 1
    bits: int = 8
    form: str = "rgb"


IDEAS = {
    "motion": Idea("motion"),
    "conditional": Idea("conditional"),
    "two_pass": Idea("two_pass"),
    "anf": Idea("anf", intra_period=1),
    "three_references": Idea("three_references"),
    "ibi": Idea("ibi", intra_period=2, gop_size=2),
    "own_pictures": Idea("own_pictures"),
    "attention": Idea("attention", intra_period=1),
    "own_gain": Idea("own_gain", intra_period=1),
    "yuv420": Idea("yuv420", form="yuv420_packed"),
    "yuv420 of 10 bits": Idea("yuv420", bits=10, form="yuv420p10_packed"),
}


@pytest.fixture
def idea(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Idea:
    """An idea, copied to the current folder, to be trained for a moment."""
    idea = IDEAS[request.param]
    folder = tmp_path / idea.folder
    shutil.copytree(FOLDER / idea.folder, folder)
    train, test, model = (folder / name for name in ("train.cfg", "test.cfg", "model.csv"))
    train.write_text(HEADER + train.read_text())
    test.write_text("[header]\nframes = 5\nms_ssim = no\n" + test.read_text())
    model.write_text(model.read_text().replace(IDEAS[idea.folder].form, idea.form))
    monkeypatch.setenv("TORCHDVC_PLUGINS", str(folder))
    monkeypatch.setenv("LOG", str(folder / "log"))
    monkeypatch.chdir(folder)
    return idea


@pytest.mark.slow
@pytest.mark.parametrize("idea", IDEAS, indirect=True)
def test_it_trains_writes_a_stream_and_decodes_elsewhere_to_the_bit(idea: Idea, clip_folder: Path) -> None:
    usual = ["--model_config", "model.csv", "--lmda", "512", "--device", "cpu"]
    usual += ["--test_datasets", str(clip_folder / "one.y4m")]
    usual += ["--intra_period", str(idea.intra_period), "--gop_size", str(idea.gop_size)]
    quick = ["--no_comet", "--no_sanity", "--per_val", "9", "--num_workers", "0", "--run_config", "train.cfg"]
    assert run_trainer([*usual, *quick, "--save_dir", "run"]) == 0
    tested = ["--run_config", "test.cfg", "--restore", "load", "--checkpoint", "run/checkpoints", "--no_image"]
    assert run_tester([*usual, *tested, "--no-memory", "--write_stream", "--save_dir", "res"]) == 0
    with open("res/rd.csv", newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert (row["frames"], row["format"]) == ("5", idea.form)
    assert float(row["bpp"]) > 0 and float(row["psnr_y"]) > 3
    coded, model = next(Path("res/streams").rglob("*.lcp")), next(Path("res/models").iterdir())
    decode = ["torchDVC.codec", "decode", str(coded), "out.y4m", "--model", str(model), "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "PYTHONPATH": str(CHECKOUT)}
    subprocess.run([sys.executable, "-m", *decode], check=True, env=environment)
    decoded = open_video("out.y4m")
    assert decoded.info.bits == idea.bits
    assert [digest(*frame.planes(idea.bits)) for frame in decoded] == shown(coded, str(model))


@pytest.mark.parametrize("folder", ["motion", "conditional", "two_pass"])
def test_the_guide_shows_the_files_of_its_ideas(folder: str) -> None:
    """What stands in the guide is what the test above trains, codes and decodes."""
    text = (CHECKOUT / "docs" / "add_a_module.md").read_text(encoding="utf-8")
    blocks = dict(re.findall(r"`([\w.]+)`:\n\n```\w+\n(.*?)^```$", section(text, folder), re.MULTILINE | re.DOTALL))
    assert {"model.csv", "train.cfg", "test.cfg"} < blocks.keys()
    for name, content in blocks.items():
        assert content == (FOLDER / folder / name).read_text(encoding="utf-8"), name


def section(text: str, folder: str) -> str:
    title = {"motion": "A motion codec", "conditional": "A conditional codec", "two_pass": "A latent codec"}[folder]
    return text.split(f"## {title}\n")[1].split("\n## ")[0]


@pytest.mark.parametrize("idea", ["yuv420", "yuv420 of 10 bits"], indirect=True)
def test_the_chroma_of_yuv_pictures_is_a_quarter(idea: Idea) -> None:
    codec = Codec(load_model_config("model.csv"))
    assert codec.format.shape(64, 128) == (6, 32, 64)
    y, u, v = codec.format.split(torch.rand(2, 6, 32, 64))
    assert (y.shape, u.shape, v.shape) == ((2, 1, 64, 128), (2, 1, 32, 64), (2, 1, 32, 64))


def shown(coded: Path, model: str) -> list[str]:
    """What decoding gives in this process, frame by frame in display order."""
    codec = open_model(model)
    codec.codec.compute_in(CODING, torch.device("cpu"))
    form = codec.codec.format
    with ContainerReader(coded) as reader:
        size = (reader.header.height, reader.header.width)
        pictures = {p.frame.index: form.to_frame(p.state["recon"], size) for p in read_frames(codec, reader)}
    return [digest(*pictures[index].planes(form.bits)) for index in sorted(pictures)]


def digest(*planes: object) -> str:
    content = hashlib.sha256()
    for plane in planes:
        content.update(plane.tobytes())  # type: ignore[attr-defined]
    return content.hexdigest()
