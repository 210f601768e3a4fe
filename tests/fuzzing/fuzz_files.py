"""What is fuzzed of the code that reads files: any bytes are read, or are one line of ours that says what is wrong."""

import gzip
import io
import json
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from fuzz_texts import Target

from sftkey_data.errors import SFTKeyError
from sftkey_data.extract.parts import Reject
from sftkey_data.format.template import load_template
from sftkey_data.prepare.rendered_rows import question_hashes
from sftkey_data.prepared.manifest import parse_manifest
from sftkey_data.prepared.shards import open_shard, refuse_no_text
from sftkey_data.proposal.proposed_mapping import proposal_text, propose
from sftkey_data.registry import Dataset, bind, builtin_names, load_dataset, parse_options
from sftkey_data.sources.source import Record, Source, read_source
from sftkey_eval.extraction.answer_marks import answer_marks
from sftkey_eval.logs.import_logs import _read as read_log
from sftkey_eval.logs.known_logs import log_program
from sftkey_eval.logs.logged_sample import ImportCount
from sftkey_eval.records.completion_fields import Fields
from sftkey_eval.records.completion_rows import survey_completions
from sftkey_eval.records.row_files import read_row_file
from sftkey_eval.records.run_record import read_record
from sftkey_eval.records.verdict_reader import read_verdicts
from sftkey_eval.records.verdicts import Verdict, open_verdicts
from sftkey_eval.scoring.answer_pairs import read_pairs
from sftkey_train.recipe_file import load_recipe
from sftkey_train.study.report.study_results import read_results
from sftkey_train.study.study_file import load_study

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ROOT / "train" / "recipes"
FIXTURES = ROOT / "tests" / "sftkey_data" / "fixtures"
FOLDER = Path(tempfile.mkdtemp(prefix="sftkey-fuzz-"))
Read = Callable[[Path], object]

ROW = {"question": "q", "answer": "1 + 1 = 2\n#### 2", "n": 0.1, "choices": ["a", None], "x": {"y": [1e400, "\ud800"]}}
COMPLETION = {"id": "a", "completion": "<Thinking>a</Thinking><Answer>4</Answer>", "gold": "4", "choices": ["4", "5"]}
PAIR = {"gold": "4", "predicted": "4.0", "answer_type": "number", "id": "x"}
LOGGED = {
    "doc_id": 0,
    "doc": {"question": "q", "answer": "#### 2"},
    "target": "['2', 'two']",
    "filter": "none",
    "arguments": {"gen_args_0": {"arg_0": "q"}},
    "resps": [["#### 2"]],
}
SAMPLE = {
    "id": 1,
    "epoch": 1,
    "input": "q",
    "target": ["4"],
    "choices": ["a", "b"],
    "attachments": {"a": "b"},
    "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": [{"type": "text", "text": "4"}]}],
    "output": {"choices": [{"message": {"role": "assistant", "content": "4"}, "stop_reason": "stop"}]},
}
HEADER = {"version": 2, "status": "success", "eval": {"task": "t", "config": {"epochs": 1}, "dataset": {"samples": 1}}}
MANIFEST = {
    "schema_version": 2,
    "code_version": "0",
    "dataset": "d",
    "split": "train",
    "config": {},
    "tokenizer": None,
    "template": {"name": "own", "before_key": "##", "to_end": True},
    "inputs": [],
    "rejects": {},
    "shards": [],
    "counts": {"rows_read": 0, "written": 0, "rejected": 0},
    "statistics": {},
    "files": {},
}


def reads(name: str, *readers: Read) -> Callable[[bytes], None]:
    """A check that writes the bytes under a name and reads that file by each of the readers."""

    def check(data: bytes) -> None:
        path = FOLDER / name
        path.write_bytes(data)
        for read in readers:
            try:
                read(path)
            except (SFTKeyError, Reject) as error:
                if not str(error).strip():
                    raise AssertionError(f"{type(error).__name__} without a word") from error

    return check


def _source(path: Path) -> object:
    return sum(1 for _ in read_source(Source(str(path), "file", "train")))


