"""The container: what was written comes back, and any damage is a typed error that names the packet."""

import os
import re
import signal
import subprocess
import sys
import time
import tracemalloc
import zlib
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchDVC.bitstream.container_reader import ContainerReader
from torchDVC.bitstream.container_writer import write_container
from torchDVC.bitstream.header import ASPECTS, HEADER_BYTES, HEADER_FIELDS, PRECISIONS, Header
from torchDVC.bitstream.packets import SYNC, IntraEntry, checksum, varint
from torchDVC.coding_structure import CodedFrame, CodingStructure
from torchDVC.util.errors import BitstreamError

HEADER = Header(176, 144, None, Fraction(30000, 1001), "bt709", "limited", 8, 4, 5, bytes(range(16)))
LOW_DELAY = replace(HEADER, intra_period=4, gop_size=1)


def payload_of(frame: CodedFrame) -> bytes:
    return np.random.default_rng(frame.index).bytes(frame.index * 7 % 50)


def write(path: Path, header: Header = HEADER, frames: int = 21) -> bytes:
    """Write a video whose payloads and qualities follow from the frames; its bytes."""
    with write_container(path, header) as writer:
        for frame in CodingStructure(header.intra_period, header.gop_size).order(frames):
            writer.write(frame, payload_of(frame), 5 + frame.index % 2)
    return path.read_bytes()


def read(path: Path) -> list[CodedFrame]:
    """Read all, check each payload and quality; the frames."""
    with ContainerReader(path) as reader:
        return check(list(reader.packets()))


def check(packets) -> list[CodedFrame]:
    for packet in packets:
        assert packet.payload == payload_of(packet.frame)
        assert packet.quality == 5 + packet.frame.index % 2
    return [packet.frame for packet in packets]


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "video.lcp"


@pytest.mark.parametrize(("intra_period", "gop_size"), [(0, 1), (1, 1), (4, 1), (8, 4), (8, 8), (0, 16), (12, 8)])
@pytest.mark.parametrize("frames", [1, 2, 3, 8, 9, 30])
def test_every_coding_structure_comes_back(path, intra_period, gop_size, frames):
    header = replace(HEADER, intra_period=intra_period, gop_size=gop_size)
    data = write(path, header, frames)
    assert read(path) == CodingStructure(intra_period, gop_size).order(frames)
    with ContainerReader(path) as reader:
        assert reader.header == replace(header, frames=frames)
        index = reader.intra_index()
        footer = len(data) - HEADER_BYTES - sum(packet.size for packet in reader.packets())
        assert 8 < footer < 20 + 5 * len(index)
        for entry in index:
            packets = list(reader.packets(entry))
            assert (packets[0].coding_index, packets[0].frame) == (entry.coding_index, CodedFrame(entry.display_index))
            assert check(packets) == CodingStructure(intra_period, gop_size).order(frames)[entry.coding_index :]


def test_a_small_p_packet_has_six_bytes_of_overhead(path):
    with write_container(path, replace(LOW_DELAY, intra_period=0)) as writer:
        sizes = [writer.write(frame, b"x" * 40) for frame in CodingStructure(0).order(300)]
        assert writer.size == HEADER_BYTES + sum(sizes)
    assert set(sizes[1:]) == {46}


GOLDEN = (
    "894c435001028001680000000400000019000000010001000201077369787465656e2062797465206b6579ed584f66"  # header
    "a4f54c434900000901030000003a250f01"  # I0, of its own quality
    "a0f54c434901020203020202a876acd4"  # I2
    "a2030101011c9129aa"  # B1
    "a1010303030355315960"  # P3
    "a30600002f0102110d0ccaaa0000000c4c435045"  # index and footer
)


def test_golden_bytes(path):
    """The format is fixed: files of today must read for ever."""
    header = Header(640, 360, None, Fraction(25), "bt601", "full", 2, 2, 7, b"sixteen byte key")
    with write_container(path, header) as writer:
        for frame in CodingStructure(2, 2).order(4):
            writer.write(frame, bytes([frame.index] * 3), None if frame.index else 9)
    assert path.read_bytes().hex() == GOLDEN


