"""A build of chats is written as the rows are, and what it leaves out of them is told."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from some_slow import some_slow
from typer.testing import CliRunner

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.building.machinery import Machinery
from sftkey_data.cli import app
from sftkey_data.errors import SFTKeyError
from sftkey_data.format.template import BUILTIN
from sftkey_data.prepared.manifest import Manifest, read_manifest
from sftkey_data.prepared.shards import open_shards
from sftkey_data.tokens.tokenizer import load_tokenizer
from sftkey_data.verify.check import check

THINK = "<think>\n2 + {n}\n</think>\n\\boxed{{{n}}}"
HASH = "2 + {n}\n#### {n}"
AROUND = "<think>\n2 + {n}\n</think>\nThere are \\boxed{{{n}}} seats."


def rows_file(folder: Path, *answers: str, name: str = "rows.jsonl") -> str:
    rows = [
        {"messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": answer.format(n=n)}]}
        for n, answer in enumerate(answers)
    ]
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder / name)


def built(folder: Path, rows: str, *, workers: int = 1, **values: Any) -> Manifest:
    config = BuildConfig(source="chat", inputs=(rows,), **values)
    return build(config, folder / "out", machinery=Machinery(workers=workers))


@pytest.mark.parametrize("name", sorted(BUILTIN))
def test_rows_are_written_by_their_own_template_byte_for_byte(tmp_path: Path, name: str) -> None:
    answers = [BUILTIN[name].render(f"2 + {n}", str(n))[0].replace("{", "{{").replace("}", "}}") for n in range(5)]
    manifest = built(tmp_path, rows_file(tmp_path, *answers))
    assert manifest.template == BUILTIN[name]
    assert manifest.config["template"] == manifest.config["options"]["template"] == name
    written = open_shards(tmp_path / "out").column("completion").to_pylist()
    assert written == [answer.format() for answer in answers]
    check(tmp_path / "out", full=True)


def test_a_named_template_is_written_whatever_the_rows_are(tmp_path: Path) -> None:
    manifest = built(tmp_path, rows_file(tmp_path, THINK), template="sftkey")
    assert (manifest.template.name, manifest.config["options"]["template"]) == ("sftkey", "think-boxed")
    own = tmp_path / "own.toml"
    own.write_text('before_key = "\\nKey: "\nto_end = true\n')
    rows = rows_file(tmp_path, "2 + {n}\nKey: {n}")
    manifest = build(
        BuildConfig(source="chat", inputs=(rows,), options={"template": str(own)}), tmp_path / "out", overwrite=True
    )
    assert manifest.template.name == "own"


def test_other_datasets_are_written_by_the_usual_template(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps({"question": "2?", "answer": "2\n#### 2"}) + "\n")
    config = BuildConfig(source="gsm8k", inputs=(str(tmp_path / "rows.jsonl"),))
    assert build(config, tmp_path / "out").config["template"] == "sftkey"


def test_the_template_does_not_depend_on_workers_and_pieces(tmp_path: Path) -> None:
    rows = rows_file(tmp_path, *[THINK] * 9)
    one = built(tmp_path, rows, shard_rows=2)
    (tmp_path / "two").mkdir()
    two = built(tmp_path / "two", rows, shard_rows=2, workers=2)
    assert one == two


def test_a_mixture_of_templates_fails_before_the_first_row(tmp_path: Path) -> None:
    rows = rows_file(tmp_path, *[THINK] * 6, *[HASH] * 4)
    with pytest.raises(SFTKeyError, match=r"several templates \(think-boxed 6, hash 4\).*--set template=NAME"):
        built(tmp_path, rows)
    manifest = built(tmp_path, rows, options={"template": "think-boxed"}, max_reject_rate=0.5)
    assert manifest.rejects == {"missing_cot": 4}


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        ("2 + {n}\n#### \\boxed{{{n}}}", "boxed"),
        ("#### Step 1\n2 + {n}\n#### Step 2\nSo \\boxed{{{n}}}", "boxed"),
        ("So \\boxed{{{n}}}\n#### {n}", "hash"),
        ("2 + {n}. The answer is {n}.", "plain"),
        ("2 + {n}. The answer is \\boxed{{{n}}}.", "boxed"),
        ("2 + {n}\n</think>\n\n\\boxed{{{n}}}", "think-boxed"),
        ("<Thinking>2</Thinking>\n<Answer>{n}</Answer>", "sftkey"),
    ],
)
def test_the_template_is_the_one_that_says_most_of_the_answer(tmp_path: Path, answer: str, name: str) -> None:
    manifest = built(tmp_path, rows_file(tmp_path, answer))
    assert manifest.template.name == name
    assert open_shards(tmp_path / "out").column("gold").to_pylist() == ["0"]


def test_a_few_rows_of_another_template_are_rejected_and_counted(tmp_path: Path) -> None:
    manifest = built(tmp_path, rows_file(tmp_path, *[THINK] * 39, HASH))
    assert (manifest.template.name, manifest.rejects) == ("think-boxed", {"missing_cot": 1})


def test_rows_that_no_template_reads_fail_before_the_first_row(tmp_path: Path) -> None:
    with pytest.raises(SFTKeyError, match=r"no built-in template reads .*'It is 0'.*--set gold_field=COLUMN"):
        built(tmp_path, rows_file(tmp_path, "It is {n}"))
    (tmp_path / "rows.jsonl").write_text('{"prompt": "q", "chosen": "a", "rejected": "b"}\n')
    with pytest.raises(SFTKeyError, match=r"none of the first 1 rows can be read.*preference_row.*--set turns=chosen"):
        built(tmp_path, str(tmp_path / "rows.jsonl"))


def test_text_around_the_answer_is_refused_or_counted_and_shown(tmp_path: Path) -> None:
    rows, out = rows_file(tmp_path, AROUND, AROUND), str(tmp_path / "out")
    with pytest.raises(SFTKeyError, match=r"2 have text around the answer .*--set free_text=true"):
        built(tmp_path, rows)
    arguments = ["build", "chat", "--input", rows, "--set", "free_text=true", "--out", out]
    result = CliRunner().invoke(app, arguments)
    assert "template of the rows: think-boxed (of the first 2 answers: think-boxed 2; 0 byte for byte)" in result.stderr
    assert "note: 2 of 2 examples: text after key left out; the first is chat/train/0: 'seats.'" in result.stderr
    assert read_manifest(out).statistics["left_out"] == {"text_after_key": 2, "text_before_key": 2}
    shown = CliRunner().invoke(app, ["show", out, "--id", "chat/train/1"]).stdout
    assert "left out: text_before_key: 'There are'" in shown
    assert "text_after_key" in CliRunner().invoke(app, ["stats", out]).stdout
    check(out, full=True)


def test_the_flags_of_a_turn_are_honoured_or_named(tmp_path: Path) -> None:
    turns: list[dict[str, Any]] = [
        {"role": "user", "content": "2?"},
        {"role": "assistant", "content": THINK.format(n=2)},
    ]
    weighted = [[turns[0], {**turns[1], "weight": weight}] for weight in (0, 1, 0.5)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"messages": row, "tools": [{}]}) + "\n" for row in weighted))
    manifest = built(tmp_path, str(path))
    assert manifest.rejects == {"not_trained": 1}
    assert manifest.statistics["left_out"] == {"flag:tools": 2, "flag:weight": 1}
    assert manifest.statistics["first_left_out"]["flag:weight"] == "chat/train/2: 'messages[1].weight is 0.5'"


@pytest.mark.parametrize("template", some_slow(sorted(BUILTIN), quick=["sftkey"]))
@pytest.mark.parametrize("name", some_slow(["qwen2.5", "phi-3-mini"], quick=["qwen2.5"]))
def test_a_real_chat_template_builds_every_template_with_the_ids_of_the_reference(
    shared_data: Path, tmp_path: Path, name: str, template: str
) -> None:
    """Phi-3's special tokens swallow the line break after them, so its ids decode to another text."""
    tokenizer = load_tokenizer(str(shared_data / "tokenizers" / name))
    inputs = (str(shared_data / "raw" / "gsm8k" / "test.jsonl"),)
    path = tokenizer.name_or_path
    config = BuildConfig(source="gsm8k", inputs=inputs, limit=20, tokenizer=path, chat=True, template=template)
    assert build(config, tmp_path / "out").counts.written == 20
    check(tmp_path / "out", full=True)
    end = tokenizer.convert_tokens_to_ids({"qwen2.5": "<|im_end|>", "phi-3-mini": "<|end|>"}[name])
    for row in open_shards(tmp_path / "out").to_pylist():
        ids = tokenizer(row["prompt"] + row["completion"], add_special_tokens=False).input_ids
        assert row["input_ids"] == [*ids, end]


