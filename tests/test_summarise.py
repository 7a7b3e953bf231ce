"""Tables of any number of results: averaged only where conditions are the same, in every format."""

from __future__ import annotations

import csv
import re

import pytest

from tests.result_rows import curve_rows, rd_row
from torchDVC.results.rows import write_rows
from torchDVC.results.summarise import main, parse_filter, summarise, table
from torchDVC.results.tables import csv_table, latex_table, markdown_table, text_table
from torchDVC.util.errors import DataError, LCPError

HEADER = ["codec", "bpp"]
ROWS = [["x264 very_fast", "0.25"], ["a|b", "12.5"]]


def two_sequences() -> list:
    points = {0.1: 30.0, 0.4: 36.0}
    rows = curve_rows("ours", points, sequence="a") + curve_rows("x264", points, sequence="a")
    return rows + [r for c in ("ours", "x264") for r in curve_rows(c, {0.3: 34.0, 0.8: 38.0}, sequence="b", frames=9)]


@pytest.fixture
def results(tmp_path):
    write_rows(tmp_path / "one" / "rd.csv", two_sequences()[:2] + two_sequences()[4:6])
    write_rows(tmp_path / "two" / "deep" / "rd.csv", two_sequences()[2:4] + two_sequences()[6:])
    return tmp_path


def test_means_over_sequences():
    records = summarise(two_sequences())
    assert [(r["codec"], r["lmda"], r["sequences"]) for r in records] == (
        [("ours", 1, 2), ("ours", 2, 2), ("x264", 1, 2), ("x264", 2, 2)]
    )
    assert [r["bpp"] for r in records[:2]] == pytest.approx([0.2, 0.6])
    assert [r["psnr_rgb"] for r in records[:2]] == [32, 37]


def test_each_sequence_as_it_is():
    records = summarise(two_sequences(), by="sequence")
    assert len(records) == 8 and records[4]["sequence"] == "b" and records[4]["frames"] == 9


@pytest.mark.parametrize("change", [{"intra_period": 8}, {"gop_size": 4}, {"matrix": "bt601"}, {"range": "full"}])
def test_different_conditions_are_not_averaged(change):
    with pytest.raises(DataError, match="different test conditions"):
        summarise([rd_row(), rd_row(sequence="b", **change)])


@pytest.mark.parametrize("change", [{"frames": 99}, {"width": 128}, {"gop_size": 4}, {"process": "b"}])
def test_rows_of_one_clip_under_different_conditions_stay_apart_and_say_so(change):
    records = summarise([rd_row(process="a", bpp=0.1), rd_row(**{"process": "a", "bpp": 0.2, **change})], by="sequence")
    assert [record["bpp"] for record in records] == [0.1, 0.2]
    header, lines = table(records)
    told = dict(zip(header, zip(*lines, strict=True), strict=True))
    name, value = next(iter(change.items()))
    if name == "process":
        assert told["codec"] == ("ours (process a)", "ours (process b)")
    else:
        assert told[name] == (str(getattr(rd_row(), name)), str(value))


def test_different_rate_points_are_not_averaged():
    with pytest.raises(DataError, match="ours: no result for D b at lmda 256"):
        summarise([rd_row(), rd_row(sequence="b", lmda=512.0)])


def test_the_command_reads_folders_and_writes_a_file(results, capsys):
    assert main([str(results), "--sort", "bpp-", "codec", "--out", str(results / "t.csv")]) == 0
    rows = list(csv.DictReader((results / "t.csv").read_text().splitlines()))
    assert [row["bpp"] for row in rows] == ["0.6000", "0.6000", "0.2000", "0.2000"]
    assert [row["codec"] for row in rows] == ["ours", "x264", "ours", "x264"]
    assert "t.csv" in capsys.readouterr().out


def test_filters(results, capsys):
    assert main([str(results), "--where", "codec=ours", "bpp<0.5", "--by", "sequence", "--columns", "bpp"]) == 0
    assert capsys.readouterr().out.split() == ["bpp", "0.1000", "0.4000", "0.3000"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--where", "codek=1"], "--where codek=1: unknown column 'codek'; did you mean 'codec'?"),
        (["--where", "bpp"], "--where bpp: expected column=value"),
        (["--where", "bpp<a"], "--where bpp<a: expected a number"),
        (["--where", "bpp>99"], "no rows left"),
        (["--sort", "psnr"], "unknown column 'psnr'"),
        (["--out", "t.pdf"], "t.pdf: cannot write '.pdf' files; expected .csv, .md, .tex, .txt, or --format"),
        (["--format", "word"], "--format 'word'; expected text, csv, markdown or latex"),
        (["--filter"], "unknown flag '--filter'"),
        (["none"], "none: no such file"),
    ],
)
def test_errors_are_one_line(results, capsys, arguments, message):
    assert main([str(results), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_all_bad_arguments_are_named_at_once(results, capsys):
    wrong = ["--where", "codek=1", "bpp<a", "bpp", "--columns", "codex", "--sort", "rate-", "--out", "t.pdf"]
    assert main([str(results), *wrong]) == 2
    lines = capsys.readouterr().err.splitlines()
    named = ["codek=1", "bpp<a", "bpp: expected", "'codex'", "'rate-'", "t.pdf"]
    assert len(lines) == len(named) and all(name in line for name, line in zip(named, lines, strict=True))


@pytest.mark.parametrize("style", ["csv", "latex", "text"])
def test_whole_numbers_are_written_exactly(results, capsys, style):
    write_rows(results / "one" / "rd.csv", [rd_row(parameters=11382832, lmda=1048577.0, frames=9)])
    arguments = ["--columns", "parameters", "lmda", "--format", style]
    assert main([str(results / "one"), *arguments]) == 0
    assert {"11382832", "1048577"} <= set(re.findall(r"\d+", capsys.readouterr().out))


def test_signs_of_filters():
    row = rd_row(bpp=0.5)
    verdicts = {sign: parse_filter(f"bpp{sign}0.5")(row) for sign in ("=", "!=", "<", "<=", ">", ">=")}
    assert verdicts == {"=": True, "!=": False, "<": False, "<=": True, ">": False, ">=": True}
    assert not parse_filter("quality=1")(row)
    with pytest.raises(LCPError):
        parse_filter("=3")


def test_text():
    assert text_table(HEADER, ROWS) == "codec            bpp\nx264 very_fast  0.25\na|b             12.5\n"
    assert text_table(("a", "b"), [("上海", "1"), ("e\u0301e", "23")]) == "a      b\n上海   1\ne\u0301e    23\n"


def test_csv_quotes_what_it_must():
    assert csv_table(["a"], [["x,y"]]) == 'a\n"x,y"\n'


def test_markdown_escapes_its_bars():
    assert markdown_table(HEADER, ROWS).splitlines() == [
        "| codec | bpp |",
        "| --- | ---: |",
        "| x264 very_fast | 0.25 |",
        "| a\\|b | 12.5 |",
    ]


def test_latex_escapes_and_aligns():
    text = latex_table(["100 %"], [["a_b & c"]])
    assert r"100 \% \\" in text and r"a\_b \& c \\" in text
    assert re.match(r"\\begin{tabular}{l}\n\\toprule", text) and text.endswith("\\end{tabular}\n")
    assert latex_table(HEADER, ROWS).startswith(r"\begin{tabular}{lr}")


def test_tables_of_nothing():
    for draw in (text_table, csv_table, markdown_table, latex_table):
        assert "codec" in draw(HEADER, [])
