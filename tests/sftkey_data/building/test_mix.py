"""A mix of sources with weights: exact, the same bytes however it is worked on, and true in all that it says."""

import hashlib
import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mix_samples import MIX, SEED, asked, lines, row, write_mix
from typer.testing import CliRunner

import sftkey_data
from sftkey_data.building import build as build_module
from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.building.machinery import Machinery
from sftkey_data.building.plan import make_plan
from sftkey_data.cli import app
from sftkey_data.errors import Interrupted, SFTKeyError
from sftkey_data.extract.parts import Parts
from sftkey_data.prepare.draw import Draw
from sftkey_data.prepared.manifest import read_manifest
from sftkey_data.prepared.shards import open_shards
from sftkey_data.verify.check import check


@pytest.fixture
def mix(tmp_path: Path) -> Path:
    return write_mix(tmp_path)


def config(path: Path, **options: Any) -> BuildConfig:
    return BuildConfig(**{"source": str(path)} | options)


def drawn(name: str, number: int, share: float) -> bool:
    """Whether a weight takes a question."""
    return Draw(share, 2**32 + SEED).takes(Parts(prompt=asked(name, number), cot="", key=""))


def column(folder: Path, name: str) -> list[Any]:
    found: list[Any] = open_shards(folder)[name].to_pylist()
    return found


