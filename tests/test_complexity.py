"""Multiply-accumulates against counts worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.small_model import SmallModel
from torchDVC.config import Modes, load_model_config
from torchDVC.models.codec import Codec
from torchDVC.results import complexity, macs
from torchDVC.results.complexity import ModuleComplexity, frame_costs, measure, table, totals

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
                case "fails": raise ValueError("larger pictures only")
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


@pytest.mark.parametrize(
    ("name", "run", "count"),
    [
        ("mv", lambda x: torch.ones(7, 5) @ torch.ones(5), 35),
        ("attention", lambda x: F.scaled_dot_product_attention(x, x, x), 8 * 2 * 16 * 16 * 16),
        ("multi-head attention", lambda x: nn.MultiheadAttention(8, 2)(*3 * [torch.ones(6, 1, 8)]),
         4 * 6 * 8 * 8 + 2 * 6 * 6 * 8),
        ("LSTM", lambda x: nn.LSTM(4, 3)(torch.ones(5, 1, 4)), 5 * 4 * 3 * (4 + 3)),
        ("Conv3d", lambda x: nn.Conv3d(2, 3, 3)(torch.ones(1, 2, 3, 3, 4)), 2 * 2 * 3 * 27),
        ("FFT", lambda x: torch.fft.fft(torch.ones(8) + 0j), 5 * 8 * 3 / 2),
        ("FFT of real numbers, there and back", lambda x: torch.fft.irfft2(torch.fft.rfft2(x)), 2 * 5 * 2048 * 8 / 4),
        ("trilinear", lambda x: F.interpolate(torch.ones(1, 1, 2, 2, 2), scale_factor=2, mode="trilinear"), 8 * 64),
    ],
)  # fmt: skip
def test_what_is_made_of_products_counts_them(name: str, run, count: int) -> None:
    counter = macs.Counter()
    with torch.no_grad(), complexity._as_it_was(torch.device("cpu")), counter:
        run(torch.rand(1, 8, 16, 16))
    assert (sum(counter.macs.values()), sum(map(len, counter.uncounted.values()))) == (count, 0)


def test_a_deformable_convolution_reads_bilinearly() -> None:
    ops = pytest.importorskip("torchvision.ops")
    counter = macs.Counter()
    with torch.no_grad(), counter:
        ops.deform_conv2d(torch.ones(1, 8, 6, 6), torch.ones(1, 18, 4, 4), torch.ones(5, 8, 3, 3))
    assert sum(counter.macs.values()) == 16 * 9 * 8 * (5 + 4)


FREE: dict[str, Callable[..., Any]] = {
    "LayerNorm": nn.LayerNorm(16), "GroupNorm": nn.GroupNorm(2, 8), "InstanceNorm": nn.InstanceNorm2d(8),
    "BatchNorm": nn.BatchNorm2d(8).eval(), "RMSNorm": nn.RMSNorm(16), "PReLU": nn.PReLU(), "GLU": nn.GLU(1),
    "Mish": nn.Mish(), "Hardswish": nn.Hardswish(), "Hardsigmoid": nn.Hardsigmoid(), "SELU": nn.SELU(),
    "GELU": nn.GELU(), "SiLU": nn.SiLU(), "Softsign": nn.Softsign(), "LogSigmoid": nn.LogSigmoid(),
    "Softshrink": nn.Softshrink(), "Threshold": nn.Threshold(0.1, 0.0), "LogSoftmax": nn.LogSoftmax(1),
    "AdaptiveAvgPool": nn.AdaptiveAvgPool2d(4), "AdaptiveMaxPool": nn.AdaptiveMaxPool2d(2), "LPPool": nn.LPPool2d(2, 2),
    "nearest": nn.UpsamplingNearest2d(scale_factor=2), "ChannelShuffle": nn.ChannelShuffle(2),
    "ReflectionPad": nn.ReflectionPad2d(2), "circular": nn.CircularPad2d(1), "Unfold": nn.Unfold(3),
    "normalize": F.normalize, "cumsum": lambda x: x.cumsum(1), "topk": lambda x: x.topk(2), "sort": torch.sort,
    "var_mean": torch.var_mean, "lerp": lambda x: torch.lerp(x, x, 0.5), "cosine": lambda x: F.cosine_similarity(x, x),
    "index_put": lambda x: x.index_put_((torch.tensor([0]),), torch.tensor(1.0)),
    "one_hot": lambda x: F.one_hot(x.long()), "gumbel": F.gumbel_softmax,
}  # fmt: skip


@pytest.mark.parametrize("name", FREE)
def test_what_works_element_by_element_is_known_and_counts_nothing(name: str) -> None:
    counter = macs.Counter()
    with torch.no_grad(), counter:
        FREE[name](torch.rand(1, 8, 16, 16))
    assert (sum(counter.macs.values()), sum(map(len, counter.uncounted.values()))) == (0, 0)


def test_an_unknown_operation_is_warned_of_once_and_marked_and_can_be_taught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    codec = known(tmp_path, monkeypatch, "unknown")
    (row,) = rows = measure(codec, Modes("x", "k"))
    (warning,) = caplog.messages
    assert "leaves out the operation '_linalg_svd' of known" in warning
    assert row.uncounted == ("_linalg_svd",) and totals(rows, "I") is None
    assert table(rows).splitlines()[1].split()[-2:] == ["≥0.00", "≥0.00"]
    complexity.write(tmp_path / "complexity.csv", rows)
    assert (tmp_path / "complexity.csv").read_text().splitlines()[1].endswith(",_linalg_svd")
    monkeypatch.setattr(macs, "_FORMULAS", dict(macs._FORMULAS))
    macs.register("_linalg_svd", lambda *_, out, **__: 123)
    (row,) = rows = measure(codec, Modes("x", "k"))
    assert row.kmac_encode * PIXELS * 1000 == pytest.approx(123)
    assert not row.uncounted and totals(rows, "I") == (row.kmac_encode, 0)


def test_a_clip_costs_the_mean_of_its_frames_or_nothing_that_is_known() -> None:
    rows = [ModuleComplexity("i", "I", 5, 8.0, 4.0), ModuleComplexity("r", "P", 5, 2.0, 1.0)]
    assert frame_costs(rows, "IPPP") == {"kmac_encode": 3.5, "kmac_decode": 1.75}
    assert frame_costs(rows, "IB") == {}
    assert frame_costs([*rows, ModuleComplexity("m", "P", 5, 0.0, 0.0, ("_fft_r2c",))], "IP") == {}


def test_what_cannot_run_on_the_measured_size_ends_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rows = measure(known(tmp_path, monkeypatch, "fails"), Modes("x", "k", "c"))
    assert [row.frame_type for row in rows] == []
    assert caplog.messages == [
        "complexity of I frames is not known: larger pictures only",
        "complexity of P frames is not known: larger pictures only",
    ]


CHAIN = '''
from __future__ import annotations
import torch
from torchDVC.config.registry import codec_module

@codec_module(encoder_reads="frame ref_feature ref_feature2", writes="recon feature feature2")
class Chained(torch.nn.Module):
    """Costs 1, 2, 4 products where it has no, a new, and an old feature of its reference."""
    def __init__(self): super().__init__()

    def forward(self, state, stream):
        old = "ref_feature2" in state and bool(state["ref_feature2"].any())
        count = 4 if old else 2 if "ref_feature" in state else 1
        torch.rand(3)
        torch.ones(count) @ torch.ones(count)
        x = torch.ones(1, 1, 1, 1)
        return {"recon": torch.ones(1, 3, state.height, state.width), "feature": x,
                "feature2": x if "ref_feature" in state else 0 * x}
'''


@pytest.mark.parametrize(
    ("modes", "macs"),
    [
        (("k", "k", ""), {"I": 1, "P": 4}),
        (("k", "", "k"), {"I": 1, "B": 2}),
        (("k", "k", "k"), {"I": 1, "P": 4, "B": 4}),
    ],
)
def test_a_frame_costs_what_it_does_in_steady_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, modes: tuple[str, str, str], macs: dict[str, int]
) -> None:
    (tmp_path / "chained.py").write_text(CHAIN)
    monkeypatch.setenv("TORCHDVC_PLUGINS", str(tmp_path))
    (tmp_path / "m.csv").write_text("code,name,type,args,weights\nk,known,Chained,,\n")
    generator = torch.random.get_rng_state()
    rows = measure(Codec(load_model_config(str(tmp_path / "m.csv"))), Modes("x", *modes))
    assert {row.frame_type: round(row.kmac_encode * PIXELS * 1000) for row in rows} == macs
    assert torch.equal(torch.random.get_rng_state(), generator)


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
    encode, decode = totals(rows, "P") or (0, 0)
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