def _row_file(path: Path) -> object:
    return sum(1 for _ in read_row_file(path, "rows"))


def _completions(path: Path) -> object:
    return survey_completions(path, Fields(choices="choices"))


def _pairs(path: Path) -> object:
    return sum(1 for _ in read_pairs(path, "math"))


def _proposal(path: Path) -> object:
    return proposal_text(propose(str(path)))


def _log(path: Path) -> object:
    return log_program(path), [json.dumps(line) for line in read_log(path, ImportCount(), None)]


def _shard(path: Path) -> object:
    table = open_shard(path)
    refuse_no_text(table, path.name)
    return table.to_pylist()


def _mapping(path: Path) -> object:
    return load_dataset(str(path)).extract({**ROW, "context": "c", "label": 1})


def check_rows(data: bytes) -> None:
    """Any JSON as a row of a built-in dataset is parts or a reject under a reason."""
    try:
        row = json.loads(data[1:])
    except (ValueError, RecursionError):
        return
    dataset = _datasets()[(data[0]) % len(_datasets())]
    question_hashes([(0, Record("rows", 1, row))], dataset)  # raises where an extractor raises anything but a `Reject`


@cache
def _datasets() -> tuple[Dataset, ...]:
    found = [load_dataset(name) for name in builtin_names() if name != "completions"]  # which reads two files
    own = {"columns": {"prompt": "question", "cot": "cot", "key": "answer"}, "chat": {"template": "think-boxed"}}
    return tuple(bind(each, parse_options(each, own.get(each.name, {}))) for each in found if not each.generate)


def _row_seeds() -> Iterator[bytes]:
    for index, dataset in enumerate(_datasets()):
        for line in (FIXTURES / f"{dataset.name}.jsonl").read_bytes().splitlines()[:5]:
            yield bytes([index]) + line


