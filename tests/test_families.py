"""The field's codec families: their streams decode to the same symbols everywhere, and each does what it is for."""

from __future__ import annotations

import dataclasses
from functools import cache

import pytest
import torch

from benchmarks.decode_matrix import VARIANTS, Coded, write
from tests.lively_models import clip, lively_model, small
from torchDVC.coding_structure import CodedFrame, CodingStructure
from torchDVC.config import load_model_config, load_run
from torchDVC.config.records import Modes
from torchDVC.entropy.symbol_streams import EstimatingStream
from torchDVC.models.codec import Codec
from torchDVC.models.model_file import Model
from torchDVC.models.sequence import code_sequence
from torchDVC.modules.block_transform import BlockTransform
from torchDVC.modules.inter.normalizing_flow import AugmentedFlow
from torchDVC.modules.transforms import PICTURE, RESIDUAL
from torchDVC.results import complexity

SIZE = (70, 100)
FAMILIES = {
    "contextual.csv": ("baseline.cfg", 1),
    "implicit.csv": ("implicit.cfg", 1),
    "canf.csv": ("baseline.cfg", 1),
    "bidirectional.csv": ("bidirectional.cfg", 4),
    "variable.csv": ("baseline.cfg", 2),
    "intra/checkerboard.csv": ("intra.cfg", 1),
    "intra/channel_groups.csv": ("intra.cfg", 1),
}


@cache
def coded_with(name: str) -> tuple[Model, list[Coded]]:
    cfg, gop_size = FAMILIES[name]
    config, test = load_run(name, cfg, "test")
    model = lively_model(small(config), test.processes[0])
    structure = CodingStructure(1 if name.startswith("intra/") else 8, gop_size)
    return model, write(model, structure, clip(5, SIZE))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS.keys())
def test_every_way_of_decoding_gives_the_same_symbols(name: str, variant) -> None:
    model, coded = coded_with(name)
    assert variant(model, coded, SIZE) == [item.symbols for item in coded]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_stream_says_something(name: str) -> None:
    """The comparison above would hold for empty payloads too."""
    _, coded = coded_with(name)
    assert min(len(item.payload) for item in coded) > 20


def recon_error(codec: Codec, modes: Modes, structure: CodingStructure, frames: int = 3) -> list[float]:
    """MSE of each frame, coded at the middle quality."""
    pictures = code_sequence(
        codec, modes, structure, SIZE, lambda frame: EstimatingStream(), sources=clip(frames, SIZE),
        quality=codec.levels // 2,
    )
    return [float((p.state["recon"] - source).square().mean()) for p in pictures if (source := p.source) is not None]


@pytest.mark.parametrize("name", ["contextual.csv", "implicit.csv", "canf.csv", "bidirectional.csv"])
def test_an_untrained_family_is_a_codec_that_works(name: str) -> None:
    """Each starts as block transforms of differences: untrained, far better than grey (an MSE of about 0.03 here)."""
    cfg, gop_size = FAMILIES[name]
    config, test = load_run(name, cfg, "test")
    codec = Codec(config).eval()
    with torch.no_grad():
        assert max(recon_error(codec, test.processes[0], CodingStructure(8, min(gop_size, 2)))) < 0.01


def test_a_block_transform_is_orthonormal_and_has_an_inverse() -> None:
    transform = BlockTransform(PICTURE, 3 * 256)
    x = torch.rand(1, 3, 32, 48)
    torch.testing.assert_close(transform.inverse(transform(x)), x, atol=1e-5, rtol=0)
    basis = transform.forth.weight.flatten(1)
    torch.testing.assert_close(basis @ basis.T, torch.eye(len(basis)), atol=1e-5, rtol=0)


def test_an_augmented_flow_is_inverted_where_nothing_is_rounded() -> None:
    """With its end known, not replaced by the condition, and the latent exact, the decoder undoes the encoder."""
    torch.manual_seed(0)
    flow = AugmentedFlow(RESIDUAL, 8, 16, {"type": "Factorized"})
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    x, condition = torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64)
    y_1 = flow.first.encode(x, condition)
    x_1 = x - flow.first.decode(y_1)
    y_2 = y_1 + flow.second.encode(x_1, condition)
    x_2 = x_1 - flow.second.decode(y_2)
    back = x_2 + flow.second.decode(y_2)
    again = back + flow.first.decode(y_2 - flow.second.encode(back, condition))
    torch.testing.assert_close(again, x, atol=1e-5, rtol=0)


