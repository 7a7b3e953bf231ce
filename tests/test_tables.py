"""Integer frequency tables: optimal rounding, exact bits, safe loading."""

import hashlib
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torchDVC.entropy.tables import GAUSSIAN_SCALES, PRECISION, TOTAL, Tables, gaussian_tables
from torchDVC.util.errors import CheckpointError


@pytest.fixture(scope="module")
def gaussian() -> Tables:
    return gaussian_tables()


def row_of(tables: Tables, row: int) -> np.ndarray:
    first = int(tables.first[row])
    return tables.frequencies[first : first + int(tables.size[row])]


def cost(probabilities: np.ndarray, frequencies: np.ndarray) -> float:
    return float(-np.sum(probabilities * np.log2(frequencies / TOTAL)))


def test_gaussian_tables_are_symmetric_and_cover_the_bulk(gaussian):
    for row in range(gaussian.rows):
        symbols = row_of(gaussian, row)[:-1]
        assert (
            np.abs(symbols - symbols[::-1]).max() <= 1
        )  # mirrored symbols may differ by the unit that rounding leaves
        assert gaussian.offset[row] == -(len(symbols) // 2)


def test_gaussian_tables_cost_what_the_entropy_says(gaussian):
    """Coding loss of the integers against a true Gaussian of a row's scale, by numerical integration: below 0.2 %."""
    for row, scale in enumerate(GAUSSIAN_SCALES):
        reach = math.ceil(9 * scale) + 1
        edges = np.array([math.erf((k - 0.5) / (scale * math.sqrt(2))) for k in range(-reach, reach + 2)])
        pmf = np.diff(edges) / 2
        entropy = -np.sum(pmf[pmf > 0] * np.log2(pmf[pmf > 0]))
        symbols = torch.arange(-reach, reach + 1)
        spent = float(np.sum(pmf * gaussian.bits(symbols, torch.full_like(symbols, row)).double().numpy()))
        assert -1e-6 <= spent - entropy <= 0.002 * entropy + 3e-5


def digest(tables: Tables) -> str:
    arrays = (tables.size, tables.offset, tables.frequencies)
    return hashlib.sha256(b"".join(array.astype("<i4").tobytes() for array in arrays)).hexdigest()


def test_gaussian_content_is_pinned(gaussian):
    """Models in the wild were calibrated for these tables; changing them needs a reason."""
    assert digest(gaussian) == "f24cf2e11dca735d22ff09fc589452d03878fd2c76dda1df3d70a936b8f89a86"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=40).filter(lambda p: sum(p) > 0))
def test_rounding_is_optimal(weights):
    """No exchange of one unit between two entries lowers the cost: with a convex cost, none at all is better."""
    pmf = np.array(weights) / sum(weights)
    tables = Tables.from_pmf([pmf], [0])
    f = row_of(tables, 0).astype(float)
    kept = pmf[tables.offset[0] : tables.offset[0] + len(f) - 1]
    p = np.append(kept, max(0.0, 1 - kept.sum()))
    assert f.min() >= 1 and f.sum() == TOTAL
    gain = p * np.log2((f + 1) / f)
    loss = np.where(f > 1, p * np.log2(f / np.maximum(f - 1, 1)), np.inf)
    assert gain.max() <= loss.min() * (1 + 1e-6) + 1e-15


def test_improbable_ends_are_left_to_the_escape():
    pmf = np.array([1e-9, 1e-9, 0.5, 0.0, 0.5 - 1e-8, 1e-9])
    tables = Tables.from_pmf([pmf, [1.0]], [-2, 7])
    assert tables.offset.tolist() == [0, 7]
    assert tables.size.tolist() == [4, 2]
    assert row_of(tables, 0)[1] == 1  # the improbable one inside stays codable


@pytest.mark.parametrize("pmf", [[], [[0.5, 0.5]], [-0.1, 1.0], [math.nan], [0.9, 0.2]])
def test_from_pmf_refuses_what_is_no_distribution(pmf):
    with pytest.raises(ValueError, match="distribution"):
        Tables.from_pmf([np.array(pmf)], [0])


def test_bits_count_the_escape_code():
    tables = Tables(np.array([TOTAL // 2, TOTAL // 4, TOTAL // 4]), np.array([5]), np.array([3]))
    symbols = torch.tensor([5, 6, 7, 4, 8, 3, 9, 10, 2**31 - 1, -(2**31)], dtype=torch.int32)
    codes = [1, 2, 3, 4, 5, 7]  # Exp-Golomb: 7 is nearest above, 4 nearest below
    expected = [1.0, 2.0] + [2.0 + 2 * math.floor(math.log2(c)) + 1 for c in codes]
    expected += [
        2.0 + 2 * math.floor(math.log2(2 * (2**31 - 8) + 1)) + 1,
        2.0 + 2 * math.floor(math.log2(2**32 + 10)) + 1,
    ]
    assert tables.bits(symbols, torch.zeros(10, dtype=torch.int32)).tolist() == expected


def test_bits_broadcast_rows_and_take_integers_in_floats(gaussian):
    symbols = torch.randint(-9, 9, (2, 3, 4, 5))
    rows = torch.tensor([10, 30, 50], dtype=torch.int32).reshape(1, 3, 1, 1)
    bits = gaussian.bits(symbols.float(), rows)
    assert bits.dtype == torch.float32 and bits.shape == symbols.shape
    assert torch.equal(bits, gaussian.bits(symbols, rows.expand_as(symbols)))


def test_arrays_round_trip(gaussian):
    again = Tables.from_arrays(gaussian.to_arrays())
    assert all(np.array_equal(again.to_arrays()[k], v) for k, v in gaussian.to_arrays().items())
    with pytest.raises(ValueError, match="read-only"):
        again.frequencies[0] = 3


DAMAGES = {
    "missing": {"offset": None},
    "zero frequency": {"frequencies": [TOTAL, 0]},
    "wrong sum": {"frequencies": [TOTAL, 1]},
    "negative": {"frequencies": [TOTAL + 5, -5]},
    "float": {"frequencies": [1.5, 2.5]},
    "two-dimensional": {"offset": [[0]]},
    "beyond 32 bits": {"offset": [2**40]},
    "last symbol beyond": {"offset": [2**31 - 1], "frequencies": [TOTAL - 2, 1, 1], "size": [3]},
    "least integer": {"offset": [-(2**31)]},
    "row of one": {"size": [1]},
    "sizes too large": {"size": [2**31 - 1]},
    "sizes overflow": {"size": [2**31 - 1] * 3, "offset": [0] * 3},
    "negative size": {"size": [-2, 4], "offset": [0, 0]},
    "rows differ": {"offset": [0, 0]},
    "empty": {"frequencies": np.zeros(0, int), "offset": np.zeros(0, int), "size": np.zeros(0, int)},
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_damaged_tables_are_refused(damage):
    arrays = {"frequencies": [TOTAL - 1, 1], "offset": [0], "size": [2]} | damage
    with pytest.raises(CheckpointError, match="frequency tables"):
        Tables.from_arrays({k: np.asarray(v) for k, v in arrays.items() if v is not None})


def test_precision_is_what_the_format_says():
    assert (PRECISION, TOTAL) == (16, 65536)


def test_lanes_and_scales_cover_the_documented_range():
    assert (
        GAUSSIAN_SCALES[0] == pytest.approx(0.11)
        and GAUSSIAN_SCALES[-1] == pytest.approx(128)
        and len(GAUSSIAN_SCALES) == 64
    )
