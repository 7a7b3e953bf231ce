"""Rows of results: what is written reads back equal; bad files are refused with file and line."""

from __future__ import annotations

import errno
import os
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.result_rows import frame_row, rd_row
from torchDVC.results.rows import RDRow, frame_means, point_path, read_frames, read_rows, write_rows
from torchDVC.util.errors import DataError

COLUMNS = (
    "dataset,sequence,width,height,frames,intra_period,gop_size,lmda,quality,bpp,bpp_estimated,psnr_rgb,ms_ssim_rgb,"
    "psnr_y,psnr_u,psnr_v,psnr_yuv,psnr_i,psnr_p,psnr_b,bpp_i,bpp_p,bpp_b,encode_fps,decode_fps,kmac_encode,"
    "kmac_decode,parameters,memory_encode,memory_decode,device_memory_encode,device_memory_decode,codec,model,process,"
    "checkpoint,matrix,range,fps,format,settings,source,digest,run_id"
)
COMMAS = COLUMNS.count(",")

numbers = st.floats(allow_nan=False, allow_infinity=False)
# csv has no way to keep a lone carriage return; everything else that can be written as UTF-8 must come back.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\x00"))


def test_the_columns_are_those_of_the_contract(tmp_path):
    write_rows(tmp_path / "rd.csv", [])
    assert (tmp_path / "rd.csv").read_text() == COLUMNS + "\n"
    assert COLUMNS.split(",") == [f.name for f in fields(RDRow)]


@given(texts, texts, st.none() | numbers, numbers, st.none() | st.integers(0, 2**60))
def test_rows_read_back_equal(tmp_path_factory, sequence, settings, lmda, psnr, parameters):
    path = tmp_path_factory.mktemp("rows") / "rd.csv"
    rows = [rd_row(), rd_row(sequence=sequence, settings=settings, lmda=lmda, psnr_rgb=psnr, parameters=parameters)]
    write_rows(path, rows)
    assert read_rows(path) == rows


@given(st.dictionaries(st.sampled_from("abc"), numbers), st.dictionaries(st.just("mc"), numbers), st.tuples(numbers))
def test_frames_read_back_equal(tmp_path_factory, rates, pictures, bits):
    path = tmp_path_factory.mktemp("frames") / "frames.csv"
    rows = [frame_row(frame=0, type="I", references=()), frame_row(rates=rates, pictures=pictures, bits=bits[0])]
    rows.append(frame_row(type="B", references=(0, 8), rates={"motion": 1.5}))
    write_rows(path, rows)
    assert read_frames(path) == rows


def test_numpy_numbers_are_written_as_numbers(tmp_path):
    write_rows(tmp_path / "rd.csv", [rd_row(psnr_rgb=np.float64(30.5), bpp=np.float32(0.5), frames=np.int64(7))])
    assert read_rows(tmp_path / "rd.csv") == [rd_row(psnr_rgb=30.5, bpp=0.5, frames=7)]


def test_open_ended_columns_follow_bits_first(tmp_path):
    rows = [frame_row(rates={"residual": 1.0}), frame_row(rates={"motion": 2.0}, pictures={"mc": 28.0})]
    write_rows(tmp_path / "frames.csv", rows)
    header = (tmp_path / "frames.csv").read_text().splitlines()[0]
    assert header.endswith("psnr_yuv,bits_motion,bits_residual,psnr_mc")


def test_rate_is_the_estimate_only_where_no_file_was_written():
    assert rd_row(bpp=0.2, bpp_estimated=0.1).rate == 0.2
    assert rd_row(bpp=None, bpp_estimated=0.1).rate == 0.1
    assert rd_row(bpp=None).rate is None


def test_files_of_different_points_have_different_places():
    point = dict(codec="mine", dataset="D", sequence="s", process="main", lmda=0.0018, quality=None)
    assert point_path(**point).as_posix() == "mine/D/s/main_0.0018"
    changes = [{}, {"dataset": "E"}, {"sequence": "t"}, {"process": "b"}, {"lmda": 0.0035}, {"quality": 3.0}]
    changes.append({"codec": "other"})
    assert len({point_path(**(point | change)) for change in changes}) == len(changes)


def test_frame_means_by_type():
    rows = [
        frame_row(frame=0, type="I", references=(), bits=3000, psnr_rgb=40.0, psnr_y=42.0),
        frame_row(frame=1, bits=300, psnr_rgb=36.0, psnr_y=38.0),
        frame_row(frame=2, bits=600, psnr_rgb=34.0, psnr_y=37.0),
    ]
    values = frame_means(rows, pixels=300)
    assert values["psnr_rgb"] == pytest.approx(110 / 3) and values["psnr_y"] == 39
    assert (values["psnr_i"], values["psnr_p"], values["bpp_i"], values["bpp_p"]) == (40, 35, 10, 1.5)
    assert "psnr_b" not in values and "ms_ssim_rgb" not in values
    assert RDRow(**{**vars(rd_row()), **values}).psnr_p == 35


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("datset\n", "rd.csv:1: unknown column 'datset'; did you mean 'dataset'?"),
        ("dataset,sequence\n", "rd.csv:1: column 'width' is missing"),
        (f"{COLUMNS}\n{'D,s,wide' + ',' * (COMMAS - 2)}\n", "rd.csv:2: width is 'wide'; expected a whole number"),
        (f"{COLUMNS}\n{'D,s,1,1,1,1,1,,,nan' + ',' * (COMMAS - 9)}\n", "rd.csv:2: bpp is 'nan'; expected a finite"),
        (f"{COLUMNS}\nD,s,176,144,8,8,1,,17.0,0.5", "rd.csv:2: fewer values than the header has columns"),
        (f"{COLUMNS}\n{',' * (COMMAS + 1)}\n", "rd.csv:2: more values than the header has columns"),
        ("\udcff", "rd.csv: not a csv file"),
    ],
)
def test_bad_files_are_refused_with_file_and_line(tmp_path, text, message):
    path = tmp_path / "rd.csv"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError) as error:
        read_rows(path)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match="none.csv: no such file"):
        read_frames(tmp_path / "none.csv")


def test_extra_columns_belong_to_frames_only(tmp_path):
    (tmp_path / "rd.csv").write_text(COLUMNS + ",bits_motion\n")
    with pytest.raises(DataError, match="unknown column 'bits_motion'"):
        read_rows(tmp_path / "rd.csv")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "rd.csv"
    write_rows(path, [rd_row()])
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError) as error:
        write_rows(path, [rd_row(), rd_row(lmda=512.0)])
    assert error.value.filename == str(path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
