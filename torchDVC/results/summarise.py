"""One table of any number of result folders: ``python -m torchDVC.results.summarise results/* --out table.md``.

One line for each codec and rate point, averaged over the sequences of a data set, or for each sequence. Rows of
different test conditions are never averaged.
"""

from __future__ import annotations

if __name__ == "__main__":
    from torchDVC.util.start import program

    program("torchDVC.results.summarise")

import operator
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from torchDVC.config.flags import argument, flag, parse_flags
from torchDVC.config.values import any_path, choice, words
from torchDVC.results.conditions import (
    METRICS,
    OF_SEQUENCE,
    OF_TEST,
    check_comparable,
    check_distinct,
    check_same_sequences,
    group,
    label_processes,
    matched_points,
    mean,
)
from torchDVC.results.rows import COLUMNS as TYPES
from torchDVC.results.rows import RDRow, gather, read_rows
from torchDVC.results.tables import FORMATS, SUFFIXES
from torchDVC.util.errors import DataError, LCPError, nearest, run_command
from torchDVC.util.files import write_text

MEANS = ("bpp", "bpp_estimated", *METRICS, "psnr_i", "psnr_p", "psnr_b", "bpp_i", "bpp_p", "bpp_b")
MEANS += ("encode_fps", "decode_fps", "kmac_encode", "kmac_decode", "parameters")
MEANS += ("memory_encode", "memory_decode", "device_memory_encode", "device_memory_decode")
DEFAULT_COLUMNS = ("codec", "dataset", "sequences", "lmda", "quality", "bpp", "bpp_estimated", *METRICS)
DECIMALS = {"bpp": 4, "ms_ssim_rgb": 5, "psnr": 2, "kmac": 1, "encode_fps": 2, "decode_fps": 2, "memory": 0,
            "device_memory": 0}
COLUMNS = tuple(field.name for field in fields(RDRow))
COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "!=": operator.ne,
    "=": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}


@dataclass(frozen=True)
class Filter:
    """A condition that rows must meet, such as ``gop_size=1`` or ``bpp<=0.3``."""

    column: str
    sign: str
    value: str | float

    def __call__(self, row: RDRow) -> bool:
        found = getattr(row, self.column)
        return found is not None and COMPARE[self.sign](found, self.value)


def parse_filter(text: str) -> Filter:
    """Read ``column=value``, with ``=``, ``!=``, ``<``, ``<=``, ``>`` or ``>=``."""
    match = re.fullmatch(r"\s*(\w+)\s*(<=|>=|!=|=|<|>)\s*(.*?)\s*", text)
    if not match:
        raise LCPError(f"--where {text}: expected column=value, with =, !=, <, <=, > or >=")
    if match[1] not in COLUMNS:
        raise LCPError(f"--where {text}: unknown column '{match[1]}'{nearest(match[1], COLUMNS)}")
    column, sign, value = match.groups()
    try:
        return Filter(column, sign, value if TYPES[RDRow][column][0] is str else float(value))
    except ValueError:
        raise LCPError(f"--where {text}: expected a number") from None


def summarise(rows: Sequence[RDRow], by: str = "dataset") -> list[dict[str, Any]]:
    """One record for each rate point: ``by`` sequence as they are, by data set the means over its sequences.

    Raises:
        DataError: rows of different test conditions, or codecs on different sequences, would be averaged or compared.
    """
    rows = label_processes(rows)
    check_distinct(rows)
    if by == "dataset":
        check_comparable(rows)
        check_same_sequences(rows)
        for own in group(rows, lambda row: (row.codec, row.dataset)).values():
            matched_points(own)
    names = ["codec", "process", "dataset", "lmda", "quality", *OF_TEST]
    names += ["sequence", *OF_SEQUENCE] if by == "sequence" else []
    groups = group(rows, lambda row: tuple(getattr(row, name) for name in names))
    return [{**dict(zip(names, key, strict=True)), **_means(own)} for key, own in groups.items()]


