"""Hostile files in the place of those that a verb reads: one line, soon, in little memory; no code of theirs runs."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from forked_programs import Order, Programs
from given_files import RECIPE, STUDY, _completion, _lines, _row, _write_model, _write_tokenizer
from hostile_files import HOSTILE, Hostile

pytestmark = pytest.mark.slow
MAX_SECONDS = 120
MAX_BYTES = 4 * 2**30  # 2 GiB for what is read, the rest for what is imported


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    scratch = tmp_path_factory.mktemp("scratch")
    with Programs({"TMPDIR": str(scratch), "XDG_CACHE_HOME": str(scratch / "cache")}) as started:
        yield started


@pytest.fixture(scope="module")
def given(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Harmless inputs of all kinds."""
    folder = tmp_path_factory.mktemp("harmless")
    room = folder / "given"
    (room / "hostile").mkdir(parents=True)
    _lines(room / "rows.jsonl", 24, _row)
    _lines(room / "theirs.jsonl", 20, _completion)
    _write_tokenizer(room / "rows.jsonl", room / "tok")
    _write_model(room / "tok", room / "model")
    (room / "full.toml").write_text(RECIPE.format(extra=""))
    (room / "study.toml").write_text(STUDY)
    build = ("build", "gsm8k", "--input", "given/rows.jsonl", "--tokenizer", "given/tok", "--holdout", "0.25")
    for program, *argv in (
        ("data", *build, "--workers", "1", "--out", "given/data"),
        ("eval", "score", "given/theirs.jsonl", "--out", "given/theirs.parquet"),
    ):
        end = programs.run(Order(program, argv, folder))
        assert end.code == 0, end.said
    return room


@pytest.mark.parametrize("hostile", HOSTILE, ids=[hostile.label for hostile in HOSTILE])
def test_a_hostile_file_is_one_line(programs: Programs, given: Path, hostile: Hostile, tmp_path: Path) -> None:
    shutil.copytree(given, tmp_path / "given")
    path = tmp_path / "given" / hostile.place
    if not hostile.make.__name__.startswith(("own_", "pickle_")):  # these change what is there
        path.unlink(missing_ok=True)
    hostile.make(path)
    (tmp_path / "yes").write_text("y\n" * 99)
    order = Order(hostile.command[0], hostile.command[1:], tmp_path, stdin=str(tmp_path / "yes"))
    end = programs.start(order).wait(MAX_SECONDS)
    assert end.is_one_line, end.said[-2000:]
    assert end.peak_bytes < MAX_BYTES
    assert not (tmp_path / "given" / "ran").exists()
    assert not os.path.lexists(tmp_path / "out" / "manifest.json")
