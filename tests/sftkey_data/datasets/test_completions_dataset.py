"""A model's own completions as training data: the prompts as they were, its CoT, the gold Key; what is left out."""

import json
import tempfile
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from flipped_bits import refused_or_same

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.building.machinery import Machinery
from sftkey_data.datasets.completions import READ_COLUMNS, Options
from sftkey_data.errors import SFTKeyError
from sftkey_data.prepared.manifest import read_manifest
from sftkey_data.prepared.shards import open_shards
from sftkey_data.sources.tree_hash import file_tree_hash
from sftkey_data.verify.check import check
from sftkey_eval.scoring.score import score_file
from sftkey_eval.scoring.score_options import ScoreOptions

HISTORY = [("system", "Be brief."), ("user", "Hi."), ("assistant", "Hello.")]


def _verdicts(folder: Path, rows: list[dict[str, Any]], **options: Any) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "completions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    score_file(folder / "completions.jsonl", folder / "verdicts.parquet", ScoreOptions(**options))
    return str(folder / "verdicts.parquet")


def _build(verdicts: str, out: Path, options: dict[str, Any] | None = None, **values: Any) -> Path:
    build(BuildConfig(source="completions", options={"verdicts": verdicts, **(options or {})}, **values), out)
    return out


def _sample(item: int, sample: int, cot: str, key: int, **changes: Any) -> dict[str, Any]:
    """A completion of the item whose gold is `item` + 5."""
    return {
        "id": f"sums/train/{item}#{sample}",
        "item_id": f"sums/train/{item}",
        "sample": sample,
        "split": "train",
        "prompt": f"What is {item} + 5?\n",
        "completion": f"<Thinking>\n{cot}\n</Thinking>\n<Answer>\n{key}\n</Answer>",
        "gold": str(item + 5),
        "finish_reason": "stop",
    } | changes


SAMPLES = [
    _sample(2, 0, "2 + 5 = 7", 7),
    _sample(2, 1, "2 + 5 = 7", 7),  # once more
    _sample(2, 2, "It is 7", 7),
    _sample(2, 3, "So 7", 7),
    _sample(3, 0, "3 + 5 = 8", 9),  # a slip
    _sample(3, 1, "3 + 5 = 9", 9),  # a wrong CoT
    _sample(4, 0, "4 + 5 = 9", 9),
    _sample(4, 1, "", 9, completion="<Thinking>\n4 + 5 =", finish_reason="length"),
]


@pytest.fixture
def verdicts(tmp_path: Path) -> str:
    return _verdicts(tmp_path / "run", SAMPLES)


def _cots(folder: Path) -> list[str]:
    rows = open_shards(folder).to_pylist()
    return [row["completion"][row["cot_start"] : row["cot_end"]] for row in rows]


@pytest.mark.parametrize(
    ("options", "cots", "rejects"),
    [
        ({}, ["2 + 5 = 7", "It is 7", "So 7", "4 + 5 = 9"], {"same_cot": 1, "not_kept": 3}),
        ({"per_item": 2}, ["2 + 5 = 7", "It is 7", "4 + 5 = 9"], {"same_cot": 1, "enough_of_item": 1, "not_kept": 3}),
        ({"keep": "slips"}, ["3 + 5 = 8"], {"not_kept": 7}),
        (
            {"keep": "correct+slips", "per_item": 1},
            ["2 + 5 = 7", "3 + 5 = 8", "4 + 5 = 9"],
            {"same_cot": 1, "enough_of_item": 2, "not_kept": 2},
        ),
        (
            {"keep": "all"},
            ["2 + 5 = 7", "It is 7", "So 7", "3 + 5 = 8", "3 + 5 = 9", "4 + 5 = 9"],
            {"same_cot": 1, "truncated": 1},
        ),
    ],
    ids=["correct", "two an item", "slips", "reached", "all"],
)
def test_what_is_kept_and_why_not(
    verdicts: str, tmp_path: Path, options: dict[str, Any], cots: list[str], rejects: dict[str, int]
) -> None:
    out = _build(verdicts, tmp_path / "out", options)
    manifest = read_manifest(out)
    assert _cots(out) == cots
    assert manifest.rejects == rejects
    assert manifest.counts.rows_read == len(SAMPLES)
    check(out)