def contents(*folders: Path) -> dict[str, str]:
    return {
        f"{folder.name}/{path.relative_to(folder)}": hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_each_row_stands_as_often_as_its_weight_says(mix: Path, tmp_path: Path) -> None:
    manifest = build(config(mix), tmp_path / "out")
    easy = Counter(asked("easy", max(n, 10)) for n in range(60))
    wanted = Counter({q: n * (3 if drawn("easy", int(q.split()[-1][:-1]), 0.5) else 2) for q, n in easy.items()})
    wanted.update(asked("hard", n) for n in range(200) if n % 4 >= 2 and drawn("hard", n, 0.5))
    assert Counter(p.strip() for p in column(tmp_path / "out", "prompt")) == wanted
    assert len({*column(tmp_path / "out", "id")}) == manifest.counts.written == wanted.total()
    assert set(column(tmp_path / "out", "dataset")) == {"easy", "hard"}
    assert 0.3 < manifest.by_source["hard/train, weight 0.5"] / 100 < 0.7
    check(tmp_path / "out", full=True)


def test_the_manifest_says_of_each_source_what_became_of_its_rows(mix: Path, tmp_path: Path) -> None:
    manifest = build(config(mix), tmp_path / "out")
    easy, hard = manifest.mix
    assert (manifest.dataset, manifest.split) == ("mix", "train")
    assert [(one.weight, one.rows, one.inputs, one.where) for one in (easy, hard)] == [
        (2.5, 180, [str(tmp_path / "easy.jsonl")], []),
        (0.5, 200, [str(tmp_path / "hard.jsonl")], ["level>=2"]),
    ]
    assert easy.counts.written + easy.counts.rejected == 180
    assert easy.rejects == {"not_drawn": easy.counts.rejected}
    assert set(hard.rejects) == {"filtered", "not_drawn"}
    assert hard.counts.written + hard.counts.rejected == 200
    assert [info.rows for info in manifest.inputs] == [180, 200]
    assert manifest.statistics["duplicate_questions"] == easy.counts.written - 50


def test_ids_are_those_of_the_source_alone_and_copies_go_on_from_them(mix: Path, tmp_path: Path) -> None:
    build(config(mix), tmp_path / "out")
    ids = column(tmp_path / "out", "id")
    copies = [n for n in range(60) if drawn("easy", max(n, 10), 0.5)]
    assert [name for name in ids if name.startswith("easy")] == [
        *(f"easy/train/{n}" for n in range(120)),
        *(f"easy/train/{120 + n}" for n in copies),
    ]
    mix.write_text(MIX.replace("weight = 2.5", "weight = 1"))
    build(config(mix), tmp_path / "less")
    assert set(column(tmp_path / "less", "id")) < set(ids)


def test_a_smaller_weight_takes_a_part_of_what_a_larger_takes(mix: Path, tmp_path: Path) -> None:
    taken = []
    for weight in ("0.3", "0.5", "1.3"):
        mix.write_text(MIX.replace("weight = 0.5", f"weight = {weight}"))
        build(config(mix), tmp_path / weight)
        prompts = zip(column(tmp_path / weight, "dataset"), column(tmp_path / weight, "prompt"), strict=True)
        taken.append(Counter(prompt for name, prompt in prompts if name == "hard"))
    assert taken[0] < taken[1]
    assert {prompt for prompt, n in taken[2].items() if n == 2} == set(taken[0])


def test_rejects_that_a_weight_leaves_out_keep_their_place_and_not_their_row(mix: Path, tmp_path: Path) -> None:
    build(config(mix), tmp_path / "out")
    found = [json.loads(line) for line in (tmp_path / "out" / "rejects.jsonl").read_text().splitlines()]
    assert {(one["reason"], isinstance(one["row"], str)) for one in found} == {("filtered", False), ("not_drawn", True)}
    assert all(one["source"].endswith(".jsonl") and one["position"] for one in found)


@pytest.mark.parametrize(
    "options",
    [{}, {"split": "train[20:50]"}, {"holdout": 0.3}, {"dedup": True, "limit": 30}],
    ids=str,
)
def test_a_mix_of_one_source_is_the_build_of_that_source(mix: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    split = options.pop("split", None)
    plain = config(mix, source="columns", inputs=(str(tmp_path / "easy.jsonl"),), split=split, **options)
    mix.write_text(f'[[source]]\ndataset = "columns"\ninput = "easy.jsonl"\n{f"split = {split!r}" if split else ""}')
    folders = ["a", "a-holdout"] if "holdout" in options else ["a"]
    expected = build(plain, tmp_path / "plain" / "a")
    manifest = build(config(mix, **options), tmp_path / "mixed" / "a")
    for name in folders:
        both = [contents(tmp_path / kind / name) for kind in ("plain", "mixed")]
        of_rows = [{k: v for k, v in one.items() if "manifest" not in k and "README" not in k} for one in both]
        assert of_rows[0] == of_rows[1]
        check(tmp_path / "mixed" / name, full=True)
    assert (manifest.inputs, manifest.counts, manifest.statistics) == (
        expected.inputs,
        expected.counts,
        expected.statistics,
    )


def test_any_number_of_workers_gives_the_same_bytes(mix: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"dedup": True, "holdout": 20, "seed": 5, "shard_rows": 40}
    for workers in (1, 3):
        build(config(mix, **options), tmp_path / str(workers) / "out", machinery=Machinery(workers))
    folders = [[tmp_path / name / "out", tmp_path / name / "out-holdout"] for name in "13"]
    assert contents(*folders[0]) == contents(*folders[1])


def test_an_interrupted_mix_goes_on_to_the_same_bytes(
    mix: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = config(mix, holdout=0.2, dedup=True, shard_rows=40)
    build(wanted, tmp_path / "whole" / "out")
    real = build_module.work_piece
    done: list[int] = []

    def stopping(piece: Any, *args: Any, **keywords: Any) -> Any:
        if len(done) == 3:  # within the copies of the first source
            raise Interrupted("stopped")
        done.append(piece.number)
        return real(piece, *args, **keywords)

    monkeypatch.setattr(build_module, "work_piece", stopping)
    with pytest.raises(Interrupted):
        build(wanted, tmp_path / "out")
    monkeypatch.undo()
    kept = tmp_path / "out.partial" / "data-00002.arrow"
    before = kept.stat().st_mtime_ns
    build(wanted, tmp_path / "out")
    assert (tmp_path / "out" / kept.name).stat().st_mtime_ns == before
    folders = [[folder / "out", folder / "out-holdout"] for folder in (tmp_path, tmp_path / "whole")]
    assert contents(*folders[0]) == contents(*folders[1])


@pytest.mark.slow
@pytest.mark.usefixtures("ray_alone")
def test_ray_writes_the_same_bytes(mix: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    wanted = config(mix, holdout=20, dedup=True, shard_rows=40)
    for engine in ("local", "ray"):
        (tmp_path / engine).mkdir()
        code = (
            "from sftkey_data.building.build import BuildConfig, Machinery, build\n"
            f"build({wanted!r}, {str(tmp_path / engine / 'out')!r}, machinery=Machinery(2, {engine!r}))"
        )
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    folders = [[tmp_path / engine / "out", tmp_path / engine / "out-holdout"] for engine in ("local", "ray")]
    assert contents(*folders[0]) == contents(*folders[1])


@pytest.mark.parametrize("holdout", [0.3, 30])
def test_a_question_is_on_one_side_of_a_holdout_which_has_each_row_once(
    mix: Path, tmp_path: Path, holdout: float
) -> None:
    out, held = tmp_path / "out", tmp_path / "out-holdout"
    manifest, other = build(config(mix, holdout=holdout), out), read_manifest(held)
    assert set(column(out, "prompt")).isdisjoint(column(held, "prompt"))
    rows = Counter(asked("easy", max(n, 10)) for n in range(60))
    for prompt, n in Counter(p.strip() for p in column(held, "prompt")).items():
        assert n == rows.get(prompt, 1)
    assert manifest.counts.rows_read == manifest.counts.written + manifest.counts.rejected + manifest.held_out
    assert manifest.rejects["held_out_copy"] > 0
    assert [one.rows for one in other.mix] == [one.rows for one in manifest.mix] == [180, 200]
    assert sum(one.counts.written for one in other.mix) == other.counts.written == manifest.held_out
    for folder in (out, held):
        check(folder, full=True)


def test_what_a_weight_draws_says_nothing_of_what_a_holdout_draws(tmp_path: Path) -> None:
    """With one draw for both, half of the drawn would be held out, and of the others none."""
    lines(tmp_path / "hard.jsonl", [row("hard", n) for n in range(2000)])
    (tmp_path / "mix.toml").write_text('[[source]]\ndataset = "columns"\ninput = "hard.jsonl"\nweight = 0.5\n')
    manifest = build(config(tmp_path / "mix.toml", holdout=0.25), tmp_path / "out")
    assert 0.2 < manifest.held_out / (manifest.held_out + manifest.counts.written) < 0.3


def test_duplicates_are_dropped_before_rows_are_repeated_and_across_sources(mix: Path, tmp_path: Path) -> None:
    lines(tmp_path / "hard.jsonl", [row("easy", n) | {"level": 3} for n in range(55, 75)])
    mix.write_text(MIX.replace("weight = 2.5", "weight = 2").replace("weight = 0.5", "weight = 3"))
    build(config(mix, dedup=True), tmp_path / "out")
    found = Counter(p.strip() for p in column(tmp_path / "out", "prompt"))
    assert found == Counter({asked("easy", n): 2 if n < 60 else 3 for n in range(10, 75)})


def test_a_question_that_is_not_drawn_makes_no_other_row_a_duplicate(mix: Path, tmp_path: Path) -> None:
    """The first source draws half of the questions, the second has them all."""
    lines(tmp_path / "hard.jsonl", [row("easy", n) | {"level": 3} for n in range(10, 60)])
    mix.write_text(MIX.replace("weight = 2.5", "weight = 0.4").replace("weight = 0.5", "weight = 1"))
    build(config(mix, dedup=True), tmp_path / "out")
    assert Counter(p.strip() for p in column(tmp_path / "out", "prompt")) == Counter(
        asked("easy", n) for n in range(10, 60)
    )


def test_evaluation_questions_are_read_by_the_dataset_that_takes_them(mix: Path, tmp_path: Path) -> None:
    lines(tmp_path / "other.jsonl", [{"question": asked("other", n), "answer": f"So.\n#### {n}"} for n in range(9)])
    mix.write_text(f'{MIX}[[source]]\ndataset = "gsm8k"\ninput = "other.jsonl"\n')
    said = {"question": asked("other", 2), "answer": "So.\n#### 2", "note": asked("easy", 20)}  # a note is no question
    lines(tmp_path / "test.jsonl", [row("easy", 30), said])
    build(config(mix, decontaminate=(str(tmp_path / "test.jsonl"),)), tmp_path / "out")
    found = {p.strip() for p in column(tmp_path / "out", "prompt")}
    assert found.isdisjoint({asked("easy", 30), asked("other", 2)})
    assert {asked("easy", 20), asked("other", 3)} <= found


def test_too_many_rejects_of_one_source_fail_the_build_however_large_the_others_are(mix: Path, tmp_path: Path) -> None:
    lines(tmp_path / "bad.jsonl", [row("bad", n) | {"key": "" if n else "0"} for n in range(4)])
    mix.write_text(f'{MIX}[[source]]\ndataset = "columns"\nname = "bad"\ninput = "bad.jsonl"\n')
    said = r"mix.toml: source 3: 3 of 4 rows rejected \(empty_key 3; the first: .*bad.jsonl:2"
    with pytest.raises(SFTKeyError, match=said):
        build(config(mix), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert build(config(mix, max_reject_rate=0.8), tmp_path / "out").mix[2].rejects == {"empty_key": 3}


def test_a_source_of_which_nothing_is_left_fails_the_build(mix: Path, tmp_path: Path) -> None:
    mix.write_text(MIX.replace("weight = 0.5", "weight = 0.000001"))
    with pytest.raises(SFTKeyError, match=r"source 2: 200 of 200 rows rejected .*so no example is left"):
        build(config(mix, max_reject_rate=1.0), tmp_path / "out")


def test_a_small_weight_draws_its_share_of_the_rejects(tmp_path: Path) -> None:
    """4 % of the rows are broken; of a tenth of them it is still about 4 %, and not a third."""
    path = tmp_path / "rows.jsonl"
    path.write_text("".join("broken\n" if n % 25 == 0 else f"{json.dumps(row('easy', n))}\n" for n in range(2500)))
    (tmp_path / "mix.toml").write_text('[[source]]\ndataset = "columns"\ninput = "rows.jsonl"\nweight = 0.1\n')
    manifest = build(config(tmp_path / "mix.toml", max_reject_rate=0.1), tmp_path / "out")
    assert 0 < manifest.rejects["broken_json"] < 25
    assert 150 < manifest.counts.written < 350


def test_a_mix_takes_files_of_a_users_own_from_its_own_folder(
    mix: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.toml").write_text('prompt = "prompt"\ncot = "cot"\nkey = "key"\ninput = "unused"\n')
    code = "from sftkey_data.extract import Parts\nCOLUMNS = ('prompt',)\n"
    (tmp_path / "own.py").write_text(f"{code}def extract(row):\n    return Parts(row['prompt'], 'So.', '1')\n")
    sums = '[[source]]\ndataset = "arithmetic"\nset = { kind = "sums", num = 12 }\nweight = 2\n'
    both = [f'[[source]]\ndataset = "./{name}"\ninput = "./hard.jsonl"\n' for name in ("mine.toml", "own.py")]
    mix.write_text(f"{both[0]}limit = 7\n{both[1]}split = 'train[-5:]'\n{sums}")
    monkeypatch.chdir("/")
    manifest = build(config(mix), tmp_path / "out")
    assert [(one.dataset, one.counts.written) for one in manifest.mix] == [("mine", 7), ("own", 5), ("arithmetic", 24)]
    assert "own/train/195" in column(tmp_path / "out", "id")
    check(tmp_path / "out", full=True)
    before = make_plan(config(mix)).fingerprint
    (tmp_path / "own.py").write_text((tmp_path / "own.py").read_text().replace("'1'", "'2'"))
    assert make_plan(config(mix)).fingerprint != before


def test_a_limit_on_the_command_line_is_that_of_each_source(mix: Path, tmp_path: Path) -> None:
    manifest = build(config(mix, limit=8), tmp_path / "out")
    assert [one.rows for one in manifest.mix] == [24, 8]


def test_splits_that_differ_stand_in_the_rows_and_together_in_the_manifest(mix: Path, tmp_path: Path) -> None:
    mix.write_text(MIX.replace('name = "hard"', 'name = "easy"\nsplit = "extra"'))
    manifest = build(config(mix), tmp_path / "out")
    assert manifest.split == "train+extra"
    assert set(column(tmp_path / "out", "split")) == {"train", "extra"}
    check(tmp_path / "out", full=True)


def test_rows_that_decide_a_template_decide_it_for_the_mix_and_must_agree(mix: Path, tmp_path: Path) -> None:
    for name, answer in {"boxed": "2.\n\\boxed{2}", "hash": "2.\n#### 2"}.items():
        turns = [{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": f"1 + 1 = {answer}"}]
        lines(tmp_path / f"{name}.jsonl", [{"messages": turns}])
    talk = '[[source]]\ndataset = "chat"\nname = "{0}"\ninput = "{0}.jsonl"\n'
    mix.write_text(MIX + talk.format("boxed"))
    assert build(config(mix), tmp_path / "out").template.name == "boxed"
    mix.write_text(MIX + talk.format("boxed") + talk.format("hash"))
    with pytest.raises(SFTKeyError, match=r"\(boxed in source 3, hash in source 4\): name one with --template"):
        build(config(mix), tmp_path / "both")
    assert build(config(mix, template="hash"), tmp_path / "both").template.name == "hash"


def test_the_programs_show_a_mix_and_say_its_shares(mix: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(*words: str) -> Any:
        done = CliRunner().invoke(app, list(words))
        assert done.exit_code == 0, done.output
        return done

    monkeypatch.chdir(tmp_path)
    shown = said("show", "mix.toml", "--num", "1").stdout
    assert "easy/train/0" in shown
    assert "hard.jsonl:1: rejected: filtered" in shown
    assert shown.count("easy/train/") == 1
    built = said("build", "mix.toml", "--out", "out", "--workers", "1")
    easy, hard = read_manifest(tmp_path / "out").by_source.values()
    assert f"easy/train, weight 2.5: {easy} written, {easy / (easy + hard):.1%}" in built.stderr
    statistics = said("stats", "out").stdout
    assert f"{hard / (easy + hard):.2%}" in statistics.split("sources")[1].split("rejected")[0]
    assert json.loads(said("stats", "out", "--json").stdout)["sources"]["hard/train, weight 0.5"] == hard
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"| hard/train, weight 0.5 | {hard} |" in card
    trained = json.loads(said("tokenizer", "--train", "mix.toml", "--out", "tokens").stdout)
    assert trained["examples"] == easy + hard
    built_here = sftkey_data.build("mix.toml", tmp_path / "again", workers=1)
    assert built_here.manifest.counts.written == easy + hard


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ({"inputs": ("a.jsonl",)}, "it takes no --input, each [[source]] says its own `input`"),
        ({"split": "test"}, "it takes no --split"),
        ({"where": ("level=1",)}, "it takes no --where"),
        ({"options": {"prompt": "q"}}, "it takes no --set"),
    ],
    ids=str,
)
def test_what_each_source_says_for_itself_is_refused_beside_a_mix(
    mix: Path, tmp_path: Path, option: dict[str, Any], says: str
) -> None:
    with pytest.raises(SFTKeyError) as raised:
        build(replace(config(mix), **option), tmp_path / "out")
    assert says in str(raised.value)


def test_sources_beside_each_other_on_the_command_line_are_told_of_the_mix() -> None:
    done = CliRunner().invoke(app, ["build", "gsm8k", "math", "--out", "out"])
    assert done.exit_code == 2
    assert "mix.toml, names several sources" in " ".join(done.output.replace("│", " ").split())
