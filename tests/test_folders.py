"""Folders and names as people have them: links, hidden folders, any script, any bytes, a home folder, pipes."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT
from tests.small_model import SmallModel, make_small_model
from torchDVC.codec import main as codec
from torchDVC.config.cfg_values import read_values
from torchDVC.config.problems import Report
from torchDVC.config.text_files import read_sections
from torchDVC.config.train_cfg import STAGE_KEYS
from torchDVC.dataset.testing import test_sequences as sequences_of
from torchDVC.dataset.training import listed_clips
from torchDVC.results.rows import gather, read_frames, read_rows
from torchDVC.util.errors import DataError


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, clip_folder: Path) -> SmallModel:
    """A model with ``model.safetensors`` beside its csv, and ``one.lcp``."""
    model = make_small_model(tmp_path_factory.mktemp("exported"), clip_folder)
    assert model.train("run", "--end_epoch", "1") == 0
    files = {"model_config": "model.csv", "run_config": "test.cfg", "checkpoint": "run/checkpoints"}
    flags = [word for key, file in files.items() for word in (f"--{key}", str(model.path / file))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOG", str(model.path / "log"))
        assert codec(["export", *flags, "--out", str(model.path / "model.safetensors")]) == 0
        file = str(model.path / "model.safetensors")
        assert codec(["encode", str(clip_folder / "one.y4m"), str(model.path / "one.lcp"), "--model", file]) == 0
    return model


def names(folder: Path, *asked: str) -> list[str]:
    return [sequence.name for sequence in sequences_of([str(folder)], asked or None)]


# --- data sets


def test_linked_folders_are_read_and_hidden_ones_are_not(clip_folder: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in ("plain", ".Trash", ".git/objects", "deep/.cache"):
        (data / name).mkdir(parents=True)
        (data / name / "a.y4m").write_bytes((clip_folder / "one.y4m").read_bytes())
    (data / "linked").symlink_to(clip_folder)
    (data / "deep/again").symlink_to(data)
    assert names(data) == ["linked_one", "linked_three", "linked_two", "plain_a"]
    assert names(data / ".Trash") == ["a"]  # since it is asked for by its name
    clips = listed_clips(str(data), 2, 16)
    assert len(clips) == 4


def test_results_are_gathered_in_the_same_way(tmp_path: Path) -> None:
    for name in ("own", ".old", "elsewhere"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rd.csv").write_text("")
    (tmp_path / "own/linked").symlink_to(tmp_path / "elsewhere")
    assert gather([tmp_path]) == [tmp_path / f"{name}/rd.csv" for name in ("elsewhere", "own/linked", "own")]


def test_sequences_are_told_apart_in_any_script(clip_folder: Path, tmp_path: Path) -> None:
    for name in ("上海", "北京", "Ünï-1", "a_1", "a1"):
        (tmp_path / f"{name}.y4m").write_bytes((clip_folder / "one.y4m").read_bytes())
    assert names(tmp_path, "上海") == ["上海"]
    assert names(tmp_path, "u\u0308nï1") == ["Ünï-1"] and names(tmp_path, "ünï_1") == ["Ünï-1"]
    assert names(tmp_path, "a1") == ["a1"] and names(tmp_path, "A-1") == ["a1", "a_1"]
    with pytest.raises(DataError, match="no sequence '東京'"):
        names(tmp_path, "東京")


def test_a_name_that_is_no_utf8_is_tested_trained_on_and_encoded(
    exported: SmallModel, clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOG", str(exported.path / "log"))
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/d\xff"))
    folder.mkdir()
    for suffix in ("y4m", "mp4"):
        clip = Path(os.fsdecode(os.fsencode(folder) + b"/clip\xe9_" + suffix.encode() + b"." + suffix.encode()))
        clip.write_bytes(next(clip_folder.glob(f"*.{suffix}")).read_bytes())
        stream, model = clip.with_suffix(".lcp"), str(exported.path / "model.safetensors")
        assert codec(["encode", str(clip), str(stream), "--model", model]) == 0
        assert codec(["decode", str(stream), str(folder / "out.y4m")]) == 0
        (folder / "out.y4m").unlink()
        stream.unlink()
    assert exported.test("res", "--frames", "2", "--test_datasets", str(folder), "--write_stream") == 0
    rows = read_rows(exported.path / "res/rd.csv")
    assert [(row.dataset, row.sequence) for row in rows] == [("d\\xff", "clip\\xe9_mp4"), ("d\\xff", "clip\\xe9_y4m")]
    assert {frame.sequence for frame in read_frames(exported.path / "res/frames.csv")} == {row.sequence for row in rows}
    exported.write("bytes.cfg", "[process: i]\nimode = i\nsteps = 1\npatch_size = 64\ndata = DATA\n")
    monkeypatch.setenv("DATASET", str(tmp_path))
    assert exported.train("bytes", "--test_datasets", str(folder), cfg="bytes.cfg") == 0


def test_a_terminal_without_the_letters_gets_others(exported: SmallModel, clip_folder: Path, tmp_path: Path) -> None:
    clip = tmp_path / "上海.y4m"
    clip.write_bytes((clip_folder / "one.y4m").read_bytes())
    flags = exported.test_flags("ascii", "--frames", "2", "--no_image", "--test_datasets", str(clip))
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "OMP_NUM_THREADS": "1"}
    finished = subprocess.run(
        [sys.executable, "torchDVC/tester.py", *flags], cwd=CHECKOUT, env=environment, capture_output=True
    )
    assert finished.returncode == 0, finished.stderr.decode()
    assert rb"\u4e0a\u6d77" in finished.stdout
    assert read_rows(exported.path / "ascii/rd.csv")[0].sequence == "上海"


def test_shards_are_found_below_the_data_folder(marked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "root"
    (root / "shards").mkdir(parents=True)
    for number in range(2):
        with tarfile.open(root / f"shards/{number:03}.tar", "w") as tar:
            for picture in (marked / f"clip{number}").iterdir():
                tar.add(picture, f"{number}.{picture.name}")
    monkeypatch.setenv("DATASET", str(root))
    for data in ("shards/{000..001}.tar", "shards/*.tar", str(root / "shards/*.tar")):
        assert len(listed_clips(data, 2, 16)) == 2
    monkeypatch.setenv("HOME", str(root))
    monkeypatch.delenv("DATASET")
    assert len(listed_clips("~/shards/*.tar", 2, 16)) == 2


def test_lists_may_begin_with_a_byte_order_mark(marked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vimeo = tmp_path / "vimeo_septuplet"
    (vimeo / "sequences").mkdir(parents=True)
    (vimeo / "sequences/00001").symlink_to(marked)
    (vimeo / "sep_trainlist.txt").write_bytes(b"\xef\xbb\xbf00001/clip0\r\n00001/clip1\r\n")
    monkeypatch.setenv("DATASET", str(tmp_path))
    assert len(listed_clips("vimeo90k", 2, 16)) == 2


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('"/a b/#1 of 2"  # mine', "/a b/#1 of 2"),
        ("'/a/it'", "/a/it"),
        ("/a b/c ; not quoted", "/a b/c"),
        ("/it's/a 'b'  # c", "/it's/a 'b'"),
        ('"/a" + "/b"', '"/a" + "/b"'),
    ],
)
def test_data_of_a_train_cfg_may_stand_in_quotes(tmp_path: Path, text: str, value: str) -> None:
    path = tmp_path / "train.cfg"
    path.write_text(f"[header]\ndata = {text}\n")
    report = Report()
    (section,) = read_sections(path, report)
    assert read_values(section, STAGE_KEYS, report).fields["data"] == value and not report


def test_a_tilde_is_the_home_folder_wherever_a_folder_is_named(
    exported: SmallModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LOG", "~/logs")
    monkeypatch.chdir(tmp_path)
    file = str(exported.path / "model.safetensors")
    assert codec(["encode", str(exported.data / "one.y4m"), "~/one.lcp", "--model", file, "--frames", "1"]) == 0
    assert len(list((tmp_path / "logs/models").iterdir())) == 1 and (tmp_path / "one.lcp").exists()
    assert exported.test("res2", "--no_image", "--frames", "1", "--save_dir", "~/res") == 0
    assert (tmp_path / "res/rd.csv").exists() and not (tmp_path / "~").exists()


# --- pipes


def piped(*flags: str, standard_input: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "torchDVC/codec.py", *flags]
    return subprocess.run(command, cwd=CHECKOUT, input=standard_input, capture_output=True)


@pytest.mark.slow
def test_y4m_is_piped_both_ways(exported: SmallModel, tmp_path: Path) -> None:
    clip, model = exported.data / "one.y4m", ("--model", str(exported.path / "model.safetensors"))
    encoded = piped("encode", "-", str(tmp_path / "piped.lcp"), *model, standard_input=clip.read_bytes())
    assert encoded.returncode == 0, encoded.stderr.decode()
    assert (tmp_path / "piped.lcp").read_bytes() == (exported.path / "one.lcp").read_bytes()
    decoded = piped("decode", str(tmp_path / "piped.lcp"), "-", *model)
    assert decoded.returncode == 0, decoded.stderr.decode()
    assert codec(["decode", str(tmp_path / "piped.lcp"), str(tmp_path / "file.y4m"), *model]) == 0
    assert decoded.stdout == (tmp_path / "file.y4m").read_bytes()
    assert not (CHECKOUT / "-").exists()


@pytest.mark.slow
def test_what_comes_cut_short_through_a_pipe_is_refused(exported: SmallModel, tmp_path: Path) -> None:
    clip, model = exported.data / "one.y4m", ("--model", str(exported.path / "model.safetensors"))
    for data, said in ((clip.read_bytes()[:-1], "-: frame 11 is damaged or cut short"), (b"", "-: not a y4m file")):
        finished = piped("encode", "-", str(tmp_path / "cut.lcp"), *model, standard_input=data)
        assert finished.returncode == 2 and finished.stderr.decode().splitlines()[-1].startswith(said)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_piped_is_refused_by_name(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from torchDVC.report.command import main as report

    for command, expected in (
        (["decode", "-", "x.y4m"], "INPUT '-'; a stream is read at any place of it, expected the name of a file"),
        (["info", "-"], "INPUT '-'; a stream is read at any place of it, expected the name of a file"),
        (["encode", "x.y4m", "-"], "OUTPUT '-'; expected a name that ends with .lcp"),
        (
            ["encode", "-", "x.lcp", "--bpp", "1"],
            "--bpp reads a clip more than once; expected the name of a file instead of INPUT '-'",
        ),
    ):
        assert codec(command) == 2
        assert capsys.readouterr().err == f"{expected}\n"
    from tests.report_results import write_results

    assert report([str(write_results(tmp_path)), "--out", "-", "--frames", "0"]) == 2
    assert capsys.readouterr().err == "-: is a pipe; expected the name of a file\n"


def test_encoding_needs_no_folder_but_the_output_s(
    exported: SmallModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "log").write_text("a file where the folder would be")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    clip, model = exported.data / "one.y4m", ("--model", str(exported.path / "model.safetensors"))
    assert codec(["encode", str(clip), "out/one.lcp", *model, "--frames", "1"]) == 0
    assert "is not kept for decoders, they need --model: log/models" in caplog.text
    assert codec(["decode", "out/one.lcp", "out/one.y4m", *model]) == 0
