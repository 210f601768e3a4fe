"""Logs of lm-eval and Inspect become completions: the raw text, every sample, and a count of the rest."""

import json
from pathlib import Path
from typing import Any

import pytest
from eval_samples import RIGHT
from log_samples import (
    inspect_header,
    inspect_sample,
    lm_eval_sample,
    write_eval_log,
    write_json_log,
    write_samples,
)
from typer.testing import CliRunner

from sftkey_data.errors import SFTKeyError
from sftkey_eval.cli import app
from sftkey_eval.logs.import_logs import import_logs
from sftkey_eval.records.completion_fields import Fields
from sftkey_eval.records.completion_rows import Completion, read_completions
from sftkey_eval.scoring.score import score_file


def read(path: Path) -> list[Completion]:
    return list(read_completions(path, Fields()))


def test_a_filter_of_lm_eval_does_not_cut_what_is_scored(tmp_path: Path) -> None:
    log = write_samples(tmp_path, [lm_eval_sample(0, [RIGHT], target="42")])
    count = import_logs([log], tmp_path / "out.jsonl")
    (row,) = read(tmp_path / "out.jsonl")
    assert (row.id, row.item_id, row.dataset, row.gold) == ("gsm8k/0", "gsm8k/0", "gsm8k", "42")
    assert (row.completion, row.prompt) == (RIGHT, "Question: What is 20 + 22?\nAnswer:")
    assert json.loads(score_file(tmp_path / "out.jsonl", tmp_path / "v.parquet").to_json())["accuracy"] == 1.0
    assert (count.records, count.completions) == (1, 1)


def test_golds_can_be_read_from_the_logged_rows_by_our_extractor(tmp_path: Path) -> None:
    without = lm_eval_sample(1, [RIGHT], doc={"question": "?", "answer": "no mark"})
    log = write_samples(tmp_path, [lm_eval_sample(0, [RIGHT]), without])
    count = import_logs([log], tmp_path / "out.jsonl", dataset="gsm8k")
    first, second = read(tmp_path / "out.jsonl")
    assert (first.gold, first.answer_type) == ("42", "number")
    assert (second.gold, count.rejects) == (None, {"missing_key": 1})
    assert '"gold": null' in (tmp_path / "out.jsonl").read_text(encoding="utf-8")


def test_numbers_of_a_logged_row_reach_the_extractor_as_numbers(tmp_path: Path) -> None:
    doc = {"question": "Which is blue?", "opa": "grass", "opb": "sky", "opc": "coal", "opd": "snow", "cop": 1}
    log = write_samples(tmp_path, [lm_eval_sample(0, ["B"], doc=doc | {"exp": "The sky is blue."})], task="medmcqa")
    import_logs([log], tmp_path / "out.jsonl", dataset="medmcqa")
    (row,) = read(tmp_path / "out.jsonl")
    assert (row.gold, row.choices) == ("B", ("grass", "sky", "coal", "snow"))


def test_repeats_are_samples_and_a_second_filter_is_counted_once(tmp_path: Path) -> None:
    row = lm_eval_sample(3, ["one", "two"])
    log = write_samples(tmp_path, [row, row | {"filter": "flexible-extract", "filtered_resps": ["7"]}])
    count = import_logs([log], tmp_path / "out.jsonl")
    rows = read(tmp_path / "out.jsonl")
    assert [(r.id, r.item_id, r.sample, r.completion) for r in rows] == [
        ("gsm8k/3#0", "gsm8k/3", 0, "one"),
        ("gsm8k/3#1", "gsm8k/3", 1, "two"),
    ]
    assert (count.records, count.completions, count.other_filters) == (2, 2, 1)


def test_of_several_targets_the_first_is_the_gold_and_they_are_counted(tmp_path: Path) -> None:
    lines = write_samples(tmp_path, [lm_eval_sample(0, ["2"], target="['2', 'two']"), lm_eval_sample(1, ["2"])])
    samples = [inspect_sample("a", "2", target=["2", "two"]), inspect_sample("b", "2")]
    log = write_json_log(tmp_path / "log.json", inspect_header(["a", "b"], 1), samples)
    count = import_logs([lines, log], tmp_path / "out.jsonl")
    assert [row.gold for row in read(tmp_path / "out.jsonl")][::2] == ["2", "2"]
    assert count.several_targets == 2


