"""The entropy coder: exact for any integers, small, fixed byte for byte, safe on any input."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import torchDVC
from torchDVC.entropy.coder import Decoder, Encoder, lanes_of
from torchDVC.entropy.tables import GAUSSIAN_SCALES, TOTAL, Tables, gaussian_tables
from torchDVC.util.errors import BitstreamError

INT32 = np.iinfo(np.int32)
GAUSSIAN = gaussian_tables()
Part = tuple[np.ndarray, np.ndarray, Tables]


def encode(*parts: Part) -> bytes:
    encoder = Encoder()
    for symbols, rows, tables in parts:
        encoder.put(symbols, rows, tables)
    return encoder.finish()


def decode(data: bytes, *parts: Part) -> list[np.ndarray]:
    decoder = Decoder(data)
    symbols = [decoder.get(rows, tables) for _, rows, tables in parts]
    decoder.finish()
    return symbols


def ideal_bits(*parts: Part) -> float:
    return sum(float(t.bits(torch.from_numpy(s), torch.from_numpy(r)).double().sum()) for s, r, t in parts)


def assert_round_trip(*parts: Part) -> bytes:
    data = encode(*parts)
    for (symbols, _, _), decoded in zip(parts, decode(data, *parts), strict=True):
        assert decoded.dtype == np.int32
        np.testing.assert_array_equal(decoded, symbols)
    return data


def gaussian_part(count: int, low: int, high: int, seed: int = 0) -> Part:
    """Symbols that follow rows ``low`` to ``high`` of the Gaussian tables."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(low, high, count).astype(np.int32)
    scales = np.array(GAUSSIAN_SCALES)[rows]
    return np.rint(rng.standard_normal(count) * scales).astype(np.int32), rows, GAUSSIAN


@st.composite
def table_sets(draw) -> Tables:
    sizes = draw(st.lists(st.integers(2, 12), min_size=1, max_size=5))
    rows = []
    for size in sizes:
        cuts = sorted(draw(st.sets(st.integers(1, TOTAL - 1), min_size=size - 1, max_size=size - 1)))
        rows.append(np.diff([0, *cuts, TOTAL]))
    offset = [draw(st.integers(INT32.min + 1, INT32.max - size)) for size in sizes]
    near = [draw(st.integers(-6, 2)) for _ in sizes]
    return Tables(np.concatenate(rows), np.array(draw(st.sampled_from([offset, near]))), np.array(sizes))


@st.composite
def parts(draw) -> Part:
    tables = draw(table_sets())
    count = draw(st.integers(0, 30))
    rows = np.array(draw(st.lists(st.integers(0, tables.rows - 1), min_size=count, max_size=count)), dtype=np.int32)
    symbol = st.one_of(
        st.integers(INT32.min, INT32.max), st.integers(-8, 12), st.sampled_from([INT32.min, INT32.max, -1, 0])
    )
    symbols = np.array(draw(st.lists(symbol, min_size=count, max_size=count)), dtype=np.int32)
    return symbols, rows, tables


@settings(max_examples=50, deadline=None)
@given(st.lists(parts(), max_size=4))
def test_any_integers_and_tables_come_back(coded):
    data = assert_round_trip(*coded)
    assert len(data) <= ideal_bits(*coded) / 8 + 4


@pytest.mark.parametrize("count", [0, 1, 2, 7, 8, 9, 1000, 100_003])
@pytest.mark.parametrize("rows", [(0, 1), (0, 12), (12, 40), (63, 64)], ids=str)
def test_gaussian_symbols_come_back_at_their_ideal_size(count, rows):
    part = gaussian_part(count, *rows)
    data = assert_round_trip(part)
    assert len(data) <= ideal_bits(part) / 8 * 1.0025 + 4


@pytest.mark.parametrize("count", [15, 4000, 9000, 18_000, 60_000])
def test_escapes_in_every_number_of_lanes(count):
    """Far from every table: each symbol is escaped; with the extremes among them."""
    rng = np.random.default_rng(1)
    symbols = rng.integers(INT32.min, INT32.max, count, dtype=np.int32, endpoint=True)
    symbols[:6] = [INT32.min, INT32.max, INT32.min, -2, 2, INT32.max]
    rows = rng.integers(0, 64, count).astype(np.int32)
    assert_round_trip((symbols, rows, GAUSSIAN), (symbols[::-1].copy(), rows, GAUSSIAN))