def test_the_implicit_codec_costs_at_most_40_kmac_a_pixel_on_each_side() -> None:
    config, test = load_run("implicit.csv", "implicit.cfg", "test")
    rows = complexity.measure(Codec(config).eval(), test.processes[0])
    costs = [complexity.totals(rows, kind) for kind in "IP"]
    assert all(cost is not None and max(cost) <= 40 for cost in costs)


def test_the_memory_of_the_implicit_codec_reaches_the_next_frame_until_it_is_reset() -> None:
    """With ``feature_reset`` 2, the frame two after the I frame no longer depends on what was remembered."""
    config = small(load_model_config("implicit.csv"))
    modes = Modes("m", "i", "r", feature_reset=2)
    model = lively_model(config, modes)
    seen: dict[int, bool] = {}

    def note(module, arguments, output) -> None:
        state = arguments[0]
        seen[state.info.index] = "ref_memory" in state

    hook = model.codec.get_submodule("inter_codec").register_forward_hook(note)
    with torch.no_grad():
        recon_error(model.codec, modes, CodingStructure(8, 1), frames=4)
    hook.remove()
    assert seen == {1: True, 2: False, 3: True}


def bidirectional(psnr: float) -> tuple[Codec, Modes]:
    config, test = load_run("bidirectional.csv", "bidirectional.cfg", "test")
    modules = [
        dataclasses.replace(spec, args={**spec.args, "psnr": (psnr,)}) if spec.code == "s" else spec
        for spec in small(config).modules
    ]
    torch.manual_seed(0)
    return Codec(dataclasses.replace(config, modules=tuple(modules))).eval(), test.processes[0]


@pytest.mark.parametrize(("psnr", "skipped"), [(0.0, True), (100.0, False)])
def test_a_frame_that_interpolation_meets_costs_next_to_nothing(psnr: float, skipped: bool) -> None:
    codec, modes = bidirectional(psnr)
    with torch.no_grad():
        pictures = list(code_sequence(
            codec, modes, CodingStructure(0, 2), SIZE, lambda frame: EstimatingStream(), sources=clip(3, SIZE)
        ))
    [between] = [p for p in pictures if p.frame.type == "B"]
    bits = {label: float(b.sum()) for label, b in between.stream.rates().items()}
    assert bool(between.state["skip"].all()) == skipped
    assert ("motion" in bits, "residual" in bits) == (not skipped, not skipped)
    assert bits["skip"] < 8


def test_interpolation_follows_even_motion_at_the_frames_place() -> None:
    """A picture that moves by 2 pixels a frame, and an estimator that says so: a quarter of the way of 4 frames."""
    codec, _ = bidirectional(100.0)
    module = codec.get_submodule("interpolator")
    wide = torch.nn.functional.interpolate(torch.rand(1, 3, 16, 40), scale_factor=8, mode="bicubic").clamp(0, 1)
    at = {t: wide[..., :128, 2 * t : 2 * t + 256] for t in (0, 1, 4)}

    def estimate(frame: torch.Tensor, ref: torch.Tensor) -> torch.Tensor:
        forth = torch.equal(frame, at[0])
        return torch.tensor([-8.0 if forth else 8.0, 0.0])[None, :, None, None].expand(1, 2, 128, 256)

    module.get_submodule("estimator").estimate = estimate  # type: ignore[assignment]
    from torchDVC.coding_structure import FrameInfo
    from torchDVC.modules.frame_state import FrameState

    info = FrameInfo.of(CodedFrame(1, (0, 4)), [FrameInfo(0), FrameInfo(4)])
    state = FrameState(info, 1, 128, 256, torch.zeros(1, dtype=torch.int64))
    state["refs"] = torch.stack((at[0], at[4]), 1)
    written = module(state, EstimatingStream())
    flow = written["flow_expected"][0, :, 0, 64, 128]
    torch.testing.assert_close(flow, torch.tensor([2.0, -6.0]))
    error = (written["interpolated"] - at[1])[..., 16:-16].abs().max()
    assert error < 1e-3