def _lines(*rows: Mapping[str, Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _table() -> pa.Table:
    numbers = {"n": pa.array([1.5, None], pa.float32()), "when": pa.array([0, 2**60], pa.timestamp("us"))}
    nested = {"deep": pa.array([[{"a": "x"}], None]), "kind": pa.array(["a", "a"]).dictionary_encode()}
    media = {"image": pa.array([{"bytes": b"x", "path": "p"}, None])}
    return pa.table({"question": ["q", "é"], "answer": ["#### 2", None], **numbers, **nested, **media})


def _parquet_seeds() -> Iterator[bytes]:
    for options in ({"compression": "none"}, {"compression": "zstd"}, {"use_dictionary": False, "version": "1.0"}):
        sink = io.BytesIO()
        pq.write_table(_table(), sink, **options)
        yield sink.getvalue()


def _arrow_seeds() -> Iterator[bytes]:
    for new in (pa.ipc.new_file, pa.ipc.new_stream):
        for compression in (None, "zstd"):
            sink = io.BytesIO()
            with new(sink, _table().schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
                writer.write_table(_table())
            yield sink.getvalue()


def _verdict_seeds() -> Iterator[bytes]:
    path = FOLDER / "seed.parquet"
    empty = dict.fromkeys(Verdict.__dataclass_fields__)
    texts = {"id": "a", "item_id": "a", "dataset": "d", "split": "s", "answer_type": "number", "error_class": "correct"}
    with open_verdicts(path, {"policy": {}, "template": {}}) as writer:
        writer.write([Verdict(**{**empty, **texts, "sample": 0, "format_valid": True, "correct": True})])  # type: ignore[arg-type]
    yield path.read_bytes()


def _log_seeds() -> Iterator[bytes]:
    yield _lines(LOGGED, {**LOGGED, "doc_id": 1})
    yield json.dumps({**HEADER, "samples": [SAMPLE]}).encode()
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        sink = io.BytesIO()
        with zipfile.ZipFile(sink, "w", method) as archive:
            archive.writestr("header.json", json.dumps(HEADER))
            archive.writestr("samples/1_epoch_1.json", json.dumps(SAMPLE))
        yield sink.getvalue()


def _json_seeds() -> Iterable[bytes]:
    return [json.dumps([ROW, ROW]).encode(), _lines(ROW, ROW), json.dumps(ROW, indent=1).encode(), b"[" * 500]


def _csv_seeds() -> Iterable[bytes]:
    return [b'question,answer\n"q ""x"",\ny",#### 2\n', b"a;b\n1;2\n3;4;5\n", b"\xef\xbb\xbfa\tb\n\n\xff\t2\n"]


def _toml_seeds() -> Iterator[bytes]:
    yield from (path.read_bytes() for path in sorted(RECIPES.rglob("*.toml")))
    yield b'before_cot = "[T]"\nafter_cot = "[/T]"\nbefore_key = "[A]"\nafter_key = "[/A]"\n'
    yield b'prompt = ["context", "question"]\nanswer_type = "number"\n[cot]\ncolumn = "answer"\nbefore = "####"\n'
    yield b'prompt = "question"\ncot = { column = "answer", pattern = "(.*)####" }\nkey = { column = "answer" }\n'
    yield (ROOT / "sftkey_eval" / "extraction" / "answer_marks.toml").read_bytes()[:4000]


def _record_seeds() -> Iterator[bytes]:
    yield json.dumps(MANIFEST).encode()
    yield json.dumps({"completions": "a.jsonl", "template": MANIFEST["template"], "model": {"name": "m"}}).encode()
    study = {"name": "s", "heldout_examples": 1, "stage1": {}, "stage2": {}, "arms": {"a": {}}, "datasets": {"d": {}}}
    record = json.dumps({"study": study, "num_runs": 1, "num_finished": 0, "runs": [], "missing": []}).encode()
    yield record
    yield gzip.compress(record, mtime=0)


TOML_READERS = (load_recipe, load_study, answer_marks, _mapping, lambda path: load_template(str(path)))
RECORD_READERS = (lambda path: parse_manifest(path.read_bytes(), str(path)), read_record, read_results)
JSON_WORDS = ('{"', '":', "null", "1e999", "\\ud800", "[[", "}}", '"question"', '"answer"')

FILE_TARGETS = (
    Target("jsonl", reads("a.jsonl", _source, _row_file), lambda: [_lines(ROW, ROW)], JSON_WORDS),
    Target("json", reads("a.json", _source, _row_file), _json_seeds, JSON_WORDS),
    Target("csv", reads("a.csv", _source, _row_file), _csv_seeds, ('"', ",", ";", "\r\n")),
    Target("tsv", reads("a.tsv", _source, _row_file), _csv_seeds, ('"', "\t", "\r\n")),
    Target("gzip", reads("a.jsonl.gz", _source, _row_file), lambda: [gzip.compress(_lines(ROW), mtime=0)]),
    Target("parquet", reads("a.parquet", _source, _row_file), _parquet_seeds, ("PAR1",)),
    Target("arrow", reads("a.arrow", _source), _arrow_seeds, ("ARROW1",)),
    Target("shard", reads("b.arrow", _shard), _arrow_seeds, ("ARROW1",)),
    Target("verdicts", reads("v.parquet", read_verdicts), _verdict_seeds, ("PAR1",)),
    Target("completions", reads("c.jsonl", _completions), lambda: [_lines(COMPLETION)], (*JSON_WORDS, *COMPLETION)),
    Target("pairs", reads("p.jsonl", _pairs), lambda: [_lines(PAIR)], (*JSON_WORDS, *PAIR)),
    Target("logs", reads("samples_a.json", _log), _log_seeds, (*JSON_WORDS, *SAMPLE, *LOGGED)),
    Target("proposal", reads("d.jsonl", _proposal), lambda: [_lines(ROW, ROW)], JSON_WORDS),
    Target("rows", check_rows, _row_seeds, JSON_WORDS),
    Target("toml", reads("t.toml", *TOML_READERS), _toml_seeds, ("[[", "]]", '"""', " = ", "[stage]")),
    Target("records", reads("r.json", *RECORD_READERS), _record_seeds, JSON_WORDS),
)
