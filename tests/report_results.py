"""A folder of results as the tester and the anchors write them, with pictures, for tests of the report page."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.conftest import write_clip
from tests.result_rows import rd_row
from torchDVC.anchors.command import anchors, measure_anchors
from torchDVC.coding_structure import CodingStructure
from torchDVC.dataset.pictures import write_png
from torchDVC.dataset.procedural import procedural_clip
from torchDVC.dataset.testing import test_sequences as sequences_of
from torchDVC.results.rows import FrameRow, RDRow, write_rows

CLIPS = ("clip0", "clip1")
RATES = {256.0: (0.10, 30.0), 512.0: (0.18, 32.0), 1024.0: (0.31, 34.0)}
SIZE = (192, 128)
FRAMES = 9
COMPLEXITY = """\
module,frame_type,parameters,kmac_encode,kmac_decode
intra_codec,I,4969152,31.2,20.1
motion_codec,P,1200000,8.5,4.1
"""


def write_results(folder: Path) -> Path:
    """``folder`` with results of a codec ``ours`` (with frames, pictures, provenance, complexity) and of x264."""
    points = [(clip, lmda) for clip in CLIPS for lmda in RATES]
    write_rows(folder / "ours" / "rd.csv", [_row("ours", *point, 1.0, "r1") for point in points])
    write_rows(folder / "ours" / "frames.csv", [row for point in points for row in _frames(*point)])
    write_rows(folder / "x264" / "rd.csv", [_row("x264 veryfast", *point, 1.3, "x") for point in points])
    (folder / "ours" / "complexity.csv").write_text(COMPLEXITY)
    run = {"run_id": "r1", "command": "tester.py --lmda 256", "seed": 0, "device": "cpu", "packages": ["torch 2.13"]}
    run["git"] = {"commit": "0123abc", "status": " M a.py", "diff": "-old\n+new"}
    (folder / "ours" / "run.json").write_text(json.dumps(run))
    for index, clip in enumerate(CLIPS):
        for lmda in (256.0, 1024.0):
            images = folder / "ours" / "images" / "ours" / "procedural" / clip / f"main_{lmda:g}"
            _pictures(images, index, 12 if lmda == 256 else 3)
    return folder


def write_training(folder: Path) -> None:
    """The ``metrics.csv`` of a run of two stages, with a line that a killed run left, and pictures over time."""
    folder.mkdir(parents=True)
    lines = ["step,seconds,stage,epoch,loss,val_loss"]
    for step in range(10, 410, 10):
        stage = "motion" if step <= 200 else "joint"
        validated = f"{200 / step}" if step % 200 == 0 else ""
        lines.append(f"{step},{step * 3},{stage},{step // 200},{100 / step},{validated}")
    (folder / "metrics.csv").write_text("\n".join([*lines, "420,12"]))
    (folder / "pictures").mkdir()
    for step in range(20, 220, 20):
        write_png(folder / "pictures" / f"{step:08}.png", np.full((3, 200, 400), step, np.uint8))


def write_coded(folder: Path) -> Path:
    """``folder`` with x264's files at three rates of a clip, and ``ours`` with a picture of every frame, at one."""
    clip = folder / "clip.y4m"
    write_clip(clip, SIZE, procedural_clip(0, FRAMES, SIZE))
    codecs, structure = anchors(["x264:veryfast"]), CodingStructure(8)
    rows = measure_anchors(sequences_of([str(clip)]), codecs, structure, folder / "x264", qualities=(20, 30, 40))
    own = replace(rows[1], codec="ours", process="main", run_id="r1", quality=None, lmda=256.0)
    write_rows(folder / "ours" / "rd.csv", [own])
    images = folder / "ours" / "images" / own.codec / own.dataset / own.sequence / "main_256"
    images.mkdir(parents=True)
    for frame, source in enumerate(procedural_clip(0, FRAMES, SIZE)):
        write_png(images / f"{frame:05}_source.png", source)
        write_png(images / f"{frame:05}_recon.png", source // 2)
    return folder


def _row(codec: str, clip: str, lmda: float, factor: float, run_id: str) -> RDRow:
    rate, quality = RATES[lmda]
    better = 1.5 * CLIPS.index(clip)
    return rd_row(
        codec=codec, process="main", dataset="procedural", sequence=clip, width=SIZE[0], height=SIZE[1],
        frames=FRAMES, intra_period=8, lmda=lmda, bpp=rate * factor, psnr_rgb=quality + better,
        ms_ssim_rgb=0.9 + quality / 500, run_id=run_id, encode_fps=4.5, decode_fps=9.1, kmac_encode=40.0,
        kmac_decode=24.5, parameters=6200000, settings="precision 32",
    )  # fmt: skip


def _frames(clip: str, lmda: float) -> list[FrameRow]:
    rate, quality = RATES[lmda]
    return [
        FrameRow(
            run_id="r1", process="main", dataset="procedural", sequence=clip, lmda=lmda, frame=i,
            type="I" if i % 8 == 0 else "P", references=() if i % 8 == 0 else (i - 1,),
            bits=rate * 24576 * (4 if i % 8 == 0 else 0.6),
            psnr_rgb=quality - 0.1 * (i % 8), rates=_rates(i, rate * 24576 * 0.6),
        )
        for i in range(FRAMES)
    ]  # fmt: skip


def _rates(frame: int, bits: float) -> dict[str, float]:
    return {"intra": bits * 7} if frame % 8 == 0 else {"motion": bits * 0.25, "residual": bits * 0.75}


def _pictures(folder: Path, clip: int, noise: float) -> None:
    folder.mkdir(parents=True)
    random = np.random.default_rng(clip)
    for frame, source in enumerate(procedural_clip(clip, 5, SIZE)):
        recon = np.clip(source + random.normal(0, noise, source.shape), 0, 255).astype(np.uint8)
        error = np.abs(source.astype(int) - recon).mean(0, keepdims=True).repeat(3, 0).astype(np.uint8)
        pictures = {"source": source, "recon": recon, "error": error * 4, "flow": source[::-1], "bits": 255 - recon}
        for kind, picture in pictures.items():
            if frame or kind != "flow":
                write_png(folder / f"{frame:05}_{kind}.png", np.ascontiguousarray(picture))
