"""Frame types, references and coding order, for any intra period, GOP size and length."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchDVC.coding_structure import (
    ByFrame,
    CodedFrame,
    CodingStructure,
    FrameInfo,
    frames_needed,
    parse_pairs,
    training_frames,
)

STRUCTURES = st.builds(CodingStructure, st.integers(0, 70), st.sampled_from([1, 2, 4, 8, 16, 32]), st.integers(1, 4))
LENGTHS = st.integers(0, 150)


def texts(frames: list[CodedFrame]) -> str:
    return " ".join(map(str, frames))


@given(STRUCTURES, LENGTHS)
def test_each_frame_is_coded_once_and_after_its_references(structure: CodingStructure, frames: int) -> None:
    order = structure.order(frames)
    coded: set[int] = set()
    for frame in order:
        assert coded.issuperset(frame.references)
        assert frame.index not in coded
        coded.add(frame.index)
    assert coded == set(range(frames))


@given(STRUCTURES, LENGTHS)
def test_frames_are_of_the_type_that_their_place_asks_for(structure: CodingStructure, frames: int) -> None:
    for frame in structure.order(frames):
        intra = frame.index % structure.intra_period == 0 if structure.intra_period else frame.index == 0
        assert (frame.type == "I") == intra
        assert len(frame.references) in {"I": [0], "P": range(1, structure.references + 1), "B": [2]}[frame.type]
        assert (frame.layer > 0) == (frame.type == "B")
        if frame.type == "B":
            left, right = frame.references
            assert left < frame.index < right and frame.index - left == right - frame.index
        if frame.type == "P":
            assert frame.index - structure.gop_size <= frame.references[0] < frame.index


@given(STRUCTURES, LENGTHS)
def test_only_i_and_p_frames_are_referred_to_from_outside_a_gop(structure: CodingStructure, frames: int) -> None:
    """The last of them, and by a P frame those before it, as many as it may have and not beyond the I frame."""
    anchors: list[int] = []
    for gop in structure.gops(frames):
        own = {frame.index for frame in gop}
        start = anchors[-1] if anchors else -1
        assert own == set(range(start + 1, gop[0].index + 1))
        assert {r for frame in gop[1:] for r in frame.references} <= own | {start}
        if gop[0].type == "P":
            assert gop[0].references == tuple(anchors[: -structure.references - 1 : -1])
        anchors = [*(anchors if gop[0].type == "P" else []), gop[0].index]


@given(STRUCTURES, st.integers(1, 150))
def test_a_gop_needs_no_more_look_ahead_than_its_size(structure: CodingStructure, frames: int) -> None:
    start, order = -1, []
    while start < frames - 1:
        gop = structure.gop(start, min(start + structure.gop_size, frames - 1))
        order += gop
        start = gop[0].index
    assert order == structure.order(frames)


@given(st.sampled_from([2, 4, 8, 16]), st.integers(1, 5))
def test_gops_of_the_intra_period_have_no_p_frames(size: int, gops: int) -> None:
    types = {frame.type for frame in CodingStructure(size, size).order(size * gops + 1)}
    assert types == {"I", "B"}


@given(STRUCTURES, st.integers(0, 300))
def test_the_types_of_a_structure_are_those_of_its_frames(structure: CodingStructure, frames: int) -> None:
    assert structure.types(frames) == {frame.type for frame in structure.order(frames)}
    whole = structure.intra_period or structure.gop_size
    assert structure.types() == structure.types(whole * 3 + 1)


def test_the_structures_of_the_documentation() -> None:
    assert texts(CodingStructure(4).order(8)) == "0 0>1 1>2 2>3 4 4>5 5>6 6>7"
    assert texts(CodingStructure(8, 4).order(9)) == "0 0>4 0>2<4 0>1<2 2>3<4 8 4>6<8 4>5<6 6>7<8"
    assert texts(CodingStructure(4, 4).order(8)) == "0 4 0>2<4 0>1<2 2>3<4 4>6 4>5<6 6>7"
    assert texts(CodingStructure(0, 4).order(8)) == "0 0>4 0>2<4 0>1<2 2>3<4 4>6 4>5<6 6>7"


@pytest.mark.parametrize(("intra_period", "gop_size"), [(-1, 1), (8, 0), (8, 3), (8, -4)])
def test_an_impossible_structure_is_refused(intra_period: int, gop_size: int) -> None:
    with pytest.raises(ValueError, match=f"{intra_period if intra_period < 0 else gop_size}"):
        CodingStructure(intra_period, gop_size)


@pytest.mark.parametrize(
    ("pairs", "frames", "expected"),
    [
        ("step1", 4, {"0 0>1 1>2 2>3"}),
        ("step2", 5, {"0 0>2 2>4"}),
        ("step3", 7, {"0 0>3 3>6"}),
        ("step123", 4, {"0 0>1 1>2 2>3", "0 0>2", "0 0>3"}),
        ("step123", 3, {"0 0>1 1>2", "0 0>2"}),
        ("step136", 7, {"0 0>1 1>2 2>3 3>4 4>5 5>6", "0 0>3 3>6", "0 0>6"}),
        ("step1", 1, {"0"}),
        ("0>1 1>2", 3, {"0 0>1 1>2"}),
        ("0>2 0>1<2", 3, {"0 0>2 0>1<2"}),
        ("0 4 0>2<4 0>1<2", 5, {"0 4 0>2<4 0>1<2"}),
    ],
)
def test_training_pairs(pairs: str, frames: int, expected: set[str]) -> None:
    drawn = {texts(training_frames(pairs, frames, random.Random(seed))) for seed in range(50)}
    assert drawn == expected


@given(st.sampled_from(["step1", "step2", "step3", "step123", "step136", "0>1 1>2", "0>2 0>1<2", "3>1"]))
def test_the_frames_that_pairs_need_are_enough(pairs: str) -> None:
    frames = training_frames(pairs, frames_needed(pairs), random.Random(0))
    assert len(frames) > 1
    assert max(i for frame in frames for i in (frame.index, *frame.references)) < frames_needed(pairs)


def test_pairs_are_read_as_they_print() -> None:
    text = "0>2 0>1<2 3 1,0>2 2,1,0>3<4,5 P:0>1<2 B:0>1 B:1,0>2 2>1 2,3>1"
    frames = parse_pairs(text)
    assert texts(list(frames)) == text
    assert "".join(frame.type for frame in frames) == "PBIPBPBBPB"


def test_a_b_frame_lies_a_layer_below_its_references() -> None:
    for frames in (parse_pairs("8 0>4<8 0>2<4 0>1<2 4>6<8 8>9"), CodingStructure(8, 8).order(10)):
        assert {frame.index: frame.layer for frame in frames if frame.index in (1, 2, 4, 6, 8, 9)} == {
            8: 0, 4: 1, 2: 2, 1: 3, 6: 2, 9: 0,
        }  # fmt: skip


def test_named_steps_may_refer_to_several_frames() -> None:
    assert texts(training_frames("step1", 4, random.Random(0), 2)) == "0 0>1 1,0>2 2,1>3"
    assert texts(training_frames("step2", 7, random.Random(0), 3)) == "0 0>2 2,0>4 4,2,0>6"


@given(STRUCTURES, LENGTHS)
def test_the_distance_to_the_last_intra_frame_follows_from_the_references(
    structure: CodingStructure, frames: int
) -> None:
    infos: dict[int, FrameInfo] = {}
    for frame in structure.order(frames):
        info = FrameInfo.of(frame, [infos[r] for r in frame.references])
        infos[frame.index] = info
        assert info.since_intra == (frame.index % structure.intra_period if structure.intra_period else frame.index)
        assert (info.index, info.type, info.references, info.layer) == (
            frame.index, frame.type, frame.references, frame.layer,
        )  # fmt: skip


def test_values_by_frame() -> None:
    infos = [FrameInfo(index, layer=index, since_intra=index) for index in range(5)]
    assert [ByFrame((0, 2, 1))(info) for info in infos] == [0, 2, 1, 0, 2]
    assert [ByFrame((0, 2, 1), layers=True)(info) for info in infos] == [0, 2, 1, 1, 1]


@pytest.mark.parametrize(
    "item", ["0>", ">1", "1<2", "0>1>2", "0<1>2", "a>b", "step4", "-1>0", "0>1<", "0,>1", "P:1", "I:0>1"]
)
def test_what_is_no_pair_is_named(item: str) -> None:
    with pytest.raises(ValueError, match=f"'{item}'; expected step1"):
        parse_pairs(f"0>1 {item}")
