"""What is wrong in the data is a counted reject with its place, or one line that says what and where; never more."""

import gzip
import io
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sftkey_data import sources
from sftkey_data.build import Machinery, build
from sftkey_data.check import check
from sftkey_data.errors import SFTKeyError
from sftkey_data.manifest import Manifest, file_sha256
from sftkey_data.plan import BuildConfig
from sftkey_data.shards import open_shards

NUM_GOOD = 40
PLACE = 30  # how many good rows stand before the bad one


def good(number: int) -> dict[str, str]:
    return {"question": f"What is {number} + 1?", "answer": f"{number} + 1 = {number + 1}.\n#### {number + 1}"}


GOOD = [json.dumps(good(number)).encode() for number in range(NUM_GOOD)]


def lines(*bad: bytes) -> bytes:
    """JSON lines with bad ones in the middle."""
    return b"".join(line + b"\n" for line in [*GOOD[:PLACE], *bad, *GOOD[PLACE:]])


def as_list(*bad: bytes) -> bytes:
    return b"[" + b",\n".join([*GOOD[:PLACE], *bad, *GOOD[PLACE:]]) + b"]"


def as_csv(*bad: bytes, header: bytes = b"question,answer") -> bytes:
    rows = [f'"What is {number} + 1?",{number} and one #### {number + 1}'.encode() for number in range(NUM_GOOD)]
    return b"\r\n".join([header, *rows[:PLACE], *bad, *rows[PLACE:]]) + b"\r\n"


