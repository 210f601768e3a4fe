"""Golds that stand in another file, or in a prepared folder, than the completions."""

import json
from pathlib import Path
from typing import Any

import pytest

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.errors import SFTKeyError
from sftkey_eval.records.completion_fields import Fields
from sftkey_eval.records.completion_rows import Completion, read_completions, survey_completions
from sftkey_eval.records.verdict_reader import read_verdicts
from sftkey_eval.scoring.score import score_file
from sftkey_eval.scoring.score_options import ScoreOptions

LOG = [{"custom_id": n, "body": {"text": f"We see {n}. The answer is {n}."}} for n in (7, 8)]
GOLDS = "id,answer,question,choices\n7,7,What is 7?,\n8,9,What is 8?,\n9,9,What is 9?,\n"
FIELDS: dict[str, Any] = {"id": "custom_id", "completion": "body.text", "gold": "answer"}


def written(folder: Path, *rows: Any, name: str = "log.jsonl") -> Path:
    (folder / name).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return folder / name


def read(path: Path, **fields: Any) -> list[Completion]:
    return list(read_completions(path, Fields(**fields)))


def test_a_log_without_golds_is_scored_with_those_of_a_table_and_the_spare_ones_are_counted(tmp_path: Path) -> None:
    (tmp_path / "golds.csv").write_text(GOLDS)
    fields, log = Fields(**FIELDS, golds=tmp_path / "golds.csv"), written(tmp_path, *LOG)
    tally = score_file(log, tmp_path / "v.parquet", ScoreOptions(fields=fields, template="plain", workers=1))
    assert (tally.counts["n"], tally.counts["correct"]) == (2, 1)
    assert "1 of the golds have no completion; they are in no rate" in tally.notices()
    verdicts, provenance = read_verdicts(tmp_path / "v.parquet")
    assert [(verdict.id, verdict.prompt) for verdict in verdicts] == [("7", "What is 7?"), ("8", "What is 8?")]
    assert provenance["golds"]["source"] == "golds.csv"


def test_a_gold_beside_a_completion_is_not_looked_at_and_samples_share_that_of_their_item(tmp_path: Path) -> None:
    (tmp_path / "golds.jsonl").write_text('{"id": 1, "gold": 2.50}\n')
    rows = [{"id": f"1#{n}", "item_id": "1", "completion": "x", "gold": "3"} for n in range(2)]
    found = read(written(tmp_path, *rows), golds=tmp_path / "golds.jsonl")
    assert [(row.id, row.gold) for row in found] == [("1#0", "2.50"), ("1#1", "2.50")]


def test_a_prepared_folder_gives_golds_options_and_questions(tmp_path: Path) -> None:
    rows = [{"prompt": "Which?", "cot": "So.", "key": "B", "choices": ["x", "y"]}]
    options = {"choices": "choices", "answer_type": "choice"}
    source = str(written(tmp_path, *rows, name="rows.jsonl"))
    build(BuildConfig(source="columns", inputs=(source,), options=options), tmp_path / "data")
    (found,) = read(written(tmp_path, {"id": "columns/train/0", "completion": "B"}), golds=tmp_path / "data")
    assert (found.gold, found.choices, found.answer_type, found.prompt) == ("B", ("x", "y"), "choice", "Which?\n")


@pytest.mark.parametrize(
    ("golds", "message"),
    [
        ("id,answer\n7,7\n", r"log.jsonl line 2: id '8' is not among the 1 of .*golds.csv$"),
        ("id,answer\n7,7\n7,8\n", r"golds.csv line 3: id '7' stands there twice"),
        ("id,gold\n7,7\n", r"golds.csv line 2: no column 'answer'.*--gold-field names another"),
        ("n,answer\n7,7\n", r"golds.csv line 2: no column 'custom_id'.*--id-field names another"),
        ("id,answer\n", "golds.csv: no rows, expected golds by their ids"),
        (None, "golds file not found: .*golds.csv"),
    ],
)
def test_golds_that_do_not_fit_are_refused_in_one_line(tmp_path: Path, golds: str | None, message: str) -> None:
    if golds is not None:
        (tmp_path / "golds.csv").write_text(golds)
    with pytest.raises(SFTKeyError, match=message) as refused:
        survey_completions(written(tmp_path, *LOG), Fields(**FIELDS, golds=tmp_path / "golds.csv"))
    assert "\n" not in str(refused.value)
