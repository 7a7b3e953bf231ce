"""The plot command: figures in every form, the BD-rates it prints, and what it refuses to compare."""

from __future__ import annotations

import html
import io
import re
import subprocess
import sys
import warnings
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from plots.plot import main
from plots.published import SOURCES, Table, published_curves, tables
from plots.rd_plots import COLOURS, complexity_figure, curve_styles, frames_figure
from tests.result_rows import curve_rows, frame_row, rd_row
from torchDVC.results.conditions import METRICS
from torchDVC.results.rows import write_rows

ROOT = Path(__file__).resolve().parents[1]
PNG = b"\x89PNG\r\n\x1a\n"
BAD_RATES = ("-1", "0", "nan", "inf", "x")
BASE = {0.1: 30.0, 0.2: 33.0, 0.4: 36.0}


@pytest.fixture
def results(tmp_path):
    """Results of x264 and of a codec that needs half the rate, in two folders, with frames of the latter."""
    cost = {"run_id": "r", "decode_fps": 12.0, "kmac_decode": 40.0, "parameters": 9000000}
    ours = curve_rows("ours", {r / 2: q for r, q in BASE.items()}, **cost)
    write_rows(tmp_path / "x264" / "rd.csv", curve_rows("x264 veryfast", BASE, decode_fps=900.0))
    write_rows(tmp_path / "ours" / "rd.csv", ours)
    frames = [frame_row(frame=0, type="I", references=(), lmda=2.0, bits=9000.0, psnr_rgb=35.0)]
    frames += [frame_row(frame=i, lmda=2.0, psnr_rgb=34.0 - i / 4) for i in range(1, 5)]
    write_rows(tmp_path / "ours" / "frames.csv", frames)
    return tmp_path


@pytest.mark.parametrize(("suffix", "start"), [(".png", PNG), (".svg", b"<?xml"), (".pdf", b"%PDF")])
@pytest.mark.parametrize("figure", ["rd", "complexity", "frames"])
def test_every_figure_in_every_form(results, figure, suffix, start):
    out = results / f"{figure}{suffix}"
    assert main([str(results), "--figure", figure, "--out", str(out)]) == 0
    assert out.read_bytes().startswith(start)


