"""Testing through the command line: rows, frames, pictures, and what a second run keeps."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import write_clip
from tests.small_model import TEST, TRAIN, SmallModel, make_small_model
from torchDVC import tester
from torchDVC.dataset.procedural import procedural_clip
from torchDVC.results.rows import FrameRow, RDRow, read_frames, read_rows


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory, clip_folder: Path) -> SmallModel:
    """A model whose test ``res`` has run on all clips with a GOP of 2."""
    model = make_small_model(tmp_path_factory.mktemp("tested"), clip_folder)
    assert model.test("res", "--gop_size", "2", "--intra_period", "4") == 0
    return model


def rows(model: SmallModel, run: str = "res") -> list[RDRow]:
    return read_rows(model.path / run / "rd.csv")


def frames(model: SmallModel, run: str = "res") -> list[FrameRow]:
    return read_frames(model.path / run / "frames.csv")


def test_each_sequence_has_a_row_with_its_conditions(tested: SmallModel) -> None:
    found = rows(tested)
    assert [row.sequence for row in found] == ["one", "three", "two"]
    row = found[0]
    assert (row.width, row.height, row.frames, row.intra_period, row.gop_size) == (96, 80, 3, 4, 2)
    assert (row.lmda, row.process, row.model, row.codec, row.matrix) == (256, "small", "model", "model", "bt709")
    assert row.bpp is None and row.quality is None and row.range == "limited"
    assert row.run_id == json.loads((tested.path / "res/run.json").read_text())["run_id"]
    assert row.kmac_encode and row.kmac_decode and row.kmac_decode < row.kmac_encode
    assert row.encode_fps and row.encode_fps > 0


def test_frames_have_their_type_references_and_parts(tested: SmallModel) -> None:
    found = [row for row in frames(tested) if row.sequence == "one"]
    assert [(row.frame, row.type, row.references) for row in found] == [(0, "I", ()), (2, "P", (0,)), (1, "B", (0, 2))]
    for row in found:
        assert row.rates.keys() == ({"intra"} if row.type == "I" else {"motion", "residual"})
        assert row.bits == pytest.approx(sum(row.rates.values()), rel=1e-6)
        assert row.pictures.keys() == (set() if row.type == "I" else {"mc", "warped"})


def test_a_row_is_the_mean_of_its_frames_over_original_pixels(tested: SmallModel) -> None:
    for row in rows(tested):
        own = [frame for frame in frames(tested) if frame.sequence == row.sequence]
        assert row.bpp_estimated == pytest.approx(sum(f.bits for f in own) / (96 * 80 * 3), rel=1e-6)
        assert row.psnr_rgb == pytest.approx(sum(f.psnr_rgb or 0 for f in own) / 3, rel=1e-6)
        assert (row.psnr_i, row.psnr_p, row.psnr_b) == pytest.approx([f.psnr_rgb for f in own], rel=1e-6)


def test_a_second_run_keeps_what_is_there_and_other_points_join_it(tested: SmallModel) -> None:
    before = rows(tested)
    assert tested.test("res", "--gop_size", "2", "--intra_period", "4") == 0
    assert rows(tested) == before
    assert tested.test("res", "--gop_size", "2", "--intra_period", "4", "--lmda", "512") == 0
    after = rows(tested)
    assert after[:3] == before and [row.lmda for row in after[3:]] == [512] * 3
    assert len(frames(tested)) == 18


def test_a_point_measured_under_other_conditions_takes_the_place_of_the_old(small_model: SmallModel) -> None:
    assert small_model.test("res", "--test_seqs", "one") == 0
    assert small_model.test("res", "--test_seqs", "one", "--intra_period", "2") == 0
    (row,) = rows(small_model)
    assert row.intra_period == 2 and [frame.type for frame in frames(small_model)] == ["I", "P", "I"]


def test_a_row_that_would_come_out_differently_is_measured_again(
    small_model: SmallModel, clip_folder: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Another clip of the name, other weights, another mode, another metric, pictures: none of these shows in a row."""
    mine = small_model.path / "mine"
    mine.mkdir()

    def kept(*flags: str) -> bool:
        caplog.clear()
        assert small_model.test("res", "--test_datasets", str(mine), "--no_image", *flags) == 0
        return "already tested" in caplog.text

    (mine / "clip.y4m").write_bytes((clip_folder / "one.y4m").read_bytes())
    assert not kept()
    assert kept()
    (mine / "clip.y4m").unlink()
    (mine / "clip.mp4").write_bytes((clip_folder / "two.mp4").read_bytes())
    assert not kept()
    assert not kept("--seed", "7")
    assert kept("--seed", "7")
    for before, after in (("emcr\nbmode = emcr", "emcr"), ("ms_ssim = no", "ms_ssim = yes")):
        small_model.write("test.cfg", TEST.replace(before, after))
        assert not kept("--seed", "7")
    assert small_model.test("res", "--test_datasets", str(mine), "--seed", "7") == 0
    assert (small_model.path / "res/images/model/mine/clip/small_256/00000_recon.png").exists()


