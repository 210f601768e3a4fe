"""The report of a study, made of its record alone: a page, Markdown, JSON, tables and plots."""

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

import sftkey_data
from sftkey_data.storage.appearing import write_text
from sftkey_data.storage.own_output import shared_folder
from sftkey_data.storage.sealed_json import write_sealed
from sftkey_eval.report.glossary import terms
from sftkey_eval.report.paper.table_files import write_tables
from sftkey_eval.report.printed import percent, points
from sftkey_eval.report.render import markdown, page_of_numbers
from sftkey_eval.report.report_plots import write_plots
from sftkey_eval.report.tables import Table, markdown_table, shown_cell
from sftkey_eval.report.terminal import aligned
from sftkey_eval.statistics.arm_seeds import SeedEstimate
from sftkey_train.study.report.first_sentence import first_sentences, in_short
from sftkey_train.study.report.study_charts import colours, curve_panels, gains_forest, setting_panels, slip_panels
from sftkey_train.study.report.study_numbers import DatasetNumbers, Headroom, StudyNumbers, study_numbers
from sftkey_train.study.report.study_plots import study_figures
from sftkey_train.study.report.study_results import read_results
from sftkey_train.study.report.study_tables import (
    claim_columns,
    claim_text,
    dataset_tables,
    finished_arms,
    study_tables,
)

_TEMPLATES = Path(__file__).parent / "templates"


def report_study(record: Path, out: Path) -> StudyNumbers:
    """Write `study.html`, `study.md`, `report.json`, `tables/` (CSV, LaTeX) and `plots/` (PNG, SVG, PDF) to a folder.

    The JSON has a name of its own, as `study.json` is the record that it is made of.

    Args:
        record: `study.json` or `study.json.gz`; nothing else is read.
        out: Folder; files of an earlier report in it are replaced.

    Raises:
        SFTKeyError: It is no record of a study; `out` is no folder, or written by another process.
    """
    with shared_folder(out, ("study.html", "study.md", "report.json"), ("plots", "tables")):
        return _report_study(record, out)


def _report_study(record: Path, out: Path) -> StudyNumbers:
    numbers = study_numbers(read_results(record))
    values = _values(numbers)
    drawn = write_plots(study_figures(numbers), out / "plots")
    write_tables(list(values["tables"].values()), out / "tables")
    write_sealed(out / "report.json", report_facts(numbers))
    write_text(out / "study.md", markdown("study.md.j2", _TEMPLATES, **values, drawn=drawn))
    write_text(out / "study.html", page_of_numbers(_TEMPLATES / "study.html.j2", **values))
    return numbers


def report_facts(numbers: StudyNumbers) -> dict[str, Any]:
    """Every number of the report as JSON-able values."""
    return {
        "schema_version": 1,
        "code_version": sftkey_data.__version__,
        "in_short": in_short(numbers),
        "found": first_sentences(numbers),
        **asdict(numbers),
        "datasets": [_facts(dataset) for dataset in numbers.datasets],
    }


def _facts(dataset: DatasetNumbers) -> dict[str, Any]:
    return asdict(dataset) | {"same_steps": sorted(dataset.same_steps), "varied": sorted(dataset.varied)}


def study_text(numbers: StudyNumbers) -> str:
    """What was found, and the arms of each dataset in a short table, as plain text for a terminal."""
    tables = [_short_table(dataset) for dataset in numbers.datasets if finished_arms(dataset)]
    return "\n\n".join([*in_short(numbers), "\n".join(first_sentences(numbers)), *tables])


def study_line(numbers: StudyNumbers, out: Path) -> str:
    """Where the report is and what was found, in one line for stdout."""
    return json.dumps({"report": str(out / "study.html"), "found": first_sentences(numbers)}, ensure_ascii=False)