def test_the_key_is_the_gold_one_and_not_what_the_model_wrote(verdicts: str, tmp_path: Path) -> None:
    (row,) = open_shards(_build(verdicts, tmp_path / "out", {"keep": "slips"})).to_pylist()
    assert row["completion"] == "<Thinking>\n3 + 5 = 8\n</Thinking>\n<Answer>\n8\n</Answer>"
    assert row["gold"] == "8"
    assert row["prompt"] == "What is 3 + 5?\n"


def _rows(kind: str, gsm8k: Path) -> tuple[str, list[dict[str, Any]], dict[str, Any]]:
    """A source and its rows: word problems, or conversations."""
    rows = [json.loads(line) for line in gsm8k.read_text(encoding="utf-8").splitlines()[:40]]
    if kind == "questions":
        return "gsm8k", rows, {}
    turns = [
        [*({"role": role, "content": content} for role, content in HISTORY), {"role": "user", "content": r["question"]}]
        for r in rows
    ]
    answers = [r["answer"].split("####") for r in rows]
    texts = [f"<Thinking>\n{cot.strip()}\n</Thinking>\n<Answer>\n{key.strip()}\n</Answer>" for cot, key in answers]
    chats = [{"messages": [*t, {"role": "assistant", "content": a}]} for t, a in zip(turns, texts, strict=True)]
    return "chat", chats, {"template": "sftkey"}


@pytest.mark.parametrize(
    ("kind", "tokenizer", "chat"),
    [
        ("questions", "gpt2", False),
        ("conversations", "phi-3-mini", False),
        pytest.param("conversations", "qwen2.5", True, marks=pytest.mark.slow),
        pytest.param("conversations", "gpt2", False, marks=pytest.mark.slow),
        pytest.param("questions", "phi-3-mini", False, marks=pytest.mark.slow),
        pytest.param("questions", "qwen2.5", True, marks=pytest.mark.slow),
    ],
)
def test_gold_completions_give_the_folder_they_were_written_for(
    kind: str, tokenizer: str, chat: bool, shared_data: Path, tmp_path: Path
) -> None:
    source, rows, options = _rows(kind, shared_data / "raw" / "gsm8k" / "train.jsonl")
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    how: dict[str, Any] = {"tokenizer": str(shared_data / "tokenizers" / tokenizer), "chat": chat}
    config = BuildConfig(source=source, inputs=(str(tmp_path / "rows.jsonl"),), options=options, **how)
    build(config, tmp_path / "data")
    before = open_shards(tmp_path / "data").to_pylist()
    kept = ("id", "split", "prompt", "completion", "gold", "answer_type", "choices")
    verdicts = _verdicts(tmp_path / "run", [{name: row[name] for name in kept} for row in before])
    check(_build(verdicts, tmp_path / "own", {"keep": "all"}, **how), full=True)
    after = open_shards(tmp_path / "own").to_pylist()
    assert len(after) == len(before) == 40
    for row, other in zip(before, after, strict=True):
        assert {name: value for name, value in other.items() if name not in ("id", "dataset")} == {
            name: value for name, value in row.items() if name not in ("id", "dataset")
        }
    told, found = read_manifest(tmp_path / "data"), read_manifest(tmp_path / "own")
    assert found.tokenizer == told.tokenizer
    assert asdict(found.template) == asdict(told.template)


