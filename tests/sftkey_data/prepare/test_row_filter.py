"""`--where`: which rows a build reads, and that the others are counted and nothing else changes."""

import json
from pathlib import Path
from typing import Any

import pytest

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.building.machinery import Machinery
from sftkey_data.errors import SFTKeyError
from sftkey_data.extract.parts import Reject
from sftkey_data.prepare.row_filter import parse_condition
from sftkey_data.prepared.shards import open_shards

ROW: dict[str, Any] = {
    "level": "Level 5",
    "score": 0.5,
    "digits": "12",
    "ok": True,
    "none": None,
    "meta": {"source": "a=b"},
    "tags": ["x"],
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("level=Level 5", True),
        ("level = Level 5 ", True),
        ("level=level 5", False),
        ("level!=Level 4", True),
        ("level~[45]$", True),
        ("level!~^Level", False),
        ("score=0.5", True),
        ("score>=0.50", True),
        ("score<0.5", False),
        ("digits>9", True),
        ("ok=true", True),
        ("ok!=True", False),
        ("none=None", False),
        ("none!=x", True),
        ("none~.*", False),
        ("meta.source=a=b", True),
        ("tags.0=x", True),
    ],
)
def test_a_condition_holds_of_a_row_or_does_not(text: str, expected: bool) -> None:
    assert parse_condition(text).holds(ROW) is expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("level>3", "filter_without_number"),
        ("none<1", "filter_without_number"),
        ("nothing=1", "missing_column"),
        ("tags=x", "wrong_type"),
    ],
)
def test_a_row_that_cannot_be_asked_is_a_reject_of_its_own(text: str, reason: str) -> None:
    with pytest.raises(Reject) as caught:
        parse_condition(text).holds(ROW)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("level", "expected COLUMN=VALUE, or != < <= > >= ~ !~ in the place of ="),
        ("=3", "expected COLUMN=VALUE"),
        ("level<high", "expected a number behind <, found 'high'"),
        ("level<nan", "expected a number behind <, found 'nan'"),
        ("level~(", "'(' is no regular expression: missing )"),
    ],
)
def test_what_is_no_condition_is_refused(text: str, expected: str) -> None:
    with pytest.raises(SFTKeyError) as caught:
        parse_condition(text)
    assert str(caught.value).startswith(f"--where {text!r}: ")
    assert expected in str(caught.value)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Eight rows, of which the odd ones ask what the even one before them asks."""
    made = [{"prompt": f"Question {n // 2}", "cot": "It is so.", "key": str(n), "level": n} for n in range(8)]
    (path := tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))
    return path


@pytest.mark.parametrize("workers", [1, 2])
def test_only_such_rows_are_written_and_the_others_counted_without_failing(
    workers: int, rows: Path, tmp_path: Path
) -> None:
    config = BuildConfig(source="columns", inputs=(str(rows),), where=("level>=2", "level!=4"), dedup=True)
    manifest = build(config, tmp_path / "out", machinery=Machinery(workers))
    # row 4 is filtered, so row 5 repeats nothing
    assert open_shards(tmp_path / "out")["id"].to_pylist() == [f"columns/train/{n}" for n in (2, 5, 6)]
    assert manifest.rejects == {"duplicate": 2, "filtered": 3}
    assert manifest.counts.rows_read == 8
    rejects = [json.loads(line) for line in (tmp_path / "out" / "rejects.jsonl").read_text().splitlines()]
    assert [reject["detail"] for reject in rejects if reject["reason"] == "filtered"] == [
        *["level>=2 does not hold"] * 2,
        "level!=4 does not hold",
    ]


def test_an_evaluation_set_is_read_whole(tmp_path: Path) -> None:
    """Else its row would be none of the dataset's, and each of its texts a question."""
    names, told = ("prompt", "cot", "key", "level"), "Is it so that one and one is two?"
    files = {"rows": (told, "Yes, it is two.", "2", 1), "asked": ("What is one and one?", told, "2", 0)}
    for name, values in files.items():
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(dict(zip(names, values, strict=True))))
    rows, asked = (str(tmp_path / f"{name}.jsonl") for name in files)
    config = BuildConfig(source="columns", inputs=(rows,), where=("level=1",), decontaminate=(asked,))
    assert build(config, tmp_path / "out").counts.written == 1


def test_a_column_that_is_not_there_is_refused_before_the_first_row(rows: Path, tmp_path: Path) -> None:
    config = BuildConfig(source="columns", inputs=(str(rows),), where=("levle=3",))
    with pytest.raises(SFTKeyError, match=r"rows.jsonl: column 'levle' .*'level'"):
        build(config, tmp_path / "out")
    assert not (tmp_path / "out").exists()
