"""Multiply-accumulates against counts worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.small_model import SmallModel
from torchDVC.config import Modes, load_model_config
from torchDVC.models.codec import Codec
from torchDVC.results import complexity
from torchDVC.results.complexity import measure, table, totals
from torchDVC.util.errors import LCPError

PLUGIN = '''
from __future__ import annotations
import torch
from torch import nn
from torchDVC.config.registry import codec_module

@codec_module(encoder_reads="frame", writes="recon")
class Known(nn.Module):
    def __init__(self, layer: str):
        super().__init__()
        self.layer = layer
        self.conv = nn.Conv2d(3, 8, 5, stride=2, padding=2)
        self.grouped = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.deconv = nn.ConvTranspose2d(3, 4, 5, stride=2, padding=2, output_padding=1)
        self.linear = nn.Linear(7, 5)

    def forward(self, state, stream):
        x = torch.ones(1, 3, state.height, state.width)
        if not stream.reading:
            match self.layer:
                case "conv": self.conv(x)
                case "grouped": self.grouped(torch.cat((x, x), 1))
                case "deconv": self.deconv(x)
                case "matmul": torch.matmul(torch.ones(5, 7), torch.ones(2, 7, 11))
                case "linear": self.linear(torch.ones(13, 7))
                case "warp": nn.functional.grid_sample(x, torch.ones(1, *x.shape[2:], 2), align_corners=True)
                case "none": (x * 2 + 1).relu().sum()
                case "unknown": torch.linalg.svd(torch.ones(4, 4))
        return {"recon": x}
'''
PIXELS = complexity.SIZE[0] * complexity.SIZE[1]


def known(folder: Path, monkeypatch: pytest.MonkeyPatch, layer: str) -> Codec:
    (folder / "known.py").write_text(PLUGIN)
    monkeypatch.setenv("TORCHDVC_PLUGINS", str(folder))
    (folder / "a.json").write_text(f'{{"layer": "{layer}"}}')
    (folder / "m.csv").write_text(f"code,name,type,args,weights\nk,known,Known,{folder / 'a.json'},\n")
    return Codec(load_model_config(str(folder / "m.csv")))


@pytest.mark.parametrize(
    ("layer", "macs"),
    [
        ("conv", PIXELS / 4 * 8 * 3 * 25),
        ("grouped", PIXELS * 6 * 9),
        ("deconv", PIXELS * 3 * 4 * 25),
        ("matmul", 2 * 5 * 7 * 11),
        ("linear", 13 * 7 * 5),
        ("warp", PIXELS * 3 * 4),
        ("none", 0),
    ],
)
def test_operations_count_what_they_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layer: str, macs: float
) -> None:
    (row,) = measure(known(tmp_path, monkeypatch, layer), Modes("x", "k"))
    assert row.kmac_encode * PIXELS * 1000 == pytest.approx(macs)
    assert row.kmac_decode == 0
    assert row.parameters == (3 * 8 * 25 + 8) + (6 * 9 + 6) + (3 * 4 * 25 + 4) + (7 * 5 + 5)


def test_an_unknown_operation_is_an_error_and_can_be_taught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codec = known(tmp_path, monkeypatch, "unknown")
    with pytest.raises(LCPError, match="^known: .* of operation '_linalg_svd' are not known; .*$"):
        measure(codec, Modes("x", "k"))
    monkeypatch.setattr(complexity, "_EXTRA", dict(complexity._EXTRA))
    complexity.register("_linalg_svd", lambda *_, out, **__: 123)
    (row,) = measure(codec, Modes("x", "k"))
    assert row.kmac_encode * PIXELS * 1000 == pytest.approx(123)


def test_a_codecs_modules_are_counted_apart_and_the_same_each_time(small_model: SmallModel) -> None:
    codec, modes = small_model.codec(), Modes("x", "i", "emcr", "emcr")
    rows = measure(codec, modes)
    assert rows == measure(codec, modes)
    assert not codec.training
    by_place = {(row.module, row.frame_type): row for row in rows}
    assert by_place["motion_estimator", "P"].kmac_decode == 0 < by_place["motion_estimator", "P"].kmac_encode
    assert by_place["motion_codec", "B"].kmac_encode == pytest.approx(2 * by_place["motion_codec", "P"].kmac_encode)
    decoded = by_place["residual_codec", "P"]
    assert 0 < decoded.kmac_decode < decoded.kmac_encode
    encode, decode = totals(rows, "P")
    assert encode == pytest.approx(sum(row.kmac_encode for row in rows if row.frame_type == "P")) and decode < encode


def test_an_analysis_transform_costs_what_its_layers_do(small_model: SmallModel) -> None:
    """The intra codec of 6 and 8 channels, worked out layer by layer."""
    (row,) = measure(small_model.codec(), Modes("x", "i"))
    convs = [3 * 6 * 9 / 4, 6 * 6 * 9 / 16, 6 * 6 * 9 / 64, 6 * 8 * 9 / 256]  # a pixel of each size
    gdn = [6 * 6 / 4, 6 * 6 / 16, 6 * 6 / 64]
    h_a = [8 * 6 * 9 / 256, 6 * 6 * 25 / 1024, 6 * 6 * 25 / 4096]
    assert (row.kmac_encode - row.kmac_decode) * 1000 == pytest.approx(sum(convs) + sum(gdn) + sum(h_a), rel=1e-6)


def test_the_table_shows_every_module_and_the_sums(small_model: SmallModel) -> None:
    lines = table(measure(small_model.codec(), Modes("x", "i", "emcr"))).splitlines()
    of_p = ["motion_estimator", "motion_codec", "motion_compensator", "residual_codec"]
    assert [line.split()[0] for line in lines] == ["module", "intra_codec", "all", *of_p, "all"]