def test_many_small_parts_are_one_stream():
    symbols, rows, tables = gaussian_part(40_000, 5, 40)
    small = [(s, r, tables) for s, r in zip(np.array_split(symbols, 77), np.array_split(rows, 77), strict=True)]
    assert assert_round_trip(*small) == encode((symbols, rows, tables))


def test_shapes_and_types():
    """Any shape and integer type; rows broadcast; what comes back has the shape of the rows."""
    symbols = np.arange(-12, 12).reshape(1, 2, 3, 4)
    rows = np.array([20, 40]).reshape(1, 2, 1, 1)
    data = encode((symbols, rows, GAUSSIAN))
    full = np.broadcast_to(rows, symbols.shape).astype(np.uint8)
    [decoded] = decode(data, (symbols, full, GAUSSIAN))
    np.testing.assert_array_equal(decoded, symbols)
    fortran = np.asfortranarray(symbols)
    assert encode((fortran, full, GAUSSIAN)) == data


def test_the_coder_keeps_no_reference_to_its_arguments():
    symbols, rows, tables = gaussian_part(100, 20, 40)
    expected = symbols.copy()
    encoder = Encoder()
    encoder.put(symbols, rows, tables)
    symbols[:] = 3
    [decoded] = decode(encoder.finish(), (expected, rows, tables))
    np.testing.assert_array_equal(decoded, expected)


def test_wrong_arguments():
    zeros = np.zeros(3, dtype=np.int32)
    with pytest.raises(TypeError, match="symbols must be integers"):
        Encoder().put(np.zeros(3), zeros, GAUSSIAN)
    with pytest.raises(TypeError, match="indexes must be integers"):
        Encoder().put(zeros, np.zeros(3), GAUSSIAN)
    with pytest.raises(ValueError, match="32 bits"):
        Encoder().put(np.array([2**31]), np.zeros(1, dtype=int), GAUSSIAN)
    for rows in (np.array([0, 64]), np.array([-1, 0])):
        with pytest.raises(ValueError, match="of tables with 64 rows"):
            Encoder().put(zeros[:2], rows, GAUSSIAN)
        with pytest.raises(ValueError, match="of tables with 64 rows"):
            Decoder(b"").get(rows, GAUSSIAN)


GOLDEN_TABLES = Tables(np.array([40000, 20000, 5000, 536, 1, 65535]), np.array([-1, 300]), np.array([4, 2]))
GOLDEN_SYMBOLS = np.array([-1, 0, 1, -1, 300, -1, 2, -3, 0, 301, INT32.max, INT32.min], dtype=np.int32)
GOLDEN_ROWS = np.array([0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 1, 0], dtype=np.int32)


def test_golden_bytes_of_one_lane():
    """The format is fixed: streams of today must decode for ever."""
    data = encode((GOLDEN_SYMBOLS, GOLDEN_ROWS, GOLDEN_TABLES))
    assert data.hex() == "0a897a783d52c0668a29417f003fffffa5fe0040007fff8000"


@pytest.mark.parametrize(("lanes", "count"), [(2, 2000), (4, 4000), (8, 8000)])
def test_golden_hash_of_several_lanes(lanes, count):
    symbols = (np.arange(count) * 2654435761 % 2**32 >> 7).astype(np.int32) % 1001 - 500
    rows = (np.arange(count) % 64).astype(np.int32)
    data = assert_round_trip((symbols, rows, GAUSSIAN))
    assert lanes_of(len(data)) == lanes
    assert (
        hashlib.sha256(data).hexdigest()[:16]
        == {2: "e74a409d4e3807f1", 4: "25145358c26a84e8", 8: "e177f0d08be5f7fb"}[lanes]
    )


