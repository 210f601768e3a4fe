"""Arguments of the chat template: a flag of `build`, recorded, and the same for workers, resumption and later verbs."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.building.machinery import Machinery
from sftkey_data.building.plan import make_plan
from sftkey_data.cli import app
from sftkey_data.errors import SFTKeyError
from sftkey_data.prepared.manifest import read_manifest
from sftkey_data.prepared.shards import open_shards
from sftkey_data.tokens.tokenizer import load_tokenizer
from sftkey_data.verify.check import check

TEMPLATE = (
    "{{ 'Level: ' + (level or 'low') }}\n{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SUMS = {"kind": "sums", "num": 60}


@pytest.fixture
def tokenizer(shared_data: Path, tmp_path: Path) -> Path:
    """A folder whose chat template takes an argument."""
    loaded = load_tokenizer(str(shared_data / "tokenizers" / "qwen2.5"))
    loaded.chat_template = TEMPLATE
    loaded.save_pretrained(str(tmp_path / "tokenizer"))
    return tmp_path / "tokenizer"


def config(tokenizer: Path, **arguments: object) -> BuildConfig:
    return BuildConfig(
        source="arithmetic", options=SUMS, tokenizer=str(tokenizer), chat=True, chat_args=arguments, shard_rows=20
    )


def prompts(folder: Path) -> list[str]:
    found: list[str] = open_shards(folder, ["prompt"])["prompt"].to_pylist()
    return found


def test_the_flag_is_recorded_and_written_into_every_prompt(tokenizer: Path, tmp_path: Path) -> None:
    command = ["build", "arithmetic", "--set", "kind=sums", "--set", "num=60", "--tokenizer", str(tokenizer), "--chat"]
    done = CliRunner().invoke(app, [*command, "--chat-arg", "level=high", "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert read_manifest(tmp_path / "out").config["chat_args"] == {"level": "high"}
    assert all(prompt.startswith("Level: high\n<|im_start|>user\n") for prompt in prompts(tmp_path / "out"))
    check(tmp_path / "out", full=True, workers=1)


@pytest.mark.slow
def test_workers_render_with_the_arguments_too(tokenizer: Path, tmp_path: Path) -> None:
    build(config(tokenizer, level="high"), tmp_path / "one", machinery=Machinery(1))
    build(config(tokenizer, level="high"), tmp_path / "two", machinery=Machinery(2))
    assert open_shards(tmp_path / "one").equals(open_shards(tmp_path / "two"))


@pytest.mark.slow
def test_questions_of_a_folder_built_with_arguments_are_found(tokenizer: Path, tmp_path: Path) -> None:
    build(config(tokenizer, level="high"), tmp_path / "test")
    again = BuildConfig(source="arithmetic", options=SUMS, decontaminate=(str(tmp_path / "test"),), max_reject_rate=1.0)
    with pytest.raises(SFTKeyError, match=r"^60 of 60 rows rejected \(contaminated 60;"):
        build(again, tmp_path / "train")


@pytest.mark.slow
def test_other_arguments_and_another_chat_template_are_another_plan(tokenizer: Path) -> None:
    plans = [make_plan(config(tokenizer, level=level)).fingerprint for level in ("high", "low")]
    (tokenizer / "chat_template.jinja").write_text(TEMPLATE.replace("Level", "Effort"))
    plans.append(make_plan(config(tokenizer, level="low")).fingerprint)
    assert len(set(plans)) == 3


def test_an_argument_without_a_chat_template_is_refused(tokenizer: Path) -> None:
    with pytest.raises(SFTKeyError, match=r"^--chat-arg level needs --chat$"):
        make_plan(BuildConfig(source="arithmetic", tokenizer=str(tokenizer), chat_args={"level": "high"}))


@pytest.mark.slow
def test_show_renders_a_source_with_the_arguments(tokenizer: Path) -> None:
    command = ["show", "arithmetic", "--set", "kind=sums", "--num", "1", "--tokenizer", str(tokenizer), "--chat"]
    done = CliRunner().invoke(app, [*command, "--chat-arg", "level=high"])
    assert done.exit_code == 0, done.output
    assert "Level·:· high" in done.output  # a dot between two tokens


def test_an_unknown_argument_is_one_line_with_the_nearest_name(tokenizer: Path) -> None:
    with pytest.raises(SFTKeyError) as caught:
        make_plan(config(tokenizer, lvel=1))
    assert str(caught.value).startswith("--chat-arg lvel: not read by the chat template of ")
    assert str(caught.value).endswith("(did you mean 'level'?); it takes level")
