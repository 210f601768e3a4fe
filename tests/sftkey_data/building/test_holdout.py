"""A holdout: two folders of one build that share no question, whatever the order of rows, workers and interruptions."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from some_slow import some_slow

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.building.machinery import Machinery
from sftkey_data.errors import SFTKeyError
from sftkey_data.prepared.manifest import Manifest, read_manifest
from sftkey_data.prepared.shards import open_shards
from sftkey_data.verify.check import check

NUM = 400
SPACES = ("What is {} + 1?", " What  is {} + 1?\n", "What is\n{} + 1?")  # one question, written in three ways


def rows() -> Iterator[dict[str, str]]:
    for n in range(NUM):
        question = SPACES[n % 3].format(n // 4)  # each asked four times
        yield {"prompt": question, "cot": f"One more than {n // 4}, so", "key": f"{n // 4 + 1}"}


def write(path: Path, content: list[dict[str, str]] | None = None) -> str:
    lines = [json.dumps(row) for row in content or rows()]
    path.write_text("\n".join([*lines, "broken"]) + "\n")
    return str(path)


def config(path: str, **options: Any) -> BuildConfig:
    return BuildConfig(source="columns", inputs=(path,), **{"holdout": 0.25, "shard_rows": 37} | options)


def questions(folder: Path) -> list[str]:
    return [" ".join(prompt.split()) for prompt in open_shards(folder)["prompt"].to_pylist()]


def contents(*folders: Path) -> dict[str, str]:
    paths = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    return {
        str(path.relative_to(path.parents[1])): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
        if path.name != "README.md"
    }


def both(folder: Path, name: str = "out") -> tuple[Path, Path]:
    return folder / name, folder / f"{name}-holdout"


def test_the_two_folders_share_no_question_and_lose_no_row(tmp_path: Path) -> None:
    out, held = both(tmp_path)
    manifest = build(config(write(tmp_path / "rows.jsonl")), out)
    other = read_manifest(held)
    assert set(questions(out)).isdisjoint(questions(held))
    assert len(set(questions(out))) + len(set(questions(held))) == NUM / 4
    assert (
        manifest.counts.rows_read
        == NUM + 1
        == manifest.counts.written + manifest.counts.rejected + other.counts.written
    )
    assert 0.1 < other.counts.written / NUM < 0.4
    assert other.counts.rows_read == other.counts.written
    told = manifest.holdout, other.holdout
    assert [(one.part, one.other, one.other_rows, one.share) for one in told if one is not None] == [
        ("train", "out-holdout", other.counts.written, 0.25),
        ("holdout", "out", manifest.counts.written, 0.25),
    ]
    ids = open_shards(out)["id"].to_pylist() + open_shards(held)["id"].to_pylist()
    assert sorted(ids, key=lambda name: int(name.rpartition("/")[2])) == [f"columns/train/{n}" for n in range(NUM)]
    for folder in (out, held):
        check(folder, full=True)
    assert questions(held)[0] in " ".join((held / "README.md").read_text().split())
    assert questions(held)[0] not in " ".join((out / "README.md").read_text().split())


def test_workers_and_the_order_of_rows_change_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl")
    for workers in (1, 3):
        (tmp_path / str(workers)).mkdir()
        build(config(path), tmp_path / str(workers) / "out", machinery=Machinery(workers))
    assert contents(*both(tmp_path / "1")) == contents(*both(tmp_path / "3"))
    shuffled = list(rows())
    random.Random(4).shuffle(shuffled)
    build(config(write(tmp_path / "shuffled.jsonl", shuffled)), tmp_path / "shuffled")
    assert set(questions(tmp_path / "shuffled-holdout")) == set(questions(tmp_path / "1" / "out-holdout"))


@pytest.mark.parametrize("num", some_slow([2, 37, 99], quick=[37]))
def test_a_number_of_questions_is_held_out_whatever_the_workers_and_the_order(tmp_path: Path, num: int) -> None:
    path, (out, held) = write(tmp_path / "rows.jsonl"), both(tmp_path)
    manifest = build(config(path, holdout=num, seed=5), out)
    assert len(set(questions(held))) == num
    assert set(questions(out)).isdisjoint(questions(held))
    assert manifest.holdout is not None
    assert manifest.holdout.other_rows == 4 * num
    assert num / 100 - 0.15 < manifest.holdout.share < num / 100 + 0.15
    before = contents(out, held)
    assert build(config(path, holdout=num, seed=5), out) == manifest  # built already
    by_share = build(config(path, holdout=manifest.holdout.share, seed=5), tmp_path / "share")
    assert by_share.shards == manifest.shards
    shuffled = list(rows())
    random.Random(4).shuffle(shuffled)
    build(config(write(tmp_path / "shuffled.jsonl", shuffled), holdout=num, seed=5), out, overwrite=True)
    assert before != contents(out, held)
    assert len(set(questions(held))) == num
    build(config(path, holdout=num, seed=5), out, overwrite=True, machinery=Machinery(2))
    assert contents(out, held) == before


def test_a_number_of_questions_leaves_out_contaminated_ones_and_may_not_take_all(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl")
    (tmp_path / "test.jsonl").write_text(json.dumps({"prompt": "What is 7 + 1?", "cot": "c", "key": "8"}))
    strict = config(path, holdout=98, decontaminate=(str(tmp_path / "test.jsonl"),))
    build(strict, tmp_path / "out")
    assert len(set(questions(tmp_path / "out-holdout"))) == 98
    assert len(set(questions(tmp_path / "out"))) == 1
    with pytest.raises(SFTKeyError, match="--holdout 100: expected fewer than the 100 questions that the rows have"):
        build(config(path, holdout=100), tmp_path / "all")
    assert not (tmp_path / "all").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("ray_alone")
def test_ray_writes_the_same_two_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    path = write(tmp_path / "rows.jsonl")
    for engine in ("local", "ray"):
        (tmp_path / engine).mkdir()
        code = (
            "from sftkey_data.building.build import BuildConfig, Machinery, build\n"
            f"build({config(path)!r}, {str(tmp_path / engine / 'out')!r}, machinery=Machinery(2, {engine!r}))"
        )
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert contents(*both(tmp_path / "local")) == contents(*both(tmp_path / "ray"))


def test_another_seed_draws_others_and_a_smaller_share_is_part_of_a_larger(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl")
    drawn = {}
    for name, options in {"a": {}, "b": {"seed": 1}, "c": {"holdout": 0.1}}.items():
        build(config(path, **options), tmp_path / name)
        drawn[name] = set(questions(tmp_path / f"{name}-holdout"))
    assert drawn["a"] != drawn["b"]
    assert drawn["c"] < drawn["a"]


@pytest.mark.parametrize(
    "options",
    [{"dedup": True}, {"limit": 100}, {"split": "train[100:300]"}, {"split": "train[-50:]", "dedup": True}],
    ids=str,
)
def test_a_holdout_goes_with_the_other_options(tmp_path: Path, options: dict[str, Any]) -> None:
    out, held = both(tmp_path)
    path = write(tmp_path / "rows.jsonl")
    manifest = build(config(path, max_reject_rate=1.0, **options), out)
    whole = build(config(path, max_reject_rate=1.0, **options | {"holdout": None}), tmp_path / "whole")
    assert manifest.counts.written + read_manifest(held).counts.written == whole.counts.written
    assert manifest.rejects == whole.rejects
    ids = open_shards(out)["id"].to_pylist() + open_shards(held)["id"].to_pylist()
    assert sorted(ids) == sorted(open_shards(tmp_path / "whole")["id"].to_pylist())
    check(out, full=True)
    check(held, full=True)


def test_each_side_counts_its_own_shortened_cots(tmp_path: Path, shared_data: Path) -> None:
    out, held = both(tmp_path)
    long = [row | {"cot": "so " * (200 if n % 3 else 1)} for n, row in enumerate(rows())]
    build(
        config(
            write(tmp_path / "rows.jsonl", long),
            tokenizer=str(shared_data / "tokenizers" / "qwen2.5"),
            max_tokens=80,
            too_long="shorten-cot",
        ),
        out,
    )
    for folder in (out, held):
        table = open_shards(folder)
        cut = [
            end - start < 500 and end - start > 3
            for start, end in zip(table["cot_start"].to_pylist(), table["cot_end"].to_pylist(), strict=True)
        ]
        assert read_manifest(folder).statistics["shortened"] == sum(cut) > 0


def test_decontaminated_rows_are_on_neither_side(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_text(json.dumps({"prompt": "What is 7 + 1?", "cot": "c", "key": "8"}))
    out, held = both(tmp_path)
    path = write(tmp_path / "rows.jsonl")
    manifest = build(config(path, decontaminate=(str(tmp_path / "test.jsonl"),)), out)
    assert manifest.rejects["contaminated"] == 4
    assert "What is 7 + 1?" not in questions(out) + questions(held)


def test_overwrite_replaces_both_and_without_it_neither(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "rows.jsonl")
    out, held = both(tmp_path)
    build(config(path), out)
    with pytest.raises(SFTKeyError, match="is not empty"):
        build(config(path, seed=1), out)
    build(config(path, seed=1), out, overwrite=True)
    assert [read_manifest(folder).holdout.seed for folder in (out, held)] == [1, 1]  # type: ignore[union-attr]
    build(config(path, holdout=None), out, overwrite=True)
    assert "out-holdout is of another build" in capsys.readouterr().err
    (tmp_path / "lone-holdout").mkdir()
    (tmp_path / "lone-holdout" / "mine.txt").write_text("kept")
    with pytest.raises(SFTKeyError, match="lone-holdout is not empty"):
        build(config(path), tmp_path / "lone")
    assert not (tmp_path / "lone").exists()


def test_the_same_build_again_is_done_already_and_needs_its_holdout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "rows.jsonl")
    out, held = both(tmp_path)
    first = build(config(path), out)
    before = contents(out, held)
    assert build(config(path), out) == first
    assert f"{out}: built already, of the same inputs with the same options" in capsys.readouterr().err
    shutil.rmtree(held)
    with pytest.raises(SFTKeyError, match="is not empty"):
        build(config(path), out)
    build(config(path), out, overwrite=True)
    assert contents(out, held) == before


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"holdout": 0.0}, "expected a share above 0 and below 1"),
        ({"holdout": 1.0}, "expected a share above 0 and below 1"),
        ({"holdout": 500.0}, "expected fewer than the 100 questions"),
        ({"holdout": 1.5}, "expected a share above 0 and below 1"),
        ({"holdout": float("inf")}, "expected a share above 0 and below 1"),
        ({"holdout": float("nan")}, "expected a share above 0 and below 1"),
        ({"holdout": None, "seed": 3}, "name its share or size with --holdout"),
        ({"holdout": 1e-9}, "holds out none of 401 rows"),
        ({"holdout": 0.999999999}, "no example is left"),
    ],
    ids=str,
)
def test_a_share_that_leaves_a_side_empty_is_refused(tmp_path: Path, options: dict[str, Any], says: str) -> None:
    with pytest.raises(SFTKeyError, match=says) as raised:
        build(config(write(tmp_path / "rows.jsonl"), **options), tmp_path / "out")
    assert "\n" not in str(raised.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.jsonl"]


# Killed by its own hand before the nth file gets its name, and before a folder does.
KILLED = """
import os, signal, sys
from pathlib import Path
from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.storage import output_folder
from sftkey_data.storage.output_folder import Folder
left = int(sys.argv[3])
def counted(name):
    real = getattr(Folder, name)
    def call(self, *args, **kwargs):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(self, *args, **kwargs)
    setattr(Folder, name, call)