class PlainDecoder:
    """A second decoder, written from docs/bitstream.md alone, in plain integers."""

    def __init__(self, data: bytes) -> None:
        lanes = next((n for n in (8, 4, 2) if len(data) >= 2048 * n), 1)
        data = data.rjust(max(6, len(data) + len(data) % 2), b"\0")
        numbers = [int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2)]
        self.floor = 2**16 if lanes == 1 else 2**32
        self.states = [(a << 32) + (b << 16) + c + self.floor for a, b, c in zip(*[iter(numbers[: 3 * lanes])] * 3)]  # noqa: B905
        self.words = numbers[3 * lanes :]
        self.count = 0

    def take(self, lane: int, start: int, frequency: int) -> None:
        x = self.states[lane]
        x = frequency * (x // 65536) + x % 65536 - start
        if x < 2**32 and self.words:
            x = 65536 * x + self.words.pop(0)
        self.states[lane] = x

    def bit(self, lane: int) -> int:
        bit = self.states[lane] % 65536 // 32768
        self.take(lane, 32768 * bit, 32768)
        return bit

    def symbol(self, frequencies: list[int], offset: int) -> int:
        lane = self.count % len(self.states)
        self.count += 1
        slot, start, entry = self.states[lane] % 65536, 0, 0
        while slot >= start + frequencies[entry]:
            start += frequencies[entry]
            entry += 1
        self.take(lane, start, frequencies[entry])
        if entry < len(frequencies) - 1:
            return offset + entry
        zeros = 0
        while not self.bit(lane):
            zeros += 1
        code = 1
        for _ in range(zeros):
            code = 2 * code + self.bit(lane)
        return offset + entry + code // 2 if code % 2 else offset - code // 2


@pytest.mark.parametrize("count", [0, 3, 150, 8000])
def test_a_decoder_written_from_the_document_agrees(count):
    symbols, rows, tables = gaussian_part(count, 0, 64)
    symbols[::50] *= 1000
    symbols = np.concatenate([symbols, GOLDEN_SYMBOLS])
    rows = np.concatenate([rows, GOLDEN_ROWS])
    decoder = PlainDecoder(encode((symbols, rows, tables)))
    table = [tables.frequencies[a : a + n].tolist() for a, n in zip(tables.first, tables.size, strict=True)]
    decoded = [decoder.symbol(table[row], int(tables.offset[row])) for row in rows]
    assert decoded == symbols.tolist()
    assert decoder.words == [] and set(decoder.states) == {decoder.floor}


STREAMS = {
    "one lane": [gaussian_part(60, 10, 40), (GOLDEN_SYMBOLS, GOLDEN_ROWS, GOLDEN_TABLES)],
    "eight lanes": [
        gaussian_part(22_000, 40, 60),
        (np.arange(0, 3000, dtype=np.int32), np.zeros(3000, np.int32), GAUSSIAN),
    ],
}


@pytest.mark.parametrize("coded", STREAMS.values(), ids=STREAMS.keys())
def test_truncation_is_noticed(coded):
    """Cut anywhere: an error."""
    data = encode(*coded)
    step = max(1, len(data) // 300)
    for length in range(0, len(data), step):
        with pytest.raises(BitstreamError, match="coded symbols: "):
            decode(data[:length], *coded)


@pytest.mark.parametrize("coded", STREAMS.values(), ids=STREAMS.keys())
def test_appended_bytes_are_noticed(coded):
    for tail in (b"\0", b"\0\0", b"\3", b"\1\2", b"\0" * 9, b"\xff" * 100):
        with pytest.raises(BitstreamError):
            decode(encode(*coded) + tail, *coded)


@pytest.mark.parametrize("coded", STREAMS.values(), ids=STREAMS.keys())
@pytest.mark.parametrize("seed", range(60))
def test_damaged_streams_end_in_typed_errors(coded, seed):
    """Flipped bits, and other symbols come out, or an error: never anything else."""
    rng = np.random.default_rng(seed)
    data = bytearray(encode(*coded))
    for place in rng.integers(0, len(data), rng.integers(1, 9)):
        data[place] = rng.integers(0, 256)
    try:
        decoded = decode(bytes(data), *coded)
    except BitstreamError as error:
        assert "coded symbols" in str(error)
    else:
        assert [d.size for d in decoded] == [s.size for s, _, _ in coded]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 63), st.integers(0, 400))
def test_random_bytes_end_in_typed_errors(data, row, count):
    try:
        decoder = Decoder(data, "packet 7")
        decoder.get(np.full(count, row), GAUSSIAN)
        decoder.finish()
    except BitstreamError as error:
        assert str(error).startswith("packet 7: ")


def test_wrong_number_of_symbols_is_noticed():
    symbols, rows, tables = gaussian_part(500, 20, 40)
    data = encode((symbols, rows, tables))
    for wrong in (rows[:-1], np.append(rows, np.int32(30)), rows + 1):
        with pytest.raises(BitstreamError):
            decode(data, (symbols, wrong, tables))


CODE_ONE_FRAME = """
import sys, json
sys.path.insert(0, sys.argv[1])
import numpy as np
from torchDVC.entropy.coder import Decoder, Encoder
assert "numba" not in sys.modules, "importing the coder must not import numba"
from torchDVC.entropy import rans
from torchDVC.entropy.tables import gaussian_tables
symbols, rows = np.arange(-5, 5), np.arange(10)
encoder = Encoder()
encoder.put(symbols, rows, gaussian_tables())
data = encoder.finish()
assert (Decoder(data).get(rows, gaussian_tables()) == symbols).all()
hits = [sum(loop.stats.cache_hits.values()) for loop in (rans.resolve, rans.encode, rans.decode)]
print(json.dumps([data.hex(), hits]))
"""


