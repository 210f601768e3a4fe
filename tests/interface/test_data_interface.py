"""`sftkey_data.build` and `load`: the bytes of the verb, a dataset with spans, nothing on stdout."""

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

import sftkey_data
from sftkey_data.cli import app

SUMS = {"kind": "sums", "num": 40}


def build(out: Path, **options: object) -> sftkey_data.BuiltFolder:
    return sftkey_data.build("arithmetic", out, set=SUMS, workers=1, **options)


def test_a_build_is_byte_for_byte_that_of_the_verb_and_prints_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = dict(os.environ)
    built = build(tmp_path / "a")
    assert capsys.readouterr().out == ""
    assert dict(os.environ) == before
    flags = ["--set", "kind=sums", "--set", "num=40", "--workers", "1", "--out", str(tmp_path / "b")]
    assert CliRunner().invoke(app, ["build", "arithmetic", *flags]).exit_code == 0
    names = {path.name for path in (tmp_path / "a").iterdir()}
    assert {"manifest.json", "README.md"} < names
    for name in names:
        same = (tmp_path / "a" / name).read_bytes().replace(b"/a", b"/b")
        assert same == (tmp_path / "b" / name).read_bytes(), name
    assert built.manifest.counts.written == 40


def test_a_build_shows_itself_in_a_line_and_as_a_table(tmp_path: Path) -> None:
    built = build(tmp_path / "a")
    assert repr(built) == f"BuiltFolder('{tmp_path}/a': 40 read, 40 written, 0 rejected)"
    assert "<td>written</td><td>40</td>" in built._repr_html_()


def test_a_dataset_has_the_spans_and_borders_of_each_example(tmp_path: Path) -> None:
    build(tmp_path / "a")
    examples = sftkey_data.load(tmp_path / "a")
    assert len(examples) == 40
    for row in examples:
        assert row["completion"][row["key_start"] : row["key_end"]] == row["gold"]
    assert sftkey_data.load(tmp_path / "a", ["gold"]).column_names == ["gold"]
    again = sftkey_data.load(tmp_path / "a")
    assert again._fingerprint == examples._fingerprint
    assert sftkey_data.load(tmp_path / "a", ["gold"])._fingerprint != examples._fingerprint


def test_a_dataset_of_a_url_outlives_the_copies_it_was_read_from(tmp_path: Path) -> None:
    build(tmp_path / "a", shard_rows=15)
    url = f"memory://{tmp_path.name}/a"
    build_there = sftkey_data.build("arithmetic", url, set=SUMS, workers=1, shard_rows=15)
    assert build_there.dataset().to_list() == sftkey_data.load(tmp_path / "a").to_list()
    assert sftkey_data.load(url, ["id"]).to_list() == sftkey_data.load(tmp_path / "a", ["id"]).to_list()


def test_a_changed_shard_is_refused(tmp_path: Path) -> None:
    build(tmp_path / "a")
    (shard,) = (tmp_path / "a").glob("*.arrow")
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(sftkey_data.SFTKeyError, match=r"differs from the manifest's|is damaged"):
        sftkey_data.load(tmp_path / "a")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"tokeniser": "x"}, "did you mean 'tokenizer'"),
        ({"holdout": 1.0}, "--holdout 1"),
        ({"engine": "spark"}, "expected `local` or `ray`"),
    ],
    ids=["name", "value", "engine"],
)
def test_errors_are_ours_and_leave_nothing(tmp_path: Path, wrong: dict[str, object], said: str) -> None:
    with pytest.raises(sftkey_data.SFTKeyError, match=said):
        build(tmp_path / "a", **wrong)
    assert list(tmp_path.iterdir()) == []


def test_no_workers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(sftkey_data.SFTKeyError, match="workers is 0, expected at least 1"):
        sftkey_data.build("arithmetic", tmp_path / "a", workers=0)
