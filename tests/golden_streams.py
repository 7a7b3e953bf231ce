"""Golden streams: files that every later version and every machine must decode to the same symbols.

``python -m tests.golden_streams`` writes them anew; that is only right after a change of format, which makes a new
version of the stream (`torchDVC.bitstream.header.VERSION`) or of the model file.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import torch

from benchmarks.decode_matrix import Coded, read
from tests.lively_models import lively_model, small, write_stream
from torchDVC.bitstream.container_reader import ContainerReader
from torchDVC.coding_structure import CodingStructure
from torchDVC.dataset.picture_format import PictureFormat
from torchDVC.models.model_file import Model, load_model, save_model

FOLDER = Path(__file__).parent / "golden"
MODEL = FOLDER / "model.safetensors"
SIZE = (24, 40)
STRUCTURES = {"low_delay": CodingStructure(3, 1), "hierarchical": CodingStructure(0, 4)}


def symbols(name: str, model: Model) -> list[str]:
    """SHA-256 of each frame's table rows and symbols, in coding order."""
    with ContainerReader(FOLDER / f"{name}.lcp") as reader:
        coded = [Coded(packet.frame, packet.payload, "") for packet in reader.packets()]
    return read(model, coded, SIZE)


def frames_of(pictures: dict[int, torch.Tensor]) -> np.ndarray:
    """uint8 (T, 3, H, W), in display order."""
    return np.stack([PictureFormat().to_frame(pictures[index], SIZE).rgb for index in sorted(pictures)])


def sha256(frames: np.ndarray) -> str:
    """Of 8-bit frames."""
    return hashlib.sha256(np.ascontiguousarray(frames).tobytes()).hexdigest()


def main() -> None:
    """Write model, streams, decoded frames and their hashes."""
    from torchDVC.config import load_model_config
    from torchDVC.dataset.procedural import procedural_clip

    FOLDER.mkdir(exist_ok=True)
    save_model(MODEL, lively_model(small(load_model_config("baseline.csv"))))
    model = load_model(MODEL)
    height, width = SIZE
    pictures = [PictureFormat().from_rgb(torch.from_numpy(rgb)[None]) for rgb in procedural_clip(3, 6, (width, height))]
    said, frames = {}, {}
    for name, structure in STRUCTURES.items():
        frames[name] = frames_of(write_stream(FOLDER / f"{name}.lcp", model, structure, pictures))
        said[name] = {"symbols": symbols(name, model), "frames": sha256(frames[name])}
    np.savez_compressed(FOLDER / "frames.npz", **frames)
    (FOLDER / "golden.json").write_text(json.dumps({"model": model.hash, "streams": said}, indent=1) + "\n")


if __name__ == "__main__":
    main()
