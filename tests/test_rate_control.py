"""Files come out at the rate that was asked for: by simulation, and with a small model and real files."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.lively_models import lively
from tests.small_model import make_small_model
from torchDVC.bitstream.container_reader import ContainerReader
from torchDVC.bitstream.rate_control import REPEATS, RateControl
from torchDVC.bitstream.rate_curves import RateCurves, busiest, changes
from torchDVC.codec import main
from torchDVC.coding_structure import CodedFrame, CodingStructure
from torchDVC.dataset.procedural import procedural_clip
from torchDVC.dataset.video import Frame, VideoInfo, open_writer
from torchDVC.models import checkpoints

SIZE, FRAMES = (96, 80), 96
TRIES = 2 + REPEATS
Bits = Callable[[CodedFrame, int], float]


CASCADE = (1.3, 0.8, 1.0, 0.8)


def codec(levels: int, octaves: float, seed: int = 0, cut: int = 10**6) -> Bits:
    """Bits of a frame: ``octaves`` from first to last level, noise, a cascade, four times as many from a cut on."""
    noise = random.Random(seed)
    factors = [2 ** noise.gauss(0, 0.3) * (4 if index >= cut else 1) * CASCADE[index % 4] for index in range(1000)]

    def bits(frame: CodedFrame, level: int) -> float:
        base = {"I": 30_000, "P": 4_000, "B": 2_000}[frame.type]
        return base * factors[frame.index] * 2 ** (octaves * level / (levels - 1) - octaves / 2)

    return bits


def run(control: RateControl, order: Iterable[CodedFrame], bits: Bits) -> list[int]:
    """Let frames take what they do; the levels chosen. None is coded more than `TRIES` times."""
    levels = []
    for frame in order:
        levels.append(control.level(frame))
        tries = 1
        while (other := control.revise(frame, bits(frame, levels[-1]))) is not None:
            levels[-1] = other
            tries += 1
            assert tries <= TRIES
        control.spend(frame, bits(frame, levels[-1]))
    return levels


@pytest.mark.parametrize("seed", range(20))
def test_levels_that_are_out_of_order_are_tried_a_few_times_at_most(seed: int) -> None:
    """As on clips of which a finer level takes fewer bits than a coarser one."""
    even, noise, tries = codec(64, 6, seed), random.Random(seed), Counter[int]()
    factors = {(index, level): 2 ** noise.gauss(0, 2) for index in range(FRAMES) for level in range(64)}

    def bits(frame: CodedFrame, level: int) -> float:
        tries[frame.index] += 1
        assert tries[frame.index] <= REPEATS + 3  # all tries, the best of them, and what is spent
        return even(frame, level) * factors[frame.index, level]

    order = CodingStructure(32).order(FRAMES)
    run(controlled(64, even, 5_000, CodingStructure(32), FRAMES), order, bits)


def passed(control: RateControl, order: Iterable[CodedFrame], bits: Bits) -> RateControl:
    """The control of the pass after one that is all of the level planned."""
    held = control.planned
    for frame in order:
        control.spend(frame, bits(frame, held))
    return control.next_pass()


def controlled(
    levels: int, bits: Bits, asked: float, structure: CodingStructure, frames: int,
    seen: Mapping[int, float] | None = None,
) -> RateControl:
    first = structure.order(2)
    tried = sorted({round(i * (levels - 1) / 3) for i in range(4)})
    curves = RateCurves(tried, {frame.type: [bits(frame, level) for level in tried] for frame in first})
    return RateControl(curves, levels, asked, structure, frames, seen)


@pytest.mark.parametrize("structure", [CodingStructure(32), CodingStructure(0), CodingStructure(16, 8)], ids=str)
@pytest.mark.parametrize("levels", [5, 64])
@pytest.mark.parametrize("seed", range(5))
def test_one_pass_and_two_by_simulation(structure: CodingStructure, levels: int, seed: int) -> None:
    bits, order = codec(levels, 6, seed), structure.order(FRAMES)
    asked = sum(bits(frame, levels // 2) for frame in order) / FRAMES * 1.15
    control = controlled(levels, bits, asked, structure, FRAMES)
    run(control, order, bits)
    assert control.spent == pytest.approx(asked * FRAMES, rel=0.05)
    first = controlled(levels, bits, asked, structure, FRAMES)
    again = passed(first, order, bits)
    chosen = run(again, order, bits)
    assert again.spent == pytest.approx(asked * FRAMES, rel=0.02)
    assert max(chosen) - min(chosen) <= max(2, levels // 8)  # a steady quality, since all is known


@pytest.mark.parametrize("cut", [20, 50, 80])
def test_a_cut_is_paid_for(cut: int) -> None:
    structure, bits = CodingStructure(32), codec(64, 6, cut=cut)
    order = structure.order(FRAMES)
    asked = sum(bits(frame, 30) for frame in order) / FRAMES
    control = controlled(64, bits, asked, structure, FRAMES)
    run(control, order, bits)
    assert control.spent == pytest.approx(asked * FRAMES, rel=0.05)


@pytest.mark.parametrize("level", [16, 30, 44])
def test_bursts_in_still_content_are_paid_for(level: int) -> None:
    """Most frames take a few bytes at any level, which tells nothing of those in which something moves."""
    structure, moving = CodingStructure(32), codec(64, 6)

    def bits(frame: CodedFrame, level: int) -> float:
        return 4 * moving(frame, level) if frame.type == "I" or frame.index % 12 == 7 else 100

    order = structure.order(FRAMES)
    asked = sum(bits(frame, level) for frame in order) / FRAMES
    control = controlled(64, bits, asked, structure, FRAMES, {index: 16.0 for index in range(7, FRAMES, 12)})
    run(control, order, bits)
    assert control.spent == pytest.approx(asked * FRAMES, rel=0.05)
    again = passed(controlled(64, bits, asked, structure, FRAMES), order, bits)
    run(again, order, bits)
    assert again.spent == pytest.approx(asked * FRAMES, rel=0.02)


@pytest.mark.parametrize("factor", [1 / 4, 8.0])
def test_what_was_expected_goes_as_soon_as_frames_have_shown_better(factor: float) -> None:
    """All but the frames that were tried take four times what is expected of them, or an eighth."""
    structure, usual = CodingStructure(32), codec(64, 6, seed=1)
    order = structure.order(FRAMES)
    seen = {frame.index: factor for frame in order if frame.type != "I"}
    asked = sum(usual(frame, 30) for frame in order) / FRAMES
    control = controlled(64, usual, asked, structure, FRAMES, seen)
    run(control, order, usual)
    assert control.spent == pytest.approx(asked * FRAMES, rel=0.02)


def test_a_clip_of_unknown_length_keeps_the_rate() -> None:
    structure, bits = CodingStructure(32), codec(64, 6)
    order = structure.order(400)
    asked = sum(bits(frame, 40) for frame in order) / 400
    control = controlled(64, bits, asked, structure, 0)
    run(control, order, bits)
    assert control.spent == pytest.approx(asked * 400, rel=0.05)


def test_cuts_are_seen_beforehand() -> None:
    still, other = (torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    seen = changes([still, still, still, other, other * 0.95])
    assert seen[1] == seen[2] < seen[3] / 100 and seen[1] < seen[4] < seen[3] / 4 and busiest(seen) == 4
    assert busiest({}) == 1


def test_what_is_seen_beforehand_does_not_depend_on_threads() -> None:
    pictures = list(torch.rand(3, 1, 3, 1080, 1920, generator=torch.Generator().manual_seed(0)))
    before, seen = torch.get_num_threads(), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        seen.append(changes(pictures))
    torch.set_num_threads(before)
    assert seen[0] == seen[1] == seen[2]


def test_a_frame_that_takes_too_much_is_coded_again_at_a_level_that_is_left() -> None:
    structure, usual = CodingStructure(32), codec(64, 6)

    def bits(frame: CodedFrame, level: int) -> float:
        return usual(frame, level) * (30 if frame.index == 94 else 1)

    order = structure.order(FRAMES)
    asked = sum(usual(frame, 30) for frame in order) / FRAMES
    control = controlled(64, bits, asked, structure, FRAMES)
    levels = run(control, order, bits)
    assert levels[94] < levels[93] - 8 and control.spent == pytest.approx(asked * FRAMES, rel=0.05)


def test_new_pages_between_still_frames_are_known_after_a_pass() -> None:
    """Their bits grow faster with the level than those of the frames that were tried."""
    structure, level = CodingStructure(32), 16

    def bits(frame: CodedFrame, level: int) -> float:
        if frame.type == "I":
            return 25_000 * 2 ** (level / 16)
        return 15_000 * 2 ** (level / (6 if level < 16 else 14)) if frame.index % 12 == 0 else 200

    order = structure.order(FRAMES)
    asked = sum(bits(frame, level) for frame in order) / FRAMES
    control = controlled(64, bits, asked, structure, FRAMES, {index: 32.0 for index in range(12, FRAMES, 12)})
    again = passed(control, order, bits)
    run(again, order, bits)
    assert again.spent == pytest.approx(asked * FRAMES, rel=0.05)


def test_what_cannot_be_met_ends_at_the_last_level() -> None:
    structure, bits = CodingStructure(32), codec(64, 6)
    control = controlled(64, bits, 10, structure, FRAMES)
    assert set(run(control, structure.order(FRAMES), bits)) == {0}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The flags that name a small model of 9 quality levels."""
    return sources_of(tmp_path_factory.mktemp("levels"), levels=9)


