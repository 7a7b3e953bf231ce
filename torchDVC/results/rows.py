"""The rows of ``rd.csv`` and ``frames.csv``: one rate-distortion point of a sequence, one coded frame."""

from __future__ import annotations

import csv
import math
import os
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from torchDVC.util.errors import DataError, nearest
from torchDVC.util.files import atomic_path, visible_below


@dataclass(frozen=True, kw_only=True)
class RDRow:
    """One rate point of one sequence, with the conditions it was measured under; ``None`` is an empty cell.

    Rates in bits per pixel of the original size, PSNR in dB (means over frames of the frames' PSNR), complexity in kMAC
    per pixel, memory in MiB. ``bpp`` counts the bytes of the file on disk and is empty where none was written;
    ``bpp_estimated`` is what the quantised tables predict. Columns ending in ``_i``, ``_p``, ``_b`` are the means over
    frames of that type. ``format`` is what the codec works in (`torchDVC.dataset.picture_format`), ``source`` where the
    clip was, ``digest`` is of all that the measurement follows from, where the tester measured it.
    """

    dataset: str
    sequence: str
    width: int
    height: int
    frames: int
    intra_period: int
    gop_size: int
    lmda: float | None = None
    quality: float | None = None
    bpp: float | None = None
    bpp_estimated: float | None = None
    psnr_rgb: float | None = None
    ms_ssim_rgb: float | None = None
    psnr_y: float | None = None
    psnr_u: float | None = None
    psnr_v: float | None = None
    psnr_yuv: float | None = None
    psnr_i: float | None = None
    psnr_p: float | None = None
    psnr_b: float | None = None
    bpp_i: float | None = None
    bpp_p: float | None = None
    bpp_b: float | None = None
    encode_fps: float | None = None
    decode_fps: float | None = None
    kmac_encode: float | None = None
    kmac_decode: float | None = None
    parameters: int | None = None
    memory_encode: float | None = None
    memory_decode: float | None = None
    device_memory_encode: float | None = None
    device_memory_decode: float | None = None
    codec: str
    model: str = ""
    process: str = ""
    checkpoint: str = ""
    matrix: str
    range: str
    fps: float | None = None
    format: str = ""
    settings: str = ""
    source: str = ""
    digest: str = ""
    run_id: str = ""

    @property
    def rate(self) -> float | None:
        """Bits per pixel on disk, or the estimate where nothing was written."""
        return self.bpp_estimated if self.bpp is None else self.bpp


@dataclass(frozen=True, kw_only=True)
class FrameRow:
    """One coded frame of one rate point; ``references`` are frame numbers, ``rates`` bits by module label.

    ``rates``, ``hyper_rates`` (the part of them that hyper-latents take) and ``pictures`` (PSNR-RGB in dB of the
    intermediate pictures that the codec forms, such as ``mc``) become columns ``bits_<label>``, ``hyper_bits_<label>``
    and ``psnr_<key>`` after the others.
    """

    run_id: str
    dataset: str
    sequence: str
    process: str = ""
    lmda: float | None = None
    quality: float | None = None
    frame: int
    type: str
    references: tuple[int, ...] = ()
    bits: float
    psnr_rgb: float | None = None
    ms_ssim_rgb: float | None = None
    psnr_y: float | None = None
    psnr_u: float | None = None
    psnr_v: float | None = None
    psnr_yuv: float | None = None
    rates: Mapping[str, float] = field(default_factory=dict)
    hyper_rates: Mapping[str, float] = field(default_factory=dict)
    pictures: Mapping[str, float] = field(default_factory=dict)


POINT = ("dataset", "sequence", "process", "lmda", "quality")
"""Columns that tell one rate point of a codec from another, within a folder of results."""
PLACE = ("codec", *POINT)
"""Columns that tell one rate point from another there."""


def point_path(
    *, codec: str, dataset: str, sequence: str, process: str, lmda: float | None, quality: float | None
) -> Path:
    """Where a rate point's files stand below ``images`` and ``streams``, such as ``mine/UVG/Beauty/main_256_q3``."""
    rate = [f"{prefix}{value:g}" for prefix, value in (("", lmda), ("q", quality)) if value is not None]
    return Path(codec, dataset, sequence, "_".join(filter(None, [process, *rate])))


Row = TypeVar("Row", RDRow, FrameRow)

FRAME_MEANS = ("psnr_rgb", "ms_ssim_rgb", "psnr_y", "psnr_u", "psnr_v", "psnr_yuv")
EXTRA = {"rates": "bits_", "hyper_rates": "hyper_bits_", "pictures": "psnr_"}
"""Fields of `FrameRow` that hold open-ended columns, and what the names of those columns start with."""


def frame_means(rows: Sequence[FrameRow], pixels: int) -> dict[str, Any]:
    """Values of an `RDRow` that are means over its frames: quality, and rate and PSNR-RGB by frame type.

    ``pixels`` is the size of one original picture. Columns that no frame has are left out.
    """
    values = {name: _mean(getattr(row, name) for row in rows) for name in FRAME_MEANS}
    for kind in ("i", "p", "b"):
        of_type = [row for row in rows if row.type.lower() == kind]
        values[f"psnr_{kind}"] = _mean(row.psnr_rgb for row in of_type)
        values[f"bpp_{kind}"] = _mean(row.bits / pixels for row in of_type)
    return {name: value for name, value in values.items() if value is not None}