def test_pictures_are_written_unless_told_not_to(tested: SmallModel, small_model: SmallModel) -> None:
    shown = {path.name for path in (tested.path / "res/images/model" / tested.data.name / "one/small_256").iterdir()}
    assert {"00000_source.png", "00000_recon.png", "00001_mc.png", "00001_flow.png", "00002_bits.png"} <= shown
    assert "00000_mc.png" not in shown
    assert small_model.test("res", "--no_image", "--test_seqs", "one") == 0
    assert not (small_model.path / "res/images").exists()


def test_clips_of_one_name_and_several_processes_have_files_of_their_own(
    small_model: SmallModel, clip_folder: Path
) -> None:
    sets = [small_model.path / name for name in ("C", "D")]
    for folder, clip in zip(sets, ("one.y4m", "two.mp4"), strict=True):
        folder.mkdir()
        (folder / "Races").with_suffix(Path(clip).suffix).write_bytes((clip_folder / clip).read_bytes())
    small_model.write("both.cfg", TEST + "\n[process: again]\nimode = i\npmode = emcr\n")
    assert small_model.test("res", "--write_stream", "--test_datasets", *map(str, sets), cfg="both.cfg") == 0
    places = {f"model/{name}/Races/{process}_256" for name in "CD" for process in ("small", "again")}
    res = small_model.path / "res"
    assert {str(path.relative_to(res / "streams")) for path in res.rglob("*.lcp")} == {f"{p}.lcp" for p in places}
    sources = {str(p.parent.relative_to(res / "images")): p.read_bytes() for p in res.rglob("00000_source.png")}
    assert sources.keys() == places and len(set(sources.values())) == 2
    for row in rows(small_model):
        stream = res / "streams/model" / row.dataset / row.sequence / f"{row.process}_256.lcp"
        assert row.bpp == pytest.approx(8 * stream.stat().st_size / (96 * 80 * 3))


def test_pictures_of_a_replaced_measurement_are_gone(small_model: SmallModel) -> None:
    assert small_model.test("res", "--test_seqs", "one") == 0
    folder = small_model.path / "res/images/model" / small_model.data.name / "one/small_256"
    assert (folder / "00002_source.png").exists()
    small_model.write("short.cfg", TEST.replace("frames = 3", "frames = 2"))
    assert small_model.test("res", "--test_seqs", "one", cfg="short.cfg") == 0
    assert {path.name[:5] for path in folder.iterdir()} == {"00000", "00001"}


def test_sizes_that_are_no_multiple_of_anything(small_model: SmallModel) -> None:
    path = small_model.path / "odd.y4m"
    write_clip(path, (35, 27), (rgb[:, :27, :35].copy() for rgb in procedural_clip(0, 2, (36, 28))))
    assert small_model.test("res", "--test_datasets", str(path)) == 0
    (row,) = rows(small_model)
    assert (row.width, row.height) == (35, 27)
    assert row.bpp_estimated == pytest.approx(sum(f.bits for f in frames(small_model)) / (35 * 27 * 2), rel=1e-6)