def sources_of(folder: Path, levels: int) -> list[str]:
    model = make_small_model(folder, folder, levels=levels)
    checkpoint = folder / "trained.safetensors"
    checkpoints.save(checkpoint, {"model": lively(model.codec()).state_dict()})
    return ["--model_config", str(folder / "model.csv"), "--run_config", str(folder / "test.cfg"),
            "--checkpoint", str(checkpoint)]  # fmt: skip


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """96 frames with a scene cut, at 25 frames/s."""
    path = tmp_path_factory.mktemp("clip") / "clip.y4m"
    with open_writer(path, VideoInfo(*SIZE, fps=Fraction(25))) as writer:
        for rgb in chain(procedural_clip(0, 60, SIZE), procedural_clip(1, FRAMES - 60, SIZE)):
            writer.write(Frame(rgb=rgb))
    return path


@pytest.fixture(autouse=True)
def own_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    monkeypatch.delenv("TORCHDVC_MODELS", raising=False)


def bpp(path: Path) -> float:
    return 8 * path.stat().st_size / (SIZE[0] * SIZE[1] * FRAMES)


@pytest.fixture(scope="module")
def ends(sources: list[str], clip: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[float, float]:
    """Rates of the coarsest and the finest quality."""
    paths = [tmp_path_factory.mktemp("ends") / f"{quality}.lcp" for quality in (0, 8)]
    for path in paths:
        assert main(["encode", str(clip), str(path), *sources, "--quality", path.stem]) == 0
    return bpp(paths[0]), bpp(paths[1])


@pytest.mark.parametrize(("passes", "within"), [("1", 0.05), ("2", 0.02)])
@pytest.mark.parametrize("gop_size", ["1", "4"])
def test_files_meet_the_rate(
    sources: list[str], clip: Path, ends: tuple[float, float], tmp_path: Path, passes: str, within: float,
    gop_size: str, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    asked, coded = float(np.sqrt(ends[0] * ends[1])), tmp_path / "a.lcp"
    flags = ["--bpp", f"{asked}", "--passes", passes, "--gop_size", gop_size]
    assert main(["encode", str(clip), str(coded), *sources, *flags]) == 0
    assert bpp(coded) == pytest.approx(asked, rel=within)
    said = capsys.readouterr()
    kilobits = 8 * coded.stat().st_size / FRAMES * 25 / 1000
    assert f"{bpp(coded):.4f} bpp, {kilobits:.1f} kbit/s, model" in said.out
    assert "frames/s" in said.err and f"bitrate {kilobits:.1f}"[:9] in said.err
    with ContainerReader(coded) as reader:
        assert len({packet.quality for packet in reader.packets()}) > 1
    assert main(["decode", str(coded), str(tmp_path / "a.y4m")]) == 0


def test_a_bitrate_is_bits_per_second(
    sources: list[str], clip: Path, ends: tuple[float, float], tmp_path: Path
) -> None:
    kilobits = 1.3 * ends[0] * SIZE[0] * SIZE[1] * 25 / 1000
    assert main(["encode", str(clip), str(tmp_path / "a.lcp"), *sources, "--bitrate", f"{kilobits:.3f}k"]) == 0
    assert bpp(tmp_path / "a.lcp") == pytest.approx(1.3 * ends[0], rel=0.05)


@pytest.mark.parametrize(
    ("end", "factor", "flags", "said"),
    [
        (0, 0.5, (), "larger: its quality is the coarsest already"),
        (1, 2.0, ("--passes", "2"), "smaller: its quality is the finest already"),
    ],
)
def test_a_rate_out_of_reach_is_told(
    sources: list[str], clip: Path, ends: tuple[float, float], tmp_path: Path, caplog: pytest.LogCaptureFixture,
    end: int, factor: float, flags: tuple[str, ...], said: str,
) -> None:  # fmt: skip
    asked = ["--bpp", f"{factor * ends[end]}", *flags]
    assert main(["encode", str(clip), str(tmp_path / "a.lcp"), *sources, *asked]) == 0
    (message,) = caplog.messages
    assert message.endswith(said)


def test_a_rate_that_one_pass_misses_is_told_with_a_remedy(
    clip: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Two levels and two frames: no file is near a rate between those of each level, and neither end is at fault."""
    coded, flags = tmp_path / "a.lcp", [*sources_of(tmp_path, levels=2), "--frames", "2"]
    sizes = []
    for level in ("0", "1"):
        assert main(["encode", str(clip), str(coded), *flags, "--quality", level]) == 0
        sizes.append(coded.stat().st_size)
    between = 4 * sum(sizes) / (2 * SIZE[0] * SIZE[1])
    assert main(["encode", str(clip), str(coded), *flags, "--bpp", f"{between}"]) == 0
    assert sizes[0] < coded.stat().st_size < sum(sizes) / 2 / 1.05
    (message,) = caplog.messages
    assert message.endswith("smaller: try --passes 2")


def test_a_model_of_one_level_has_no_rate_to_choose(
    tmp_path: Path, clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = make_small_model(tmp_path / "one", tmp_path)
    checkpoint = tmp_path / "one.safetensors"
    checkpoints.save(checkpoint, {"model": model.codec().state_dict()})
    flags = ["--model_config", str(model.path / "model.csv"), "--run_config", str(model.path / "test.cfg"),
             "--checkpoint", str(checkpoint), "--bitrate", "300k"]  # fmt: skip
    assert main(["encode", str(clip), str(tmp_path / "a.lcp"), *flags]) == 2
    assert "--bitrate needs a model of several quality levels" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--quality", "3", "--bpp", "0.1"], "--quality and --bpp; expected one of them"),
        (["--passes", "2"], "--passes 2 has no use without --bitrate or --bpp"),
        (["--bitrate", "300x"], "expected bits a second, such as 300k, 1.5M or 250000"),
        (["--bpp", "0"], "expected a number above 0"),
    ],
)
def test_rates_that_make_no_sense(
    tmp_path: Path, clip: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    assert main(["encode", str(clip), str(tmp_path / "a.lcp"), *flags]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "a.lcp").exists()
