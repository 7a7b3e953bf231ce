"""Results frame by frame."""

from __future__ import annotations

import pytest

from tests.result_rows import curve_rows, frame_row
from torchDVC.results.per_frame import drift, nearest_points


def test_drift_by_hand():
    """From I at 0 and 4: 38, 37, 36 and 36, 35 at distances 1, 2, 3 -> means 37, 36, 36; slope -0.5."""
    values = {0: 40.0, 1: 38.0, 2: 37.0, 3: 36.0, 4: 41.0, 5: 36.0, 6: 35.0}
    rows = [frame_row(frame=i, type="I" if i in (0, 4) else "P", psnr_rgb=v) for i, v in values.items()]
    found = drift(rows)
    assert found is not None
    assert (found.distances, found.qualities, found.slope) == ((1, 2, 3), (37, 36, 36), pytest.approx(-0.5))
    assert drift(rows[:1]) is None


def test_nearest_points_are_by_ratio():
    rows = curve_rows("ours", {0.1: 30.0, 0.4: 36.0})
    assert [row.bpp for row in nearest_points(rows, 0.19)] == [0.1]
    assert [row.bpp for row in nearest_points(rows, 0.21)] == [0.4]
