"""The report page in a real browser."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.browser import Browser, open_browser
from tests.processes import LIMIT
from tests.report_results import RATES, SIZE, write_coded, write_results, write_training
from tests.result_rows import frame_row, rd_row
from torchDVC.report.command import write_report
from torchDVC.results.rows import read_frames, read_rows, write_rows

LEFT, RIGHT, END = "\ue012", "\ue014", "\ue010"
DESKTOP, PHONE = (1280, 900), (390, 844)


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    folder = write_results(tmp_path_factory.mktemp("results"))
    write_training(folder / "train" / "base")
    return write_report([folder])


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    with open_browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_the_page_fits_and_shows_everything(browser, page, size, tmp_path):
    browser.open(page, *size)
    assert browser.errors() == []
    assert browser.run("return document.documentElement.scrollWidth") == size[0]
    assert browser.run("return [...document.querySelectorAll('main > section')].filter(s => s.hidden).length") == 0
    text = browser.run("return document.body.innerText")
    for words in (
        "Rate and distortion",
        "BD-rate",
        "Frame by frame",
        "Side by side",
        "Training",
        "Complexity",
        "intra_codec",
        "0123abc",
    ):
        assert words in text
    assert browser.run("return document.querySelectorAll('#rd-chart .point').length") == 2 * len(RATES)
    assert browser.run("return [...document.images].every(i => i.complete && i.naturalWidth > 0)")
    browser.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 20_000


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_the_divider_moves_by_pointer_and_key(browser, page, size):
    browser.open(page, *size)
    left, top, width, height = browser.box("#compare")
    browser.drag((left + width / 2, top + height / 2), (left + width / 4, top + height / 2))
    assert browser.run("return document.getElementById('divider').getAttribute('aria-valuenow')") == "25"
    clip = browser.run("return getComputedStyle(document.getElementById('compare-source')).clipPath")
    assert 74 < float(re.search(r"([\d.]+)%", clip)[1]) < 76
    browser.press("#divider", RIGHT)
    browser.press("#divider", RIGHT)
    browser.press("#divider", LEFT)
    assert browser.run("return document.getElementById('divider').getAttribute('aria-valuenow')") == "27"
    browser.press("#divider", END)
    assert browser.run("return document.getElementById('divider').getAttribute('aria-valuenow')") == "100"
    assert browser.errors() == []


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_points_tell_their_values(browser, page, size):
    browser.open(page, *size)
    browser.choose("#rd-clips", "procedural / clip1")
    left, top, width, height = browser.box("#rd-chart .point:last-of-type")
    browser.point_at((left + width / 2, top + height / 2))
    tip = browser.run("const t = document.getElementById('tip'); return t.hidden ? '' : t.textContent")
    assert tip.splitlines()[:2] == ["x264 veryfast", "lmda 1024"]
    assert "0.4030 bpp" in tip and "PSNR-RGB (dB): 35.5" in tip and "decoding 9.1 frames/s" in tip
    x, y, w, h = browser.run(
        "const b = document.getElementById('tip').getBoundingClientRect(); return [b.left, b.top, b.width, b.height]"
    )
    assert x >= 0 and x + w <= size[0] and y >= 0 and y + h <= size[1]
    browser.point_at((left + width / 2, top + height + 200))
    assert browser.run("return document.getElementById('tip').hidden")


def test_choices_redraw(browser, page):
    browser.open(page, *DESKTOP)
    browser.choose("#rd-metric", "ms_ssim_rgb")
    assert "MS-SSIM-RGB" in browser.run("return document.getElementById('rd-chart').textContent")
    browser.run("document.querySelector('#rd-legend button').click()")
    assert browser.run("return document.querySelectorAll('#rd-chart .point').length") == len(RATES)
    browser.run("document.querySelector('#rd-legend button').click()")
    browser.run("document.getElementById('rd-log').click()")
    assert browser.run("return document.querySelectorAll('#rd-chart .point').length") == 2 * len(RATES)
    browser.choose("#bd-average", "BD-rate of the mean curve")
    assert "BD-rate of the mean curve" in browser.run("return document.getElementById('bd-table').innerText")
    browser.choose("#pictures-clip", "procedural / clip1")
    browser.choose("#pictures-rate", "lmda 1024")
    browser.choose("#pictures-frame", "3")
    caption = browser.run("return document.getElementById('compare-caption').textContent")
    assert "procedural / clip1, lmda 1024, frame 3" in caption
    assert "motion" in browser.run("return document.getElementById('module-bits').innerText")
    assert browser.run("return document.querySelectorAll('#maps img').length") == 3
    assert browser.errors() == []


def test_every_picture_of_mixed_conditions_can_be_chosen(browser, tmp_path):
    for gop_size in (1, 2):
        table = write_results(tmp_path / str(gop_size)) / "ours" / "rd.csv"
        (tmp_path / str(gop_size) / "x264" / "rd.csv").unlink()
        write_rows(table, [replace(row, gop_size=gop_size, run_id=f"r{gop_size}") for row in read_rows(table)])
        frames = table.with_name("frames.csv")
        bits = [replace(row, run_id=f"r{gop_size}", rates={"intra": 100.0 * gop_size}) for row in read_frames(frames)]
        write_rows(frames, bits)
    browser.open(write_report([tmp_path]), *DESKTOP)
    for gop_size in (1, 2):
        codec = f"ours (gop_size {gop_size})"
        browser.choose("#pictures-codec", codec)
        assert browser.run("return document.getElementById('compare-caption').textContent").startswith(codec)
        assert f"intra {gop_size}00 bits" in browser.run("return document.getElementById('module-bits').innerText")
    assert browser.errors() == []


def test_the_rate_slider_chooses_points(browser, page):
    browser.open(page, *DESKTOP)
    slide = """const s = document.getElementById('frames-bpp'); s.value = arguments[0];
        s.dispatchEvent(new Event('input', {bubbles: true}));
        return document.getElementById('frames-table').innerText"""
    assert "lmda 256" in browser.run(slide, "0")
    assert "lmda 1024" in browser.run(slide, "100")
    left, top, width, height = browser.box("#frames-bits .point")
    browser.point_at((left + width / 2, top + height / 2))
    tip = browser.run("return document.getElementById('tip').textContent")
    assert "frame 0 (I)" in tip and "intra" in tip
    assert browser.errors() == []


def test_everything_is_drawn_before_the_page_is_seen(browser, page):
    """A browser tells of sizes when it shows a picture, which may be late, or never where the page is printed."""
    browser.open(page, *DESKTOP, before="window.ResizeObserver = class { observe() {} }")
    assert browser.run("return document.querySelectorAll('#rd-chart .point').length") == 2 * len(RATES)
    assert browser.run("return document.querySelectorAll('#frames-bits .point, #training-chart .point').length") > 2
    assert browser.errors() == []


def test_a_page_of_almost_nothing_in_the_browser(browser, tmp_path):
    write_rows(tmp_path / "rd.csv", [rd_row()])
    browser.open(write_report([tmp_path]), *PHONE)
    assert browser.errors() == []
    hidden = browser.run("return [...document.querySelectorAll('main > section')].filter(s => s.hidden).map(s => s.id)")
    assert hidden == ["pictures", "bd", "training", "frames", "complexity"]


def test_frames_are_counted_in_whole_numbers_in_the_browser(browser, tmp_path):
    write_rows(tmp_path / "rd.csv", [rd_row(frames=3, run_id="r")])
    write_rows(tmp_path / "frames.csv", [frame_row(lmda=256.0, frame=i, psnr_rgb=30.0 + i) for i in range(3)])
    browser.open(write_report([tmp_path]), *DESKTOP)
    script = "return [...document.querySelectorAll('#frames-quality text[text-anchor=middle]')].map(t => t.textContent)"
    assert browser.run(script)[:3] == ["0", "1", "2"]


def test_tables_tell_that_they_scroll(browser, page):
    browser.open(page, *PHONE)
    state = browser.run("""const box = document.getElementById("rd-table");
        return [box.scrollWidth > box.clientWidth, box.tabIndex, box.getAttribute("role"),
                getComputedStyle(box).backgroundAttachment]""")
    assert state == [True, 0, "region", "local, local, scroll, scroll"]


def test_the_page_is_dark_where_that_is_preferred(browser, page):
    brightness = {}
    for scheme in ("dark", "light"):
        browser.prefer(scheme)
        browser.open(page, *DESKTOP)
        for what in ("color", "backgroundColor"):
            colour = browser.run(f"return getComputedStyle(document.body).{what}")
            brightness[scheme, what] = sum(map(int, re.findall(r"\d+", colour)[:3])) / 3
    assert brightness["dark", "backgroundColor"] < 60 < 180 < brightness["dark", "color"]
    assert brightness["light", "color"] < 60 < 180 < brightness["light", "backgroundColor"]


def test_rate_points_stand_in_a_table(browser, page):
    browser.open(page, *DESKTOP)
    cells = "return [...document.querySelectorAll('#rd-table tbody tr')].map(r => [...r.cells].map(c => c.innerText))"
    browser.choose("#rd-clips", "procedural / clip1")
    lines = browser.run(cells)
    assert len(lines) == 2 * len(RATES)
    assert lines[0] == ["ours", "lmda 256", "0.1000", "31.50", "0.9600", "4.5", "9.1"]
    browser.choose("#rd-clips", "mean:procedural")
    assert browser.run(cells)[0][2:4] == ["0.1000", "30.75"]


def test_training_is_drawn(browser, page):
    browser.open(page, *DESKTOP)
    assert browser.run("return document.querySelectorAll('#training-chart .point').length") == 2  # validations
    marks = "return [...document.querySelectorAll('#training-chart text.mark')].map(t => t.textContent)"
    assert browser.run(marks) == ["motion", "joint"]
    captions = "return [...document.querySelectorAll('#training-pictures figcaption')].map(t => t.textContent)"
    assert browser.run(captions)[::7] == ["after 20 steps", "after 200 steps"]
    browser.choose("#training-axis", "minutes")
    assert "minutes" in browser.run("return document.getElementById('training-chart').textContent")
    assert browser.errors() == []


FILM = "return [filming, film.paused, film.currentTime, document.getElementById('compare-film').width]"
PIXELS = """const c = document.getElementById('compare-film'), sums = [0, 0];
    const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
    for (let i = 0; i < d.length; i += 4) sums[(i / 4) % c.width < c.width / 2 ? 0 : 1] += d[i] + d[i + 1] + d[i + 2];
    return sums.map(s => s / d.length)"""
"""The brightness of the left and of the right half."""


def test_codec_and_anchor_run_in_step(browser, tmp_path):
    browser.open(write_report([write_coded(tmp_path)]), *DESKTOP)
    until(lambda: browser.run(FILM)[2] > 0)
    playing, paused, _, width = browser.run(FILM)
    assert (playing, paused, width) == (True, False, SIZE[0])
    assert browser.run("return document.getElementById('compare-left').textContent").startswith("x264 veryfast\n")
    anchor, ours = browser.run(PIXELS)
    assert ours < 0.7 * anchor  # half as bright
    browser.run("document.getElementById('compare-play').click()")
    assert browser.run(FILM)[1]
    browser.run("document.getElementById('compare-still-on').click()")
    assert browser.run(FILM)[0] is False
    browser.choose("#pictures-beside", "source")
    assert browser.run("return document.getElementById('compare-left').textContent") == "source"
    assert browser.errors() == []


def until(met: Callable[[], bool]) -> None:
    """Wait until something is so."""
    limit = time.monotonic() + LIMIT
    while not met():
        assert time.monotonic() < limit
        time.sleep(0.1)
