"""Comparing two runs: in pairs, and only where pairs exist."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from eval_samples import AFTER, RIGHT, SLIP, WRONG, completion, write_run
from scipy.stats import binomtest

from sftkey_data.errors import SFTKeyError
from sftkey_data.format.template import BUILTIN
from sftkey_eval.analysis.allowed_differences import Allowed
from sftkey_eval.analysis.loaded_runs import load_runs
from sftkey_eval.analysis.paired_comparison import CHANGES, compare_runs
from sftkey_eval.policy import Policy
from sftkey_eval.report.compare import compare
from sftkey_eval.scoring.score import score_file
from sftkey_eval.scoring.score_options import ScoreOptions

BEFORE = [RIGHT] * 6 + [SLIP] * 12 + [AFTER] * 3 + [WRONG] * 3
NOW = [RIGHT] * 4 + [SLIP] * 2 + [RIGHT] * 9 + [WRONG] * 3 + [RIGHT] * 2 + [AFTER] + [WRONG] * 2 + [AFTER]


def rows(completions: list[str], **changes: Any) -> list[dict[str, Any]]:
    return [{"completion": text} | changes for text in completions]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("runs")
    return str(write_run(folder / "before", rows(BEFORE))), str(write_run(folder / "now", rows(NOW)))


def test_items_are_counted_in_pairs(pair: tuple[str, str]) -> None:
    comparison = compare_runs(*load_runs(pair))
    strict, form = comparison.rates["strict"], comparison.rates["format"]
    assert (strict.both, strict.lost, strict.gained, strict.neither) == (4, 2, 11, 7)
    assert (form.both, form.lost, form.gained, form.neither) == (20, 1, 2, 1)
    assert strict.difference == pytest.approx((15 - 6) / 24)
    assert strict.low < strict.difference < strict.high


def test_the_p_values_are_mcnemars(pair: tuple[str, str]) -> None:
    strict = compare_runs(*load_runs(pair)).rates["strict"]
    assert strict.p_exact == pytest.approx(binomtest(2, 13, 0.5).pvalue)
    assert strict.p_mid == pytest.approx(binomtest(2, 13, 0.5).pvalue - 78 / 2**13)  # C(13, 2) = 78
    assert strict.shown


def test_swapping_the_runs_turns_the_difference_round(pair: tuple[str, str]) -> None:
    forth, back = (compare_runs(*load_runs(order)).rates["strict"] for order in (pair, pair[::-1]))
    assert (back.lost, back.gained) == (forth.gained, forth.lost)
    assert (back.low, back.high) == pytest.approx((-forth.high, -forth.low))
    assert back.p_exact == pytest.approx(forth.p_exact)


def test_the_order_of_rows_does_not_matter(pair: tuple[str, str], tmp_path: Path) -> None:
    lines = (Path(pair[1]) / "completions.jsonl").read_text().splitlines()
    shuffled = [json.loads(line) for line in reversed(lines)]
    other = write_run(tmp_path / "shuffled", shuffled)
    found = compare_runs(*load_runs([pair[0], str(other)])).rates
    assert found == compare_runs(*load_runs(pair)).rates


def test_a_comparison_lists_every_flipped_item(pair: tuple[str, str], tmp_path: Path) -> None:
    compare(*pair, tmp_path)
    names = {"compare.html", "compare.md", "compare.json", "tables", "plots"}
    assert {path.name for path in tmp_path.iterdir()} == names
    made = json.loads((tmp_path / "compare.json").read_text())
    assert made["flipped"] == {
        "fixed": [f"sums/test/{i}" for i in (*range(6, 15), 18, 19)],
        "broken": ["sums/test/4", "sums/test/5"],
        "format_gained": ["sums/test/18", "sums/test/19"],
        "format_lost": ["sums/test/23"],
    }
    assert "- broken (2): sums/test/4, sums/test/5" in (tmp_path / "compare.md").read_text()
    with (tmp_path / "tables" / "flipped.csv").open(newline="") as file:
        listed = [(row["change"], row["item"]) for row in csv.DictReader(file)]
    assert listed == [(CHANGES[change], id_) for change, ids in made["flipped"].items() for id_ in ids]
    page = (tmp_path / "compare.html").read_text()
    assert f'<p class="opening">{made["found"]}</p>' in page
    assert "a loss of 1 point or more from before to now is not ruled out" in page


def test_a_run_is_no_worse_in_format_than_itself_only_with_enough_items(tmp_path: Path) -> None:
    few = str(write_run(tmp_path / "few", rows([RIGHT] * 20)))
    many = str(write_run(tmp_path / "many", rows([RIGHT] * 400)))
    found = [compare_runs(*load_runs([f"a={path}", f"b={path}"])).format_non_inferior for path in (few, many)]
    assert found == [False, True]


def test_a_null_result_says_what_could_have_been_shown(pair: tuple[str, str], tmp_path: Path) -> None:
    compare(f"a={pair[0]}", f"b={pair[0]}", tmp_path)
    assert "No difference shown; 80 % power begins at " in (tmp_path / "compare.html").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda i, row: row | {"id": f"{row['id']}{'x' if i == 5 else ''}"}, "the first is 'sums/test/5'"),
        (lambda i, row: row | ({"gold": "42.5"} if i == 3 else {}), r"sums/test/3: gold is '42' in .* '42.5' in"),
        (lambda i, row: row | ({"prompt": "?"} if i == 2 else {}), "sums/test/2: the prompts of .* differ; --allow-"),
        (lambda i, row: row | ({"choices": ["1", "2"]} if i == 1 else {}), "sums/test/1: choices is None in"),
        (
            lambda i, row: row | ({"gold": None, "prompt": "?"} if i > 3 else {}),
            "sums/test/4: gold is '42' in .* None in",
        ),
        (
            lambda i, row: row | ({"prompt": "?"} if i == 2 else {"gold": "1"} if i == 4 else {}),
            "sums/test/2: the prompts",
        ),
        (lambda i, row: row | ({"answer_type": "text"} if i == 0 else {}), "sums/test/0: answer_type is 'number' in"),
    ],
    ids=["ids", "gold", "prompt", "choices", "no gold", "prompt before gold", "answer_type"],
)
def test_runs_on_other_items_are_refused(pair: tuple[str, str], tmp_path: Path, change: Any, message: str) -> None:
    lines = (Path(pair[1]) / "completions.jsonl").read_text().splitlines()
    changed = [change(i, json.loads(line)) for i, line in enumerate(lines)]
    other = write_run(tmp_path / "other", changed)
    with pytest.raises(SFTKeyError, match=message) as caught:
        compare(pair[0], str(other), tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_other_answer_marks_are_refused(pair: tuple[str, str], tmp_path: Path) -> None:
    mine, out = tmp_path / "mine.toml", tmp_path / "marked.parquet"
    mine.write_text('[norwegian]\nanswer = ["fasit"]\n', encoding="utf-8")
    score_file(Path(pair[1]) / "completions.jsonl", out, ScoreOptions(answer_marks=mine))
    with pytest.raises(SFTKeyError, match=r"were read with different answer marks \(--answer-marks\)"):
        compare(pair[0], str(out), tmp_path / "out")


def test_another_policy_is_refused(pair: tuple[str, str], tmp_path: Path) -> None:
    out = tmp_path / "strict.parquet"
    score_file(Path(pair[1]) / "completions.jsonl", out, ScoreOptions(policy=Policy(units="strict", case="keep")))
    with pytest.raises(SFTKeyError, match=r"were graded by different policies \(case, units\)"):
        compare(pair[0], str(out), tmp_path / "out", Allowed(template=True, prompts=True))


def test_another_template_or_prompt_is_accepted_only_when_asked_for_and_then_named(
    pair: tuple[str, str], tmp_path: Path
) -> None:
    text, _ = BUILTIN["plain"].render("20 + 22 = 42", "42")
    untagged = write_run(tmp_path / "untagged", rows([text] * 24, prompt="Sum of 20 and 22?\n"), template="plain")
    with pytest.raises(SFTKeyError, match=r"'sftkey' and 'plain'; --allow-different-template$"):
        compare(pair[0], str(untagged), tmp_path / "out", Allowed(prompts=True))
    with pytest.raises(SFTKeyError, match=r"--allow-different-prompts accepts that$"):
        compare(pair[0], str(untagged), tmp_path / "out", Allowed(template=True))
    compare(pair[0], str(untagged), tmp_path / "out", Allowed(template=True, prompts=True))
    made = json.loads((tmp_path / "out" / "compare.json").read_text())
    named = ["different templates: 'sftkey' and 'plain'", "different prompts on 24 items"]
    assert made["accepted_differences"] == named
    for name in ("compare.html", "compare.md"):
        content = (tmp_path / "out" / name).read_text()
        assert "different prompts on 24 items" in content
        assert "different templates: " in content


def test_a_run_with_a_repeated_id_is_refused(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = write_run(tmp_path / "run", rows([RIGHT, completion("1", "2")]))
    table = pq.read_table(folder / "verdicts.parquet")
    pq.write_table(pa.concat_tables([table, table.slice(0, 1)]), folder / "verdicts.parquet")
    with pytest.raises(SFTKeyError, match="id 'sums/test/0' occurs 2 times, expected once"):
        load_runs([str(folder)])
