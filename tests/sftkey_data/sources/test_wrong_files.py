"""A file or a disk that fails is one line that says what and where; the earlier output is kept."""

import gzip
import io
import json
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from some_slow import some_slow
from wrong_samples import GOOD, NUM_GOOD, PLACE, as_csv, as_list, as_parquet, built, lines, rejects, sftkey_data

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.errors import SFTKeyError
from sftkey_data.sources import survey
from sftkey_data.verify.check import check

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
    "parquet by another name": ("r.jsonl", b"PAR1\x15\x04\x15\x10" + lines(), "found Parquet"),
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


@pytest.mark.parametrize("change", ["longer", "shorter", "other rows", "gone"])
def test_a_file_that_changes_while_it_is_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    path = tmp_path / "r.jsonl"
    survey_then = survey.survey_block

    def change_after_hashing(block: survey.Block, leaf_bytes: int) -> survey.BlockFacts:
        facts = survey_then(block, leaf_bytes)
        os.utime(path, ns=(1, 1))
        if change == "gone":
            path.unlink()
        else:
            path.write_bytes({"longer": lines(GOOD[0]), "shorter": lines()[:99], "other rows": lines()[::-1]}[change])
        return facts

    monkeypatch.setattr(survey, "survey_block", change_after_hashing)
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
    "empty file": ("train.jsonl", b"", "holds no rows"),
    "cut gzip": ("train.jsonl.gz", gzip.compress(lines())[:-9], "train.jsonl.gz: damaged gzip file"),
    "open quote": ("train.csv", as_csv(b'"a,b'), "train.csv line 3"),
    "cut Parquet": ("train.parquet", PARQUET[:-30], "train.parquet: not a readable Parquet file"),
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
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("out: 41 read, 40 written, 1 rejected\n  rejected null_value: 1\n")
    assert rejects(tmp_path / "out")[0]["position"] == PLACE + 1


@pytest.mark.parametrize("workers", some_slow(["1", "2"], quick=["2"]))
@pytest.mark.parametrize("wrong", some_slow(["shards", "rejects"], quick=["shards"]))
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
    name = "r\x1b[31m.csv"
    (tmp_path / name).write_text(f"a{'b' * 9_000},c\n1,2\n")
    done = sftkey_data("build", "gsm8k", "--input", name, "--out", "out", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: r\\x1b[31m.csv: column 'question' is missing")
    assert len(done.stderr) < 2_100
    assert done.stderr.removesuffix("\n").isprintable()
