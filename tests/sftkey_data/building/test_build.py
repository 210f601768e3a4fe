import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.errors import SFTKeyError
from sftkey_data.prepared.manifest import file_sha256, read_manifest
from sftkey_data.prepared.shards import open_shards
from sftkey_data.schema import shard_schema
from sftkey_data.sources.tree_hash import file_tree_hash
from sftkey_data.tokens.tokenizer import load_tokenizer
from sftkey_data.verify.check import check

FIXTURES = Path(__file__).parents[1] / "fixtures"
GSM8K = str(FIXTURES / "gsm8k.jsonl")


def config(**values: Any) -> BuildConfig:
    return BuildConfig(**{"source": "gsm8k", "inputs": (GSM8K,), **values})


def write_rows(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return str(path)


def good(number: int) -> dict[str, str]:
    return {"question": f"What is {number} + 1?", "answer": f"{number} + 1 = {number + 1}.\n#### {number + 1}"}


def contents(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): file_sha256(p) for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="session")
def qwen(shared_data: Path) -> str:
    return str(shared_data / "tokenizers" / "qwen2.5")


@pytest.fixture(scope="session")
def gpt2(shared_data: Path) -> str:
    """The quickest of the real tokenizers to load."""
    return str(shared_data / "tokenizers" / "gpt2")


def test_a_build_without_a_tokenizer_has_text_and_spans(tmp_path: Path) -> None:
    manifest = build(config(), tmp_path / "out")
    table = open_shards(tmp_path / "out")
    assert table.schema.equals(shard_schema(tokenized=False))
    assert manifest.counts.model_dump() == {"rows_read": 5, "written": 5, "rejected": 0}
    rows = table.to_pylist()
    assert [row["gold"] for row in rows] == ["48", "2,000", "-5", "21", "40"]
    assert [row["completion"][row["key_start"] : row["key_end"]] for row in rows] == [row["gold"] for row in rows]
    assert [row["id"] for row in rows] == [f"gsm8k/train/{i}" for i in range(5)]
    assert "<<" not in "".join(row["completion"] for row in rows)
    check(tmp_path / "out")


def test_a_build_with_a_tokenizer_has_ids_of_the_whole_text_and_the_key_inside_its_borders(
    tmp_path: Path, qwen: str
) -> None:
    build(config(tokenizer=qwen), tmp_path / "out")
    table, tokenizer = open_shards(tmp_path / "out"), load_tokenizer(qwen)
    assert table.schema.equals(shard_schema(tokenized=True))
    for row in table.to_pylist():
        ids = tokenizer(row["prompt"] + row["completion"])["input_ids"]
        assert row["input_ids"] == [*ids, tokenizer.eos_token_id]
        assert tokenizer.decode(ids[row["key_token_start"] : row["key_token_end"]]).strip() == row["gold"]
        assert tokenizer.decode(ids[: row["prompt_tokens"]]) == row["prompt"]
        assert tokenizer.decode(ids[: row["cot_token_end"]]).rstrip().endswith("</Thinking>")
        assert row["answer_token_end"] == len(ids)
    check(tmp_path / "out", full=True)


def test_a_shard_opens_with_datasets(tmp_path: Path, qwen: str) -> None:
    import datasets

    build(config(tokenizer=qwen), tmp_path / "out")
    expected = open_shards(tmp_path / "out").to_pylist()
    files = str(tmp_path / "out" / "data-*.arrow")
    by_file = datasets.load_dataset("arrow", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    assert by_file.to_list() == expected
    by_folder = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert by_folder.to_list() == expected


def test_a_bos_that_the_tokenizer_adds_belongs_to_the_prompt(tmp_path: Path, qwen: str) -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = load_tokenizer(qwen)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A <|im_end|>",
        special_tokens=[("<|im_start|>", 151644), ("<|im_end|>", 151645)],
    )
    tokenizer.save_pretrained(str(tmp_path / "bos"))
    config_file = tmp_path / "bos" / "tokenizer_config.json"
    settings = json.loads(config_file.read_text()) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    config_file.write_text(json.dumps(settings))
    build(config(tokenizer=str(tmp_path / "bos")), tmp_path / "with")
    build(config(tokenizer=qwen), tmp_path / "without")
    check(tmp_path / "with", full=True)
    for row, plain in zip(*(open_shards(tmp_path / n).to_pylist() for n in ("with", "without")), strict=True):
        assert row["input_ids"] == [151644, *plain["input_ids"]]
        assert row["key_token_start"] == plain["key_token_start"] + 1
        assert row["prompt_tokens"] == plain["prompt_tokens"] + 1


