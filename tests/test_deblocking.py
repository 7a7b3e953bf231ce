"""Deblocking: which edges are filtered, what that is worth, and that a model of blocks alone may have it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from torchDVC.coding_structure import CodedFrame, FrameInfo
from torchDVC.config import Modes, load_model_config
from torchDVC.config.modes import check_mode
from torchDVC.dataset.frame import Frame
from torchDVC.dataset.procedural import procedural_clip
from torchDVC.entropy.streams import TrainingStream
from torchDVC.entropy.symbol_streams import ReadingStream, WritingStream
from torchDVC.models.codec import Codec, CodedPicture
from torchDVC.modules.block.space import ENERGY, FIELDS, INTER, MODE, SIZE, SKIPPED
from torchDVC.modules.filter.deblocking import Deblocking
from torchDVC.modules.frame_state import FrameState

SIDE = 64
CSV = """\
code,name,type,args,weights
-,format,yuv420
b,block_codec,BlockCoder,,
d,deblocking,Deblocking,,
"""


def filtered(luma: Tensor, size: int = 8, step: int = 40, **fields: int) -> Tensor:
    """Luma codes (64, 64) after deblocking, where every block is of a size and holds the fields."""
    state = FrameState(FrameInfo.of(CodedFrame(0), ()), 1, SIDE, SIDE, torch.zeros(1, dtype=torch.int64))
    cells = torch.zeros(1, 3, SIDE // 4, SIDE // 4, FIELDS, dtype=torch.int32)
    for field, value in {"SIZE": size, **fields}.items():
        cells[..., {"SIZE": SIZE, "MODE": MODE, "ENERGY": ENERGY, "SKIPPED": SKIPPED}[field]] = value
    grey = torch.full((2, SIDE, SIDE), 128.0)
    state.update(recon=torch.cat([luma[None], grey])[None] / 255, blocks=cells, step=torch.tensor([64 * step]))
    written = Deblocking()(state, TrainingStream())["recon"] * 255
    assert torch.equal(written[0, 1:], grey)
    return written[0, 0].round()


def step_at(column: int, height: int) -> Tensor:
    """An even picture that is brighter from a column on."""
    luma = torch.full((SIDE, SIDE), 100.0)
    luma[:, column:] += height
    return luma


def test_a_step_between_blocks_becomes_a_slope_of_three_samples_either_way() -> None:
    line = filtered(step_at(16, 8), MODE=0)[5]
    assert line[12:20].tolist() == [100, 101, 102, 103, 105, 106, 107, 108]
    assert torch.equal(line[:12], torch.full((12,), 100.0)) and torch.equal(line[20:], torch.full((44,), 108.0))


def test_rows_are_filtered_as_columns_are() -> None:
    luma = step_at(24, 10)
    assert torch.equal(filtered(luma.T.contiguous(), MODE=0), filtered(luma, MODE=0).T)


def test_beside_small_blocks_one_sample_changes_on_either_side() -> None:
    line = filtered(step_at(4, 8), size=4, MODE=0)[9]
    assert [at for at in range(SIDE) if line[at] != step_at(4, 8)[9, at]] == [3, 4]


@pytest.mark.parametrize(
    ("column", "height", "fields"),
    [
        (20, 8, {"MODE": 0}),  # within a block
        (16, 8, {"MODE": INTER}),  # both sides as predicted from other pictures
        (16, 8, {"MODE": 0, "ENERGY": 5, "SKIPPED": 1}),  # text
        (16, 150, {"MODE": 0}),  # too high a step to come from blocks
        (16, 8, {"MODE": 0, "step": 1}),  # too fine a quantiser to make it
    ],
)
def test_what_blocks_have_not_made_is_left_alone(column: int, height: int, fields: dict[str, int]) -> None:
    luma = step_at(column, height)
    assert torch.equal(filtered(luma, **fields), luma)


def test_levels_alone_make_an_edge() -> None:
    assert not torch.equal(filtered(step_at(16, 8), MODE=INTER, ENERGY=1), step_at(16, 8))


def test_bent_sides_are_texture() -> None:
    luma = step_at(16, 8) + 30 * (torch.arange(SIDE) % 2)
    assert torch.equal(filtered(luma, MODE=0), luma)


@pytest.fixture(scope="module")
def blocks(tmp_path_factory: pytest.TempPathFactory) -> Codec:
    """A model of I frames, of blocks alone."""
    path = tmp_path_factory.mktemp("model") / "blocks.csv"
    path.write_text(CSV)
    return Codec(load_model_config(str(path))).eval()


def code(
    codec: Codec, modes: str, size: tuple[int, int], stream: WritingStream | ReadingStream, source: Tensor | None = None
) -> CodedPicture:
    """An I frame at a coarse level."""
    level = torch.tensor([6])
    return codec.code_frame(CodedFrame(0), Modes("blocks", modes, "", ""), size, stream, source=source, quality=level)


def test_a_coarse_picture_comes_nearer_its_source_and_takes_the_same_bits(blocks: Codec) -> None:
    size = (59, 90)
    frame = Frame(yuv=Frame(rgb=procedural_clip(3, 1, size[::-1])[0]).yuv)
    source = blocks.format.to_tensor(frame, torch.device("cpu"))
    streams = [WritingStream(), WritingStream()]
    plain, smooth = (
        code(blocks, modes, size, stream, source=source).state["recon"]
        for modes, stream in zip(("b", "bd"), streams, strict=True)
    )
    assert streams[0].payload() == streams[1].payload()
    assert (smooth - source).square().mean() < 0.99 * (plain - source).square().mean()
    decoded = code(blocks, "bd", size, ReadingStream(streams[1].payload()))
    assert torch.equal(decoded.state["recon"], smooth)


def test_before_the_coder_of_blocks_it_is_refused(blocks: Codec) -> None:
    problems = check_mode("imode", "db", blocks.config)
    assert any("deblocking" in problem and "reads 'blocks'" in problem for problem in problems), problems