def test_weights_come_from_the_checkpoint_and_are_named(small_model: SmallModel) -> None:
    assert small_model.train("run", "--end_epoch", "1") == 0
    for number, path in enumerate(("run/checkpoints/last.safetensors", "run/checkpoints")):
        flags = ("--restore", "load", "--checkpoint", str(small_model.path / path), "--test_seqs", "one")
        assert small_model.test(f"res{number}", *flags) == 0
    assert small_model.test("untrained", "--test_seqs", "one") == 0
    found = [rows(small_model, name)[0] for name in ("res0", "res1", "untrained")]
    assert len(found[0].checkpoint) == 12 and found[0].checkpoint == found[1].checkpoint
    assert replace(found[0], run_id="", encode_fps=None) == replace(found[1], run_id="", encode_fps=None)
    assert found[2].checkpoint == "" and found[2].bpp_estimated != found[0].bpp_estimated


def test_the_colour_matrix_of_the_cfg_counts(small_model: SmallModel) -> None:
    small_model.write("bt601.cfg", TEST.replace("[header]", "[header]\nmatrix = bt601"))
    assert small_model.test("res", "--test_seqs", "one", cfg="bt601.cfg") == 0
    assert rows(small_model)[0].matrix == "bt601"


def test_low_delay_needs_no_bmode_and_hierarchical_does(
    small_model: SmallModel, capsys: pytest.CaptureFixture[str]
) -> None:
    small_model.write("low.cfg", TEST.replace("bmode = emcr\n", ""))
    assert small_model.test("low", "--test_seqs", "one", cfg="low.cfg") == 0
    capsys.readouterr()
    assert small_model.test("res", "--gop_size", "4", cfg="low.cfg") == 2
    error = capsys.readouterr().err
    assert "low.cfg:6: process 'small' has no bmode, which --intra_period 32 --gop_size 4 needs" in error