@settings(max_examples=60, deadline=None)
@given(
    st.builds(
        Header,
        width=st.integers(1, 4096),
        height=st.integers(1, 16384),
        frames=st.one_of(st.none(), st.integers(1, 2**31 - 1)),
        fps=st.fractions(Fraction(1, 1000), 4000, max_denominator=2**20),
        matrix=st.sampled_from(["bt601", "bt709"]),
        range=st.sampled_from(["limited", "full"]),
        same_device=st.booleans(),
        aspect=st.sampled_from(ASPECTS),
        precision=st.sampled_from(PRECISIONS),
        intra_period=st.integers(0, 65535),
        gop_size=st.sampled_from([1, 2, 4, 8, 16, 32, 64, 128]),
        quality=st.integers(0, 255),
        model=st.binary(min_size=16, max_size=16),
    )
)
def test_any_header_comes_back(header):
    data = header.to_bytes()
    assert len(data) == HEADER_BYTES
    assert Header.from_bytes(data) == header


WRONG_HEADERS = {
    "width is 0; expected 1 to 16384": {"width": 0},
    "height is 20000; expected 1 to 16384": {"height": 20000},
    "pictures of 16384x16384; expected at most 67108864 pixels": {"width": 16384, "height": 16384},
    "matrix is 'bt2020'; expected bt601 or bt709": {"matrix": "bt2020"},
    "precision is '8'; expected 32 or bf16-mixed or 16-mixed": {"precision": "8"},
    "gop_size is 3; expected a power of two": {"gop_size": 3},
    "gop_size is 256; expected a power of two up to 128": {"gop_size": 256},
    "intra_period is 70000; expected 0 to 65535": {"intra_period": 70000},
    "quality is 300; expected 0 to 255": {"quality": 300},
    "fps_numerator is 0; expected 1 to 4294967295": {"fps": Fraction(0)},
    "model is 2 bytes; expected 16": {"model": b"ab"},
}


@pytest.mark.parametrize(("message", "change"), WRONG_HEADERS.items(), ids=WRONG_HEADERS.keys())
def test_a_wrong_header_is_refused_and_leaves_no_file(path, message, change):
    with pytest.raises(ValueError, match=re.escape(message)), write_container(path, replace(HEADER, **change)):
        pass
    assert list(path.parent.iterdir()) == []


def test_the_document_lists_the_header_fields_in_order():
    text = (Path(__file__).parents[1] / "docs/bitstream.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (\w+) \|", text.split("## Packets")[0], re.MULTILINE)
    assert rows == [("4", "magic"), *((str(f.size), f.name) for f in HEADER_FIELDS), ("16", "model"), ("4", "checksum")]
    assert f"## Header ({HEADER_BYTES} bytes)" in text


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (CodedFrame(8), "I frame where 0>2<4 should be"),
        (CodedFrame(2, (0, 3)), "frame 0>2<3 where 0>2<4 should be"),
        (CodedFrame(4, (0,)), "P frame where 0>2<4 should be"),
    ],
)
def test_the_writer_refuses_frames_out_of_order_and_leaves_no_file(path, frame, message):
    with pytest.raises(ValueError, match=message), write_container(path, HEADER) as writer:
        for right in CodingStructure(8, 4).order(9)[:2]:
            writer.write(right, b"")
        writer.write(frame, b"")
    assert list(path.parent.iterdir()) == []