def test_bad_rows_are_counted_with_reason_position_and_row(tmp_path: Path) -> None:
    bad: list[Any] = [
        {"question": "q", "answer": "no mark here"},
        {"question": "q", "answer": "cot\n####  "},
        {"question": "q", "answer": "a </Answer> inside\n#### 4"},
        {"question": None, "answer": "a\n#### 4"},
        {"question": "q"},
        {"question": " ", "answer": "a\n#### 4"},
        {"question": "q", "answer": 4},
        {"question": "q", "answer": "#### 4"},
        [1, 2],
        '{"question": "q \\ud800", "answer": "a\\n#### 4"}',
    ]
    path = write_rows(tmp_path / "rows.jsonl", [good(1), *bad, *map(good, range(2, 4))])
    manifest = build(config(inputs=(path,), max_reject_rate=0.9), tmp_path / "out")
    assert manifest.counts.model_dump() == {"rows_read": 13, "written": 3, "rejected": 10}
    assert manifest.rejects == {
        "empty_cot": 1,
        "empty_key": 1,
        "empty_prompt": 1,
        "invalid_unicode": 1,
        "missing_column": 1,
        "missing_key": 1,
        "not_an_object": 1,
        "null_value": 1,
        "tag_in_cot": 1,
        "wrong_type": 1,
    }
    rejects = [json.loads(line) for line in (tmp_path / "out" / "rejects.jsonl").read_text().splitlines()]
    assert [(r["source"], r["position"]) for r in rejects] == [(path, i) for i in range(2, 12)]
    assert [r["row"] for r in rejects[:9]] == bad[:9]
    assert [row["id"] for row in open_shards(tmp_path / "out").to_pylist()] == [
        "gsm8k/train/0",
        "gsm8k/train/11",
        "gsm8k/train/12",
    ]


