"""The report page: what it holds."""

from __future__ import annotations

import base64
import html.parser
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest

from tests.report_results import CLIPS, RATES, write_coded, write_results, write_training
from tests.result_rows import curve_rows, frame_row, rd_row
from torchDVC.dataset.pictures import decode_picture, write_png
from torchDVC.dataset.video import open_video
from torchDVC.report.command import main, write_report
from torchDVC.report.data import to_json
from torchDVC.report.images import Shown, choose, embed, find_pictures
from torchDVC.results.rows import gather, write_rows

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    return write_results(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def page(results) -> Path:
    return write_report([results])


def data_of(page: Path) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found
    return json.loads(found[1])


class Addresses(html.parser.HTMLParser):
    """Every address that a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name in ("src", "href", "srcset", "action", "data") and value]


def test_the_page_loads_nothing(page):
    text = page.read_text()
    addresses = Addresses()
    addresses.feed(text)
    assert all(address.startswith(("data:", "#")) for address in addresses.found)
    outside = {"http://www.w3.org/2000/svg"}  # a name, not an address
    assert set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"']*", text.split('id="data"')[0])) <= outside
    assert "@import" not in text and "url(" not in text
    assert page.stat().st_size < 10 * MEGABYTE


def test_the_data_are_the_results(page):
    data = data_of(page)
    assert len(data["points"]) == 2 * len(CLIPS) * len(RATES)
    assert data["conditions"] == "intra period 8, GOP size 1, matrix bt709, range limited, 9 frames"
    assert (data["anchor"], data["notes"]) == ("x264 veryfast", [])
    ours = next(
        p for p in data["points"] if p["codec"] == "ours" and p["sequence"] == "clip0" and p["name"] == "lmda 512"
    )
    assert (ours["bpp"], ours["psnr_rgb"], ours["frames"]["type"]) == (0.18, 32, "IPPPPPPPI")
    assert ours["frames"]["drift"] == pytest.approx(-0.1)
    table = next(t for t in data["bd"] if (t["metric"], t["method"]) == ("psnr_rgb", "akima"))
    assert [line["value"] for line in table["lines"]] == [pytest.approx((1 / 1.3 - 1) * 100, abs=0.01)] * 3
    assert data["modules"][0]["lines"][0][0] == "intra_codec"
    assert data["runs"][0]["facts"]["commit"] == "0123abc with uncommitted changes"
    assert data["runs"][0]["details"] == {"Uncommitted changes": "-old\n+new", "Installed packages": "torch 2.13"}


def test_a_page_of_almost_nothing(tmp_path):
    """No frames, no pictures, no provenance, no MS-SSIM, one codec with one point."""
    write_rows(tmp_path / "rd.csv", [rd_row()])
    data = data_of(write_report([tmp_path]))
    assert (data["pictures"], data["modules"], data["runs"]) == ([], [], [])
    assert list(data["metrics"]) == ["psnr_rgb"]


def test_equal_tables_of_modules_are_shown_once(tmp_path):
    for folder in ("a", "b", "c"):
        write_rows(tmp_path / folder / "rd.csv", [rd_row(lmda=float(ord(folder)))])
        (tmp_path / folder / "complexity.csv").write_text(f"module,parameters\nm,{1 if folder < 'c' else 2}\n")
    assert [one["folders"] for one in data_of(write_report([tmp_path]))["modules"]] == [["a", "b"], ["c"]]


def test_long_clips_and_many_pictures_stay_small(tmp_path, monkeypatch):
    write_results(tmp_path)
    frames = [frame_row(frame=i, type="P" if i else "I", psnr_rgb=40 - i / 100) for i in range(300)]
    write_rows(tmp_path / "long" / "rd.csv", [rd_row(run_id="r", lmda=None, codec="long", frames=300, intra_period=8)])
    write_rows(tmp_path / "long" / "frames.csv", frames)
    monkeypatch.setattr("torchDVC.report.command.LARGEST", 250_000)
    page = write_report([tmp_path], frames=1000)
    data = data_of(page)
    assert len(to_json(data)) < 250_000 and 0 < len(data["pictures"]) < 20
    point = next(p for p in data["points"] if p["codec"] == "long")
    assert len(point["frames"]["index"]) == 200 and point["frames"]["drift"] == pytest.approx(-0.01)
    assert "first 200 frames; drift is over all" in data["notes"][0]
    assert data["notes"][1] == f"There is room for the pictures of {len(data['pictures'])} of the 20 frames chosen."


@pytest.mark.parametrize(
    ("largest", "charted", "note"), [(24_000, 50, "first 50 frames, so that"), (9_000, 0, "left out")]
)
def test_frames_are_charted_as_far_as_they_fit(tmp_path, monkeypatch, largest, charted, note):
    rows = [rd_row(lmda=float(i), bpp=0.1 * i, psnr_rgb=30.0 + i, run_id="r", frames=150) for i in range(1, 9)]
    frames = [frame_row(lmda=row.lmda, frame=i, psnr_rgb=33.1 + i / 97) for row in rows for i in range(150)]
    write_rows(tmp_path / "rd.csv", rows)
    write_rows(tmp_path / "frames.csv", frames)
    monkeypatch.setattr("torchDVC.report.command.LARGEST", largest)
    data = data_of(write_report([tmp_path]))
    assert len(json.dumps(data)) < largest and note in data["notes"][0]
    assert {len(p["frames"]["index"]) if p["frames"] else 0 for p in data["points"]} == {charted}


def test_more_rate_points_than_a_page_holds_are_refused(tmp_path, monkeypatch, capsys):
    write_rows(tmp_path / "rd.csv", [rd_row(lmda=float(i), settings="x" * 100) for i in range(1, 40)])
    monkeypatch.setattr("torchDVC.report.command.LARGEST", 2_000)
    assert main([str(tmp_path)]) == 2
    assert "39 rate points are too many for a page" in capsys.readouterr().err and not list(tmp_path.glob("*.html"))


def test_parameters_are_counted_exactly(tmp_path):
    write_rows(tmp_path / "rd.csv", curve_rows("ours", {0.1: 30.0, 0.2: 33.0}, parameters=11382832, kmac_decode=40.25))
    assert data_of(write_report([tmp_path]))["complexity"][0]["parameters"] == 11382832


def test_markup_in_names_stays_text(tmp_path):
    write_rows(tmp_path / "rd.csv", [rd_row(codec="</script><b>", settings="<!--")])
    page = write_report([tmp_path], title="a < b & c /*data*/")
    assert data_of(page)["points"][0]["codec"] == "</script><b>"
    assert "<h1>a &lt; b &amp; c /*data*/</h1>" in page.read_text()


def test_mixed_conditions_and_estimates_are_noted(tmp_path):
    rows = curve_rows("ours", {0.1: 30.0, 0.2: 33.0}) + curve_rows("x264", {0.1: 29.0, 0.2: 32.0}, intra_period=8)
    rows.append(rd_row(codec="ours", lmda=9.0, bpp=None, bpp_estimated=0.3, psnr_rgb=34.0))
    write_rows(tmp_path / "rd.csv", rows)
    data = data_of(write_report([tmp_path]))
    assert "intra_period is 4 for ours and 8 for x264" in data["notes"][0]
    assert "Rates of ours (intra_period 4) are estimates" in data["notes"][1]
    assert {p["codec"] for p in data["points"]} == {"ours (intra_period 4)", "x264 (intra_period 8)"}


def test_means_that_cannot_be_made_are_noted(tmp_path):
    write_rows(tmp_path / "rd.csv", [*curve_rows("ours", {0.1: 30.0, 0.2: 33.0}), rd_row(codec="x264", sequence="t")])
    data = data_of(write_report([tmp_path]))
    assert data["means"]["psnr_rgb"] == [] and "No means: D: " in data["notes"][0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none"], "none: no such file"),
        (["--anchor", "x256"], "no results of the anchor 'x256'"),
        (["--frame", "3"], "unknown flag '--frame'; did you mean '--frames'?"),
    ],
)
def test_errors_are_one_line(results, capsys, arguments, message):
    assert main([str(results), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("run.json", b"[1, 2]", "run.json: not the record of a run"),
        ("run.json", b'{"git": "abc"}', "run.json: not the record of a run"),
        ("run.json", b"\xff", "run.json: not JSON"),
        ("complexity.csv", b"module,parameters\nm\xff,1\n", "complexity.csv: not a csv file"),
        ("complexity.csv", b"module,parameters\nm\n", "complexity.csv:2: 1 values; expected 2"),
    ],
)
def test_damaged_companions_are_named(tmp_path, capsys, name, content, message):
    write_rows(tmp_path / "rd.csv", [rd_row()])
    (tmp_path / name).write_bytes(content)
    assert main([str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_damaged_files_are_named(tmp_path, capsys):
    write_results(tmp_path)
    picture = tmp_path / "ours" / "images" / "ours" / "procedural" / "clip0" / "main_256" / "00000_recon.png"
    picture.write_bytes(picture.read_bytes()[:100])
    assert main([str(tmp_path), "--frames", "1000"]) == 2
    assert "00000_recon.png: damaged" in capsys.readouterr().err
    (tmp_path / "ours" / "run.json").write_text("{")
    assert main([str(tmp_path)]) == 2
    assert "run.json: not JSON" in capsys.readouterr().err


def test_pictures_are_found_and_chosen_evenly(results):
    found = find_pictures(gather([results]))
    assert len(found) == 2 * 2 * 5  # clips, rates, frames
    chosen = choose(found, 8)
    assert len(chosen) == 8
    assert {p.point for p in chosen} == {0, 2, 3, 5}
    assert len(choose(found, 3)) <= 3
    assert sorted(map(id, choose(found, 1000))) == sorted(map(id, found))


def test_clips_of_one_name_keep_their_own_pictures(tmp_path):
    """Of two data sets, and of two test conditions in folders of their own."""
    for folder, gop_size in (("one", 1), ("two", 2)):
        rows = [rd_row(dataset=name, sequence="Races", process="main", gop_size=gop_size) for name in ("C", "D")]
        write_rows(tmp_path / folder / "rd.csv", rows)
        for row in rows:
            place = tmp_path / folder / "images" / row.codec / row.dataset / "Races" / "main_256"
            place.mkdir(parents=True)
            for kind in ("source", "recon"):
                write_png(place / f"00003_{kind}.png", np.full((3, 8, 8), 50 * gop_size, np.uint8))
    data = data_of(write_report([tmp_path]))
    labels = [data["points"][picture["point"]] for picture in data["pictures"]]
    assert [(label["codec"], label["dataset"]) for label in labels] == [
        (f"ours (gop_size {gop_size})", name) for gop_size in (1, 2) for name in ("C", "D")
    ]


def test_pictures_are_exact_until_they_do_not_fit(tmp_path):
    random = np.random.default_rng(0)
    files = {}
    for kind in ("source", "recon"):
        files[kind] = tmp_path / f"{kind}.png"
        write_png(files[kind], random.integers(0, 256, (3, 64, 64), dtype=np.uint8))
    shown = [Shown(0, frame, files) for frame in range(8)]
    whole, words = embed(shown, 10 * MEGABYTE)
    assert (len(whole), words) == (8, "lossless WebP")
    size = sum(len(p) for record in whole for p in record["pictures"].values()) * 3 // 4
    less, words = embed(shown, size * 2 // 3)
    assert len(less) == 8 and words.startswith("WebP of quality 95")
    fewer, _ = embed(shown, size // 20)
    assert 0 < len(fewer) < 8
    assert embed(shown, 10) == ([], "")


def test_what_was_run_is_said(page):
    data = data_of(page)
    assert data["what"] == (
        "ours at 3 rates, beside x264 veryfast, on 2 clips (clip0 and clip1) of 192x128 pixels, 9 frames each,"
        " an I frame every 8, low delay."
    )
    assert data["outcome"] == ["ours needs 23.1 % less rate than x264 veryfast for the same PSNR-RGB."]


def test_rates_that_hardly_overlap_are_not_compared(tmp_path):
    rows = curve_rows("ours", {0.9: 30.0, 1.8: 33.0, 3.6: 36.0}) + curve_rows("x264", {0.1: 30.0, 0.2: 33.0, 0.4: 36.0})
    write_rows(tmp_path / "rd.csv", rows)
    data = data_of(write_report([tmp_path]))
    assert data["outcome"] == ["ours and x264: rates hardly overlap (0%): not comparable."]
    assert [(line["value"], line["text"]) for line in data["bd"][0]["lines"]] == [(None, "not comparable")] * 2


def test_what_became_of_a_codec_is_compared_with_it(tmp_path):
    points = {0.1: 30.0, 0.2: 33.0, 0.4: 36.0}
    rows = [row for name, factor in (("ours", 1.0), ("ours trained on", 0.9), ("x264", 1.25))
            for row in curve_rows(name, {factor * rate: psnr for rate, psnr in points.items()})]
    write_rows(tmp_path / "rd.csv", rows)
    assert data_of(write_report([tmp_path]))["outcome"] == [
        "ours needs 20.0 % less rate than x264 for the same PSNR-RGB.",
        "ours trained on needs 28.0 % less rate than x264 and 10.0 % less than ours for the same PSNR-RGB.",
    ]


def test_how_training_went_is_said(tmp_path, capsys):
    write_training(tmp_path / "base")
    assert main([str(tmp_path)]) == 0
    said = "The validation loss of base was 1 at first and ended 50.0 % lower."
    assert data_of(tmp_path / "report.html")["outcome"] == [said]
    assert said in capsys.readouterr().out


def test_codecs_at_the_nearest_rate_stand_beside(tmp_path):
    folder = write_coded(tmp_path)
    data = data_of(write_report([folder]))
    points = data["points"]
    assert [point["codec"] for point in points] == ["ours", *["x264 veryfast"] * 3]
    assert {point for picture in data["pictures"] for point in picture["beside"]} == {"2"}  # the same rate, by row
    assert [(film["point"], film["tracks"], film["frames"]) for film in data["films"]] == [(0, [0, 2], 9)]
    video = tmp_path / "film.mp4"
    video.write_bytes(base64.b64decode(data["films"][0]["video"]))
    info = open_video(video).info
    assert (info.width, info.height, info.frames) == (192, 3 * 128, 9)


def test_training_has_its_curves(tmp_path):
    write_training(tmp_path / "base")
    data = data_of(write_report([tmp_path]))
    (run,) = data["training"]
    assert (run["name"], [stage["name"] for stage in run["stages"]]) == ("base", ["motion", "joint"])
    assert run["terms"]["loss"][0] == [10, 0.5, 10] and len(run["terms"]["loss"]) == 40
    assert run["terms"]["val_loss"] == [[200, 10, 1], [400, 20, 0.5]]
    assert [shown["step"] for shown in run["pictures"]] == [20, 40, 80, 100, 120, 140, 180, 200]
    picture = decode_picture(io.BytesIO(base64.b64decode(run["pictures"][-1]["image"])), "shown")
    assert picture.shape == (3, 144, 288) and abs(int(picture[0, 70, 70]) - 200) < 4
    assert (data["points"], data["what"]) == ([], "")


def test_rate_points_without_a_rate_are_noted(tmp_path):
    write_rows(tmp_path / "rd.csv", [rd_row(), rd_row(codec="none", bpp=None)])
    assert data_of(write_report([tmp_path]))["notes"] == ["Rate points of none have no rate and are not drawn."]
