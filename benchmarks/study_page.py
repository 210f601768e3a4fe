"""Writes the figures of docs/study.md anew from the committed records of the studies.

    python benchmarks/study_page.py            # change the page
    python benchmarks/study_page.py --check    # exit 1 where it is not what the records say

A figure stands between `<!-- figures: RECORD NAME -->` and `<!-- end -->`. RECORD is the file
`benchmarks/results/study/RECORD.json.gz`, NAME one of the tables of its report (`claims`, `headroom`, `DATASET_arms`,
`DATASET_gains`, …) or `found`, its sentences.
"""

import argparse
import re
import sys
from functools import cache
from pathlib import Path

from sftkey_eval.report.tables import markdown_table
from sftkey_train.study.report.first_sentence import first_sentences
from sftkey_train.study.report.study_numbers import StudyNumbers, study_numbers
from sftkey_train.study.report.study_results import read_results
from sftkey_train.study.report.study_tables import study_tables

ROOT = Path(__file__).resolve().parents[1]
PAGE, RECORDS = ROOT / "docs" / "study.md", ROOT / "benchmarks" / "results" / "study"
FIGURE = re.compile(r"(<!-- figures: (\S+) (\S+) -->\n).*?(\n<!-- end -->)", re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    text = PAGE.read_text(encoding="utf-8")
    new = page(text)
    if options.check:
        sys.exit(f"error: {PAGE} is not what the records say: run {Path(__file__).name}" if new != text else 0)
    PAGE.write_text(new, encoding="utf-8")


def page(text: str) -> str:
    """The page with every figure as the records have it."""
    return FIGURE.sub(lambda found: found[1] + figure(found[2], found[3]) + found[4], text)


def figure(record: str, name: str) -> str:
    """Sentences or a table with its caption, as Markdown.

    Raises:
        SystemExit: The record has no such table.
    """
    numbers = numbers_of(record)
    if name == "found":
        return "\n".join(f"- {sentence}" for sentence in first_sentences(numbers))
    tables = study_tables(numbers)
    if name not in tables:
        raise SystemExit(f"error: {record} has no table {name!r}; there are {', '.join(tables)}")
    return f"{tables[name].caption}\n\n{markdown_table(tables[name])}".rstrip()


@cache
def numbers_of(record: str) -> StudyNumbers:
    return study_numbers(read_results(RECORDS / f"{record}.json.gz"))


if __name__ == "__main__":
    main()