def code_in_fresh_interpreter(package: Path, cache: Path) -> tuple[str, list[int]]:
    """Code a frame with the package at a path: the stream, and how often each loop was taken from a cache."""
    run = subprocess.run(
        [sys.executable, "-c", CODE_ONE_FRAME, str(package)],
        env=os.environ | {"XDG_CACHE_HOME": str(cache)},
        capture_output=True,
        text=True,
        check=True,
    )
    data, hits = json.loads(run.stdout)
    return data, hits


@pytest.fixture
def installed(tmp_path) -> Path:
    """A copy of what the coder needs of the package, never compiled."""
    source, target = Path(torchDVC.__file__).parent, tmp_path / "installed"
    for name in ("__init__.py", "util", "entropy"):
        copy = target / "torchDVC" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if (source / name).is_dir():
            shutil.copytree(source / name, copy, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source / name, copy)
    return target


def test_a_second_start_compiles_nothing(installed, tmp_path):
    data, hits = code_in_fresh_interpreter(installed, tmp_path / "cache")
    assert hits == [0, 0, 0]
    assert code_in_fresh_interpreter(installed, tmp_path / "cache") == (data, [1, 1, 1])
    assert not (tmp_path / "cache").exists()


@pytest.mark.slow
def test_without_a_folder_to_write_to_the_users_folder_serves_else_nothing_is_kept(installed, tmp_path):
    (installed / "torchDVC/entropy/__pycache__").write_text("a file where the folder should be")
    data, hits = code_in_fresh_interpreter(installed, tmp_path / "cache")
    assert hits == [0, 0, 0]
    assert code_in_fresh_interpreter(installed, tmp_path / "cache") == (data, [1, 1, 1])
    assert code_in_fresh_interpreter(installed, Path(os.devnull)) == (data, [0, 0, 0])


def test_kept_machine_code_goes_when_what_it_calls_changes(tmp_path: Path) -> None:
    run = [sys.executable, "-c", "from outer import outer; print(outer(1), sum(outer.stats.cache_hits.values()))"]
    (tmp_path / "outer.py").write_text(
        "from torchDVC.entropy.machine_code import compiled\nfrom inner import inner\n\n\n"
        "@compiled\ndef outer(x):\n    return inner(x)\n"
    )
    found = []
    for text in ("x + 1", "x + 1", "x + 20"):
        inner = f"from torchDVC.entropy.machine_code import compiled\n\n\n@compiled\ndef inner(x):\n    return {text}\n"
        if not (tmp_path / "inner.py").exists() or (tmp_path / "inner.py").read_text() != inner:
            (tmp_path / "inner.py").write_text(inner)
        done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=True)
        found.append(done.stdout.split())
    assert found == [["2", "0"], ["2", "1"], ["21", "0"]]


def test_what_processes_have_kept_of_functions_of_one_name_is_told_apart(tmp_path: Path) -> None:
    """One of them is compiled by a process that compiles no other, as where it is stopped or another runs beside it."""
    (tmp_path / "pair.py").write_text(
        "from torchDVC.entropy.machine_code import compiled\n\n\n"
        "def times(n):\n    @compiled\n    def times_n(x):\n        return n * x\n\n    return times_n\n\n\n"
        "two, three = times(2), times(3)\n\n\n"
        "@compiled\ndef one(x):\n    return x\n\n\n@compiled\ndef both(x):\n    return 10 * two(x) + three(x)\n"
    )
    for program, expected in (("one(1), three(1)", "1 3"), ("both(1)", "23")):
        run = [sys.executable, "-c", f"from pair import *; print({program})"]
        assert subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.strip() == expected


def test_kernels_say_once_that_they_are_compiled_and_nothing_where_they_are_kept(tmp_path: Path) -> None:
    (tmp_path / "pair.py").write_text(
        "from torchDVC.modules.block.kernel import kernel\n\n\n"
        "@kernel\ndef inner(x):\n    return x + 1\n\n\n@kernel\ndef outer(x):\n    return inner(x)\n"
    )
    run = [sys.executable, "-c", "from pair import outer; print(outer(1))"]
    first, second = (subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=True) for _ in range(2))
    assert (first.stdout, second.stdout) == ("2\n", "2\n")
    assert (first.stderr.count("compiling"), second.stderr) == (1, "")
