"""The files of a report's tables."""

from pathlib import Path

from sftkey_data.storage.appearing import make_folder, write_text
from sftkey_eval.report.paper.latex_table import latex
from sftkey_eval.report.tables import Table, csv_text


def write_tables(tables: list[Table], folder: Path) -> None:
    """Write `NAME.csv` and `NAME.tex` of every table."""
    make_folder(folder)
    for table in tables:
        write_text(folder / f"{table.name}.csv", csv_text(table))
        write_text(folder / f"{table.name}.tex", latex(table))