def _rendered(question: str) -> str:
    system = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    return f"{system}<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize(
    ("values", "prompt", "fault"),
    [
        (
            {"chat": True},
            "What is 2 + 5?\n",
            "other_prompt: the prompt ends in .*, the chat template writes",
        ),
        ({"system": "Be brief."}, "What is 2 + 5?\n", "other_prompt: .*--system would change nothing: leave it out"),
        ({}, _rendered("What is 2 + 5?"), "special_token_in_text: the prompt holds '<.im_start.>'"),
        ({}, "", "empty_prompt"),
    ],
    ids=["chat", "system", "plain", "empty"],
)
def test_prompts_of_another_kind_than_the_build_writes_are_rejected(
    values: dict[str, Any], prompt: str, fault: str, shared_data: Path, tmp_path: Path
) -> None:
    verdicts = _verdicts(tmp_path / "run", [_sample(2, 0, "2 + 5 = 7", 7, prompt=prompt)])
    with pytest.raises(SFTKeyError, match=fault):
        _build(verdicts, tmp_path / "out", tokenizer=str(shared_data / "tokenizers" / "qwen2.5"), **values)


@pytest.mark.parametrize("chat", [False, True], ids=["plain", "chat"])
def test_evaluation_questions_are_found_in_rendered_prompts(chat: bool, shared_data: Path, tmp_path: Path) -> None:
    (tmp_path / "evaluation.jsonl").write_text(json.dumps({"question": "What is 2 + 5?"}) + "\n")
    asked = [f"What is {item} + 5?" for item in (2, 4)]
    prompts = [_rendered(question) if chat else f"{question}\n" for question in asked]
    samples = [_sample(2, 0, "2 + 5 = 7", 7, prompt=prompts[0]), _sample(4, 0, "4 + 5 = 9", 9, prompt=prompts[1])]
    evaluation = (str(tmp_path / "evaluation.jsonl"),)
    tokenizer = str(shared_data / "tokenizers" / "qwen2.5")
    verdicts = _verdicts(tmp_path / "run", samples)
    out = _build(verdicts, tmp_path / "out", decontaminate=evaluation, tokenizer=tokenizer, chat=chat)
    assert read_manifest(out).rejects == {"contaminated": 1}
    assert open_shards(out)["prompt"].to_pylist() == prompts[1:]


def test_the_manifest_holds_the_hash_of_the_verdicts(verdicts: str, tmp_path: Path) -> None:
    manifest = read_manifest(_build(verdicts, tmp_path / "out"))
    (entry,) = manifest.inputs
    assert (entry.name, entry.sha256, entry.rows) == (verdicts, file_tree_hash(Path(verdicts)), len(SAMPLES))


def test_a_flipped_bit_in_the_verdicts_is_refused_or_changes_no_row(verdicts: str, tmp_path: Path) -> None:
    def rows() -> list[dict[str, Any]]:
        return list(open_shards(_build(verdicts, Path(tempfile.mkdtemp(dir=tmp_path)) / "out")).to_pylist())

    assert refused_or_same(Path(verdicts), rows, 15) > 5


def test_verdicts_changed_since_they_were_written_are_refused(verdicts: str, tmp_path: Path) -> None:
    table, recorded = pq.read_table(verdicts), pq.read_metadata(verdicts).metadata[b"sftkey_digest"]
    at = table.column_names.index("gold")
    changed = table.set_column(at, table.schema.field(at), pa.array(["8"] * table.num_rows))
    with pq.ParquetWriter(verdicts, table.schema) as writer:
        writer.write_table(changed)
        writer.add_key_value_metadata({b"sftkey_digest": recorded})
    with pytest.raises(SFTKeyError, match=r"verdicts\.parquet: changed since .* the digest in it differs"):
        _build(verdicts, tmp_path / "out")
    pq.write_table(changed, verdicts)  # without a digest, as a version before wrote them
    assert set(open_shards(_build(verdicts, tmp_path / "out", {"keep": "all"}))["gold"].to_pylist()) == {"8"}


def test_workers_change_nothing(verdicts: str, tmp_path: Path) -> None:
    config = BuildConfig(source="completions", options={"verdicts": verdicts, "per_item": 2}, shard_rows=2)
    build(config, tmp_path / "one")
    build(config, tmp_path / "two", machinery=Machinery(workers=2))
    one, two = (open_shards(tmp_path / name).to_pylist() for name in ("one", "two"))
    assert one == two
    assert Counter(row["prompt"] for row in one) == {"What is 2 + 5?\n": 2, "What is 4 + 5?\n": 1}