@pytest.mark.parametrize(
    ("tokenizer", "where", "arguments", "advised"),
    [
        pytest.param("qwen2.5", "file", [], True, marks=pytest.mark.slow),
        ("qwen2.5", "configuration", [], True),
        pytest.param("qwen2.5", "file", ["--chat"], False, marks=pytest.mark.slow),
        ("gpt2", "nowhere", [], False),
    ],
    ids=["file", "configuration", "chat", "no template"],
)
def test_a_tokenizer_with_a_chat_template_and_no_chat_gets_one_line_of_advice(
    tmp_path: Path, shared_data: Path, tokenizer: str, where: str, arguments: list[str], *, advised: bool
) -> None:
    folder = tmp_path / "tokenizer"
    shutil.copytree(shared_data / "tokenizers" / tokenizer, folder)
    template = folder / "chat_template.jinja"
    if where == "configuration":
        config = json.loads((folder / "tokenizer_config.json").read_text())
        (folder / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": template.read_text()}))
        template.unlink()
    command = ["build", "chat", "--input", rows_file(tmp_path, THINK), "--tokenizer", str(folder), "--workers", "1"]
    done = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "out"), *arguments], catch_exceptions=False)
    advice = "prompts stand without it: a chat model wants them as --chat writes them"
    expected = [f"note: {folder} has a chat template, {advice}"] if advised else []
    assert [line for line in done.stderr.splitlines() if "chat template" in line] == expected
