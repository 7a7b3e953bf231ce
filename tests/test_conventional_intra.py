"""HEVC and BPG as the module ``i`` of a model: bits counted, decoded from the stream, damage refused."""

from __future__ import annotations

import contextlib
import io
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.bpg_stand_in import put_stand_ins
from torchDVC.advance_modules import module_types
from torchDVC.coding_structure import CodedFrame
from torchDVC.config import Modes, load_model_config
from torchDVC.dataset.procedural import procedural_clip
from torchDVC.entropy.streams import Stream, TrainingStream
from torchDVC.entropy.symbol_streams import DryStream, EstimatingStream, ReadingStream, WritingStream
from torchDVC.models.codec import Codec
from torchDVC.modules.intra.bpg import BPGIntra
from torchDVC.modules.intra.hevc import HEVCIntra
from torchDVC.util.errors import BitstreamError, LCPError

MODES = Modes("intra", imode="i")
SIZE = (80, 112)  # height, width: padded to 128x128


def make_codec(tmp_path: Path, module: str, arguments: str = "") -> Codec:
    if arguments:
        (tmp_path / "arguments.json").write_text(arguments)
        arguments = str(tmp_path / "arguments.json")
    (tmp_path / "model.csv").write_text(f"code,name,type,args,weights\ni,intra_codec,{module},{arguments},\n")
    return Codec(load_model_config(str(tmp_path / "model.csv")))


def code(codec: Codec, stream: Stream, source: Tensor | None = None) -> Tensor:
    return codec.code_frame(CodedFrame(0), MODES, SIZE, stream, source=source).state["recon"]


def pictures(count: int = 1) -> Tensor:
    clip = procedural_clip(1, count, SIZE[::-1])
    return torch.from_numpy(np.stack(list(clip))).float() / 255


@pytest.mark.parametrize("qp", [37, 22])
def test_hevc_through_the_streams(tmp_path, qp):
    codec = make_codec(tmp_path, "HEVCIntra", f'{{"qp": {qp}, "preset": "veryfast"}}')
    x = pictures(2)
    writing = WritingStream(2, keep_maps=True)
    written = code(codec, writing, source=x)
    payload = writing.payload()
    read = code(codec, ReadingStream(payload, batch=2))
    assert torch.equal(read, written) and written.shape == x.shape
    estimated = EstimatingStream(2)
    code(codec, estimated, source=x)
    bits = float(estimated.rates()["intra"].sum())
    assert bits == pytest.approx(len(payload) * 8, rel=0.01, abs=64)
    mse = float((written - x).square().mean())
    assert mse < (0.002 if qp == 22 else 0.01)
    assert writing.maps is not None
    assert sum(float(m.sum()) for m in writing.maps["intra"]) == pytest.approx(bits, rel=1e-3)


def test_better_quality_costs_more(tmp_path):
    bits, errors = [], []
    for qp in (37, 32, 27, 22):
        stream = EstimatingStream()
        recon = code(make_codec(tmp_path, "HEVCIntra", f'{{"qp": {qp}}}'), stream, source=pictures())
        bits.append(float(stream.rates()["intra"]))
        errors.append(float((recon - pictures()).square().mean()))
    assert bits == sorted(bits) and errors == sorted(errors, reverse=True)


def test_training_counts_eight_bits_a_byte(tmp_path):
    codec = make_codec(tmp_path, "HEVCIntra")
    training, estimated = TrainingStream(), EstimatingStream()
    recon = code(codec, training, source=pictures())
    assert torch.equal(recon, code(codec, estimated, source=pictures()))
    rates = [float(stream.rates()["intra"]) for stream in (training, estimated)]
    assert rates[0] % 8 == 0 and rates[0] == pytest.approx(rates[1], rel=0.01)


def test_a_dry_run_gives_grey(tmp_path):
    recon = code(make_codec(tmp_path, "HEVCIntra"), DryStream())
    assert recon.shape == (1, 3, *SIZE) and float(recon.min()) == float(recon.max()) == pytest.approx(128 / 255)


def test_damage_is_a_bitstream_error(tmp_path):
    codec = make_codec(tmp_path, "HEVCIntra", '{"preset": "ultrafast"}')
    stream = WritingStream()
    code(codec, stream, source=pictures())
    payload = stream.payload()
    random = np.random.default_rng(0)
    for _ in range(12):
        damaged = bytearray(payload)
        for place in random.integers(len(payload), size=5):
            damaged[place] ^= 1 << random.integers(8)
        with contextlib.suppress(BitstreamError):  # what damage within the HEVC data gives is up to its decoder
            assert code(codec, ReadingStream(bytes(damaged))).shape == (1, 3, *SIZE)
    for cut in (0, 3, len(payload) // 2):
        with pytest.raises(BitstreamError):
            code(codec, ReadingStream(payload[:cut]))


def wav() -> bytes:
    """A second of silence."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(16000))
    return file.getvalue()


def test_hevc_is_one_picture_of_the_right_size_and_nothing_else():
    intra = HEVCIntra(37, "ultrafast")
    picture = np.random.default_rng(0).integers(0, 256, (3, 64, 128), np.uint8)
    data = intra.encode(picture)
    assert intra.decode(data, 128, 64).shape == (3, 64, 128)
    for width, height in ((64, 64), (128, 128), (64, 128)):
        with pytest.raises(BitstreamError, match="HEVC picture"):
            intra.decode(data, width, height)
    for other in (b"", wav(), bytes(300), data * 2, b"#EXTM3U\nfile.ts\n"):
        with pytest.raises(BitstreamError, match="HEVC picture"):
            intra.decode(other, 128, 64)


def test_bpg_with_the_programs_it_needs(tmp_path, monkeypatch):
    put_stand_ins(tmp_path, monkeypatch)
    codec = make_codec(tmp_path, "BPGIntra", '{"qp": 27}')
    stream = WritingStream()
    written = code(codec, stream, source=pictures())
    torch.testing.assert_close(written, pictures(), atol=0.51 / 255, rtol=0)
    assert torch.equal(code(codec, ReadingStream(stream.payload())), written)
    with pytest.raises(BitstreamError, match="damaged BPG picture: bpgdec says 'Could not open BPG file'"):
        BPGIntra().decode(b"not a picture", 8, 8)


def test_bpg_without_its_programs(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LCPError, match="bpgenc was not found; install libbpg"):
        code(make_codec(tmp_path, "BPGIntra"), EstimatingStream(), source=pictures())


def test_both_are_registered_with_their_arguments():
    types = module_types()
    assert [str(p) for p in types["HEVCIntra"].parameters] == ["qp: int = …", "preset: str = …"]
    assert [str(p) for p in types["BPGIntra"].parameters] == ["qp: int = …"]
    assert types["BPGIntra"].codes and types["BPGIntra"].encoder_reads == ("frame",)