def test_the_writer_refuses_what_a_reader_would(path):
    with write_container(path, replace(HEADER, width=1, height=1)) as writer:
        with pytest.raises(BitstreamError, match="takes 65545 bytes; the format allows at most 65544"):
            writer.write(CodedFrame(0), b"x" * 65545)
        with pytest.raises(ValueError, match="impossible GOP: frame 1 after frame -1"):
            writer.write(CodedFrame(1), b"")
        with pytest.raises(ValueError, match="first I frame"):
            writer.write(CodedFrame(0, (-1,)), b"")
        writer.write(CodedFrame(0), b"x" * 65544)
        with pytest.raises(ValueError, match="impossible GOP: frame 8 after frame 0"):
            writer.write(CodedFrame(8, (0,)), b"")
    with pytest.raises(ValueError, match="lacks all frames"), write_container(path, HEADER):
        pass
    with pytest.raises(ValueError, match="lacks 0>1<2"), write_container(path, HEADER) as writer:
        writer.write(CodedFrame(0), b"")
        writer.write(CodedFrame(2, (0,)), b"")


@pytest.mark.parametrize("header", [HEADER, LOW_DELAY], ids=["B", "P"])
def test_truncation_at_every_byte_is_an_error(path, header):
    data = write(path, header, 6)
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(BitstreamError, match=re.escape(str(path))):
            read(path)


@pytest.mark.parametrize("header", [HEADER, LOW_DELAY], ids=["B", "P"])
def test_an_unfinished_file_reads_to_its_last_whole_packet(path, header):
    data = bytearray(write(path, header, 6))
    with ContainerReader(path) as reader:
        ends = np.cumsum([HEADER_BYTES, *(packet.size for packet in reader.packets())])
    data[:HEADER_BYTES] = header.to_bytes()
    order = CodingStructure(header.intra_period, header.gop_size).order(6)
    for length in range(HEADER_BYTES, int(ends[-1]) + 1):
        path.write_bytes(data[:length])
        assert read(path) == order[: int(np.searchsorted(ends, length, side="right")) - 1]
    with ContainerReader(path) as reader:
        assert reader.header.frames is None
        assert [e.display_index for e in reader.intra_index()] == [f.index for f in order if f.type == "I"]