def test_the_command_of_the_readme(results):
    """As a script, from the folder of the package, with the files that the shell's pattern gives."""
    command = [sys.executable, "../plots/plot.py", "x264/rd.csv", "ours/rd.csv"]
    command[2:] = [str(results / path) for path in command[2:]] + ["--out", str(results / "rd.png")]
    done = subprocess.run(command, cwd=ROOT / "torchDVC", capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "conditions: intra period 4, GOP size 1, matrix bt709, range limited, 5 frames" in done.stdout
    assert "BD-rate against x264 veryfast, PSNR-RGB (dB), pchip:" in done.stdout
    assert "D         (all)     ours   -50.00 %     100%  mean of BD-rates" in done.stdout
    assert (results / "rd.png").read_bytes().startswith(PNG)


def test_the_svg_names_its_curves_and_conditions(results):
    out = results / "rd.svg"
    assert main([str(results), "--out", str(out), "--log", "--sequences"]) == 0
    text = out.read_text()
    for words in ("x264 veryfast", "ours", "bits per pixel", "PSNR-RGB (dB)", "D s", "intra period 4, GOP size 1"):
        assert words in text


def test_different_conditions_are_refused_and_mixed_when_told(results, capsys):
    write_rows(results / "ours" / "rd.csv", curve_rows("ours", BASE, intra_period=32))
    assert main([str(results), "--out", str(results / "rd.svg")]) == 2
    error = capsys.readouterr().err
    assert "intra_period is 32 for ours and 4 for x264 veryfast; --mix compares them anyway" in error
    assert error.count("\n") == 1 and not (results / "rd.svg").exists()
    assert main([str(results), "--out", str(results / "rd.svg"), "--mix"]) == 0
    assert "ours (intra_period 32)" in (results / "rd.svg").read_text()


def test_estimated_rates_are_announced(results, capsys):
    rows = [rd_row(codec="ours", bpp=None, bpp_estimated=r, psnr_rgb=q, lmda=r) for r, q in BASE.items()]
    write_rows(results / "ours" / "rd.csv", rows)
    assert main([str(results), "--out", str(results / "rd.png")]) == 0
    assert "estimated rates, no stream was written: ours" in capsys.readouterr().out


def test_akima_the_mean_curve_and_another_anchor(results, capsys):
    arguments = ["--method", "akima", "--average", "curve", "--anchor", "ours", "--out", str(results / "a.png")]
    assert main([str(results), *arguments]) == 0
    out = capsys.readouterr().out
    assert "BD-rate against ours, PSNR-RGB (dB), akima:" in out
    assert "+100.00 %" in out and "BD-rate of the mean curve" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--metrics", "psnr_rbg"], "unknown metric 'psnr_rbg'; did you mean 'psnr_rgb'?"),
        (["--metrics", "psnr_y"], "no result has psnr_y"),
        (["--anchor", "x265"], "no results of the anchor 'x265'"),
        (["--published", "DVCC"], "no published points of 'DVCC'; did you mean 'DVC'?"),
        (["--seqs", "t"], "no results of sequence 't'"),
        (["--codecs", "our"], "no results of codec 'our'; did you mean 'ours'?"),
        (["--out", "rd.jpg"], "rd.jpg: cannot draw '.jpg' files; expected .png, .svg, .pdf"),
        (["--colour"], "unknown flag '--colour'"),
        (["--codecs", "x264 veryfast", "--figure", "frames"], "no frames.csv"),
        *((["--figure", "frames", "--bpp", bpp], f"--bpp '{bpp}'; expected a number above 0") for bpp in BAD_RATES),
    ],
)
def test_errors_are_one_line(results, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(results)
    assert main([str(results), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert {path.name for path in results.iterdir()} == {"ours", "x264"}


def test_no_results(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert f"{tmp_path}: no rd.csv in this folder or below it" in capsys.readouterr().err
    write_rows(tmp_path / "rd.csv", [])
    assert main([str(tmp_path)]) == 2
    assert "no results" in capsys.readouterr().err
    write_rows(tmp_path / "rd.csv", [rd_row(bpp=None)])
    assert main([str(tmp_path)]) == 2
    assert capsys.readouterr().err == "no result has a rate; expected a value of bpp or bpp_estimated\n"


def uvg_results(results, **conditions):
    ours = curve_rows("ours", {0.05: 34.0, 0.1: 36.0, 0.2: 38.0}, dataset="UVG", **conditions)
    write_rows(results / "ours" / "rd.csv", ours)
    write_rows(results / "x264" / "rd.csv", curve_rows("x264", {0.06: 33.0, 0.2: 37.0}, dataset="UVG", **conditions))
    return results / "rd.svg"


def test_published_points_are_drawn_when_asked(results, capsys):
    out = uvg_results(results, intra_period=12, gop_size=1)
    assert main([str(results), "--published", "DVC", "FVC", "--out", str(out)]) == 0
    assert "DVC (published)" in out.read_text() and "FVC (published)" in out.read_text()
    printed = capsys.readouterr().out
    assert "not run by this framework" in printed and "DVC (published)" in printed
    assert main([str(results), "--published", "all", "--out", str(out)]) == 0
    assert "DCVC (published)" in out.read_text() and "SSF" not in out.read_text()


@pytest.mark.parametrize(
    ("method", "of", "beside"),
    [
        ("DVC", "intra period 12, GOP size 1", (32, 1)),
        ("SSF", "intra period not told, GOP size not told", (12, 1)),
        ("VTM-17.0 low delay B", "intra period 0, GOP size 1", (12, 8)),
    ],
)
def test_published_points_of_another_coding_structure_are_refused_until_told(results, capsys, method, of, beside):
    out = uvg_results(results, intra_period=beside[0], gop_size=beside[1], psnr_yuv=35.0)
    command = [str(results), "--published", method, "--metrics", "psnr_yuv" if "VTM" in method else "psnr_rgb"]
    assert main([*command, "--out", str(out)]) == 2
    said = f"the results intra period {beside[0]}, GOP size {beside[1]}; --mix compares them anyway"
    assert capsys.readouterr().err == f"UVG: the published points of {method} have {of}, {said}\n"
    assert not out.exists()
    assert main([*command, "--mix", "--out", str(out)]) == 0
    assert f"{method}, {of} (published)" in out.read_text()


def test_published_points_that_are_not_there_are_not_announced(results, capsys):
    out = results / "rd.svg"
    assert main([str(results), "--published", "DVC", "all", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "no published points of DVC on D" in printed and "no published points of any method on D" in printed
    assert "published points" not in out.read_text() and "not run by this framework" not in printed


def test_sequences_are_drawn_where_there_are_no_means(results, capsys):
    """Of x264 there is a second sequence."""
    write_rows(results / "more" / "rd.csv", curve_rows("x264 veryfast", BASE, sequence="t"))
    out, missing = results / "rd.svg", "D: ours has no results for t, which x264 veryfast has"
    assert main([str(results), "--out", str(out)]) == 2
    assert missing in capsys.readouterr().err and not out.exists()
    assert main([str(results), "--sequences", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert f"No means: {missing}" in printed
    assert "D         (all)     ours   -50.00 %     100%  mean of BD-rates over 1 of 2 sequences" in printed
    assert {"D s", "D t"} <= set(re.findall(r">([^<>]+)</text>", out.read_text()))


def test_codecs_without_a_curve_or_a_bd_rate_are_named(results, capsys):
    write_rows(results / "low" / "rd.csv", curve_rows("low", {0.1: 10.0, 0.2: 13.0}, decode_fps=3.0))
    write_rows(results / "none" / "rd.csv", [rd_row(codec="none", bpp=None)])
    out = results / "c.svg"
    assert main([str(results), "--figure", "complexity", "--out", str(out)]) == 0
    assert "not drawn, for want of a BD-rate: low, none" in out.read_text()
    assert "no rate or no PSNR-RGB (dB): none" in capsys.readouterr().out


def test_an_anchor_without_a_metric_leaves_the_other_metrics(results, capsys):
    write_rows(results / "ours" / "rd.csv", curve_rows("ours", BASE, ms_ssim_rgb=0.9))
    assert main([str(results), "--out", str(results / "rd.png")]) == 0
    printed = capsys.readouterr().out
    assert "BD-rate against x264 veryfast, PSNR-RGB" in printed
    assert "no rate or no MS-SSIM-RGB: x264 veryfast" in printed


@pytest.mark.parametrize("most", [2, 30, 1000, 1e6])
def test_numbers_on_the_complexity_axes_do_not_touch(most):
    """Parameters in millions, from ``most`` down."""
    costs = {"parameters": {"a": 11382832.0, "b": 11382832 / most}, "decode_fps": {"a": 0.5, "b": 0.5 * most}}
    figure = complexity_figure({"a": 0.0, "b": -30.0}, costs | {"kmac_decode": {"a": 800.0, "b": 800.0 / most}}, "note")
    figure.savefig(io.BytesIO(), format="png")
    for ax in figure.axes:
        low, high = ax.get_xlim()
        labels = [t for x, t in zip(ax.get_xticks(), ax.get_xticklabels(), strict=True) if low <= x <= high]
        boxes = [label.get_window_extent() for label in labels]
        assert labels and all(a.x1 < b.x0 for a, b in pairwise(boxes))
        assert most == 1e6 or not any("e" in label.get_text() for label in labels)
    assert figure.axes[1].get_xlabel() == "parameters (millions)"
    assert figure.axes[1].lines[0].get_xdata() == pytest.approx([11.382832])


def test_frames_are_counted_in_whole_numbers():
    frames = [frame_row(frame=i, psnr_rgb=30.0 + i) for i in range(3)]
    figure = frames_figure({"D s": {"ours": frames}}, "psnr_rgb", "note")
    assert all(tick == round(tick) for ax in figure.axes for tick in ax.get_xticks())


@pytest.mark.parametrize("table", tables(), ids=lambda table: f"{table.dataset}, {table}")
def test_published_tables_are_rising_curves_with_a_source(table: Table):
    for (method, metric), points in table.points.items():
        assert method in SOURCES and metric in METRICS
        assert len(points) >= 4
        assert all(a < b and c < d for (a, c), (b, d) in pairwise(points)), (method, metric)
        low, high = (0.8, 1) if metric == "ms_ssim_rgb" else (20, 50)
        assert all(0 < rate < 2 and low < value < high for rate, value in points)


def test_published_dvc_on_uvg():
    (dvc,) = published_curves(["UVG"], "psnr_rgb", ["DVC"], (12, 1))
    assert dvc.rates[0] == pytest.approx(0.06013501, abs=1e-6)
    assert dvc.qualities[-1] == pytest.approx(37.69306179, abs=1e-6)
    assert len(published_curves(["UVG", "HEVC-B"], "psnr_rgb", ["all"], None)) == 20
    assert len(published_curves(["UVG", "HEVC-B"], "psnr_rgb", ["all"], (12, 1))) == 8


def test_curves_are_told_apart_without_colour():
    """Marker and dashes repeat only together with neither colour nor each other."""
    styles = curve_styles(map(str, range(28))).values()
    assert len({(s["color"], s["marker"], s["dashes"]) for s in styles}) == 28
    assert len({(s["marker"], s["dashes"]) for s in styles}) == 28


def test_colours_differ_in_lightness():
    """Neighbouring curves' colours are apart in relative luminance too, as grey print shows them."""
    levels = [sum(w * int(c[i : i + 2], 16) for w, i in ((0.2126, 1), (0.7152, 3), (0.0722, 5))) for c in COLOURS]
    assert all(abs(a - b) > 25 for a, b in pairwise(levels))


def test_test_processes_are_curves_of_their_own(results, capsys):
    ours = [row for name, cost in (("a", 1.0), ("b", 1.5)) for row in curve_rows(
        "ours", {rate * cost: quality for rate, quality in BASE.items()}, process=name)]  # fmt: skip
    write_rows(results / "ours" / "rd.csv", ours)
    assert main([str(results), "--out", str(results / "rd.svg")]) == 0
    printed = capsys.readouterr().out
    assert "ours (process a)   +0.00 %" in printed and "ours (process b)  +50.00 %" in printed
    assert "NaN" not in printed and "ours (process b)" in (results / "rd.svg").read_text()


def test_clips_of_one_name_have_frame_charts_of_their_own(tmp_path):
    rows = [rd_row(dataset=name, sequence="Races", run_id="r") for name in ("C", "D")]
    write_rows(tmp_path / "rd.csv", rows)
    write_rows(tmp_path / "frames.csv", [frame_row(dataset=r.dataset, sequence="Races", lmda=256.0) for r in rows])
    assert main([str(tmp_path), "--figure", "frames", "--out", str(tmp_path / "f.svg")]) == 0
    assert {"C Races", "D Races"} <= set(re.findall(r">([^<>]+)</text>", (tmp_path / "f.svg").read_text()))


# --- names are data


NAMES = ("_hidden", "$x", "a$b$c", "$\\frac{1}$", "100%_#", "<b>&amp;")


@pytest.mark.parametrize("figure", ["rd", "complexity", "frames"])
def test_names_are_drawn_as_they_are(tmp_path, figure):
    """Of codecs, data sets and sequences; none is markup, and none is left out."""
    for number, name in enumerate(NAMES):
        rates = {rate * (1 + number / 8): quality for rate, quality in BASE.items()}
        rows = curve_rows(name, rates, run_id=str(number), kmac_decode=9.0 + number, parameters=9, decode_fps=1.0)
        rows = [replace(row, dataset="_$D$", sequence="$s_") for row in rows]
        write_rows(tmp_path / str(number) / "rd.csv", rows)
        frames = [frame_row(frame=i, run_id=str(number), lmda=2.0, psnr_rgb=34.0 - i / 4) for i in range(3)]
        frames = [replace(frame, dataset="_$D$", sequence="$s_") for frame in frames]
        write_rows(tmp_path / str(number) / "frames.csv", frames)
    out = tmp_path / "figure.svg"
    assert main([str(tmp_path), "--figure", figure, "--anchor", NAMES[0], "--out", str(out)]) == 0
    shown = [html.unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", out.read_text())]
    assert set(NAMES) <= set(shown)
    assert any("_$D$" in text for text in shown) == (figure != "complexity")
    assert main([str(tmp_path), "--figure", figure, "--anchor", NAMES[0], "--out", str(tmp_path / "figure.png")]) == 0


def test_letters_get_a_font_that_has_them_and_codes_without_one(tmp_path, caplog):
    """Of the fonts that come with matplotlib, another than the usual one has U+2335, and none U+F8F1."""
    write_rows(tmp_path / "rd.csv", curve_rows("\u2335", BASE) + curve_rows("\u4e0a\uf8f1", {1.0: 2.0}))
    with warnings.catch_warnings(action="error"):  # matplotlib warns of letters that it draws as boxes
        for suffix in ("png", "pdf"):
            assert main([str(tmp_path / "rd.csv"), "--out", str(tmp_path / f"rd.{suffix}")]) == 0
    assert "no installed font has" in caplog.text and "\uf8f1" in caplog.text and "\u2335" not in caplog.text
    assert main([str(tmp_path / "rd.csv"), "--out", str(tmp_path / "rd.svg")]) == 0
    assert "\uf8f1" in (tmp_path / "rd.svg").read_text()
