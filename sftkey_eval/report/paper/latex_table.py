r"""A table in LaTeX that fits a column of a two-column article.

Lines are broken here and not by TeX, so that a cell is plain text in the file; an interval stands below its value.
Columns that do not fit beside each other go on in a further `tabular`, which names the rows again.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from sftkey_data.console import visible
from sftkey_eval.analysis.paired_comparison import PairedEstimate, PairedRate
from sftkey_eval.analysis.summary import Rate
from sftkey_eval.report.printed import points
from sftkey_eval.report.tables import Cell, Table, shown_cell
from sftkey_eval.statistics.item_means import Estimate

COLUMN_POINTS = 219.0
"""7.7 cm, the column of the ACL's style; those of `article`, ICML and IEEE are wider."""

_GAP = 5.0  # twice \tabcolsep
_EM = {"value": 8.5, "interval": 8.0}  # of \footnotesize and \scriptsize, for widths of Computer Modern at 10 pt
_NAME_SHARE, _NAMES_SHARE = 0.42, 0.5  # of the width, for one cell that names a row, or for several together
_TEXT_POINTS = 72.0  # what other text is broken to
# Thousandths of an em in Computer Modern, rounded up; digits and whatever is not named have 500.
_WIDTHS = {
    **dict.fromkeys("iljI.,:;!|'()[] ", 390),
    **dict.fromkeys("frtsczgev-", 460),
    **dict.fromkeys("mMWw%\u2026", 950),
    **dict.fromkeys("ABCDEFGHJKLNOPQRSTUVXYZ+=<>&\u2212", 790),
    **dict.fromkeys("bdhknpqu", 560),
}
_BREAKS = re.compile(r"\s+|(?<=[-_/=])")
_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "`": r"\textasciigrave{}",
    "\u2212": "$-$",
    "\u2013": "--",
    "\u2026": r"\dots{}",
    "\u2019": "'",
    "\u202f": r"\,",
    "\u27e8": r"$\langle$",
    "\u27e9": r"$\rangle$",
    **{mark: f"\\{mark}" for mark in "&%$#_"},
}

Lines = Sequence[tuple[str, str]]
"""The lines of a cell: the size of each, a key of `_EM`, and its text."""


@dataclass(frozen=True, slots=True)
class _Column:
    """How it is aligned, its width in points, and its cells with the title first."""

    aligned: str
    width: float
    cells: tuple[Lines, ...]


def latex(table: Table) -> str:
    r"""A `tabular` for `\usepackage{booktabs}`, its caption as a comment; several where one would not fit a column."""
    panels = min((_panels(each) for each in (table, *_turned(table))), key=len)
    lines = [
        f"% {_one_line(table.caption)} Needs \\usepackage{{booktabs}}.",
        "% Percent and points, with 95 % intervals below them; the counts are in the CSV file.",
        r"\begingroup\footnotesize\setlength{\tabcolsep}{2.5pt}%",
    ]
    for number, panel in enumerate(panels):
        lines += [r"\par\medskip"] if number else []
        lines += _tabular(panel)
    return "\n".join([*lines, r"\endgroup"]) + "\n"


def _turned(table: Table) -> Iterator[Table]:
    """The table with a column for each row, where one column names the rows and the others are numbers."""
    if _num_names(table) == 1 and not any(isinstance(value, str) for row in table.rows for value in row[1:]):
        titles, *columns = zip(table.columns, *table.rows, strict=True)
        yield replace(table, columns=titles, rows=tuple(columns))


def _num_names(table: Table) -> int:
    """How many of the first columns it takes to tell the rows apart."""
    texts = next((i for i in range(len(table.columns)) if not _is_text(table, i)), len(table.columns)) or 1
    for num in range(1, texts):
        if len({row[:num] for row in table.rows}) == len(table.rows):
            return num
    return min(texts, 3)


def _is_text(table: Table, index: int) -> bool:
    return isinstance(table.rows[0][index] if table.rows else "", str)


def _columns(table: Table, num_names: int) -> list[_Column]:
    share = _NAMES_SHARE if num_names > 1 else _NAME_SHARE
    limits = [share * COLUMN_POINTS / num_names] * num_names
    limits += [_TEXT_POINTS] * (len(table.columns) - num_names)
    return [_column(table, index, limit) for index, limit in enumerate(limits)]


