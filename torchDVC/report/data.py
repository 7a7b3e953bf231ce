"""What a report page shows, read from folders of results into plain values."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchDVC.anchors.encoders import ENCODERS
from torchDVC.report.sentence import how_it_came_out, what_was_run
from torchDVC.results.bd_rate import AVERAGES, METHODS, bd_table
from torchDVC.results.conditions import (
    METRICS,
    Curve,
    check_comparable,
    curves,
    describe_conditions,
    group,
    label_conditions,
    label_processes,
    mean,
    possible_mean_curves,
    rate_point,
)
from torchDVC.results.per_frame import drift, frames_by_point, point_key
from torchDVC.results.rows import FrameRow, RDRow, read_rows
from torchDVC.util.errors import DataError

FRAMES_CHARTED = (200, 100, 50, 25, 0)
"""Most frames of a rate point whose values stand in the page: the first of these numbers with which it stays small."""

COSTS = (
    "parameters", "kmac_encode", "kmac_decode", "encode_fps", "decode_fps", "memory_encode", "memory_decode",
    "device_memory_encode", "device_memory_decode",
)  # fmt: skip
PROVENANCE = ("run_id", "start", "command", "folder", "seed", "device", "machine", "python")


@dataclass(frozen=True)
class Results:
    """Rows of one page, as one list: ``tables`` they come from, ``own`` rows of each, and ``notes`` on them."""

    tables: Sequence[Path]
    own: Mapping[Path, Sequence[RDRow]]
    rows: Sequence[RDRow]
    notes: tuple[str, ...]


def read_results(tables: Sequence[Path]) -> Results:
    """Read ``rd.csv`` files; processes, and conditions where they differ, become part of the codecs' names."""
    own = {table: read_rows(table) for table in tables}
    rows = label_processes([row for of_table in own.values() for row in of_table])
    notes = []
    try:
        check_comparable(rows)
    except DataError as error:
        notes.append(f"{error}; the conditions stand behind the codecs' names, compare with care")
        rows = label_conditions(rows)
    estimated = sorted({row.codec for row in rows if row.bpp is None and row.bpp_estimated is not None})
    if estimated:
        notes.append(f"Rates of {', '.join(estimated)} are estimates: no stream was written.")
    unrated = sorted({row.codec for row in rows if row.rate is None})
    if unrated:
        notes.append(f"Rate points of {', '.join(unrated)} have no rate and are not drawn.")
    return Results(tables, own, rows, tuple(notes))


def report_data(results: Results, anchor: str, room: int) -> dict[str, Any]:
    """Everything but pictures, films and training, as values that JSON can hold.

    Args:
        results: what `read_results` gave; ``frames.csv``, ``run.json`` and ``complexity.csv`` are read where they
            stand beside a table.
        anchor: the codec that BD-rates are against, one of the rows'.
        room: bytes that the rate points may take in the page; their frames are left out as far as needed.
    """
    rows, tables, notes = results.rows, results.tables, list(results.notes)
    metrics = [metric for metric in METRICS if any(getattr(row, metric) is not None for row in rows)]
    means = {metric: possible_mean_curves(rows, metric, notes) for metric in metrics}
    return {
        "what": what_was_run(rows, ENCODERS) if rows else "",
        "outcome": list(how_it_came_out(rows, metrics[0], ENCODERS)) if metrics else [],
        "conditions": describe_conditions(rows) if rows else "",
        "notes": notes,
        "metrics": {metric: METRICS[metric] for metric in metrics},
        "anchor": anchor,
        "points": _points(rows, metrics, frames_by_point(tables), room, notes),
        "means": {metric: [_curve(curve) for curve in of_metric] for metric, of_metric in means.items()},
        "bd": _bd_rates({metric: curves(rows, metric) for metric in metrics}, means, anchor),
        "complexity": _complexity(rows),
        "modules": _modules(results.own),
        "runs": [found for table in tables if (found := _provenance(table))],
    }