def _short_table(dataset: DatasetNumbers) -> str:
    rows = [[dataset.name, "seeds", "accuracy", "format", "slips", f"points over {dataset.control}"]]
    for arm in finished_arms(dataset):
        gain = dataset.on_test(arm.name)
        over = "" if gain is None else points(gain.rate.difference)
        if gain and gain.rate.low is not None and gain.rate.high is not None:
            over += f" [{points(gain.rate.low)}, {points(gain.rate.high)}]"
        shares = (percent(found.value if found else None) for found in (arm.correct, arm.format_valid, arm.slip))
        rows.append([arm.name, str(len(arm.seeds)), *shares, over])
    return aligned(rows)


def _values(numbers: StudyNumbers) -> dict[str, Any]:
    tables = study_tables(numbers)
    return {
        "version": sftkey_data.__version__,
        "title": f"Study {numbers.name}",
        "subtitle": _subtitle(numbers),
        "in_short": in_short(numbers),
        "sentences": first_sentences(numbers),
        "choice_note": _choice_note(numbers),
        "numbers": numbers,
        "tables": _Tables(tables),
        "of_dataset": lambda dataset: [table for table in dataset_tables(dataset) if table.rows],
        "forests": {dataset.name: gains_forest(dataset) for dataset in numbers.datasets},
        "curve_plots": {dataset.name: curve_panels(dataset) for dataset in numbers.datasets},
        "setting_plots": {dataset.name: setting_panels(dataset) for dataset in numbers.datasets},
        "slips": slip_panels(numbers),
        "dataset_numbers": [(number, dataset.name) for number, dataset in enumerate(numbers.datasets, 1)],
        "colours": colours,
        "claim_columns": claim_columns,
        "claim_text": claim_text,
        "marked": _marked,
        "headroom_text": _headroom_text,
        "markdown_table": markdown_table,
        "shown": shown_cell,
        "reading": terms("study"),
    }


class _Tables(dict[str, Table]):
    """Tables by name; None for one without rows, as a template asks for it."""

    def __missing__(self, name: str) -> None:
        return None


def _subtitle(numbers: StudyNumbers) -> str:
    num_arms = len(numbers.datasets[0].places) - 1
    seeds = {seed for dataset in numbers.datasets for arm in dataset.arms for seed in arm.seeds}
    parts = [
        (len(numbers.datasets), "dataset"),
        (num_arms, "arm"),
        (len(seeds), "claim seed"),
        (numbers.num_runs, "run"),
    ]
    return " · ".join(f"{num:,} {name}{'' if num == 1 else 's'}" for num, name in parts)


def _choice_note(numbers: StudyNumbers) -> str:
    chosen = [dataset.chosen for dataset in numbers.datasets if dataset.chosen]
    if not chosen:
        return "The arm that is named first will be the best on validation; test has no part in the choice."
    tuning = all(found.purpose == "tuning" for found in chosen)
    seeds = "tuning seeds that no claim uses" if tuning else "the claim seeds, as not every arm has tuning seeds"
    return f"The arm that is named first is the best on validation, over {seeds}; test had no part in the choice."


def _headroom_text(room: Headroom) -> str:
    given = f": {_with_interval(room.key_gold_cot)}" if room.key_gold_cot else ""
    return (
        f"After stage 1, {_with_interval(room.of_items)} of the items are slips, or right answers in a broken format: "
        f"{_with_interval(room.of_errors)} of its errors. Where chains of thought state the gold, a second stage can "
        "gain no more than that without changing them. Where they leave the last step to the Key, a wrong Key counts "
        f"as a wrong chain of thought, and the Keys that are right given the gold one say more{given}."
    )


def _with_interval(found: SeedEstimate | None) -> str:
    if found is None:
        return "none"
    span = "" if found.low is None or found.high is None else f" ({100 * found.low:.1f} to {100 * found.high:.1f})"
    return f"{percent(found.value)}{span}"


def _marked(sentence: str) -> Markup:
    """A sentence for the page, its names in backquotes as code."""
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(sentence))))
