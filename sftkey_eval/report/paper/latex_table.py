"""A table in LaTeX."""

from sftkey_data.console import visible
from sftkey_eval.report.tables import Table, shown_cell

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "\u2212": "$-$",
    "\u2013": "--",
    "\u2026": r"\dots{}",
    "\u202f": r"\,",
    "\u27e8": r"$\langle$",
    "\u27e9": r"$\rangle$",
    **{mark: f"\\{mark}" for mark in "&%$#_"},
}


def latex(table: Table) -> str:
    r"""A `tabular` for `\usepackage{booktabs}`, its caption as a comment."""
    first = table.rows[0] if table.rows else ("",) * len(table.columns)
    aligned = "".join("l" if isinstance(value, str) else "r" for value in first)
    lines = [
        f"% {_one_line(table.caption)} Needs \\usepackage{{booktabs}}.",
        f"\\begin{{tabular}}{{{aligned}}}",
        r"\toprule",
        " & ".join(map(_escaped, table.columns)) + r" \\",
        r"\midrule",
        *(" & ".join(_escaped(shown_cell(value)) for value in row) + r" \\" for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in _one_line(text))


def _one_line(text: str) -> str:
    return " ".join(visible(text).replace("\u202f", "\0").split()).replace("\0", "\u202f")
