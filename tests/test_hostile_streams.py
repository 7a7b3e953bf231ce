"""Damaged and hostile streams of a real model: typed errors, no hang, and what is intact is recovered."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks.fuzz_streams import Original, outcomes
from tests.lively_models import clip, lively_model, read_stream, small, write_stream
from torchDVC.bitstream.container_reader import ContainerReader
from torchDVC.bitstream.container_writer import write_container
from torchDVC.bitstream.header import HEADER_BYTES
from torchDVC.coding_structure import CodingStructure
from torchDVC.config import load_model_config
from torchDVC.models.model_file import Model
from torchDVC.util.errors import BitstreamError, LCPError

STRUCTURES = {"P": CodingStructure(4, 1), "B": CodingStructure(4, 4)}


@pytest.fixture(scope="module")
def model() -> Model:
    return lively_model(small(load_model_config("baseline.csv")))


@pytest.fixture(scope="module")
def streams(model: Model, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, dict[int, Tensor]]]:
    """A file of each structure, and its pictures."""
    folder = tmp_path_factory.mktemp("streams")
    return {
        name: (folder / f"{name}.lcp", write_stream(folder / f"{name}.lcp", model, structure, clip(9, (40, 50))))
        for name, structure in STRUCTURES.items()
    }


def test_truncation_at_every_byte(model: Model, tmp_path: Path) -> None:
    path, cut = tmp_path / "whole.lcp", tmp_path / "cut.lcp"
    write_stream(path, model, CodingStructure(0, 1), clip(2, (8, 8)))
    data = path.read_bytes()
    for length in range(len(data)):
        cut.write_bytes(data[:length])
        with pytest.raises(BitstreamError, match="cut.lcp"):
            read_stream(cut, model)


def test_an_interrupted_encode_decodes_to_its_last_packet(model: Model, streams, tmp_path: Path) -> None:
    path, pictures = streams["P"]
    with ContainerReader(path) as reader:
        header, packets = reader.header, list(reader.packets())
    data = replace(header, frames=None).to_bytes() + path.read_bytes()[HEADER_BYTES:]
    (tmp_path / "a.lcp").write_bytes(data[: HEADER_BYTES + sum(p.size for p in packets[:5]) + 20])
    decoded = read_stream(tmp_path / "a.lcp", model)
    assert list(decoded) == list(range(5))
    assert all(torch.equal(decoded[i], pictures[i]) for i in decoded)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_mutations_give_typed_errors_only(model: Model, streams, structure: str, tmp_path: Path) -> None:
    original = Original.read(streams[structure][0])
    found = Counter(outcome for _, outcome in outcomes(model, [original], range(100), tmp_path))
    assert set(found) <= {"decoded", "concealed", "refused", "for another model", "too large to try"}
    assert found["refused"] > 20 and found["concealed"] > 10


LOST = [
    ("P", 0, {0, 1, 2, 3}),
    ("P", 2, {2, 3}),
    ("P", 4, {4, 5, 6, 7}),
    ("P", 8, {8}),
    ("B", 0, {0, 1, 2, 3}),
    ("B", 1, {1, 2, 3, 4, 5, 6, 7}),
    ("B", 2, {1, 2, 3}),
    ("B", 4, {3}),
]


@pytest.mark.parametrize(("structure", "damaged", "lost"), LOST)
def test_concealment_decodes_all_that_is_intact(
    model: Model, streams, structure: str, damaged: int, lost: set[int], tmp_path: Path
) -> None:
    path, pictures = streams[structure]
    data = bytearray(path.read_bytes())
    with ContainerReader(path) as reader:
        sizes = [packet.size for packet in reader.packets()]
    data[HEADER_BYTES + sum(sizes[: damaged + 1]) - 6] ^= 1
    (tmp_path / "bad.lcp").write_bytes(data)
    with pytest.raises(BitstreamError, match=f"packet {damaged}: damaged"):
        read_stream(tmp_path / "bad.lcp", model)
    damage: list[BitstreamError] = []
    decoded = read_stream(tmp_path / "bad.lcp", model, damage)
    assert set(pictures) - set(decoded) == lost
    assert all(torch.equal(decoded[i], pictures[i]) for i in decoded)
    assert f"packet {damaged}: damaged" in str(damage[0])


def rewritten(path: Path, target: Path, change) -> None:
    """A stream with sound checksums from changed packets: ``change(packet)`` gives payload and quality."""
    with ContainerReader(path) as reader, write_container(target, reader.header) as writer:
        for packet in reader.packets():
            writer.write(packet.frame, *change(packet))


LIES = {
    r"packet 3 \(frame 3\)": lambda p: (p.payload[:-2] if p.coding_index == 3 else p.payload, p.quality),
    r"packet 4 \(frame 4\)": lambda p: (p.payload + b"\1\1" if p.coding_index == 4 else p.payload, p.quality),
    "frame 5: quality 9; the model has 1 levels": lambda p: (p.payload, 9 if p.coding_index == 5 else 0),
    r"packet 0 \(frame 0\)": lambda p: (b"", p.quality),
}


@pytest.mark.parametrize(("message", "change"), LIES.items(), ids=LIES.keys())
def test_sound_packets_with_lying_contents_are_named(
    message: str, change, model: Model, streams, tmp_path: Path
) -> None:
    rewritten(streams["P"][0], tmp_path / "lie.lcp", change)
    with pytest.raises(BitstreamError, match=message):
        read_stream(tmp_path / "lie.lcp", model)


def test_lying_sizes_are_noticed(model: Model, streams, tmp_path: Path) -> None:
    path, _ = streams["P"]
    with ContainerReader(path) as reader:
        header = reader.header
    for width, height in ((500, 40), (50, 1000), (300, 3)):
        lie = replace(header, width=width, height=height).to_bytes()
        (tmp_path / "lie.lcp").write_bytes(lie + path.read_bytes()[len(lie) :])
        with pytest.raises(BitstreamError):
            read_stream(tmp_path / "lie.lcp", model)


def test_a_model_without_b_frames_refuses_them(model: Model, streams) -> None:
    path, _ = streams["B"]
    from torchDVC.config import Modes

    with pytest.raises(LCPError, match=re.escape("frame 2: the model codes no B frames")):
        read_stream(path, Model(model.codec, Modes("p", "i", "emcr", ""), model.hash))