@pytest.mark.parametrize("write", [write_json_log, write_eval_log])
def test_every_epoch_of_an_inspect_log_is_a_sample(tmp_path: Path, write: Any) -> None:
    parts = [{"type": "reasoning", "reasoning": "20 + 22"}, {"type": "text", "text": "\\boxed{42}"}]
    samples = [
        inspect_sample("a", RIGHT),
        inspect_sample("a", parts, epoch=2),
        inspect_sample(7, "attachment://k", stop="max_tokens", attachments={"k": "cut"}),
        inspect_sample(7, None, epoch=2),
    ]
    log = write(tmp_path / "log", inspect_header(["a", 7], 2), samples)
    count = import_logs([log], tmp_path / "out.jsonl")
    rows = {row.id: row for row in read(tmp_path / "out.jsonl")}
    assert {id_: (row.completion, row.finish_reason) for id_, row in rows.items()} == {
        "sums/a#0": (RIGHT, "stop"),
        "sums/a#1": ("<think>20 + 22</think>\\boxed{42}", "stop"),
        "sums/7#0": ("cut", "length"),
        "sums/7#1": (None, None),
    }
    assert {(row.item_id, row.gold, row.prompt) for row in rows.values()} == {
        ("sums/a", "42", "What is 20 + 22?"),
        ("sums/7", "42", "What is 20 + 22?"),
    }
    assert (count.records, count.completions, count.without_output, count.missing) == (4, 4, 1, 0)


def test_samples_that_a_cut_run_lacks_are_counted(tmp_path: Path) -> None:
    log = write_json_log(tmp_path / "log.json", inspect_header(["a", "b", "c"], 2), [inspect_sample("a", "42")])
    assert import_logs([log], tmp_path / "out.jsonl").missing == 5


def test_the_prompt_is_all_that_stood_before_the_last_answer(tmp_path: Path) -> None:
    turns = [("system", "Be brief."), ("user", "Hello."), ("assistant", "Good day."), ("user", "20 + 22?")]
    messages = [{"role": role, "content": content} for role, content in [*turns, ("assistant", "42")]]
    sample = inspect_sample("a", "42", messages=messages, choices=["41", "42"], target="B")
    log = write_json_log(tmp_path / "log.json", inspect_header(["a"], 1), [sample])
    import_logs([log], tmp_path / "out.jsonl")
    (row,) = read(tmp_path / "out.jsonl")
    assert row.prompt == "System: Be brief.\n\nUser: Hello.\n\nAssistant: Good day.\n\nUser: 20 + 22?"
    assert (row.id, row.answer_type, row.choices) == ("sums/a", "choice", ("41", "42"))


def test_choices_of_likelihoods_are_no_completions(tmp_path: Path) -> None:
    log = write_samples(tmp_path, [lm_eval_sample(0, [], resps=[[["-1.5", "True"]], [["-2.5", "False"]]])])
    with pytest.raises(SFTKeyError, match=r"line 1: 'resps' must hold the texts of one request; does the task"):
        import_logs([log], tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"# notes\n", "neither lm-eval's samples nor a log of Inspect's"),
        (b"[1, 2]\n", "expected a JSON object"),
        (b'{"doc_idx": 0, "doc": {}}\n', r"line 1: no 'doc_id' \(did you mean 'doc_idx'\?\)"),
        (b'{\n"results": {}\n}\n', "expected Inspect's 'eval' and 'samples', .* found: results"),
        (b'{"eval": {}, "samples": [{"id": 1}]}', "sample 1: not a sample as Inspect logs it: KeyError: 'epoch'"),
        (b'{"eval": {}, "samples": []}', "no samples"),
        (b"", "neither lm-eval's samples nor"),
    ],
)
def test_a_file_of_another_shape_is_one_line(tmp_path: Path, content: bytes, fault: str) -> None:
    path = tmp_path / "log.json"
    path.write_bytes(content)
    result = CliRunner().invoke(app, ["import", str(path), "--out", str(tmp_path / "out.jsonl")])
    assert isinstance(result.exception, SFTKeyError)
    with pytest.raises(SFTKeyError, match=fault):
        raise result.exception


def test_a_damaged_eval_log_is_one_line(tmp_path: Path) -> None:
    log = write_eval_log(tmp_path / "log.eval", inspect_header(["a"], 1), [inspect_sample("a", RIGHT)])
    content = bytearray(log.read_bytes())
    content[120] ^= 255
    log.write_bytes(content)
    with pytest.raises(SFTKeyError, match=r"log\.eval: not a readable \.eval log"):
        import_logs([log], tmp_path / "out.jsonl")


def test_two_logs_of_the_same_items_are_refused(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    logs = [write_samples(folder, [lm_eval_sample(0, ["42"])]) for folder in (tmp_path, tmp_path / "b")]
    with pytest.raises(SFTKeyError, match="id 'gsm8k/0' is already in"):
        import_logs(logs, tmp_path / "out.jsonl")
    with pytest.raises(SFTKeyError, match="would replace a log"):
        import_logs(logs, logs[0])


def test_an_item_twice_under_one_filter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SFTKeyError, match="line 2: doc_id 0 is there before"):
        import_logs([write_samples(tmp_path, [lm_eval_sample(0, ["42"])] * 2)], tmp_path / "out.jsonl")


def test_import_prints_its_counts(tmp_path: Path) -> None:
    log = write_samples(tmp_path, [lm_eval_sample(0, ["42"])])
    result = CliRunner().invoke(app, ["import", str(log), "--out", str(tmp_path / "out.jsonl")])
    assert json.loads(result.stdout) | {"records": 1, "completions": 1} == json.loads(result.stdout)