def _column(table: Table, index: int, limit: float) -> _Column:
    """A title is no wider than what stands below it, or than what of it cannot be broken."""
    cells = [_lines(row[index], limit) for row in table.rows]
    longest = max((_points(part) for part in _BREAKS.split(table.columns[index])), default=0.0)
    title = _wrapped(table.columns[index], min(limit, max(longest, *map(_width, cells), 0.0)))
    width = max(map(_width, [title, *cells]))
    return _Column("l" if _is_text(table, index) else "r", width, (title, *cells))


def _lines(value: Cell, limit: float) -> Lines:
    match value:
        case Rate() | Estimate() if value.value is not None:
            return _with_interval(f"{100 * value.value:.1f}", value.low, value.high)
        case PairedRate() | PairedEstimate() if value.difference is not None:
            if value.low is None or value.high is None:
                return [("value", points(value.difference))]
            span = f"{points(value.low)} to {points(value.high)}"
            return [("value", points(value.difference)), ("interval", span)]
        case str():
            return _wrapped(value, limit)
    return [("value", shown_cell(value))]


def _with_interval(shown: str, low: float | None, high: float | None) -> Lines:
    span = [] if low is None or high is None else [("interval", f"{100 * low:.1f}\u2013{100 * high:.1f}")]
    return [("value", shown), *span]


def _wrapped(text: str, limit: float) -> Lines:
    lines = [""]
    for word in _pieces(_one_line(text), limit):
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and _points(longer) > limit:
            lines.append(word)
        else:
            lines[-1] = longer
    return [("value", line) for line in lines]


def _pieces(text: str, limit: float) -> Iterator[str]:
    """The words of a text; one that is wider than the limit in pieces, after a mark in it where there is one."""
    for word in text.split():
        rest = word
        while _points(rest) > limit:
            fits = max(1, next(end for end in range(1, len(rest)) if _points(rest[: end + 1]) > limit))
            cut = max(rest.rfind(mark, 0, fits) for mark in "-_/=") + 1 or fits
            yield rest[:cut]
            rest = rest[cut:]
        yield rest


def _points(text: str, size: str = "value") -> float:
    return _EM[size] * sum(_WIDTHS.get(letter, 500 if letter.isascii() else 790) for letter in text) / 1000


def _width(cell: Lines) -> float:
    return max((_points(text, size) for size, text in cell), default=0.0)


def _panels(table: Table) -> list[list[_Column]]:
    """Which columns stand beside each other: those that name the rows, and as many of the others as fit."""
    num_names = _num_names(table)
    columns = _columns(table, num_names)
    names, others = columns[:num_names], columns[num_names:]
    panels = [list(names)]
    for column in others:
        if len(panels[-1]) > num_names and sum(c.width + _GAP for c in [*panels[-1], column]) - _GAP > COLUMN_POINTS:
            panels.append(list(names))
        panels[-1].append(column)
    return panels


def _tabular(columns: Sequence[_Column]) -> list[str]:
    head, *rows = (list(zip_longest(*cells)) for cells in zip(*(c.cells for c in columns), strict=True))
    return [
        f"\\begin{{tabular}}{{@{{}}{''.join(c.aligned for c in columns)}@{{}}}}",
        r"\toprule",
        *_printed(head),
        r"\midrule",
        *(line for row in rows for line in _printed(row)),
        r"\bottomrule",
        r"\end{tabular}",
    ]


def _printed(row: Sequence[Sequence[tuple[str, str] | None]]) -> list[str]:
    """The lines of a row; those after its first are closer to it than the next row is."""
    lines = [" & ".join(map(_cell, line)) for line in row]
    return [*(f"{line} \\\\[-1.5pt]" for line in lines[:-1]), f"{lines[-1]} \\\\"]


def _cell(line: tuple[str, str] | None) -> str:
    if line is None:
        return ""
    size, text = line
    return f"{{\\scriptsize {_escaped(text)}}}" if size == "interval" else _escaped(text)


def _escaped(text: str) -> str:
    # Braces before a bracket or a star: after the end of a line, TeX would read them as an option of it.
    shown = "".join(_LATEX.get(letter, letter) for letter in text)
    return f"{{}}{shown}" if shown.startswith(("[", "*")) else shown


def _one_line(text: str) -> str:
    return " ".join(visible(text).replace("\u202f", "\0").split()).replace("\0", "\u202f")
