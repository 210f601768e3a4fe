"""`--share`: parts of the questions that have none in common and together are all of them."""

import json
from pathlib import Path

import pytest

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.building.machinery import Machinery
from sftkey_data.errors import SFTKeyError
from sftkey_data.prepared.manifest import read_manifest
from sftkey_data.prepared.shards import open_shards


@pytest.fixture
def rows(tmp_path: Path) -> str:
    questions = [f"What is {n} + 1?" for n in range(100)]
    questions += [f" What is  {n} + 1? " for n in range(20)]  # the same ones again
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"prompt": q, "cot": "So.", "key": "2"}) + "\n" for q in questions))
    return str(path)


def questions_of(folder: Path) -> set[str]:
    return {" ".join(prompt.split()) for prompt in open_shards(folder)["prompt"].to_pylist()}


def built(rows: str, out: Path, share: str, **words: int) -> set[str]:
    workers = 2 if share == "0.2:0.5" else 1
    build(BuildConfig(source="columns", inputs=(rows,), share=share, **words), out, machinery=Machinery(workers))
    counts = read_manifest(out).counts
    assert counts.rows_read == 120 == counts.written + counts.rejected
    assert read_manifest(out).rejects == {"other_share": counts.rejected}
    return questions_of(out)


def test_shares_divide_the_questions_and_one_that_stands_twice_is_on_one_side(rows: str, tmp_path: Path) -> None:
    parts = [built(rows, tmp_path / share, share) for share in ("0:0.2", "0.2:0.5", "0.5:1")]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 100
    assert all(abs(len(part) - wanted) < 15 for part, wanted in zip(parts, (20, 30, 50), strict=True))
    assert built(rows, tmp_path / "seed", "0:0.2", seed=3) != parts[0]


def test_a_share_is_what_a_holdout_of_it_holds_out(rows: str, tmp_path: Path) -> None:
    build(BuildConfig(source="columns", inputs=(rows,), holdout=0.2), tmp_path / "data")
    assert built(rows, tmp_path / "share", "0:0.2") == questions_of(tmp_path / "data-holdout")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"share": "0.2"}, r"--share '0.2': expected A:B with 0 <= A < B <= 1"),
        ({"share": "0.5:0.2"}, "--share '0.5:0.2': expected A:B"),
        ({"share": "0:nan"}, "--share '0:nan': expected A:B"),
        ({"share": "0:0.5", "holdout": 0.1}, "--holdout and --share both divide the questions"),
    ],
)
def test_what_is_no_share_is_refused_in_one_line(
    words: dict[str, str | float], message: str, rows: str, tmp_path: Path
) -> None:
    with pytest.raises(SFTKeyError, match=message):
        build(BuildConfig(source="columns", inputs=(rows,), **words), tmp_path / "out")