def table(records: Sequence[dict[str, Any]], columns: Sequence[str] = ()) -> tuple[list[str], list[list[str]]]:
    """Header and cells of the given columns, or of the usual ones that are not empty throughout.

    Conditions are among the usual ones where they differ for a clip.
    """
    usual = [name for name in ("sequence", *DEFAULT_COLUMNS) if any(r.get(name) is not None for r in records)]
    clips = group(records, lambda record: (record.get("dataset"), record.get("sequence"))).values()

    def differs(name: str) -> bool:
        return any(len({record.get(name) for record in own} - {None}) > 1 for own in clips)

    chosen = list(columns) or [*usual, *filter(differs, (*OF_TEST, *OF_SEQUENCE))]
    return chosen, [[_cell(name, record.get(name)) for name in chosen] for record in records]


@dataclass(frozen=True, kw_only=True)
class SummaryOptions:
    """The command line of ``python -m torchDVC.results.summarise``."""

    results: tuple[Path, ...] = argument(
        any_path, "rd.csv files, or folders to look for them in", metavar="RESULTS", many=True
    )
    by: str = flag(
        choice("dataset", "sequence"), "a line for each", metavar="{dataset,sequence}", default="dataset"
    )
    where: tuple[str, ...] = flag(
        words, "such as gop_size=1 'bpp<=0.3'", metavar="CONDITION", many=True, default=()
    )
    sort: tuple[str, ...] = flag(
        words, "columns; COLUMN- from high to low", metavar="COLUMN", many=True, default=()
    )
    columns: tuple[str, ...] = flag(
        words, "columns to show (default: those that are not empty)", metavar="COLUMN", many=True, default=()
    )
    format: str | None = flag(
        choice(*FORMATS), "default: by the suffix of --out, else text", metavar=f"{{{','.join(FORMATS)}}}", default=None
    )
    out: Path | None = flag(
        any_path, ".csv, .md, .tex or .txt (default: print the table)", metavar="FILE", default=None
    )

    def problems(self) -> Iterator[str]:
        """What is wrong with conditions, columns and the name of the file."""
        for text in self.where:
            try:
                parse_filter(text)
            except LCPError as error:
                yield str(error)
        columns = (*COLUMNS, "sequences")
        for name in (*self.columns, *self.sort):
            if name.removesuffix("-") not in columns:
                yield f"unknown column '{name}'{nearest(name, columns)}"
        if self.out and not self.format and self.out.suffix.lower() not in SUFFIXES:
            yield f"{self.out}: cannot write '{self.out.suffix}' files; expected {', '.join(SUFFIXES)}, or --format"


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run_command(lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> None:
    usage = "python -m torchDVC.results.summarise RESULTS [flags]"
    options = parse_flags(SummaryOptions, argv, usage=usage, description=__doc__ or "")
    filters = [parse_filter(text) for text in options.where]
    rows = [row for path in gather(options.results) for row in read_rows(path) if all(keep(row) for keep in filters)]
    if not rows:
        raise DataError("no rows left to summarise; loosen --where")
    records = _sorted(summarise(rows, options.by), options.sort)
    style = options.format or (SUFFIXES[options.out.suffix.lower()] if options.out else "text")
    text = FORMATS[style](*table(records, options.columns))
    if options.out:
        write_text(options.out, text)
        print(f"wrote {options.out}")
    else:
        print(text, end="")


def _means(rows: Sequence[RDRow]) -> dict[str, Any]:
    record: dict[str, Any] = {"sequences": len(rows)}
    for name in MEANS:
        known = [getattr(row, name) for row in rows if getattr(row, name) is not None]
        if len(known) == len(rows):
            record[name] = mean(known)
    for name in set(COLUMNS) - {*MEANS, *record}:
        values = {getattr(row, name) for row in rows}
        if len(values) == 1:
            record[name] = values.pop()
    return record


def _sorted(records: list[dict[str, Any]], columns: Sequence[str]) -> list[dict[str, Any]]:
    """Records by the first column, then the next; empty cells last."""
    for column in reversed(columns):
        name = column.removesuffix("-")
        filled = [record for record in records if record.get(name) is not None]
        filled.sort(key=lambda record: record[name], reverse=column.endswith("-"))
        records = filled + [record for record in records if record.get(name) is None]
    return records


def _cell(name: str, value: Any) -> str:
    if not isinstance(value, float):
        return "" if value is None else str(value)
    whole = 0 if value.is_integer() else None
    decimals = next((digits for prefix, digits in DECIMALS.items() if name.startswith(prefix)), whole)
    return f"{value:g}" if decimals is None else f"{value:.{decimals}f}"