def write_rows(path: str | os.PathLike[str], rows: Sequence[RDRow] | Sequence[FrameRow]) -> None:
    """Write a csv file of rows of one kind atomically; no rows at all give a file with the header of `RDRow`."""
    records = [_record(row) for row in rows]
    columns = _plain_columns(type(rows[0]) if rows else RDRow)
    columns += sorted({name for record in records for name in record} - set(columns), key=_extra_order)
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)


def read_rows(path: str | os.PathLike[str]) -> list[RDRow]:
    """Read an ``rd.csv``; a bad column or value is a `DataError` with its file and line."""
    return _read(path, RDRow)


def read_frames(path: str | os.PathLike[str]) -> list[FrameRow]:
    """Read a ``frames.csv``; a bad column or value is a `DataError` with its file and line."""
    return _read(path, FrameRow)


def gather(paths: Iterable[str | os.PathLike[str]], name: str = "rd.csv") -> list[Path]:
    """The files called ``name`` in the given folders and all below them, in order of their names; files as they are."""
    found: list[Path] = []
    for path in map(Path, paths):
        files = sorted(file for file in visible_below(path) if file.name == name) if path.is_dir() else [path]
        if not files:
            raise DataError(f"{path}: no {name} in this folder or below it; expected results of a test")
        found += [file for file in files if file not in found]
    return found


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def _plain_columns(kind: type) -> list[str]:
    return [f.name for f in fields(kind) if f.name not in EXTRA]


def _extra_order(column: str) -> tuple[bool, str]:
    return not column.startswith(("bits_", "hyper_bits_")), column


def _record(row: RDRow | FrameRow) -> dict[str, str]:
    record = {name: _cell(getattr(row, name)) for name in _plain_columns(type(row))}
    for name, prefix in EXTRA.items():
        record.update({prefix + key: _cell(value) for key, value in getattr(row, name, {}).items()})
    return record


def _cell(value: Any) -> str:
    """A value as text that reads back as the same value."""
    if value is None:
        return ""
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return repr(float(value)) if isinstance(value, float) else str(value)


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _frame_numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split()))


PARSERS: dict[Any, tuple[Callable[[str], Any], str]] = {
    str: (str, "text"),
    int: (int, "a whole number"),
    float: (_number, "a finite number"),
    tuple: (_frame_numbers, "frame numbers with spaces between them"),
}


def _columns(kind: type) -> dict[str, tuple[type, bool]]:
    """For each column of a kind of row that always stands in the file: its type, and whether it may be empty."""
    columns = {}
    for name, hint in typing.get_type_hints(kind).items():
        plain = [option for option in typing.get_args(hint) if option is not type(None)]
        optional = type(None) in typing.get_args(hint)
        columns[name] = (plain[0] if optional else typing.get_origin(hint) or hint, optional)
    return {name: columns[name] for name in _plain_columns(kind)}


COLUMNS: dict[type, dict[str, tuple[type, bool]]] = {kind: _columns(kind) for kind in (RDRow, FrameRow)}


def _read(path: str | os.PathLike[str], kind: type[Row]) -> list[Row]:
    path = Path(path)
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restkey="")
            _check_header(path, reader.fieldnames or (), kind)
            return [_parse(record, kind, f"{path}:{reader.line_num}") for record in reader]
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; expected a csv file of results") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a csv file ({error})") from None


def _check_header(path: Path, header: Sequence[str], kind: type) -> None:
    known = _plain_columns(kind)
    prefixes = tuple(EXTRA.values()) if kind is FrameRow else ()
    for name in header:
        if name not in known and not (prefixes and name.startswith(prefixes)):
            raise DataError(f"{path}:1: unknown column '{name}'{nearest(name, known)}")
    missing = [f.name for f in fields(kind) if f.default is f.default_factory is MISSING and f.name not in header]
    if missing:
        raise DataError(f"{path}:1: column '{missing[0]}' is missing; expected the columns {', '.join(known)}")


def _parse(record: Mapping[str, str], kind: type[Row], where: str) -> Row:
    if "" in record:
        raise DataError(f"{where}: more values than the header has columns")
    if None in record.values():
        raise DataError(f"{where}: fewer values than the header has columns; the file may have been cut short")
    columns = COLUMNS[kind]
    values: dict[str, Any] = {}
    for name, text in record.items():
        if name in columns:
            values[name] = _value(name, text, *columns[name], where)
        elif text:
            group = next(g for g, prefix in EXTRA.items() if name.startswith(prefix))
            values.setdefault(group, {})[name.removeprefix(EXTRA[group])] = _value(name, text, float, False, where)
    return kind(**values)


def _value(name: str, text: str, kind: type, optional: bool, where: str) -> Any:
    if optional and not text:
        return None
    parse, expected = PARSERS[kind]
    try:
        return parse(text)
    except ValueError:
        raise DataError(f"{where}: {name} is {text!r}; expected {expected}") from None
