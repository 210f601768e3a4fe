"""A run's outcomes by column are those of its file, in a tenth of the memory that objects take."""

from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from eval_samples import AFTER, RIGHT, SLIP, completion, write_run

from sftkey_eval.analysis.loaded_runs import Run, load_runs
from sftkey_eval.records.outcome_columns import in_file_order, item_numbers
from sftkey_eval.records.verdict_reader import read_verdicts
from sftkey_eval.records.verdicts import Outcome, Verdict, open_verdicts

FIELDS = [field.name for field in fields(Outcome)]
BYTES_A_ROW = 250
"""Of outcomes that all differ in their ids, Keys and golds, with what is counted of their texts."""


def written(path: Path, verdicts: Iterable[Verdict], metrics: Sequence[str] = ()) -> Run:
    """The verdicts in a file, loaded."""
    found = list(verdicts)
    provenance = read_verdicts(write_run(path.with_suffix(""), [{"completion": RIGHT}]) / "verdicts.parquet")[1]
    described = [{"name": name, "description": "", "file": "", "sha256": ""} for name in metrics]
    with open_verdicts(path, provenance | {"metrics": described}) as writer:
        for start in range(0, len(found), 500):
            writer.write(found[start : start + 500])
    (run,) = load_runs([str(path)])
    return run


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> list[Verdict]:
    """Real verdicts that differ in every field: texts of any script, none, several samples, choices."""
    rows: list[dict[str, Any]] = [
        {"completion": RIGHT, "id": "b#0", "item_id": "b", "sample": 0, "finish_reason": "stop"},
        {"completion": SLIP, "id": "b#1", "item_id": "b", "sample": 1, "finish_reason": ""},
        {"completion": AFTER, "id": "é", "dataset": "other", "split": "dev"},
        {"completion": completion("so", "二"), "id": "z", "gold": "二", "answer_type": "text"},
        {
            "completion": completion("so", "B"),
            "id": "a",
            "gold": "B",
            "answer_type": "choice",
            "choices": ["\u2028", '"'],
        },
        {"completion": None, "id": "none", "gold": None, "prompt": None},
    ]
    verdicts = read_verdicts(write_run(tmp_path_factory.mktemp("runs") / "run", rows) / "verdicts.parquet")[0]
    verdicts[1] = replace(verdicts[1], second_verdict="wrong", second_rule="theirs", choices=())
    return [replace(verdict, metrics=(at / 3, None if at % 2 else 1.0)) for at, verdict in enumerate(verdicts)]


def test_outcomes_are_what_the_file_says_of_each_completion(scored: list[Verdict], tmp_path: Path) -> None:
    verdicts = [replace(v, id=f"{v.id}/{turn}") for turn in range(400) for v in scored]  # of several batches
    outcomes = written(tmp_path / "v.parquet", verdicts, ["third", "even"]).verdicts
    expected = [Outcome(**{name: getattr(verdict, name) for name in FIELDS}) for verdict in verdicts]
    assert len(outcomes) == len(expected)
    assert list(outcomes) == expected
    rows = [2399, 0, 5, 5, 2001]
    assert list(outcomes.at(rows)) == [expected[row] for row in rows]
    for name in (name for name in FIELDS if name != "metrics"):
        assert outcomes.values(name) == [getattr(outcome, name) for outcome in expected]
    assert outcomes.flags("lucky").tolist() == [outcome.lucky for outcome in expected]
    assert outcomes.equals("gold", "二").tolist() == [outcome.gold == "二" for outcome in expected]
    assert outcomes.counts("finish_reason") == {"stop": 400, "": 2000}
    assert outcomes.column("third").to_pylist() == [outcome.metrics[0] for outcome in expected]


def test_items_are_numbered_by_their_ids_and_found_in_the_order_of_the_file(
    scored: list[Verdict], tmp_path: Path
) -> None:
    items = written(tmp_path / "v.parquet", scored).verdicts.items
    ids = [verdict.item_id for verdict in scored]
    assert items.tolist() == [sorted(set(ids)).index(id_) for id_ in ids]
    assert [sorted(set(ids))[number] for number in in_file_order(items)] == list(dict.fromkeys(ids))
    assert item_numbers(pa.array(["\U00010000", "\uffff"], pa.large_string())).tolist() == [
        1,
        0,
    ]  # not as UTF-16 has it


def test_a_text_that_one_batch_has_is_one_object(scored: list[Verdict], tmp_path: Path) -> None:
    run = written(tmp_path / "v.parquet", [replace(scored[0], id=str(i), gold="1" * 50) for i in range(20)])
    assert len({id(outcome.gold) for outcome in list(run.verdicts)}) == 1


def test_a_row_takes_little_memory(scored: list[Verdict], tmp_path: Path) -> None:
    many = 20_000
    verdicts = (
        replace(scored[0], id=f"item/{i}", item_id=f"item/{i}", gold=str(i), predicted=str(-i)) for i in range(many)
    )
    before = pa.total_allocated_bytes()
    run = written(tmp_path / "v.parquet", verdicts)
    held = pa.total_allocated_bytes() - before
    beside = sum(np.asarray(numbers).nbytes for numbers in (run.cot_words, run.prompt_digests, run.verdicts.items))
    assert held + beside < BYTES_A_ROW * many