for name in ("write_bytes", "put_file", "delete", "publish"):
    counted(name)
build(BuildConfig(source="columns", inputs=(sys.argv[1],), holdout=0.25, shard_rows=200), sys.argv[2])
print(left)
"""


def run_killed(path: str, out: Path, num: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", KILLED, path, str(out), str(num)]
    return subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), check=False)


@pytest.mark.slow
def test_a_build_killed_anywhere_goes_on_to_the_same_two_folders(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl")
    (tmp_path / "whole").mkdir()
    done = run_killed(path, tmp_path / "whole" / "out", 10**6)
    steps = 10**6 - int(done.stdout)
    wanted = contents(*both(tmp_path / "whole"))
    for num in {*range(3, steps, 5), *range(steps - 9, steps)}:
        folder = tmp_path / str(num)
        folder.mkdir()
        assert run_killed(path, folder / "out", num).returncode == -signal.SIGKILL, num
        assert run_killed(path, folder / "out", 10**6).returncode == 0, num
        assert contents(*both(folder)) == wanted, num
        assert sorted(one.name for one in folder.iterdir()) == ["out", "out-holdout"], num


def test_the_manifest_of_a_build_without_one_says_nothing_of_it(tmp_path: Path) -> None:
    build(config(write(tmp_path / "rows.jsonl"), holdout=None), tmp_path / "out")
    values = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert "first_row" not in values
    assert values["config"]["holdout"] is None
    assert "holdout" not in values
    assert Manifest.model_validate(values).digest == values["digest"]
