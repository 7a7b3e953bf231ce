"""BD-rates against values worked out by hand, and tables that say what they stand on."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.result_rows import curve_rows, rd_row
from torchDVC.results.bd_rate import bd_lines, bd_rate, bd_table, dataset_rates
from torchDVC.results.conditions import Curve, check_comparable, curves, label_conditions, mean_curves
from torchDVC.util.errors import DataError, LCPError

METHODS = ("pchip", "akima")


def curve(rates, qualities, codec="c") -> Curve:
    return Curve(codec, "D", "s", tuple(map(float, rates)), tuple(map(float, qualities)))


def exponential(slope: float, start: float, qualities) -> Curve:
    """A curve whose log10 rate is linear in quality: every interpolation of it is exact."""
    return curve([10 ** (slope * (q - start)) for q in qualities], qualities)


@pytest.mark.parametrize("method", METHODS)
def test_half_the_rate_is_minus_fifty_percent(method):
    anchor = curve([0.1, 0.25, 0.4, 0.9], [30, 33, 35, 38])
    half = curve([0.05, 0.125, 0.2, 0.45], [30, 33, 35, 38])
    result = bd_rate(anchor, half, method)
    assert result.value == pytest.approx(-50, abs=1e-9)
    assert (result.overlap, result.method, result.reason, result.warning) == (1, method, "", "")
    assert bd_rate(half, anchor, method).value == pytest.approx(100, abs=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_partial_overlap_by_hand(method):
    """log10 r = 0.1 (q - 30) on 30..36 against log10 r = 0.05 (q - 31) on 32..38.

    They share 32..36, 4 of 8 dB. There the difference 0.05 (q - 31) - 0.1 (q - 30) = 1.45 - 0.05 q is
    linear, so its mean is its value in the middle, at 34 dB: -0.25. 10 ** -0.25 - 1 = -43.766 %.
    """
    anchor = exponential(0.1, 30, [30, 32, 34, 36])
    test = exponential(0.05, 31, [32, 34, 36, 38])
    result = bd_rate(anchor, test, method)
    assert result.value == pytest.approx((10**-0.25 - 1) * 100, abs=1e-9)
    assert result.overlap == 0.5
    assert result.warning == "overlap only 50%"


def test_pchip_by_numerical_integration():
    """The same interpolation, integrated on a fine grid instead of in closed form."""
    interpolate = pytest.importorskip("scipy.interpolate")
    anchor = curve([0.08, 0.13, 0.3, 0.7, 1.2], [29.5, 31, 34.2, 37, 39])
    test = curve([0.06, 0.15, 0.42, 0.8], [29, 32, 36.5, 38.5])
    grid = np.linspace(29.5, 38.5, 200001)
    logs = [interpolate.PchipInterpolator(c.qualities, np.log10(c.rates))(grid) for c in (anchor, test)]
    difference = logs[1] - logs[0]
    expected = (10 ** np.mean((difference[1:] + difference[:-1]) / 2) - 1) * 100
    assert bd_rate(anchor, test, "pchip").value == pytest.approx(expected, abs=1e-6)


@given(st.floats(0.2, 5), st.sampled_from(METHODS))
def test_scaling_every_rate_gives_that_factor(factor, method):
    anchor = curve([0.1, 0.2, 0.5, 0.9], [30, 31.5, 35, 38])
    scaled = curve([r * factor for r in anchor.rates], anchor.qualities)
    assert bd_rate(anchor, scaled, method).value == pytest.approx((factor - 1) * 100, abs=1e-6)


@pytest.mark.parametrize(
    ("test", "reason"),
    [
        (curve([0.1, 0.2], [40, 45]), "the curves do not overlap: 30 to 38 and 40 to 45"),
        (curve([0.1], [33]), "c has 1 point"),
        (curve([0.1, 0.2, 0.3], [31, 35, 34]), "c: quality does not rise with rate"),
        (curve([0.0, 0.2, 0.3], [31, 33, 34]), "c has a rate of 0"),
    ],
)
def test_nan_has_its_reason(test, reason):
    result = bd_rate(curve([0.1, 0.2, 0.5, 0.9], [30, 31.5, 35, 38], "anchor"), test)
    assert math.isnan(result.value) and reason in result.reason and not result.warning


def test_rates_that_hardly_overlap_are_not_compared():
    """Both curves span 3 octaves at the same qualities; of 5 joint octaves they share 1, then of 4 they share 2."""
    anchor = curve([0.1, 0.2, 0.4, 0.8], [30, 32, 34, 36])
    far, near = (curve([r * factor for r in anchor.rates], anchor.qualities, "ours") for factor in (4, 2))
    result = bd_rate(anchor, far)
    assert (result.comparable, result.text) == (False, "not comparable")
    assert result.value == pytest.approx(300)
    assert result.warning == "rates hardly overlap (20%): not comparable"
    assert (bd_rate(anchor, near).text, bd_rate(anchor, near).warning) == ("+100.00 %", "")
    high = curve([0.4, 0.8, 1.6], [35, 37, 39])
    assert bd_rate(anchor, high).warning == "qualities hardly overlap (11%): not comparable"


def test_a_mean_with_curves_that_hardly_overlap_is_not_comparable():
    rows = [*curve_rows("x264", {0.1: 30.0, 0.2: 33.0, 0.4: 36.0}), *curve_rows("ours", {0.9: 30.0, 2: 33.0, 4: 36.0})]
    _, lines = bd_lines(table(rows))
    assert [line[3] for line in lines] == ["not comparable"] * 2
    assert lines[-1][-1] == "mean of BD-rates; rates hardly overlap (0%): not comparable"
    assert dataset_rates(table(rows)) == {}


def two_sequences() -> list:
    """``ours`` needs half the rate of ``x264`` on sequence a and twice on b."""
    base = {0.1: 30.0, 0.2: 33.0, 0.4: 36.0}
    rows = []
    for sequence, factor in (("a", 0.5), ("b", 2.0)):
        rows += curve_rows("x264", base, sequence=sequence)
        rows += curve_rows("ours", {r * factor: q for r, q in base.items()}, sequence=sequence)
    return rows


def table(rows, average="rates"):
    return bd_table(curves(rows, "psnr_rgb"), mean_curves(rows, "psnr_rgb"), "x264", "pchip", average)


def test_both_averages_are_named_and_differ():
    of_rates, of_curve = table(two_sequences()), table(two_sequences(), "curve")
    assert [e.rate.value for e in of_rates] == pytest.approx([-50, 100, 25])
    assert [e.rate.value for e in of_curve] == pytest.approx([-50, 100, 25])  # (0.5 + 2) / 2 = 1.25 at every quality
    assert (of_rates[-1].average, of_curve[-1].average) == ("mean of BD-rates", "BD-rate of the mean curve")
    rows = two_sequences()
    rows[3:6] = curve_rows("ours", {r / 2: q + 1 for r, q in {0.1: 30.0, 0.2: 33.0, 0.4: 36.0}.items()}, sequence="a")
    assert abs(table(rows)[-1].rate.value - table(rows, "curve")[-1].rate.value) > 1


def test_lines_name_overlap_and_average():
    header, lines = bd_lines(table(two_sequences()))
    assert header == ["data set", "sequence", "codec", "BD-rate", "overlap", "note"]
    assert lines[0] == ["D", "a", "ours", "-50.00 %", "100%", ""]
    assert lines[-1] == ["D", "(all)", "ours", "+25.00 %", "100%", "mean of BD-rates"]


def test_a_mean_with_a_nan_is_nan():
    rows = two_sequences()
    rows[-3:] = curve_rows("ours", {0.1: 50.0, 0.2: 51.0, 0.4: 52.0}, sequence="b")
    mean = table(rows)[-1]
    assert math.isnan(mean.rate.value) and mean.rate.reason == "1 of 2 sequences without a BD-rate"
    assert dataset_rates(table(rows)) == {}
    assert dataset_rates(table(two_sequences())) == {"ours": pytest.approx(25)}


def test_a_mean_curve_only_codec_is_compared_by_it():
    rows = two_sequences()
    published = Curve("DVC (published)", "D", "", (0.1, 0.2, 0.4), (30.0, 33.0, 36.0))
    entries = bd_table(curves(rows, "psnr_rgb"), [*mean_curves(rows, "psnr_rgb"), published], "x264")
    assert (entries[-1].codec, entries[-1].average) == ("DVC (published)", "BD-rate of the mean curve")
    assert entries[-1].rate.value == pytest.approx(0, abs=1e-9)


def test_an_unknown_anchor_is_named():
    with pytest.raises(LCPError, match="no results of the anchor 'x265'; did you mean 'x264'"):
        bd_table(curves(two_sequences(), "psnr_rgb"), [], "x265")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"intra_period": 32}, "different test conditions: intra_period is 4 for ours and 32 for other"),
        ({"gop_size": 2}, "gop_size is 1 for ours and 2 for other"),
        ({"matrix": "bt601"}, "matrix is bt709 for ours and bt601 for other"),
        ({"frames": 9}, "different test conditions on D s: frames is 5 for ours and 9 for other"),
        ({"fps": 120.0}, "different test conditions on D s: fps is 25.0 for ours and 120.0 for other"),
        ({"width": 32}, "width is 64 for ours and 32 for other"),
    ],
)
def test_different_conditions_are_refused_or_labelled(change, message):
    rows = [rd_row(fps=25.0), rd_row(codec="other", **{"fps": 25.0} | change)]
    with pytest.raises(DataError, match=re.escape(message)):
        check_comparable(rows)
    ((name, value),) = change.items()
    assert [r.codec for r in label_conditions(rows)][1] == f"other ({name} {value})"


def test_equal_conditions_pass():
    rows = [rd_row(), rd_row(codec="other"), rd_row(sequence="t", frames=9, width=32)]
    check_comparable(rows)
    assert label_conditions(rows) == rows


def test_rows_that_do_not_tell_their_rate_go_with_any():
    rows = [rd_row(fps=25.0), rd_row(codec="old"), rd_row(codec="other", fps=25.0)]
    check_comparable(rows)
    assert label_conditions(rows) == rows
    with pytest.raises(DataError, match="fps is 25.0 for ours and 50.0 for third"):
        check_comparable([*rows[:2], rd_row(codec="third", fps=50.0)])


def test_means_over_different_sequences_are_refused():
    rows = [*two_sequences(), *curve_rows("third", {0.1: 30.0}, sequence="a")]
    with pytest.raises(DataError, match="D: third has no results for b, which ours has"):
        mean_curves(rows, "psnr_rgb")
    assert len(mean_curves(rows, "psnr_rgb", mix=True)) == 3


def test_a_missing_rate_point_is_named():
    with pytest.raises(DataError, match="ours: no result for D b at lmda 3"):
        mean_curves(two_sequences()[:-1], "psnr_rgb")


def test_the_same_point_twice_is_refused():
    with pytest.raises(DataError, match="ours: two results for D s at lmda 256 .runs r1 and r2."):
        curves([rd_row(run_id="r1"), rd_row(run_id="r2")], "psnr_rgb")


def test_mean_curve_averages_points():
    (x264, ours) = mean_curves(two_sequences(), "psnr_rgb")
    assert x264.rates == pytest.approx((0.1, 0.2, 0.4)) and ours.rates == pytest.approx((0.125, 0.25, 0.5))
    assert x264.qualities == (30, 33, 36) and not x264.estimated
