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
from pathlib import Path

import pytest

from torchDVC.bitstream.container_reader import ContainerReader
from torchDVC.bitstream.streams import read_frames
from torchDVC.dataset.video import open_video
from torchDVC.models.model_store import open_model
from torchDVC.tester import main as run_tester
from torchDVC.trainer import main as run_trainer

IDEAS = Path(__file__).parent
CHECKOUT = IDEAS.parents[1]
STRUCTURES = {"ibi": ("2", "2"), "anf": ("1", "1"), "attention": ("1", "1"), "own_gain": ("1", "1")}
"""Intra period and GOP size of ideas that are not of low delay."""
HEADER = """\
[header]
data = procedural
batch_size = 1
patch_size = 64
steps = 2
precision = 32
memory_format = contiguous
"""


@pytest.fixture(
    params=[
        "motion", "conditional", "two_pass", "anf", "three_references", "ibi", "own_pictures", "attention", "own_gain",
    ]
)
def idea(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the idea, in the current folder, to be trained for a moment."""
    folder = tmp_path / str(request.param)
    shutil.copytree(IDEAS / folder.name, folder)
    train, test = folder / "train.cfg", folder / "test.cfg"
    train.write_text(HEADER + train.read_text())
    test.write_text("[header]\nframes = 5\nms_ssim = no\n" + test.read_text())
    monkeypatch.setenv("TORCHDVC_PLUGINS", str(folder))
    monkeypatch.setenv("LOG", str(folder / "log"))
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.slow
def test_it_trains_writes_a_stream_and_decodes_elsewhere_to_the_bit(idea: Path, clip_folder: Path) -> None:
    intra_period, gop_size = STRUCTURES.get(idea.name, ("0", "1"))
    usual = ["--model_config", "model.csv", "--no_comet", "--device", "cpu", "--test_datasets"]
    usual += [str(clip_folder / "one.y4m"), "--intra_period", intra_period, "--gop_size", gop_size, "--lmda", "512"]
    quick = ["--no_sanity", "--per_val", "9", "--num_workers", "0", "--run_config", "train.cfg", "--save_dir", "run"]
    assert run_trainer([*usual, *quick]) == 0
    tested = ["--run_config", "test.cfg", "--restore", "load", "--checkpoint", "run/checkpoints", "--no_image"]
    assert run_tester([*usual, *tested, "--write_stream", "--save_dir", "res"]) == 0
    with open("res/rd.csv", newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["frames"] == "5" and float(row["bpp"]) > 0 and float(row["psnr_rgb"]) > 3
    coded, model = next(Path("res/streams").rglob("*.lcp")), next(Path("res/models").iterdir())
    decode = ["torchDVC.codec", "decode", str(coded), "out.y4m", "--model", str(model), "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "PYTHONPATH": str(CHECKOUT)}
    subprocess.run([sys.executable, "-m", *decode], check=True, env=environment)
    assert [digest(*frame.planes(8)) for frame in open_video("out.y4m")] == shown(coded, str(model))


@pytest.mark.parametrize("folder", ["motion", "conditional", "two_pass"])
def test_the_guide_shows_the_files_of_its_ideas(folder: str) -> None:
    """What stands in the guide is what the test above trains, codes and decodes."""
    text = (CHECKOUT / "docs" / "add_a_module.md").read_text(encoding="utf-8")
    blocks = dict(re.findall(r"`([\w.]+)`:\n\n```\w+\n(.*?)^```$", section(text, folder), re.MULTILINE | re.DOTALL))
    assert {"model.csv", "train.cfg", "test.cfg"} < blocks.keys()
    for name, content in blocks.items():
        assert content == (IDEAS / folder / name).read_text(encoding="utf-8"), name


def section(text: str, folder: str) -> str:
    title = {"motion": "A motion codec", "conditional": "A conditional codec", "two_pass": "A latent codec"}[folder]
    return text.split(f"## {title}\n")[1].split("\n## ")[0]


def shown(coded: Path, model: str) -> list[str]:
    """What decoding gives in this process, frame by frame in display order."""
    codec = open_model(model)
    form = codec.codec.format
    with ContainerReader(coded) as reader:
        size = (reader.header.height, reader.header.width)
        pictures = {p.frame.index: form.to_frame(p.state["recon"], size) for p in read_frames(codec, reader)}
    return [digest(*pictures[index].planes(8)) for index in sorted(pictures)]


def digest(*planes: object) -> str:
    content = hashlib.sha256()
    for plane in planes:
        content.update(plane.tobytes())  # type: ignore[attr-defined]
    return content.hexdigest()
