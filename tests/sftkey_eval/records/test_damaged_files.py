"""A flipped bit in what a run has left is refused by whoever reads it, or gives what the whole file gives."""

import json
import sqlite3
from dataclasses import asdict
from pathlib import Path

import pytest
from eval_samples import RIGHT
from flipped_bits import flipped, refused_or_same
from log_samples import lm_eval_sample, write_samples

from sftkey_data.errors import SFTKeyError
from sftkey_data.format.template import load_template
from sftkey_data.storage.sealed_json import DIGEST, sealed_line, write_sealed
from sftkey_eval.exposure.exposure_gap import KeyLine, read_key_lines
from sftkey_eval.generation.completion_cache import CACHE_FILE, Cache
from sftkey_eval.generation.model_files import ModelFiles
from sftkey_eval.generation.prompt_items import Item
from sftkey_eval.generation.sample_requests import Generated, Request
from sftkey_eval.logs.import_logs import import_logs
from sftkey_eval.records.completion_fields import Fields
from sftkey_eval.records.completion_rows import read_completions
from sftkey_eval.records.journal import Journal
from sftkey_eval.records.run_record import DataRecord, ModelRecord, RunRecord, read_record, write_record
from sftkey_eval.scoring.score import score_file

NUM = 120
RECORD = RunRecord(
    name="a",
    completions="c.jsonl",
    model=ModelRecord(path="m", fingerprint="f" * 64, tokenizer_fingerprint="t" * 64, end_token_ids=[3], seed=2),
    data=DataRecord(path="d", manifest_sha256="a" * 64, num_items=4),
    template={"name": "sftkey"},
    sampling={"temperature": 0.0, "seed": 0, "num_samples": 1, "max_new_tokens": 9},
    versions={"sftkey": "1"},
)
ROWS = [{"id": f"sums/{n}", "completion": f"It is {n}.\nä", "finish_reason": "stop"} for n in range(4)]
REQUESTS = [Request(f"sums/{n}", Item({"id": f"sums/{n}", "prompt": f"What is {n}?"}, None), 0, n) for n in range(30)]
GENERATED = [Generated(f"It is {n}, ä." * (n + 1), ("stop", "length", None)[n % 3], n) for n in range(30)]


def test_a_run_record(tmp_path: Path) -> None:
    write_record(RECORD, path := tmp_path / "run.json")
    assert refused_or_same(path, lambda: read_record(path), NUM) == NUM


def test_a_run_record_beside_completions_that_are_scored(tmp_path: Path) -> None:
    completions = tmp_path / "c.jsonl"
    completions.write_text(json.dumps({"id": "1", "completion": RIGHT, "gold": "42"}) + "\n")
    record = RECORD.model_copy(update={"template": asdict(load_template("sftkey"))})
    write_record(record, tmp_path / "run.json")

    def scored() -> bytes:
        score_file(completions, tmp_path / "v.parquet")
        return (tmp_path / "v.parquet").read_bytes()

    assert refused_or_same(tmp_path / "run.json", scored, 12) == 12
    whole = scored()
    (tmp_path / "run.json").write_text(record.model_dump_json())  # as a version before wrote it
    assert scored() == whole


def test_the_journal_of_a_run_that_is_not_finished(tmp_path: Path) -> None:
    out, ids = tmp_path / "c.jsonl", [row["id"] for row in [*ROWS, {"id": "sums/4"}]]
    with Journal(out, ids) as journal:
        journal.append(ROWS)

    def finished() -> bytes:
        with Journal(out, ids) as journal:
            journal.append([*ROWS, {"id": "sums/4", "completion": "last"}])
            journal.finish()
        return out.read_bytes()

    partial = tmp_path / "c.jsonl.partial"
    content = partial.read_bytes()
    whole = finished()
    assert DIGEST.encode() in content
    assert [json.loads(line) for line in whole.splitlines()][:4] == ROWS
    partial.write_bytes(content)
    assert refused_or_same(partial, finished, NUM) > NUM - 3  # a damaged end of the last line makes it no line


def test_a_journal_of_a_version_before_goes_on(tmp_path: Path) -> None:
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS]
    (tmp_path / "c.jsonl.partial").write_text("".join(lines[:2]))
    with Journal(tmp_path / "c.jsonl", [row["id"] for row in ROWS]) as journal:
        assert journal.missing == ["sums/2", "sums/3"]
        journal.append(ROWS)
        journal.finish()
    assert (tmp_path / "c.jsonl").read_text() == "".join(lines)


