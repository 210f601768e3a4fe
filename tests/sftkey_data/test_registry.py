from pathlib import Path

import pytest

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.errors import SFTKeyError
from sftkey_data.extract import Reject
from sftkey_data.prepared.manifest import read_manifest
from sftkey_data.prepared.shards import open_shards
from sftkey_data.registry import builtin_names, load_dataset

CSV = "question;working;result\nWhat is 1+1?;1+1 = 2.;Result: 2\nWhat is 2+2?;2+2 = 4.;Result: 4\n"

PYTHON = '''"""My rows."""
from sftkey_data.extract import Parts, Reject, text

COLUMNS = ("question", "working", "result")


def extract(row):
    _, mark, key = text(row, "result").partition("Result: ")
    if not mark:
        raise Reject("missing_key")
    return Parts(prompt=text(row, "question"), cot=text(row, "working"), key=key, answer_type="number")
'''

TOML = """
prompt = "question"
cot = "working"
key = { column = "result", regex = 'Result: (.+)' }
answer_type = "number"
"""


@pytest.fixture
def rows(tmp_path: Path) -> str:
    (tmp_path / "rows.csv").write_text(CSV.replace(";", ","))
    return str(tmp_path / "rows.csv")


@pytest.mark.parametrize(("name", "content"), [("mine.py", PYTHON), ("mine.toml", TOML)])
def test_a_users_own_file_builds_like_a_builtin_dataset(tmp_path: Path, rows: str, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    build(BuildConfig(source=str(tmp_path / name), inputs=(rows,)), tmp_path / "out")
    table = open_shards(tmp_path / "out")
    assert table.column("gold").to_pylist() == ["2", "4"]
    assert set(table.column("dataset").to_pylist()) == {"mine"}
    assert table.column("answer_type").to_pylist() == ["number"] * 2
    assert read_manifest(tmp_path / "out").dataset == "mine"


def test_builtin_datasets_are_the_files_of_the_folder() -> None:
    assert {"arithmetic", "gsm8k", "math"} <= set(builtin_names())
    assert not [name for name in builtin_names() if name.startswith("_")]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("COLUMNS = ()", "found no extract"),
        ("def extract(row): ...", "found no COLUMNS"),
        ("import nowhere_to_be_found", "ModuleNotFoundError"),
        ("def extract(", "SyntaxError"),
        ("raise RuntimeError('boom')", "RuntimeError: boom"),
    ],
)
def test_a_python_file_that_is_no_dataset_is_refused(tmp_path: Path, content: str, expected: str) -> None:
    (tmp_path / "mine.py").write_text(content)
    with pytest.raises(SFTKeyError, match=r"mine\.py") as raised:
        load_dataset(str(tmp_path / "mine.py"))
    assert expected in str(raised.value)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return {}", "must return Parts, found dict"),
        ("return row['nope']", "mine.py line 4) raised KeyError: 'nope'"),
        ("return Parts(prompt='q', cot='c', key=4)", "key must be a string, found int"),
        ("return Parts(prompt='q', cot='c', key='4', answer_type='numbr')", "answer_type"),
    ],
)
def test_a_faulty_extractor_fails_the_build_with_its_row(tmp_path: Path, rows: str, body: str, expected: str) -> None:
    content = f"from sftkey_data.extract import Parts\nCOLUMNS = ('question',)\ndef extract(row):\n    {body}\n"
    (tmp_path / "mine.py").write_text(content)
    with pytest.raises(SFTKeyError, match=r"rows\.csv:2: ") as raised:
        build(BuildConfig(source=str(tmp_path / "mine.py"), inputs=(rows,)), tmp_path / "out")
    assert expected in str(raised.value)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (TOML.replace("prompt =", "promt ="), "unknown key 'promt' (did you mean 'prompt'?)"),
        (TOML.replace('cot = "working"', ""), "key 'cot' is missing"),
        (TOML.replace("(.+)", "(.+"), "broken regex 'Result: (.+'"),
        (TOML.replace("Result", "(Result|Answer)"), "has 2 groups, expected at most one"),
        (TOML.replace('"number"', '"numbers"'), "answer_type"),
        ("prompt = ", "not a readable TOML file"),
    ],
)
def test_a_broken_mapping_fails_before_the_first_row(tmp_path: Path, content: str, expected: str) -> None:
    (tmp_path / "mine.toml").write_text(content)
    with pytest.raises(SFTKeyError, match=r"mine\.toml") as raised:
        load_dataset(str(tmp_path / "mine.toml"))
    assert expected in str(raised.value)


def test_a_mapping_rejects_what_its_regex_does_not_match_and_does_not_hang(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(TOML.replace("Result: (.+)", "(a+)+$"))
    extract = load_dataset(str(tmp_path / "mine.toml")).extract
    with pytest.raises(Reject, match="regex_no_match"):
        extract({"question": "q", "working": "w", "result": "b"})
    with pytest.raises(Reject, match=r"regex_timeout|regex_no_match"):
        extract({"question": "q", "working": "w", "result": "a" * 64 + "b"})


def test_a_regex_that_does_not_match_says_what_it_found(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(TOML)
    with pytest.raises(Reject, match=r"column 'result': 'Result: \(.\+\)' does not match, found 'see above'"):
        load_dataset(str(tmp_path / "mine.toml")).extract({"question": "q", "working": "w", "result": "see above"})


def test_a_name_that_is_a_file_here_is_pointed_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(TOML)
    with pytest.raises(SFTKeyError, match=r"did you mean './mine\.toml'"):
        load_dataset("mine")


def test_a_mapping_takes_numbers_and_choices(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('prompt="q"\ncot="w"\nkey="k"\nchoices="options"\nanswer_type="choice"\n')
    extract = load_dataset(str(tmp_path / "mine.toml")).extract
    parts = extract({"q": "q", "w": "w", "k": 4, "options": ["a", "b"]})
    assert (parts.key, parts.choices) == ("4", ("a", "b"))
    with pytest.raises(Reject, match="wrong_type"):
        extract({"q": "q", "w": "w", "k": 4, "options": "a, b"})
    with pytest.raises(Reject, match="missing_column"):
        extract({"q": "q", "w": "w"})
