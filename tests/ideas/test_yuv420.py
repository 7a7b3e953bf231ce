"""A codec in YUV 4:2:0 as a user would write it: trains, writes a real stream, and decodes it elsewhere to the bit."""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from torchDVC.bitstream.container_reader import ContainerReader
from torchDVC.bitstream.streams import read_frames
from torchDVC.dataset.frame import VideoReader
from torchDVC.dataset.video import open_video
from torchDVC.models.model_store import open_model
from torchDVC.tester import main as run_tester
from torchDVC.trainer import main as run_trainer

IDEA = Path(__file__).with_name("yuv420")
CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=[8, 10])
def bits(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def idea(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bits: int) -> Path:
    """A copy of the idea, in the current folder."""
    folder = tmp_path / "idea"
    shutil.copytree(IDEA, folder)
    if bits == 10:
        model = folder / "model.csv"
        model.write_text(model.read_text().replace("yuv420_packed", "yuv420p10_packed"))
    monkeypatch.setenv("TORCHDVC_PLUGINS", str(folder))
    monkeypatch.setenv("LOG", str(folder / "log"))
    monkeypatch.chdir(folder)
    return folder


def run(*arguments: object, threads: int) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(CHECKOUT)}
    subprocess.run([sys.executable, "-m", *map(str, arguments)], check=True, env=environment)


def samples(clip: VideoReader) -> str:
    digest = hashlib.sha256()
    for frame in clip:
        for plane in frame.planes(clip.info.bits):
            digest.update(plane.tobytes())
    return digest.hexdigest()


@pytest.mark.slow
def test_it_trains_writes_a_stream_and_decodes_elsewhere_to_the_bit(
    idea: Path, bits: int, clip_folder: Path
) -> None:
    usual = ["--lmda", "512", "--model_config", "model.csv", "--no_comet", "--device", "cpu"]
    usual += ["--test_datasets", str(clip_folder / "one.y4m"), "--intra_period", "0"]
    quick = ["--no_sanity", "--per_val", "9", "--num_workers", "0"]
    assert run_trainer([*usual, *quick, "--run_config", "train.cfg", "--save_dir", "run"]) == 0
    checkpoint = "run/checkpoints/last.safetensors"
    tested = [*usual, "--run_config", "test.cfg", "--restore", "load", "--checkpoint", checkpoint, "--write_stream"]
    assert run_tester([*tested, "--save_dir", "res"]) == 0
    with open("res/rd.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["format"] == ("yuv420_packed" if bits == 8 else "yuv420p10_packed")
    assert 10 < float(row["psnr_y"]) < 60 and float(row["psnr_yuv"]) > 10 and float(row["bpp"]) > 0
    coded, model = next(Path("res/streams").rglob("*.lcp")), next(Path("res/models").iterdir())
    run("torchDVC.codec", "decode", coded, "out.y4m", "--model", model, "--device", "cpu", threads=2)
    assert open_video("out.y4m").info.bits == bits
    assert samples(open_video("out.y4m")) == shown(coded, str(model))


def shown(coded: Path, model: str) -> str:
    """The samples that decoding gives in this process."""
    digest = hashlib.sha256()
    codec = open_model(model)
    with ContainerReader(coded) as reader:
        size = (reader.header.height, reader.header.width)
        for picture in read_frames(codec, reader):
            form = codec.codec.format
            for plane in form.to_frame(picture.state["recon"], size).planes(form.bits):
                digest.update(plane.tobytes())
    return digest.hexdigest()


def test_the_chroma_of_its_pictures_is_a_quarter(idea: Path) -> None:
    from torchDVC.config import load_model_config
    from torchDVC.models.codec import Codec

    codec = Codec(load_model_config("model.csv"))
    assert codec.format.shape(64, 128) == (6, 32, 64)
    y, u, v = codec.format.split(torch.rand(2, 6, 32, 64))
    assert (y.shape, u.shape, v.shape) == ((2, 1, 64, 128), (2, 1, 32, 64), (2, 1, 32, 64))
