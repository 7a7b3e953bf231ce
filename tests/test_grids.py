"""Integer grids: coded without loss, exactly, and the better the more their neighbours tell."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from torchDVC.entropy.exact import ExactModule
from torchDVC.entropy.grids import PASSES, IntegerGrid, passes
from torchDVC.entropy.streams import Stream, TrainingStream
from torchDVC.entropy.symbol_streams import EstimatingStream, ReadingStream, WritingStream

Size = tuple[int, int, int, int]


def fixed(grid: IntegerGrid) -> IntegerGrid:
    for module in grid.modules():
        if isinstance(module, ExactModule):
            module.fix(module.integers())
    return grid


def size_of(values: Tensor) -> Size:
    n, c, h, w = values.shape
    return n, c, h, w


def motion(seed: int, batch: int = 4, size: tuple[int, int] = (16, 20)) -> Tensor:
    """Vectors that are alike within large areas."""
    generator = torch.Generator().manual_seed(seed)
    coarse = 60 * torch.randn(batch, 2, 5, 5, generator=generator)
    return torch.nn.functional.interpolate(coarse, size, mode="bilinear").round().clamp(-128, 127)


def gates(seed: int, batch: int = 4) -> Tensor:
    """One of three modes in each area."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(0, 3, (batch, 1, 4, 4), generator=generator).float()
    return torch.nn.functional.interpolate(coarse, scale_factor=4)


def bits(grid: IntegerGrid, values: Tensor, stream: Stream, conditions: Tensor | None = None) -> Tensor:
    grid(values, stream, size_of(values), conditions)
    return torch.stack([b.sum() for b in stream.bits.values()]).sum() / values[:, 0].numel()


def train(grid: IntegerGrid, values: Tensor, conditions: Tensor | None = None, steps: int = 100) -> float:
    """Bits of each position of a grid after some steps of training on it, by the tables."""
    optimizer = torch.optim.Adam(grid.parameters(), 2e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        bits(grid, values, TrainingStream(len(values)), conditions).backward()
        optimizer.step()
    with torch.no_grad():
        return float(bits(grid, values, EstimatingStream(len(values)), conditions))


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 1), (4, 6), (17, 13)])
def test_every_position_is_coded_once(size: tuple[int, int]) -> None:
    coded = torch.cat(list(passes(2, *size, torch.device("cpu"))))
    assert coded.sort().values.tolist() == list(range(2 * size[0] * size[1]))


@pytest.mark.parametrize(("ordered", "low", "high"), [(True, -128, 127), (True, 0, 1), (False, 0, 3), (False, 2, 2)])
@pytest.mark.parametrize("size", [(1, 2, 1, 1), (1, 2, 5, 7), (1, 1, 8, 8)])
def test_what_is_written_is_read(ordered: bool, low: int, high: int, size: Size) -> None:
    torch.manual_seed(0)
    grid = IntegerGrid(size[1], low, high, ordered=ordered)
    for parameter in grid.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    fixed(grid)
    values = torch.randint(low, high + 1, size)
    writing = WritingStream(keep_maps=True)
    with torch.no_grad():
        assert torch.equal(grid(values, writing, size), values.float())
        payload = writing.payload()
        reading = ReadingStream(payload)
        assert torch.equal(grid(None, reading, size), values.float())
        reading.end()
        for dtype in (torch.bfloat16, torch.float16):
            with torch.autocast("cpu", dtype=dtype):
                assert torch.equal(grid(None, ReadingStream(payload), size), values.float())
    total = float(torch.stack(list(writing.bits.values())).sum())
    assert abs(8 * len(payload) - total) < 40
    assert writing.maps is not None and sum(m.shape[1:] == size[2:] for m in writing.maps[""]) == PASSES


def test_neighbours_tell() -> None:
    torch.manual_seed(0)
    grid, values = IntegerGrid(2, -128, 127), motion(0)
    learned = train(grid, values)
    alone = torch.bincount((values.long() + 128).flatten()).float() / values.numel()
    entropy = -2 * float((alone * (alone + 1e-9).log2()).sum())
    assert learned < 0.85 * entropy
    fixed(grid)
    unseen = motion(1)
    with torch.no_grad():
        assert float(bits(grid, unseen, EstimatingStream(4))) < 16


def test_kinds_that_lie_together_are_cheap() -> None:
    torch.manual_seed(0)
    learned = train(IntegerGrid(1, 0, 2, ordered=False), gates(0))
    assert learned < 0.75 * 1.58


def test_what_else_is_known_helps() -> None:
    torch.manual_seed(0)
    values = torch.randint(-20, 21, (4, 1, 12, 12)).float()
    free = train(IntegerGrid(1, -20, 20), values)
    conditioned = train(IntegerGrid(1, -20, 20, conditions=1), values, conditions=values)
    assert free > 5 and conditioned < 0.5 * free


def test_gradients_of_values_pass() -> None:
    values = torch.zeros(1, 1, 4, 4, requires_grad=True)
    IntegerGrid(1, 0, 1)(values, TrainingStream(), (1, 1, 4, 4)).sum().backward()
    assert values.grad is not None and bool((values.grad == 1).all())


def test_integers_beyond_the_range_are_refused() -> None:
    with pytest.raises(ValueError, match="integers 0 to 5; expected 0 to 3"):
        IntegerGrid(1, 0, 3)(torch.tensor([[[[0, 5]]]]), EstimatingStream(), (1, 1, 1, 2))
    with pytest.raises(ValueError, match="expected a range within ±255"):
        IntegerGrid(1, 0, 256)
