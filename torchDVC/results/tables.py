"""Tables as text for a terminal, csv, Markdown or LaTeX."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Sequence

LATEX_ESCAPES: dict[str, str | int | None] = {c: "\\" + c for c in "&%$#_{}"}
LATEX_ESCAPES |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns aligned with spaces; numbers to the right."""
    widths = [max(map(_width, column)) for column in zip(header, *rows, strict=True)]
    right = [_is_numeric(column) for column in zip(*rows, strict=True)] or [False] * len(header)
    lines = []
    for row in (header, *rows):
        blanks = [" " * (w - _width(c)) for c, w in zip(row, widths, strict=True)]
        cells = [b + c if r else c + b for c, b, r in zip(row, blanks, right, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines) + "\n"


def csv_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Comma-separated values, with the header line."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([header, *rows])
    return buffer.getvalue()


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A pipe table; numbers to the right."""
    right = [_is_numeric(column) for column in zip(*rows, strict=True)] or [False] * len(header)
    lines = [header, ["---:" if r else "---" for r in right], *rows]
    escaped = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return "".join(f"| {' | '.join(line)} |\n" for line in escaped)


def latex_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A ``tabular`` in the style of the package booktabs; special characters escaped, numbers to the right."""
    right = [_is_numeric(column) for column in zip(*rows, strict=True)] or [False] * len(header)
    lines = [
        " & ".join(cell.translate(str.maketrans(LATEX_ESCAPES)) for cell in line) + r" \\" for line in (header, *rows)
    ]
    parts = [rf"\begin{{tabular}}{{{''.join('r' if r else 'l' for r in right)}}}", r"\toprule", lines[0], r"\midrule"]
    return "\n".join([*parts, *lines[1:], r"\bottomrule", r"\end{tabular}"]) + "\n"


FORMATS = {"text": text_table, "csv": csv_table, "markdown": markdown_table, "latex": latex_table}
SUFFIXES = {".csv": "csv", ".md": "markdown", ".tex": "latex", ".txt": "text"}


def _width(cell: str) -> int:
    """Columns of a terminal: two for a Chinese character, none for an accent of its own."""
    return sum(1 + (unicodedata.east_asian_width(c) in "WF") for c in cell if not unicodedata.combining(c))


def _is_numeric(column: Sequence[str]) -> bool:
    """True for a column of numbers, with or without a sign or a unit of percent, some cells empty."""
    cells = [cell.removesuffix("%").strip() for cell in column if cell]
    try:
        return bool([float(cell.partition(" ")[0]) for cell in cells])
    except ValueError:
        return False