def as_parquet(columns: dict[str, Any]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def built(path: Path, content: bytes, *, workers: int = 1, **values: Any) -> Manifest:
    """Build from a file of this content; the rates of rejects are of no interest unless they are named."""
    path.write_bytes(content)
    config = {"source": "gsm8k", "inputs": (str(path),), "max_reject_rate": 0.9, **values}
    out = path.parent / f"out-{workers}"
    manifest = build(BuildConfig(**config), out, machinery=Machinery(workers))
    counts = manifest.counts
    assert counts.rows_read == counts.written + counts.rejected == sum(info.rows for info in manifest.inputs)
    assert counts.rejected == sum(manifest.rejects.values()) == len(rejects(out))
    check(out)
    return manifest


def rejects(out: Path) -> list[dict[str, Any]]:
    """The lines of `rejects.jsonl`, which any JSON reader must take."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    content = (out / "rejects.jsonl").read_bytes().decode()
    return [json.loads(line, parse_constant=refuse) for line in content.split("\n") if line]


def sftkey_data(*arguments: str, cwd: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sftkey_data.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False, **options)


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
    assert numbers["row"] == ["nan", "inf"]


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
    assert manifest.rejects["eos_in_completion"] == 1
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


TEXT = lines().decode()
PARQUET = as_parquet({"question": ["q"] * 9, "answer": ["a #### 4"] * 9})
BROKEN: dict[str, tuple[str, bytes, str]] = {
    "empty jsonl": ("r.jsonl", b"", "r.jsonl: holds no rows"),
    "empty csv": ("r.csv", b"", "r.csv: holds no rows"),
    "empty json": ("r.json", b"", "r.json: holds no rows"),
    "empty list": ("r.json", b"[]", "r.json: holds no rows"),
    "blank lines": ("r.jsonl", b"\n \n\t\n", "r.jsonl: holds no rows"),
    "header alone": ("r.csv", b"question,answer\n", "r.csv: holds no rows"),
    "no rows in Parquet": ("r.parquet", as_parquet({"question": [], "answer": []}), "r.parquet: holds no rows"),
    "UTF-16": ("r.jsonl", TEXT.encode("utf-16"), "expected text in UTF-8, found UTF-16"),
    "UTF-16 without a mark": ("r.csv", as_csv().decode().encode("utf-16-be"), "expected text in UTF-8, found UTF-16"),
    "UTF-32": ("r.json", TEXT.encode("utf-32"), "expected text in UTF-8, found UTF-32"),
    "Latin-1": ("r.jsonl", '{"question": "é"}\n'.encode("latin-1") * 9, "no usable row among 9; the first: "),
    "gzip without .gz": ("r.jsonl", gzip.compress(lines()), "found gzip (the name of such a file must end in .gz)"),
    ".gz without gzip": ("r.jsonl.gz", lines(), "damaged gzip file: Not a gzipped file"),
    "cut gzip": ("r.jsonl.gz", gzip.compress(lines())[:-9], "damaged gzip file: Compressed file ended before"),
    "cut gzip of csv": ("r.csv.gz", gzip.compress(as_csv())[:-9], "damaged gzip file: Compressed file ended before"),
    "something after gzip": ("r.jsonl.gz", gzip.compress(lines()) + b"xy", "damaged gzip file: Not a gzipped file"),
    "no row is JSON": ("r.jsonl", b"x\n" * 9, "no usable row among 9; the first: r.jsonl:1: broken_json"),
    "one object over lines": ("r.json", b'{\n"data":\n[]}', "found one object with the keys 'data'"),
    "broken list": ("r.json", as_list(b'{"a": }'), "r.json line 31: broken JSON: Expecting value at character 7"),
    "NUL in a list": ("r.json", as_list(b'{"a": "\0"}'), "line 31: broken JSON: Invalid control character at char"),
    "list cut": ("r.json", as_list()[:-20], "r.json line 40: broken JSON: Unterminated string starting at char"),
    "list without end": ("r.json", b"[" * 100_000, "r.json: broken JSON: nested too deeply"),
    "open quote": ("r.csv", as_csv(b'"a,b'), "line 33: broken csv: ',' expected after '\"', in the record that begins"),
    "open quote at the end": ("r.csv", as_csv() + b'"a', "line 42: broken csv: unexpected end of data"),
    "header twice": ("r.csv", as_csv(header=b"question,question"), "a column name stands twice in the header"),
    "header that is no UTF-8": ("r.csv", as_csv(header=b"question,answ\xffer"), "line 1: invalid UTF-8 in the header"),
    "every row ragged": ("r.csv", b"question,answer\na,b,c\n", "no usable row among 1; the first: r.csv:2: not_an_"),
    "missing in csv": (
        "r.csv",
        as_csv(header=b"Question,x"),
        "column 'question' is missing (did you mean 'Question'?)",
    ),
    "missing in Parquet": ("r.parquet", as_parquet({"question": ["q"]}), "column 'answer' is missing"),
    "twice in Parquet": ("r.parquet", b"", "the column name 'a' stands twice"),
    "no Parquet": ("r.parquet", b"PAR1 no", "r.parquet: not a readable Parquet file"),
    "cut Parquet": ("r.parquet", PARQUET[:-30], "r.parquet: not a readable Parquet file"),
    "damaged Parquet": ("r.parquet", PARQUET[:4] + b"\xff" * 40 + PARQUET[44:], "not a readable Parquet file"),
    "another type in Parquet": (
        "r.parquet",
        as_parquet({"question": [b"q"], "answer": [b"a #### 4"]}),
        "1 of 1 rows rejected (wrong_type 1; the first: r.parquet:1: wrong_type: answer must be a string, found bytes)",
    ),
}


@pytest.mark.parametrize(("name", "content", "says"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_one_line_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if says.endswith("stands twice"):
        content = _parquet_with_a_name_twice()
    Path(name).write_bytes(content)
    with pytest.raises(SFTKeyError) as raised:
        build(BuildConfig(source="gsm8k", inputs=(name,)), "out")
    assert says in str(raised.value)
    assert name in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def _parquet_with_a_name_twice() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_arrays([pa.array(["x"])] * 2, names=["a", "a"]), sink)
    return sink.getvalue()


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
    manifest = built(tmp_path / "r.json", as_list(b'{"question": "\xff\xfe", "answer": "a #### 4"}', b"4"))
    assert (manifest.rejects, manifest.counts.written) == ({"invalid_utf8": 1, "not_an_object": 1}, NUM_GOOD)
    assert rejects(tmp_path / "out-1")[0]["row"] == '{"question": "\\xff\\xfe", "answer": "a #### 4"}'


def test_a_parquet_value_that_python_cannot_hold_costs_at_most_its_row(tmp_path: Path) -> None:
    offsets = pa.array([0, 1, 2, 3], pa.int32()).buffers()[1]
    data = pa.Array.from_buffers(pa.string(), 3, [None, offsets, pa.py_buffer(b"a\xffb")])
    days = pa.array([0, 2**30, date.max.toordinal() - date(1970, 1, 1).toordinal()], pa.date32())
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


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "tsv"])
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
    keys = [b'"x"', b"NaN", b"Infinity", b"1e999", b"[1]", b"null", b'{"a": 1}', b'"\\u0000"', b'"\\udfff"']
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


@pytest.mark.parametrize("change", ["longer", "shorter", "other rows", "gone"])
def test_a_file_that_changes_while_it_is_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    path = tmp_path / "r.jsonl"
    hash_then = sources.sha256

    def change_after_hashing(source: sources.Source) -> str:
        digest = hash_then(source)
        os.utime(path, ns=(1, 1))
        if change == "gone":
            path.unlink()
        else:
            path.write_bytes({"longer": lines(GOOD[0]), "shorter": lines()[:99], "other rows": lines()[::-1]}[change])
        return digest

    monkeypatch.setattr(sources, "sha256", change_after_hashing)
    with pytest.raises(SFTKeyError, match=r"r\.jsonl.*(changed while it was read|No such file)"):
        built(path, lines())
    assert not (tmp_path / "out-1").exists()
    assert not (tmp_path / "out-1.partial").exists()


PATHS: dict[str, tuple[Callable[[Path], object], str]] = {
    "folder": (lambda path: path.mkdir(), "could not be loaded"),
    "pipe": (lambda path: os.mkfifo(path), "expected a file, found a pipe"),
    "link to nothing": (lambda path: path.symlink_to("nothing"), "input file not found"),
    "link to itself": (lambda path: path.symlink_to(path.name), "cannot be opened: Too many levels"),
}


@pytest.mark.parametrize(("make", "says"), PATHS.values(), ids=PATHS)
def test_a_path_that_is_no_file_is_refused(tmp_path: Path, make: Callable[[Path], object], says: str) -> None:
    make(tmp_path / "r.jsonl")
    with pytest.raises(SFTKeyError, match=says):
        build(BuildConfig(source="gsm8k", inputs=(str(tmp_path / "r.jsonl"),)), tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "is empty"),
        ("a" * 5_000 + ".jsonl", "cannot be opened"),
        ("r\udcff.jsonl", "not UTF-8"),
        ("a\0b.csv", "null"),
    ],
    ids=["empty", "too long", "no UTF-8", "NUL"],
)
def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(SFTKeyError, match=says):
        build(BuildConfig(source="gsm8k", inputs=(name,)), tmp_path / "out")


HUB: dict[str, tuple[str, bytes, str]] = {
    "broken line": ("train.jsonl", lines(b"x"), "could not be loaded: JSON parse error"),
    "no UTF-8": ("train.jsonl", lines(b'{"question": "\xff", "answer": "a"}'), "row 31 cannot be read: 'utf-8'"),
    "empty file": ("train.jsonl", b"", "a file of it holds no rows"),
    "cut gzip": ("train.jsonl.gz", gzip.compress(lines())[:-9], "could not be loaded: Compressed file ended"),
    "ragged csv": ("train.csv", as_csv(b"a,b,c"), "could not be loaded: Error tokenizing data"),
    "cut Parquet": ("train.parquet", PARQUET[:-30], "could not be loaded: Parquet magic bytes not found"),
    "missing column": ("train.parquet", as_parquet({"question": ["q"]}), "column 'answer' is missing"),
}


@pytest.mark.parametrize(("name", "content", "says"), HUB.values(), ids=HUB)
def test_a_broken_file_in_the_hubs_layout_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes, says: str
) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / name).write_bytes(content)
    with pytest.raises(SFTKeyError) as raised:
        build(BuildConfig(source="gsm8k", inputs=(str(tmp_path / "rows"),)), tmp_path / "out")
    assert says in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_a_folder_in_the_hubs_layout_is_built_from_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "train.jsonl").write_bytes(lines(b'{"question": null, "answer": "a #### 4"}'))
    environment = {**os.environ, "HF_HOME": str(tmp_path / "home")}
    done = sftkey_data("build", "gsm8k", "--input", "rows", "--out", "out", cwd=tmp_path, env=environment)
    assert (done.returncode, done.stdout) == (
        0,
        "out: 41 read, 40 written, 1 rejected\n  rejected null_value: 1\n",
    ), done.stderr
    assert rejects(tmp_path / "out")[0]["position"] == PLACE + 1


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("wrong", ["shards", "rejects"])
def test_a_full_disk_is_one_line_and_the_same_command_goes_on(tmp_path: Path, workers: str, wrong: str) -> None:
    row = {"question": "q", "answer": f"{'x' * 3_000} {'####' if wrong == 'shards' else ''} 4"}
    (tmp_path / "r.jsonl").write_bytes(lines(*[json.dumps(row).encode()] * 60))

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))

    arguments = ("build", "gsm8k", "--input", "r.jsonl", "--out", "out", "--workers", workers, "--max-reject-rate", "1")
    done = sftkey_data(*arguments, cwd=tmp_path, preexec_fn=limit)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    assert "cannot be written: File too large" in done.stderr
    assert not (tmp_path / "out").exists()
    assert sftkey_data(*arguments, cwd=tmp_path).returncode == 0
    check(tmp_path / "out")


def test_a_full_temporary_folder_is_one_line_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tmp").write_text("no folder")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    with pytest.raises(SFTKeyError, match=r"the temporary folder \(\$TMPDIR\) cannot be written: Not a directory"):
        built(tmp_path / "r.jsonl", lines())
    monkeypatch.undo()
    assert built(tmp_path / "r.jsonl", lines()).counts.written == NUM_GOOD


@pytest.mark.parametrize("out", ["file/out", "/proc/none", "a" * 300])
def test_an_output_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    Path("r.jsonl").write_bytes(lines())
    with pytest.raises(SFTKeyError, match=r"cannot be (written|looked up)"):
        build(BuildConfig(source="gsm8k", inputs=("r.jsonl",)), out)


def test_show_takes_wrong_and_long_rows(tmp_path: Path) -> None:
    long = json.dumps({"question": "y\n" * 2_000_000, "answer": "a #### 4"}).encode()
    lone = b'{"question": "q \\ud800", "answer": "a #### 4"}'
    (tmp_path / "r.jsonl").write_bytes(b"\n".join([b"x\x1b[31m", lone, long, b"\xff"]))
    done = sftkey_data("show", "gsm8k", "--input", "r.jsonl", "--num", "4", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "r.jsonl:1: rejected: broken_json: Expecting value at character 1" in done.stdout
    assert "r.jsonl:2: rejected: invalid_unicode" in done.stdout
    assert "3,980,000 characters not shown" in done.stdout
    assert "r.jsonl:4: rejected: invalid_utf8" in done.stdout


def test_an_error_line_is_short_and_does_not_steer_the_terminal(tmp_path: Path) -> None:
    header = f"a\x1b[31m{'b' * 9_000},c\n"
    (tmp_path / "r.csv").write_text(f"{header}1,2\n")
    done = sftkey_data("build", "gsm8k", "--input", "r.csv", "--out", "out", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: r.csv: column 'question' is missing")
    assert len(done.stderr) < 2_100
    assert done.stderr.removesuffix("\n").isprintable()
