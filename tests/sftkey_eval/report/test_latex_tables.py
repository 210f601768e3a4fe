"""Tables in LaTeX: in a column of a two-column article, measured by TeX itself."""

import shutil
import subprocess
from pathlib import Path

import pytest
from eval_samples import AFTER, CUT, RIGHT, SLIP, WRONG, write_run

from sftkey_eval.analysis.loaded_runs import load_runs
from sftkey_eval.analysis.paired_comparison import compare_runs
from sftkey_eval.analysis.summary import rate
from sftkey_eval.report.paper.latex_table import COLUMN_POINTS, latex
from sftkey_eval.report.paper.table_files import write_tables
from sftkey_eval.report.report import make_report
from sftkey_eval.report.report_tables import flipped_table
from sftkey_eval.report.tables import Table
from sftkey_eval.statistics.item_means import Estimate
from sftkey_train.study.report.study_numbers import study_numbers
from sftkey_train.study.report.study_results import read_results
from sftkey_train.study.report.study_tables import study_tables

ROOT = Path(__file__).resolve().parents[3]
NAMES = ("continued", "answer_only_with_a_long_name", "WWWWWWWWWWWWWWWWWWWWWWWW", "Qwen2.5-Math-7B-Instruct/stage 2")
ARTICLE = r"""\documentclass[twocolumn]{article}
\usepackage{booktabs}
\setlength{\columnwidth}{WIDTHpt}\setlength{\hsize}{WIDTHpt}
\begin{document}
TABLES
\end{document}
"""


def made(folder: Path) -> list[Path]:
    """Every table of a report on four runs, and the items that flipped between two of them."""
    texts = [[RIGHT] * n + [SLIP, WRONG, AFTER, CUT] * 3 + [""] for n in range(30, 34)]
    runs = load_runs(
        [
            f"{name}={write_run(folder / str(number), [{'completion': c} for c in (rows * 2)[:43]])}"
            for number, (name, rows) in enumerate(zip(NAMES, texts, strict=True))
        ]
    )
    flipped = flipped_table(compare_runs(runs[1], runs[3]))
    write_tables([*make_report(runs).tables, flipped], folder / "tables")
    return sorted(folder.glob("tables/*.tex"))


def set_in_columns(folder: Path, tables: list[Path]) -> list[str]:
    """What TeX complains of, each behind the name of its table."""
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed, so nothing measures the tables")
    inputs = "\n".join(f"\\typeout{{TABLE {table}}}\\noindent\\input{{{table}}}\\par\\bigskip" for table in tables)
    article = ARTICLE.replace("WIDTH", str(COLUMN_POINTS)).replace("TABLES", inputs)
    (folder / "article.tex").write_text(article, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-no-shell-escape", "article.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=120, check=False)
    log = done.stdout.decode(errors="replace").splitlines()
    assert sum(line.startswith("TABLE ") for line in log) == len(tables)
    return [line for line in log if line.startswith(("Overfull \\h", "! "))]


def test_every_table_of_a_report_fits_a_column(tmp_path: Path) -> None:
    tables = made(tmp_path)
    assert len(tables) >= 10
    assert set_in_columns(tmp_path, tables) == []


def test_every_table_of_a_study_fits_a_column(tmp_path: Path) -> None:
    numbers = study_numbers(read_results(ROOT / "benchmarks" / "results" / "study" / "demo.json.gz"))
    write_tables(list(study_tables(numbers).values()), tmp_path / "tables")
    assert set_in_columns(tmp_path, sorted((tmp_path / "tables").glob("*.tex"))) == []


def test_text_of_a_user_is_set_and_fits(tmp_path: Path) -> None:
    texts = ('\\input{x} $ & % # _ {} ~ ^ < > | " `', "[8pt] *", "x" * 200, "a" + "_m" * 90)
    table = Table(name="t", caption="50 % of\nit", columns=("A", "B"), rows=tuple((text, text) for text in texts))
    (tmp_path / "t.tex").write_text(latex(table), encoding="utf-8")
    assert set_in_columns(tmp_path, [tmp_path / "t.tex"]) == []


def test_columns_that_do_not_fit_go_on_below_with_the_names_of_the_rows() -> None:
    columns = ("Run", "Note", *(f"Rate {i}" for i in range(6)))
    rows = tuple((f"run {i}", "so", *[rate(i, 10)] * 6) for i in range(3))
    panels = latex(Table(name="t", caption="", columns=columns, rows=rows)).split(r"\begin{tabular}")[1:]
    assert len(panels) > 1
    assert [panel.count("run 1") for panel in panels] == [1] * len(panels)
    assert sum(panel.count("Rate") for panel in panels) == 6


def test_few_runs_with_many_rates_stand_upright() -> None:
    table = Table(
        name="t",
        caption="",
        columns=("Run", *(f"Weight {i}" for i in range(9))),
        rows=tuple((name, *(Estimate(i / 10, i / 20, i / 5) for i in range(9))) for name in ("first", "second")),
    )
    lines = latex(table).splitlines()
    assert r"Run & first & second \\" in lines
    at = lines.index(r"Weight 3 & 30.0 & 30.0 \\[-1.5pt]")
    assert lines[at + 1] == r" & {\scriptsize 15.0--60.0} & {\scriptsize 15.0--60.0} \\"