KILLED = """
import os, signal, sys
from fractions import Fraction
from torchDVC.coding_structure import CodingStructure
from torchDVC.bitstream.container_writer import write_container
from torchDVC.bitstream.header import Header
with write_container(sys.argv[1], Header(8, 8, None, Fraction(25), "bt709", "limited", 8, 4, 0, bytes(16))) as writer:
    for frame in CodingStructure(8, 4).order(7):
        writer.write(frame, b"payload")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_writer_leaves_the_old_file_and_what_it_wrote(path):
    path.write_bytes(b"old")
    root = str(Path(__file__).parents[1])
    command = [sys.executable, "-c", KILLED, str(path)]
    killed = subprocess.run(command, check=False, env=os.environ | {"PYTHONPATH": root})
    assert killed.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    [partial] = path.parent.glob(".video.*.partial.lcp")
    with ContainerReader(partial) as reader:
        assert [packet.frame for packet in reader.packets()] == CodingStructure(8, 4).order(7)


FLAWS = {
    "not an .lcp file": lambda d: b"RIFF" + d[4:],
    "an .lcp file of version 2; this program reads version 1": lambda d: d[:4] + b"\2" + d[5:],
    "the header is damaged (wrong checksum)": lambda d: d[:6] + b"\xff" + d[7:],
    "the header is cut off": lambda d: d[:30],
    "packet 21: 3 bytes follow the end": lambda d: d + b"abc",
    "packet 21: damaged (wrong footer)": lambda d: d[:-1] + b"X",
    "packet 17: the header names 19 frames only": lambda d: replace(HEADER, frames=19).to_bytes() + d[HEADER_BYTES:],
    "packet 21: the packets end here; the header names 30 frames": lambda d: (
        replace(HEADER, frames=30).to_bytes() + d[HEADER_BYTES:]
    ),
}


@pytest.mark.parametrize(("message", "damage"), FLAWS.items(), ids=FLAWS.keys())
def test_lies_and_foreign_files_are_named(path, message, damage):
    path.write_bytes(damage(write(path)))
    with pytest.raises(BitstreamError, match=re.escape(f"{path}: {message}")):
        read(path)


def test_lost_repeated_and_exchanged_packets_are_noticed(path):
    data = write(path, LOW_DELAY, 12)
    with ContainerReader(path) as reader:
        ends = np.cumsum([HEADER_BYTES, *(packet.size for packet in reader.packets())]).tolist()
    parts = [data[a:b] for a, b in zip(ends, ends[1:], strict=False)]
    rest = data[ends[-1] :]
    for parts_wrong, packet in (
        (parts[:2] + parts[3:], 2),
        (parts[:3] + parts[2:], 3),
        ([*parts[:5], parts[6], parts[5], *parts[7:]], 5),
        (parts[:4] + parts[8:], 4),
    ):
        path.write_bytes(data[:HEADER_BYTES] + b"".join(parts_wrong) + rest)
        with pytest.raises(BitstreamError, match=f"packet {packet}: "):
            read(path)


@pytest.mark.parametrize("lost", range(21))
def test_concealment_goes_on_at_the_next_intra_frame(path, lost):
    order = CodingStructure(8, 4).order(21)
    data = bytearray(write(path))
    with ContainerReader(path) as reader:
        sizes = [packet.size for packet in reader.packets()]
    data[HEADER_BYTES + sum(sizes[: lost + 1]) - 3] ^= 0x10
    path.write_bytes(data)
    reports: list[BitstreamError] = []
    with ContainerReader(path) as reader:
        frames = check(list(reader.packets(conceal=reports.append)))
    following = [i for i in range(lost + 1, 21) if order[i].type == "I"]
    assert frames == order[:lost] + (order[following[0] :] if following else [])
    assert [str(r) for r in reports] == [f"{path}: packet {lost}: damaged (wrong checksum)"]


def intra_packet(coding_index: int, display_index: int, advance: int) -> bytes:
    """An I packet with a sound checksum, of a hierarchical stream."""
    fields = bytes([0xA0]) + SYNC + varint(coding_index) + varint(display_index) + bytes([advance]) + varint(0)
    return fields + checksum(zlib.crc32(fields), coding_index)


@pytest.mark.parametrize(
    ("frames", "stated", "taken"),
    [
        (21, (17, 20, 4), True),
        (21, (17, 19, 4), False),
        (21, (17, 21, 4), False),
        (21, (17, 2**31 - 2, 4), False),
        (21, (21, 24, 4), False),
        (21, (19, 20, 4), False),
        (None, (17, 19, 4), False),
        (None, (2**31 - 5, 2**31 - 2, 4), True),
        (None, (2**31 - 5, 2**31 - 1, 4), False),
    ],
)
def test_concealment_takes_no_intra_packet_that_lies_about_its_place(path, frames, stated, taken):
    header, whole = replace(HEADER, frames=frames), write(path)
    with ContainerReader(path) as reader:
        sizes = [packet.size for packet in reader.packets()]
    begun = header.to_bytes() + whole[HEADER_BYTES : HEADER_BYTES + sum(sizes[:5])]
    path.write_bytes(begun + b"X" + intra_packet(*stated))
    with ContainerReader(path) as reader:
        found = [packet.frame for packet in reader.packets(conceal=lambda error: None)]
    assert found == CodingStructure(8, 4).order(5) + ([CodedFrame(stated[1])] if taken else [])


def test_concealment_in_an_unfinished_file(path):
    """A length that leads beyond the end of the file is damage if an I packet follows, else the interruption."""
    data = bytearray(LOW_DELAY.to_bytes() + write(path, LOW_DELAY, 8)[HEADER_BYTES:])
    with ContainerReader(path) as reader:
        sizes = [packet.size for packet in reader.packets()]
    path.write_bytes(data[: HEADER_BYTES + sum(sizes) - 1])
    reports: list[BitstreamError] = []
    with ContainerReader(path) as reader:
        assert check(list(reader.packets(conceal=reports.append))) == CodingStructure(4).order(7)
    assert reports == []
    data[HEADER_BYTES + sizes[0] + 2 : HEADER_BYTES + sizes[0] + 3] = varint(10_000)  # the length in packet 1
    path.write_bytes(data)
    with ContainerReader(path) as reader:
        frames = check(list(reader.packets(conceal=reports.append)))
    assert frames == [CodedFrame(0), *CodingStructure(4).order(8)[4:]]
    assert [str(r) for r in reports] == [f"{path}: packet 1: cut off"]


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> tuple[Path, list[bytes]]:
    path = tmp_path_factory.mktemp("mutated") / "video.lcp"
    return path, [write(path, HEADER, 20), write(path, LOW_DELAY, 20)]


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_mutated_files_end_in_typed_errors(originals, data):
    """Bytes changed, cut out, put in: errors are typed, and with concealment only true frames come out."""
    path, contents = originals
    content = bytearray(data.draw(st.sampled_from(contents)))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content)))
        length = data.draw(st.integers(0, 20))
        content[place : place + length] = data.draw(st.binary(max_size=20))
    path.write_bytes(content)
    try:
        with ContainerReader(path) as reader:
            check(list(reader.packets(conceal=lambda error: None)))
            for entry in reader.intra_index():
                list(reader.packets(entry))
            list(reader.packets())
    except BitstreamError as error:
        assert str(error).startswith(str(path))


def test_lengths_are_checked_before_memory_is_taken(path):
    header = replace(HEADER, width=16384, height=4096, frames=9)
    claim = bytes([0xA0]) + SYNC + b"\0\0" + b"\1" + varint(header.max_payload)
    path.write_bytes(header.to_bytes() + claim + b"x" * 100)
    tracemalloc.start()
    with ContainerReader(path) as reader, pytest.raises(BitstreamError, match="packet 0: cut off"):
        list(reader.packets())
    assert tracemalloc.get_traced_memory()[1] < 200_000
    tracemalloc.stop()
    path.write_bytes(header.to_bytes() + claim[:-1] + b"\x7f" + b"x" * 100)
    with ContainerReader(path) as reader, pytest.raises(BitstreamError, match="packet 0: payload length beyond"):
        list(reader.packets())


def test_a_file_full_of_false_marks_is_given_up_in_time(path):
    header = replace(HEADER, width=4096, height=4096, frames=9)
    claim = bytes([0xA0]) + SYNC + b"\0\0" + b"\1" + varint(900_000)
    path.write_bytes(header.to_bytes() + claim * 150_000)
    begin = time.monotonic()
    with ContainerReader(path) as reader:
        assert list(reader.packets(conceal=lambda error: None)) == []
    assert time.monotonic() - begin < 10


def test_a_wrong_index_is_noticed(path):
    data = write(path)
    for place in range(len(data) - 8 - 6, len(data)):
        wrong = bytearray(data)
        wrong[place] ^= 0x40
        path.write_bytes(wrong)
        with ContainerReader(path) as reader, pytest.raises(BitstreamError, match=f"{path}: index: "):
            reader.intra_index()


def test_starting_at_a_place_without_a_packet(path):
    write(path)
    with ContainerReader(path) as reader:
        for offset in (HEADER_BYTES + 1, reader.size - 8, reader.size, reader.size + 100):
            with pytest.raises(BitstreamError, match=f"packet at byte {offset}: "):
                list(reader.packets(IntraEntry(0, 0, offset)))


@pytest.mark.parametrize("structure", [CodingStructure(5, 1, 3), CodingStructure(12, 4, 2), CodingStructure(0, 2, 16)])
def test_p_frames_of_several_references(path, structure):
    header = replace(HEADER, intra_period=structure.intra_period, gop_size=structure.gop_size)
    order = structure.order(18)
    with write_container(path, replace(header, references=structure.references)) as writer:
        for frame in order:
            writer.write(frame, b"x")
    with ContainerReader(path) as reader:
        assert reader.header.structure == structure
        assert [packet.frame for packet in reader.packets()] == order
        entry = reader.intra_index()[-1]
        assert [packet.frame for packet in reader.packets(entry)] == order[entry.coding_index :]
