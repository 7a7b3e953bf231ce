"""What `docs/bitstream.md` says of model files and pictures, done with nothing of the package that does it."""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.golden_streams import MODEL
from torchDVC.modules import transforms
from torchDVC.modules.motion import flow_codec

DOCUMENT = (Path(__file__).parents[1] / "docs" / "bitstream.md").read_text(encoding="utf-8")
TYPES = {"F32": ("torch.float32", "<f4"), "I32": ("torch.int32", "<i4")}


def as_python(value: Any) -> Any:
    """The nested value of the JSON in a model file; its tensors are the names of entries."""
    if isinstance(value, list):
        return [as_python(item) for item in value]
    if not isinstance(value, dict):
        return value
    [(kind, content)] = value.items()
    return {key: as_python(item) for key, item in content} if kind == "dict" else content


@pytest.fixture(scope="module")
def read() -> tuple[dict[str, str], dict[str, bytes], dict[str, str]]:
    """Metadata of the golden model file; bytes and form of each of its entries."""
    data = MODEL.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    entries = json.loads(data[8:start])
    metadata = entries.pop("__metadata__")
    content, form = {}, {}
    for name, entry in entries.items():
        begin, end = entry["data_offsets"]
        content[name] = data[start + begin : start + end]
        torch_name, numpy_name = TYPES[entry["dtype"]]
        array = np.frombuffer(content[name], numpy_name).reshape(entry["shape"])
        form[name] = f"{torch_name} {array.shape}"
    return metadata, content, form


def test_the_checksum_of_a_model_file(read) -> None:
    metadata, content, form = read
    crc = zlib.crc32(metadata["torchDVC.state"].encode())
    for name in sorted(content):
        crc = zlib.crc32(content[name], zlib.crc32(f"{name} {form[name]}".encode(), crc))
    assert metadata["torchDVC.crc32"] == f"{crc:08x}"


def test_the_hash_of_a_model(read) -> None:
    metadata, content, form = read
    value = as_python(json.loads(metadata["torchDVC.state"]))
    table = json.dumps({key: value[key] for key in ("format", "modules", "modes")}, sort_keys=True)
    digest = hashlib.sha256(table.encode("ascii"))
    tensors = [(name, value["model"][name]) for name in sorted(value["model"])]
    for path in sorted(value["integers"]):
        integers = value["integers"][path]
        tensors += [(f"{path}:{name}", integers[name]) for name in sorted(integers)]
    for name, entry in tensors:
        digest.update(f"\n{name} {form[entry]}\n".encode() + content[entry])
    assert value["hash"] == digest.hexdigest()


def test_the_constants_of_pictures() -> None:
    stated = re.findall(r"g_s [/·] (\d+) \(`(\w+)`\)", DOCUMENT)
    assert {name for _, name in stated} == {"PICTURE_GAIN", "FLOW_SCALE"}
    for value, name in stated:
        assert float(value) == {**vars(transforms), **vars(flow_codec)}[name]