def to_json(values: Any) -> str:
    """Values as they stand in the page, all in ASCII."""
    return json.dumps(values, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")  # no markup in a script


def _points(
    rows: Sequence[RDRow], metrics: Sequence[str], frames: Mapping[tuple, list[FrameRow]], room: int, notes: list[str]
) -> list[dict[str, Any]]:
    """The rate points with as many frames as there is ``room`` for; a note where some are left out."""
    own = [frames.get(point_key(row), []) for row in rows]
    for charted in FRAMES_CHARTED:
        charts = [_frames(of_point, charted) if of_point and charted else None for of_point in own]
        points = [_point(row, metrics) | {"frames": chart} for row, chart in zip(rows, charts, strict=True)]
        if not charted or len(to_json(points)) <= room:
            break
    if any(len(of_point) > charted for of_point in own):
        why = "" if charted == FRAMES_CHARTED[0] else ", so that the page stays small"
        shown = f"show the first {charted} frames{why}; drift is over all" if charted else f"are left out{why}"
        notes.append(f"The charts by frame {shown}.")
    return points


def _point(row: RDRow, metrics: Sequence[str]) -> dict[str, Any]:
    values = {metric: _short(getattr(row, metric)) for metric in metrics}
    costs = {name: _short(getattr(row, name)) for name in ("encode_fps", "decode_fps")}
    names = {"codec": row.codec, "dataset": row.dataset, "sequence": row.sequence, "name": rate_point(row)}
    sizes: dict[str, Any] = {
        "width": row.width,
        "height": row.height,
        "bpp": _short(row.rate),
        "kbps": _short(row.rate * row.width * row.height * row.fps / 1000) if row.rate and row.fps else None,
        "settings": row.settings,
    }
    sizes["estimated"] = row.bpp is None
    return {**names, **sizes, **values, **costs}


def _frames(rows: Sequence[FrameRow], most: int) -> dict[str, Any]:
    """The first frames of a rate point: a list for each value, with an entry a frame."""
    found = drift(rows)
    rows = sorted(rows, key=lambda row: row.frame)[:most]
    labels = list(dict.fromkeys(label for row in rows for label in row.rates))
    return {
        "index": [row.frame for row in rows],
        "type": "".join(row.type for row in rows),
        "bits": [round(row.bits) for row in rows],
        "psnr": [_short(row.psnr_rgb) for row in rows],
        "rates": {label: [round(row.rates.get(label, 0)) for row in rows] for label in labels},
        "drift": _short(found.slope) if found else None,
    }


def _curve(curve: Curve) -> dict[str, Any]:
    points = [[_short(rate), _short(quality)] for rate, quality in zip(curve.rates, curve.qualities, strict=True)]
    return {"codec": curve.codec, "dataset": curve.dataset, "points": points}


def _bd_rates(sequences: Mapping[str, list[Curve]], means: Mapping[str, list[Curve]], anchor: str) -> list[dict]:
    """A table for each metric, interpolation and way of averaging in which the anchor has a curve."""
    tables = []
    for metric in means:
        if not any(curve.codec == anchor for curve in (*sequences[metric], *means[metric])):
            continue
        for method in METHODS:
            for average, words in AVERAGES.items():
                entries = bd_table(sequences[metric], means[metric], anchor, method, average)
                lines = [
                    {
                        "codec": entry.codec,
                        "dataset": entry.dataset,
                        "sequence": entry.sequence,
                        "value": round(entry.rate.value, 2) if entry.rate.comparable else None,
                        "text": entry.rate.text,
                        "overlap": round(entry.rate.overlap, 3),
                        "doubtful": not entry.rate.comparable or bool(entry.rate.warning),
                        "note": entry.note,
                    }
                    for entry in entries
                ]
                tables.append({"metric": metric, "method": method, "average": words, "lines": lines})
    return tables


def _complexity(rows: Sequence[RDRow]) -> list[dict[str, Any]]:
    """What each codec costs, means over its rate points."""
    found = []
    for codec, own in group(rows, lambda row: row.codec).items():
        known = {name: [getattr(row, name) for row in own if getattr(row, name) is not None] for name in COSTS}
        found.append(
            {"codec": codec} | {name: _short(mean(values)) if values else None for name, values in known.items()}
        )
    return found


def _modules(tables: Mapping[Path, Sequence[RDRow]]) -> list[dict[str, Any]]:
    """The cells of every ``complexity.csv``, whatever its columns are; equal ones of a codec once."""
    found: list[dict[str, Any]] = []
    for table, rows in tables.items():
        path = table.with_name("complexity.csv")
        if not path.exists() or not rows:
            continue
        header, *lines = _cells(path)
        cells = {"codec": rows[0].codec, "header": header, "lines": lines}
        same = next((one for one in found if all(one[key] == value for key, value in cells.items())), None)
        if same:
            same["folders"].append(table.parent.name)
        else:
            found.append({**cells, "folders": [table.parent.name]})
    return found


def _cells(path: Path) -> list[list[str]]:
    """Header and lines of a csv file of any columns."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            cells = [header]
            for line in filter(None, reader):
                if len(line) != len(header):
                    raise DataError(f"{path}:{reader.line_num}: {len(line)} values; expected {len(header)}")
                cells.append(line)
            return cells
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a csv file ({error})") from None


def _provenance(table: Path) -> dict[str, Any] | None:
    """How the run was made, from ``run.json``."""
    path = table.with_name("run.json")
    if not path.exists():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError:
        raise DataError(f"{path}: not JSON; expected the record of a run") from None
    git = (record.get("git") or {}) if isinstance(record, dict) else None
    if not isinstance(git, dict):
        raise DataError(f"{path}: not the record of a run; expected its facts by name, those of git among them")
    changed = " with uncommitted changes" if git.get("diff") or git.get("status") else ""
    facts = {name: _words(record[name]) for name in PROVENANCE if record.get(name) not in (None, "")}
    facts |= {"commit": f"{git['commit']}{changed}"} if git.get("commit") else {}
    details = {
        "Uncommitted changes": git.get("diff") or git.get("status"),
        "Installed packages": record.get("packages"),
    }
    shown = {name: _words(value) for name, value in details.items() if value}
    return {"folder": table.parent.name, "facts": facts, "details": shown}


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_words(item)}" for key, item in value.items())
    return ", ".join(map(_words, value)) if isinstance(value, list) else str(value)


def _short(value: float | None) -> float | None:
    """Whole numbers as they are, others with six significant digits, which the page needs no more of."""
    if value is None or value == round(value):
        return value if value is None else round(value)
    return float(f"{value:.6g}")