def test_gops_of_the_intra_period_need_a_pmode_only_for_a_tail(
    small_model: SmallModel, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--intra_period", "4", "--gop_size", "4", "--no_image", "--test_seqs", "one")
    cfg = small_model.write("b.cfg", TEST.replace("pmode = emcr\n", "").replace("frames = 3", "frames = 6"))
    assert small_model.test("res", *flags, cfg="b.cfg") == 2
    said = "has no pmode, which --intra_period 4 --gop_size 4 needs for the 6 frames of one"
    assert capsys.readouterr().err == f"{cfg}:6: process 'small' {said}\n"
    assert not (small_model.path / "res").exists()
    cfg.write_text(cfg.read_text().replace("frames = 6", "frames = 5"))
    assert small_model.test("res", *flags, cfg="b.cfg") == 0


def test_the_model_is_printed_when_asked_for(small_model: SmallModel, capsys: pytest.CaptureFixture[str]) -> None:
    assert small_model.test("res", "--test_seqs", "one", "--print_model") == 0
    assert "kMAC/pixel" in capsys.readouterr().out
    assert (small_model.path / "res/complexity.csv").exists()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--test_datasets", "UVGG"), "UVGG"),
        (("--test_datasets", "UVG"), "set DATASET"),
        (("--test_seqs", "ones"), "no sequence 'ones'"),
    ],
)
def test_unknown_data_is_named(
    small_model: SmallModel, flags: tuple[str, ...], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert small_model.test("res", *flags) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert not (small_model.path / "res").exists()


# --- one checkpoint, all rates


def test_quality_levels_are_tested_in_one_run(tmp_path: Path, clip_folder: Path) -> None:
    model = make_small_model(tmp_path / "model", clip_folder, levels=4)
    model.write("range.cfg", TRAIN.replace("[header]", "[header]\nlmda = 256:2048"))
    assert model.train("run", cfg="range.cfg") == 0
    flags = ("--restore", "load", "--checkpoint", str(model.path / "run/checkpoints"), "--test_seqs", "one")
    command = [flag for flag in model.test_flags("res", *flags, "--write_stream") if flag not in ("--lmda", "256")]
    assert tester.main([*command, "--quality", "0", "2", "3"]) == 0
    found = rows(model)
    assert [row.quality for row in found] == [0, 2, 3]
    assert [row.lmda for row in found] == pytest.approx([256, 1024, 2048], rel=1e-4)
    assert len({row.bpp for row in found}) == 3 and len(frames(model)) == 9
    assert model.test("alone", *flags, "--quality", "2", "--write_stream") == 0
    (alone,) = rows(model, "alone")
    assert (alone.bpp, alone.psnr_rgb, alone.quality, alone.lmda) == (found[1].bpp, found[1].psnr_rgb, 2, 256)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--quality", "0", "1"), "--quality 1; expected 0 to 0 with this model\n"),
        (("--quality", "0", "0"), "--quality 0 0: a level stands there twice; expected each once\n"),
        (("--quality", "256"), "--quality '256'; expected a whole number from 0 to 255\n"),
    ],
)
def test_impossible_levels_are_refused(
    small_model: SmallModel, flags: tuple[str, ...], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert small_model.test("res", *flags) == 2
    assert capsys.readouterr().err == expected
    assert not (small_model.path / "res").exists()


def test_a_rate_must_be_named(small_model: SmallModel, capsys: pytest.CaptureFixture[str]) -> None:
    assert tester.main([flag for flag in small_model.test_flags("res") if flag not in ("--lmda", "256")]) == 2
    said = "--lmda is missing; expected it, or --quality with the levels of a variable-rate model\n"
    assert capsys.readouterr().err == said


# --- memory


def test_peak_memory_is_that_of_processes_of_their_own(
    small_model: SmallModel, capsys: pytest.CaptureFixture[str]
) -> None:
    """What this process has taken does not count, and larger pictures take more."""
    waste = bytearray(2**30)
    waste[:: 4096] = b"x" * len(waste[:: 4096])
    flags = ("--memory", "--print_model", "--no_image", "--test_datasets")
    large = small_model.path / "large.y4m"
    write_clip(large, (960, 544), procedural_clip(0, 2, (960, 544)))
    assert small_model.test("res", *flags, str(small_model.data / "one.y4m"), str(large)) == 0
    small, big = rows(small_model)
    for row in (small, big):
        assert row.memory_encode and 0 < row.memory_encode < 900
        assert row.memory_decode and 0 < row.memory_decode < 900
        assert row.device_memory_encode is None
    assert big.memory_encode and big.memory_decode and small.memory_encode
    assert big.memory_encode > max(big.memory_decode, small.memory_encode + 10)
    said = f"peak at 960x544: memory encode {big.memory_encode:.0f} MiB, memory decode {big.memory_decode:.0f} MiB"
    assert said in capsys.readouterr().out
    del waste


def test_memory_that_cannot_be_measured_costs_one_line(
    small_model: SmallModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    assert small_model.test("res", "--memory", "--no_image", "--test_seqs", "one") == 0
    assert [line for line in caplog.messages if "memory" in line] == [
        "the memory to encode is not known: its process ended with 1"
    ]
    assert rows(small_model)[0].memory_encode is None


def test_the_time_that_is_left_is_told_from_the_first_frames(
    small_model: SmallModel, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--no_image", "--no-memory", "--frames", "6")
    assert small_model.test("res", *flags, "--test_seqs", "two") == 0
    assert re.search(r"^6 frames in 1 clip: about \d+:\d\d to code$", capsys.readouterr().err, re.MULTILINE)
    assert small_model.test("res", *flags) == 0
    said = capsys.readouterr().err  # of all clips, as the one that is kept comes last
    assert re.search(r"^18 frames in 3 clips: about \d+:\d\d to code$", said, re.MULTILINE)
    assert [row.frames for row in rows(small_model)] == [6, 6, 6]
    assert small_model.test("res", *flags, "--test_seqs", "one") == 0
    assert "to code" not in capsys.readouterr().err