def test_a_damaged_line_of_a_journal_is_named_and_can_be_done_again(tmp_path: Path) -> None:
    ids = [row["id"] for row in ROWS]
    (partial := tmp_path / "c.jsonl.partial").write_bytes(b"".join(map(sealed_line, ROWS)).replace(b"is 2", b"is 3"))
    with pytest.raises(SFTKeyError) as raised, Journal(tmp_path / "c.jsonl", ids):
        pass
    mend = "delete the line to have its item done again, or start anew with --overwrite"
    assert str(raised.value) == f"{partial} line 3 is not as it was written, its digest differs; {mend}"
    lines = partial.read_bytes().splitlines(keepends=True)
    partial.write_bytes(b"".join(lines[:2] + lines[3:]))
    with Journal(tmp_path / "c.jsonl", ids) as journal:
        assert journal.missing == ["sums/2"]


def test_teacher_forced_keys(tmp_path: Path) -> None:
    values = {"item_id": "a", "sample": 0, "key_tokens": 3, "nll_gold_cot": 0.25, "exact_gold_cot": True}
    rest = {"gold_cot_fault": None, "own_key_tokens": None, "nll_own_cot": None, "exact_own_cot": None}
    lines = [KeyLine(id=f"a#{n}", **values, **rest, own_cot_fault="too_long") for n in range(3)]
    path = tmp_path / "teacher_forced.jsonl"
    with Journal(path, [line.id for line in lines], keeps_digests=True) as journal:
        journal.append(map(asdict, lines))
        journal.finish()
    assert read_key_lines(path) == lines
    assert refused_or_same(path, lambda: read_key_lines(path), NUM) == NUM
    path.write_text("".join(json.dumps(asdict(line)) + "\n" for line in lines))
    assert read_key_lines(path) == lines  # of a version before


def test_imported_completions(tmp_path: Path) -> None:
    log = write_samples(tmp_path, [lm_eval_sample(n, [RIGHT], target="42") for n in range(3)])
    import_logs([log], path := tmp_path / "imported.jsonl")
    assert refused_or_same(path, lambda: list(read_completions(path, Fields())), NUM) == NUM


def test_the_recipe_beside_a_model(tmp_path: Path) -> None:
    write_sealed(path := tmp_path / "recipe.json", {"name": "tiny", "seed": 3, "stage": [{"name": "full", "lr": 1e-3}]})
    assert refused_or_same(path, lambda: ModelFiles("m", tmp_path, "f").recipe, NUM) == NUM


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    with Cache(tmp_path, RECORD, {}) as cache:
        cache.keep(list(zip(REQUESTS, GENERATED, strict=True)))
    return tmp_path / CACHE_FILE


def test_a_cache_gives_what_was_kept_in_it_or_nothing(cache: Path) -> None:
    kept, content, damaged = dict(zip([r.id for r in REQUESTS], GENERATED, strict=True)), cache.read_bytes(), 0
    for bit, changed in flipped(content, 400):
        cache.write_bytes(changed)
        try:
            with Cache(cache.parent, RECORD, {}) as opened:
                found = {request.id: generated for request, generated in opened.find(REQUESTS)}
                damaged += opened.num_damaged
        except SFTKeyError as error:
            assert len(str(error).splitlines()) == 1  # noqa: PT017 - it may as well be read
            continue
        assert found == {id_: kept[id_] for id_ in found}, f"bit {bit}"
    assert damaged > 20


def test_a_damaged_entry_is_counted_and_replaced(cache: Path) -> None:
    with sqlite3.connect(cache) as file:
        file.execute("UPDATE completions SET text = 'It is 8.' WHERE num_tokens = 7")
    with Cache(cache.parent, RECORD, {}) as opened:
        assert len(opened.find(REQUESTS)) == 29
        assert opened.num_damaged == 1
        opened.keep([(REQUESTS[7], GENERATED[7])])
    with Cache(cache.parent, RECORD, {}) as opened:
        assert [generated for _, generated in opened.find(REQUESTS)] == GENERATED
        assert opened.num_damaged == 0


def test_a_cache_of_a_version_before_is_read_as_it_is(cache: Path) -> None:
    with sqlite3.connect(cache) as file:
        file.execute("ALTER TABLE completions DROP COLUMN digest")
    for _ in range(2):
        with Cache(cache.parent, RECORD, {}) as opened:
            assert [generated for _, generated in opened.find(REQUESTS)] == GENERATED