def test_too_many_rejects_fail_the_build_with_the_reasons_and_leave_nothing(tmp_path: Path) -> None:
    rows = [*map(good, range(9)), {"question": "q", "answer": "no mark"}]
    path = write_rows(tmp_path / "rows.jsonl", rows)
    with pytest.raises(SFTKeyError, match=r"1 of 10 rows rejected \(missing_key 1; the first: .*rows.jsonl:10"):
        build(config(inputs=(path,)), tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["rows.jsonl"]
    assert build(config(inputs=(path,), max_reject_rate=0.1), tmp_path / "out").counts.rejected == 1


def test_rejects_at_exactly_the_rate_pass(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", [*map(good, range(19)), {"question": "q", "answer": "no mark"}])
    assert build(config(inputs=(path,)), tmp_path / "out").counts.rejected == 1


def test_a_build_of_nothing_but_rejects_fails_at_any_rate(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", [{"question": "q", "answer": "no mark"}])
    with pytest.raises(SFTKeyError, match="1 of 1 rows rejected"):
        build(config(inputs=(path,), max_reject_rate=1.0), tmp_path / "out")


def test_an_eos_inside_a_completion_is_rejected(tmp_path: Path, qwen: str) -> None:
    rows = [*map(good, range(3)), {"question": "q", "answer": "it ends <|im_end|> here\n#### 4"}]
    path = write_rows(tmp_path / "rows.jsonl", rows)
    manifest = build(config(inputs=(path,), tokenizer=qwen, max_reject_rate=0.5), tmp_path / "out")
    assert manifest.rejects == {"special_token_in_text": 1}


def test_a_text_that_the_tokenizer_loses_is_rejected(tmp_path: Path, shared_data: Path) -> None:
    rows = [*map(good, range(3)), {"question": "q", "answer": "a \x05 b\n#### 4"}]
    path = write_rows(tmp_path / "rows.jsonl", rows)
    falcon = str(shared_data / "tokenizers" / "falcon")
    manifest = build(config(inputs=(path,), tokenizer=falcon, max_reject_rate=0.5), tmp_path / "out")
    assert manifest.rejects == {"text_not_decoded": 1}


@pytest.mark.parametrize("slice_hashes", [1, 2**22], ids=["many slices", "one slice"])
def test_questions_that_repeat_another_are_counted_over_all_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slice_hashes: int
) -> None:
    monkeypatch.setattr("sftkey_data.building.finish.SLICE_HASHES", slice_hashes)
    rows = [good(n) for n in (0, 1, 2, 0, 3, 1, 0, 4)]  # 8 rows, 5 questions
    path = write_rows(tmp_path / "rows.jsonl", rows)
    manifest = build(config(inputs=(path,), shard_rows=3), tmp_path / "out")
    assert manifest.statistics["duplicate_questions"] == 3


def test_questions_are_read_batch_by_batch_and_none_is_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [good(n % 17) for n in range(40)]
    wanted = config(inputs=(write_rows(tmp_path / "rows.jsonl", rows),), dedup=True, holdout=5, shard_rows=25)
    found = []
    for batch_rows in (2_000, 3, 1):
        monkeypatch.setattr("sftkey_data.building.work.BATCH_ROWS", batch_rows)
        out = tmp_path / str(batch_rows) / "out"
        manifest = build(wanted, out)
        parts = [open_shards(folder)["id"][:] for folder in (out, out.with_name("out-holdout"))]
        found.append((manifest.rejects, parts))
    assert found == [({"duplicate": 23}, found[0][1])] * 3
    assert sorted(map(len, found[0][1])) == [5, 12]


def test_the_policy_strict_rejects_what_cover_keeps(tmp_path: Path, shared_data: Path) -> None:
    gpt2 = str(shared_data / "tokenizers" / "gpt2")
    cover = build(config(template="hash", tokenizer=gpt2), tmp_path / "cover")
    assert cover.statistics["straddle"] == {"key_start": 5, "key_end": 0, "prompt": 0, "prompt_not_prefix": 0}
    assert all(row["straddle"] == 1 for row in open_shards(tmp_path / "cover").to_pylist())
    with pytest.raises(SFTKeyError, match="straddle 5"):
        build(config(template="hash", tokenizer=gpt2, straddle="strict"), tmp_path / "strict")


def test_the_manifest_says_what_was_built(tmp_path: Path, qwen: str) -> None:
    build(config(tokenizer=qwen, limit=4), tmp_path / "out")
    manifest = read_manifest(tmp_path / "out")
    assert manifest.inputs[0].sha256 == file_tree_hash(Path(GSM8K))
    assert manifest.inputs[0].rows == 4
    assert manifest.tokenizer is not None
    assert manifest.tokenizer.eos_token_id == 151645
    assert manifest.template.name == "sftkey"
    assert manifest.shards[0].sha256 == file_sha256(tmp_path / "out" / "data-00000.arrow")
    rows = open_shards(tmp_path / "out").to_pylist()
    lengths = sorted(len(row["input_ids"]) for row in rows)
    statistics = manifest.statistics["example_length"]
    assert (statistics["min"], statistics["p50"], statistics["max"]) == (lengths[0], lengths[1], lengths[3])
    key, completion = (
        sum(row["key_token_end"] - row["key_token_start"] for row in rows),
        sum(len(row["input_ids"]) - row["prompt_tokens"] for row in rows),
    )
    assert manifest.statistics["key_share"] == round(key / completion, 6)


def test_several_inputs_are_one_build_with_one_count_each(tmp_path: Path) -> None:
    second = write_rows(tmp_path / "train.jsonl", [good(i) for i in range(3)])
    manifest = build(config(inputs=(GSM8K, second)), tmp_path / "out")
    assert [i.rows for i in manifest.inputs] == [5, 3]
    assert open_shards(tmp_path / "out").column("id").to_pylist() == [f"gsm8k/train/{i}" for i in range(8)]


def test_two_builds_have_the_same_bytes_and_any_shard_size_the_same_rows(tmp_path: Path, gpt2: str) -> None:
    build(config(tokenizer=gpt2), tmp_path / "a")
    build(config(tokenizer=gpt2), tmp_path / "b")
    build(config(tokenizer=gpt2, shard_rows=2), tmp_path / "c")
    build(config(tokenizer=gpt2, shard_rows=5), tmp_path / "d")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert [s.rows for s in read_manifest(tmp_path / "c").shards] == [2, 2, 1]
    assert [s.rows for s in read_manifest(tmp_path / "d").shards] == [5]
    for other in "cd":
        assert open_shards(tmp_path / other).to_pylist() == open_shards(tmp_path / "a").to_pylist()
        check(tmp_path / other, full=True)


@pytest.mark.parametrize("kill_after_units", [0, 1, 3])
def test_a_killed_build_resumes_to_the_same_bytes(tmp_path: Path, gpt2: str, kill_after_units: int) -> None:
    path = write_rows(tmp_path / "rows.jsonl", [good(i) for i in range(3000)])
    values = {"inputs": (path,), "tokenizer": gpt2, "shard_rows": 500}
    build(config(**values), tmp_path / "whole")
    call = f"build(BuildConfig(source='gsm8k', **{values!r}), Path({str(tmp_path / 'out')!r}))"
    code = f"from pathlib import Path; from sftkey_data.building.build import BuildConfig, build; {call}"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    partial = tmp_path / "out.partial"
    while not partial.exists() or len(list(partial.glob("unit-*.json"))) < kill_after_units:
        assert process.poll() is None, "the build ended before it could be killed"
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out").exists()
    done = {p: p.stat().st_mtime_ns for p in partial.glob("data-*.arrow")}
    assert len(done) >= kill_after_units
    build(config(**values), tmp_path / "out")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    kept = {p.name: (tmp_path / "out" / p.name).stat().st_mtime_ns for p in done}
    units = [p for p in done if p.name < f"data-{kill_after_units:05d}"]
    assert all(kept[p.name] == done[p] for p in units), "a finished unit was built again"


def test_an_interrupted_build_of_another_plan_is_not_continued(tmp_path: Path) -> None:
    partial = tmp_path / "out.partial"
    partial.mkdir()
    (partial / ".sftkey").touch()
    (partial / "plan.sha256").write_text("of another plan")
    (partial / "unit-00000.json").write_text("{}")
    build(config(), tmp_path / "out")
    check(tmp_path / "out")


def test_an_output_folder_that_is_not_empty_is_kept_unless_told(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    build(config(), out)  # an empty folder is fine
    before = contents(out)
    with pytest.raises(SFTKeyError, match=r"is not empty.*--overwrite"):
        build(config(limit=2), out)
    assert contents(out) == before
    build(config(limit=2), out, overwrite=True)
    assert read_manifest(out).counts.written == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda out, rows: rows.write_text(rows.read_text() + json.dumps(good(9)) + "\n"),
        lambda out, rows: next(out.glob("data-*")).unlink(),
        lambda out, rows: (out / "manifest.json").write_text("{"),
    ],
    ids=["other rows", "a shard is missing", "a damaged manifest"],
)
def test_only_a_whole_folder_of_the_same_inputs_is_built_already(tmp_path: Path, change: Any) -> None:
    rows, out = tmp_path / "rows.jsonl", tmp_path / "out"
    wanted = config(inputs=(write_rows(rows, [good(n) for n in range(3)]),))
    build(wanted, out)
    before = contents(out)
    build(wanted, out)
    assert contents(out) == before
    change(out, rows)
    with pytest.raises(SFTKeyError, match=r"is not empty.*--overwrite"):
        build(wanted, out)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"source": "gsm8"}, "unknown dataset 'gsm8' (did you mean 'gsm8k'?)"),
        ({"source": "./nowhere.py"}, "dataset file not found"),
        ({"inputs": (str(FIXTURES / "gsm8.jsonl"),)}, "not found"),
        ({"source": "math"}, "column 'problem' is missing"),
        ({"template": "sftky"}, "did you mean 'sftkey'"),
        ({"tokenizer": "./no/tokenizer"}, "is not there"),
        ({"inputs": (GSM8K, GSM8K)}, "named twice"),
        ({"options": {"num": "3"}}, "has no options"),
        ({"source": "arithmetic", "inputs": (GSM8K,)}, "it takes no --input"),
        ({"source": "arithmetic", "inputs": (), "options": {"nun": "3"}}, "did you mean 'num'"),
        ({"source": "arithmetic", "inputs": (), "options": {"num": "x"}}, "num"),
    ],
)
def test_a_build_that_cannot_work_fails_before_the_first_row(
    tmp_path: Path, values: dict[str, Any], expected: str
) -> None:
    with pytest.raises(SFTKeyError) as raised:
        build(config(**values), tmp_path / "out")
    assert expected in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_a_list_that_is_broken_in_the_middle_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text(f"[{', '.join(json.dumps(good(i)) for i in range(30))}, ")
    with pytest.raises(SFTKeyError, match="line 1: broken JSON"):
        build(config(inputs=(str(tmp_path / "rows.json"),), shard_rows=10), tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["rows.json"]


def test_a_misspelt_column_shows_the_nearest(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", [{"Question": "q", "answer": "a"}])
    with pytest.raises(SFTKeyError, match=r"column 'question' is missing .did you mean 'Question'"):
        build(config(inputs=(path,)), tmp_path / "out")


def test_an_empty_input_is_refused(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", [])
    with pytest.raises(SFTKeyError, match="holds no rows"):
        build(config(inputs=(path,)), tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize("template", ["sftkey", "sftkey-compact", "boxed", "hash"])
@pytest.mark.parametrize("tokenizer", ["qwen2.5", "gpt2", "phi-3-mini", "falcon", "cl100k"])
@pytest.mark.parametrize(("dataset", "file"), [("gsm8k", "gsm8k/train.jsonl"), ("math", "math/test.jsonl")])
def test_every_real_row_passes_the_full_check(
    tmp_path: Path, shared_data: Path, dataset: str, file: str, tokenizer: str, template: str
) -> None:
    source = str(shared_data / "raw" / file)
    values = {"source": dataset, "inputs": (source,), "tokenizer": str(shared_data / "tokenizers" / tokenizer)}
    manifest = build(BuildConfig(**values, template=template), tmp_path / "out")
    assert manifest.counts.written >= manifest.counts.rows_read - 2
    assert check(tmp_path / "out", full=True) == manifest