OWN = 'before_cot = "[["\nafter_cot = "]]"\nbefore_key = "{{"\nafter_key = "}}"\n'


def test_a_template_that_is_not_built_in_is_named(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(OWN)
    written = _sample(2, 0, "", 7, completion="[[2 + 5 = 7]]{{7}}")
    verdicts = _verdicts(tmp_path / "run", [written], template=str(tmp_path / "own.toml"))
    with pytest.raises(SFTKeyError, match=r"written in template 'own', which is not built in: name its file with"):
        _build(verdicts, tmp_path / "out")
    with pytest.raises(SFTKeyError, match=r"scored with template 'own', sftkey is another$"):
        _build(verdicts, tmp_path / "out", {"template": "sftkey"})
    out = _build(verdicts, tmp_path / "out", {"template": str(tmp_path / "own.toml")})
    assert open_shards(out)["completion"].to_pylist() == ["[[2 + 5 = 7]]{{7}}"]


def test_the_template_is_that_of_the_completions_unless_another_is_named(tmp_path: Path) -> None:
    boxed = _sample(2, 0, "", 7, completion="<think>\n2 + 5 = 7\n</think>\n\\boxed{7}")
    verdicts = _verdicts(tmp_path / "run", [boxed], template="think-boxed")
    assert open_shards(_build(verdicts, tmp_path / "same"))["completion"].to_pylist() == [boxed["completion"]]
    other = _build(verdicts, tmp_path / "other", template="sftkey")
    assert open_shards(other)["completion"].to_pylist() == [SAMPLES[0]["completion"]]


def test_verdicts_on_other_completions_than_those_beside_them_are_refused(verdicts: str, tmp_path: Path) -> None:
    completions = Path(verdicts).with_name("completions.jsonl")
    completions.write_text(completions.read_text() + "\n")
    with pytest.raises(SFTKeyError, match=r"verdicts on other completions than .*completions\.jsonl, which has the"):
        _build(verdicts, tmp_path / "out")
    completions.unlink()
    _build(verdicts, tmp_path / "out")


def test_rows_of_another_split_are_refused(tmp_path: Path) -> None:
    verdicts = _verdicts(tmp_path / "run", [_sample(2, 0, "2 + 5 = 7", 7, split="test")])
    with pytest.raises(SFTKeyError, match=r"is of split 'test', expected 'train'; --split test takes it"):
        _build(verdicts, tmp_path / "out")
    assert open_shards(_build(verdicts, tmp_path / "out", split="test"))["split"].to_pylist() == ["test"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"verdicts": ""}, r"name the verdicts with --set verdicts=runs/NAME/verdicts\.parquet$"),
        ({"verdicts": "nowhere.parquet"}, r"^verdicts file not found: nowhere\.parquet$"),
        ({"verdicts": __file__}, r"not a readable Parquet file"),
        ({"keep": "slip"}, r"expected correct, slips, correct\+slips or all, found 'slip' \(did you mean 'slips'\?\)"),
        ({"per_item": -1}, r"per_item"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(
    verdicts: str, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(SFTKeyError, match=message) as caught:
        _build(verdicts, tmp_path / "out", options)
    assert "\n" not in str(caught.value)


def test_a_table_that_holds_no_verdicts_is_refused(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "table.parquet")
    with pytest.raises(SFTKeyError, match=r"column 'item_id' is missing"):
        _build(str(tmp_path / "table.parquet"), tmp_path / "out")


def test_verdicts_with_columns_of_other_types_are_refused(tmp_path: Path) -> None:
    """They come from a file that was made elsewhere, where an id could be a list."""
    types = {name: pa.string() for name in READ_COLUMNS} | {"item_id": pa.list_(pa.string())}
    path = tmp_path / "v.parquet"
    pq.write_table(pa.schema(types.items()).empty_table(), path)
    with pytest.raises(SFTKeyError, match=r"v\.parquet: column 'item_id' is of list<element: string>, expected string"):
        assert Options(verdicts=str(path)).provenance
