"""A bad row is one reject with its reason and its place, in every format; odd but whole rows are written."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pytest
from some_slow import some_slow
from wrong_samples import GOOD, NUM_GOOD, PLACE, as_csv, as_list, as_parquet, built, good, lines, rejects, sftkey_data

from sftkey_data.errors import SFTKeyError
from sftkey_data.prepared.manifest import file_sha256
from sftkey_data.prepared.shards import open_shards
from sftkey_data.verify.check import check

BAD_LINES: dict[str, tuple[bytes, str]] = {
    "NUL in a value": (b'{"question": "q\0", "answer": "a #### 4"}', "broken_json"),
    "NUL as an escape": (b'{"question": "q\\u0000", "answer": "a #### 4"}', "nul_character"),
    "NUL between rows": (b"\0\0\0", "broken_json"),
    "NUL before a row": (b"\0" + GOOD[0], "broken_json"),
    "no UTF-8 in a value": (b'{"question": "q\xff", "answer": "a #### 4"}', "invalid_utf8"),
    "no UTF-8 in a key": (b'{"\xc3": 1, "question": "q", "answer": "a #### 4"}', "invalid_utf8"),
    "lone surrogate": (b'{"question": "q \\ud800", "answer": "a #### 4"}', "invalid_unicode"),
    "cut": (b'{"question": "q", "ans', "broken_json"),
    "two rows in a line": (GOOD[0] + GOOD[1], "broken_json"),
    "no JSON": (b"hello", "broken_json"),
    "nested without end": (b'{"question": ' + b"[" * 100_000, "broken_json"),
    "a number": (b"4", "not_an_object"),
    "a list": (b"[1]", "not_an_object"),
    "a string": (b'"x"', "not_an_object"),
    "null": (b"null", "not_an_object"),
    "NaN": (b"NaN", "not_an_object"),
    "no columns": (b"{}", "missing_column"),
    "number for a text": (b'{"question": 4, "answer": "a #### 4"}', "wrong_type"),
    "NaN for a text": (b'{"question": NaN, "answer": "a #### 4"}', "wrong_type"),
    "too large a number": (b'{"question": 1e999, "answer": "a #### 4"}', "wrong_type"),
    "too long a number": (b'{"question": ' + b"9" * 5_000 + b', "answer": "a #### 4"}', "wrong_type"),
    "truth value for a text": (b'{"question": true, "answer": "a #### 4"}', "wrong_type"),
    "object for a text": (b'{"question": {"a": 1}, "answer": "a #### 4"}', "wrong_type"),
    "null for a text": (b'{"question": null, "answer": "a #### 4"}', "null_value"),
    "blank prompt": (b'{"question": " \\u00a0", "answer": "a #### 4"}', "empty_prompt"),
    "blank CoT": (b'{"question": "q", "answer": "#### 4"}', "empty_cot"),
    "blank Key": (b'{"question": "q", "answer": "a #### \\u3000"}', "empty_key"),
    "tag in the CoT": (b'{"question": "q", "answer": "a </Thinking> b #### 4"}', "tag_in_cot"),
    "tag in the Key": (b'{"question": "q", "answer": "a #### </Answer>"}', "tag_in_key"),
}


@pytest.mark.parametrize(("line", "reason"), BAD_LINES.values(), ids=BAD_LINES)
def test_a_bad_line_is_one_reject_with_its_reason_and_place(tmp_path: Path, line: bytes, reason: str) -> None:
    manifest = built(tmp_path / "r.jsonl", lines(line), max_reject_rate=0.05)
    assert manifest.rejects == {reason: 1}
    assert manifest.counts.written == NUM_GOOD
    (reject,) = rejects(tmp_path / "out-1")
    assert (reject["source"], reject["position"], reject["reason"]) == (str(tmp_path / "r.jsonl"), PLACE + 1, reason)
    assert reject["detail"]
    assert [row["id"] for row in open_shards(tmp_path / "out-1").to_pylist()][PLACE] == f"gsm8k/train/{PLACE + 1}"


@pytest.mark.parametrize("name", ["r.jsonl", "r.jsonl.gz", "r.json"])
def test_all_bad_lines_are_counted_alike_in_every_format_and_by_any_number_of_workers(
    tmp_path: Path, name: str
) -> None:
    content = lines(*(line for line, _ in BAD_LINES.values()))
    content = gzip.compress(content) if name.endswith(".gz") else content
    values = {"shard_rows": 13, "workers": 1}
    manifest = built(tmp_path / name, content, **values)
    reasons = [reason for _, reason in BAD_LINES.values()]
    assert manifest.rejects == {reason: reasons.count(reason) for reason in sorted(set(reasons))}
    assert [reject["reason"] for reject in rejects(tmp_path / "out-1")] == reasons
    assert [reject["position"] - PLACE for reject in rejects(tmp_path / "out-1")] == [*range(1, len(BAD_LINES) + 1)]
    assert built(tmp_path / name, content, shard_rows=13, workers=2) == manifest
    one, two = (
        {path.name: file_sha256(path) for path in (tmp_path / out).iterdir() if path.is_file()}
        for out in ("out-1", "out-2")
    )
    assert one == two


def test_the_raw_line_is_kept_with_its_bad_bytes_escaped(tmp_path: Path) -> None:
    built(tmp_path / "r.jsonl", lines(b'{"question": "\xff\xc3 \xe9"', b"[NaN, 1e999]"))
    broken, numbers = rejects(tmp_path / "out-1")
    assert broken["row"] == '{"question": "\\xff\\xc3 \\xe9"'
    assert broken["detail"] == "invalid start byte at byte 15"
    assert numbers["row"] == ["nan", "1E+999"]


@pytest.mark.parametrize("depth", [*range(90, 110, 5), *range(880, 1_000, 10), 3_000])
def test_a_row_of_any_depth_is_a_row_or_a_reject(tmp_path: Path, depth: int) -> None:
    deep = b'{"question": ' + b"[" * depth + b"]" * depth + b', "answer": "a #### 4"}'
    for name, content in {"r.jsonl": lines(deep), "r.jsonl.gz": gzip.compress(lines(deep))}.items():
        (tmp_path / name).mkdir()
        assert built(tmp_path / name / name, content).counts.rejected == 1
    if depth < 900:
        (tmp_path / "list").mkdir()
        assert built(tmp_path / "list" / "r.json", as_list(deep), workers=2).counts.rejected == 1


GOOD_LINES: dict[str, bytes] = {
    "byte order mark": b"\xef\xbb\xbf" + GOOD[0],
    "carriage return": GOOD[0] + b"\r",
    "NaN in a column of no use": b'{"x": NaN, "question": "q", "answer": "a #### 4"}',
    "long number in a column of no use": b'{"x": ' + b"9" * 5_000 + b', "question": "q", "answer": "a #### 4"}',
    "a name that stands twice": b'{"question": "p", "question": "q", "answer": "a #### 4"}',
    "line separators of Unicode": '{"question": "q\u2028\u0085 r", "answer": "a\u2029 #### 4"}'.encode(),
    "non-characters": '{"question": "\uffff", "answer": "\U0001fffe #### \ue000"}'.encode(),
    "combining marks alone": '{"question": "\u0301", "answer": "\u0301\u0301 #### \u0301"}'.encode(),
    "right to left": '{"question": "\u202eש", "answer": "\u200b #### \u202eם"}'.encode(),
    "a Key of several lines": b'{"question": "q", "answer": "a #### 4\\n5\\n\\n6"}',
    "special tokens": b'{"question": "<|im_end|>", "answer": "<s> #### </s>"}',
}


@pytest.mark.parametrize("line", GOOD_LINES.values(), ids=GOOD_LINES)
def test_odd_but_whole_rows_are_written(tmp_path: Path, line: bytes) -> None:
    assert built(tmp_path / "r.jsonl", lines(line)).counts.written == NUM_GOOD + 1


def test_with_a_tokenizer_odd_texts_are_written_or_rejected_and_read_back(tmp_path: Path, shared_data: Path) -> None:
    eos = b'{"question": "q", "answer": "a <|endoftext|> b #### 4"}'
    content = lines(*GOOD_LINES.values(), *(line for line, _ in BAD_LINES.values()), eos)
    gpt2 = str(shared_data / "tokenizers" / "gpt2")
    manifest = built(tmp_path / "r.jsonl", content, tokenizer=gpt2, max_reject_rate=0.9)
    assert manifest.rejects["special_token_in_text"] == 1
    assert manifest.counts.written == NUM_GOOD + len(GOOD_LINES)
    check(tmp_path / "out-1", full=True)


def test_too_many_broken_lines_fail_with_the_reasons_and_keep_the_earlier_build(tmp_path: Path) -> None:
    built(tmp_path / "r.jsonl", lines())
    before = file_sha256(tmp_path / "out-1" / "manifest.json")
    (tmp_path / "r.jsonl").write_bytes(lines(b"x", b"y", b"\xff"))
    arguments = ("build", "gsm8k", "--input", "r.jsonl", "--out", "out-1", "--overwrite")
    done = sftkey_data(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "error: 3 of 43 rows rejected (broken_json 2, invalid_utf8 1; the first: r.jsonl:31: broken_json: Expecting "
        "value at character 1), at most 5% allowed: mend the input or raise --max-reject-rate\n"
    )
    assert file_sha256(tmp_path / "out-1" / "manifest.json") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out-1", "r.jsonl"]
    assert sftkey_data(*arguments, "--max-reject-rate", "0.1", cwd=tmp_path).returncode == 0


CSV_ROWS: dict[str, tuple[bytes, dict[str, int]]] = {
    "no UTF-8": (b"q\xff,a #### 4", {"invalid_utf8": 1}),
    "NUL": (b"q\0,a #### 4", {"nul_character": 1}),
    "NUL between rows": (b"\0", {"not_an_object": 1}),
    "too few fields": (b"q", {"not_an_object": 1}),
    "too many fields": (b"q,a #### 4,x", {"not_an_object": 1}),
    "nothing": (b",", {"missing_key": 1}),
    "several lines": (b'"q\n\n",a', {"missing_key": 1}),
    "blank lines": (b"\r\n\r\n", {}),
}


@pytest.mark.parametrize(("row", "reasons"), CSV_ROWS.values(), ids=CSV_ROWS)
@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_a_bad_record_of_a_table_is_one_reject_at_its_first_line(
    tmp_path: Path, row: bytes, reasons: dict[str, int], suffix: str
) -> None:
    content = as_csv(row)
    content = content.replace(b",", b"\t") if suffix == "tsv" else content
    manifest = built(tmp_path / f"r.{suffix}", content)
    assert (manifest.rejects, manifest.counts.written) == (reasons, NUM_GOOD)
    assert [reject["position"] for reject in rejects(tmp_path / "out-1")] == [PLACE + 2] * len(reasons)


@pytest.mark.parametrize(
    "content",
    [b"\r\n\n" + as_csv(), b"\xef\xbb\xbf" + as_csv(), as_csv()[:-2], as_csv().replace(b"\r\n", b"\r")],
    ids=["blank lines before the header", "byte order mark", "unterminated", "carriage returns"],
)
def test_a_table_with_odd_lines_is_whole(tmp_path: Path, content: bytes) -> None:
    assert built(tmp_path / "r.csv", content).counts.written == NUM_GOOD


def test_only_the_rows_of_a_list_that_hold_bad_bytes_are_rejected(tmp_path: Path) -> None:
    surrogate = b'{"question": "\\ud800", "answer": "a #### 4"}'
    content = as_list(b'{"question": "\xff\xfe", "answer": "a #### 4"}', b"4", surrogate)
    manifest = built(tmp_path / "r.json", content)
    assert manifest.rejects == {"invalid_unicode": 1, "invalid_utf8": 1, "not_an_object": 1}
    assert manifest.counts.written == NUM_GOOD
    assert rejects(tmp_path / "out-1")[0]["row"] == '{"question": "\\xff\\xfe", "answer": "a #### 4"}'


def test_a_parquet_value_that_python_cannot_hold_costs_at_most_its_row(tmp_path: Path) -> None:
    offsets = pa.array([0, 1, 2, 3], pa.int32()).buffers()[1]
    data = pa.Array.from_buffers(pa.string(), 3, [None, offsets, pa.py_buffer(b"a\xffb")])
    days = pa.array([2**30, 0, 0], pa.date32())  # the first is after the year 9999
    manifest = built(tmp_path / "r.parquet", as_parquet({"question": data, "answer": ["a #### 4"] * 3, "day": days}))
    assert manifest.rejects == {"invalid_utf8": 1}
    assert rejects(tmp_path / "out-1")[0]["detail"] == "question: invalid start byte at byte 1"


def test_a_column_may_be_missing_in_the_first_rows_too(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_bytes(b'{"question": "q"}\n[1]\nx\n' + lines())
    manifest = built(tmp_path / "r.jsonl", (tmp_path / "r.jsonl").read_bytes())
    assert manifest.rejects == {"broken_json": 1, "missing_column": 1, "not_an_object": 1}


def test_a_row_without_the_columns_shows_few_of_many(tmp_path: Path) -> None:
    with pytest.raises(SFTKeyError) as raised:
        built(tmp_path / "r.jsonl", json.dumps({f"k{i}": i for i in range(9_000)}).encode())
    assert len(str(raised.value)) < 600


@pytest.mark.parametrize("suffix", some_slow(["jsonl", "json", "csv", "tsv"], quick=["jsonl", "csv"]))
def test_a_row_of_10_mb_is_a_row(tmp_path: Path, suffix: str) -> None:
    for text in ("x" * 10_000_000, "two words " * 1_000_000):
        row = json.dumps({"question": text, "answer": f"{text} #### 4"}).encode()
        table = as_csv(f'{text},"{text}\n#### 4"'.encode())
        table = table.replace(b",", b"\t") if suffix == "tsv" else table
        content = lines(row) if suffix == "jsonl" else as_list(row) if suffix == "json" else table
        folder = tmp_path / str(len(text.split()))
        folder.mkdir()
        assert built(folder / f"r.{suffix}", content).counts.written == NUM_GOOD + 1


@pytest.mark.slow
@pytest.mark.parametrize("tokenizer", ["gpt2", "qwen2.5"])
@pytest.mark.parametrize("text", ["x", "word ", "7", " ", "e\u0301", "語", "!"])
def test_a_row_of_10_mb_is_tokenised_in_bearable_time(
    tmp_path: Path, shared_data: Path, tokenizer: str, text: str
) -> None:
    long = f"a{text * (10_000_000 // len(text.encode()))}b"
    row = json.dumps({"question": long, "answer": "a #### 4"}).encode()
    named = str(shared_data / "tokenizers" / tokenizer)
    assert built(tmp_path / "r.jsonl", lines(row), tokenizer=named).counts.written == NUM_GOOD + 1


SOURCES = {
    "mine.toml": 'prompt = "question"\ncot = "cot"\nkey = "key"\n',
    "mine.py": (
        "from sftkey_data.extract import Parts, text\n\nCOLUMNS = ('question', 'cot', 'key')\n\n\ndef extract(row):\n"
        "    return Parts(prompt=text(row, 'question'), cot=text(row, 'cot'), key=text(row, 'key'))\n"
    ),
    "columns": "",
}


@pytest.mark.parametrize("source", SOURCES)
def test_a_users_own_dataset_meets_wrong_types_as_rejects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(source).write_text(SOURCES[source])
    keys = [b'"x"', b"NaN", b"Infinity", b"-Infinity", b"[1]", b"null", b'{"a": 1}', b'"\\u0000"', b'"\\udfff"']
    rows = [b'{"id": 7, "question": "q", "cot": "c", "key": ' + key + b"}" for key in keys] + [b"x", b"[]"]
    options = {"cot": "cot", "prompt": "question", "key": "key"} if source == "columns" else {}
    manifest = built(tmp_path / "r.jsonl", b"\n".join(rows), source=source, options=options, max_reject_rate=1.0)
    number = "wrong_type" if source == "mine.py" else "not_a_number"
    assert [reject["reason"] for reject in rejects(tmp_path / "out-1")] == [
        *[number] * 3,
        "wrong_type",
        "null_value",
        "wrong_type",
        "nul_character",
        "invalid_unicode",
        "broken_json",
        "not_an_object",
    ]
    assert manifest.counts.written == 1


def test_ids_stay_unique_where_the_users_repeat(tmp_path: Path) -> None:
    built(tmp_path / "r.jsonl", b"".join(json.dumps({**good(1), "id": 7}).encode() + b"\n" for _ in range(5)))
    assert open_shards(tmp_path / "out-1").column("id").to_pylist() == [f"gsm8k/train/{i}" for i in range(5)]


def test_duplicates_and_contamination_are_found_among_broken_lines(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_bytes(GOOD[3])
    values = {"dedup": True, "decontaminate": (str(tmp_path / "test.jsonl"),), "shard_rows": 7}
    content = lines(b"x", GOOD[0], b"\xff", b"[2]", b'{"question": "q\\ud800", "answer": "a #### 4"}')
    one, two = (built(tmp_path / "r.jsonl", content, workers=workers, **values) for workers in (1, 2))
    expected = {"broken_json": 1, "contaminated": 1, "duplicate": 1, "invalid_unicode": 1, "invalid_utf8": 1}
    assert one.rejects == two.rejects == {**expected, "not_an_object": 1}
    assert one == two


def test_an_evaluation_set_with_a_broken_line_is_refused(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_bytes(lines(b"x"))
    with pytest.raises(SFTKeyError, match=r"test\.jsonl:31: broken_json: Expecting value at character 1"):
        built(tmp_path / "r.jsonl", lines(), decontaminate=(str(tmp_path / "test.jsonl"),))
