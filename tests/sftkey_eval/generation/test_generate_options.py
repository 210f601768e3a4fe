"""A new option of generation is one field: flag of `generate` and of `run`, check, record, resumption and cache."""

import json
import shutil
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner, Result

from sftkey_data.errors import SFTKeyError
from sftkey_data.flags import takes_options
from sftkey_data.options import Option
from sftkey_data.prepared.manifest import read_manifest
from sftkey_data.storage.sealed_json import read_sealed
from sftkey_eval.cli import app as program
from sftkey_eval.generation.generate import generate
from sftkey_eval.generation.generate_options import DATA, MODEL, GenerateOptions
from sftkey_eval.generation.sampling import SAMPLING
from sftkey_eval.run_options import RunOptions


@dataclass(frozen=True, kw_only=True)
class NewOption:
    min_p: Annotated[float, Option(help="The new option.", min=0, max=1, record=SAMPLING)] = 0.0


@dataclass(frozen=True, kw_only=True)
class NewGenerateOptions(GenerateOptions, NewOption):
    """`GenerateOptions`, had it one field more."""


@dataclass(frozen=True, kw_only=True)
class NewRunOptions(RunOptions, NewGenerateOptions):
    """`RunOptions`, which has the fields of `GenerateOptions`."""


app = typer.Typer()


@app.command("generate")
@takes_options
def generate_verb(options: NewGenerateOptions, out: Annotated[Path, typer.Option()]) -> None:
    typer.echo(generate(options, out).to_json())


@app.command("run")
@takes_options
def run_verb(options: NewRunOptions, out: Annotated[Path, typer.Option()]) -> None:
    typer.echo(generate(options, out).to_json())


def call(model: Path, data: Path, out: Path, *arguments: object, verb: str = "generate") -> Result:
    command = [verb, "--model", model, "--data", data, "--out", out, "--limit", 4, "--max-new-tokens", 4]
    return CliRunner().invoke(app, [str(argument) for argument in (*command, "--device", "cpu", *arguments)])


def few(model: Path, data: Path) -> dict[str, Any]:
    return {"model": str(model), "data": data, "device": "cpu", "max_new_tokens": 4, "limit": 4}


@pytest.mark.parametrize("verb", ["generate", "run"])
def test_the_program_has_every_field_as_a_flag(verb: str) -> None:
    said = CliRunner().invoke(program, [verb, "--help-all"], env={"COLUMNS": "120"}).output
    names = [field.name for field in fields(GenerateOptions)]
    assert [name for name in names if f"--{name.replace('_', '-')} " not in said] == []


@pytest.mark.parametrize("verb", ["generate", "run"])
def test_a_new_field_is_a_flag_of_both_verbs_and_in_the_record(
    tiny_model: Path, prepared: Path, tmp_path: Path, verb: str
) -> None:
    said = CliRunner().invoke(app, [verb, "--help"], env={"COLUMNS": "120"}).output
    assert "--min-p" in said
    assert "The new option." in said
    done = call(tiny_model, prepared, tmp_path / "c.jsonl", "--min-p", 0.25, verb=verb)
    assert done.exit_code == 0, done.exception
    assert json.loads(done.stdout)["record"] == str(tmp_path / "run.json")
    assert json.loads((tmp_path / "run.json").read_text())["sampling"]["min_p"] == 0.25


def test_a_new_field_is_checked(tiny_model: Path, prepared: Path, tmp_path: Path) -> None:
    done = call(tiny_model, prepared, tmp_path / "c.jsonl", "--min-p", 1.5)
    assert str(done.exception) == "min_p is 1.5, expected at least 0 and at most 1"
    assert list(tmp_path.iterdir()) == []


def test_a_new_field_makes_another_run_and_another_cached_completion(
    tiny_model: Path, prepared: Path, tmp_path: Path
) -> None:
    cache = ("--cache", tmp_path / "cache")
    assert call(tiny_model, prepared, tmp_path / "a" / "c.jsonl", "--min-p", 0.25, *cache).exit_code == 0
    same = call(tiny_model, prepared, tmp_path / "a" / "c.jsonl", "--min-p", 0.25, *cache)
    assert json.loads(same.stdout)["num_new"] == 0
    other = call(tiny_model, prepared, tmp_path / "a" / "c.jsonl", *cache)
    assert "belongs to another run: min_p is 0.25, expected 0.0" in str(other.exception)
    for value, known in ((0.25, 4), (0.5, 0)):
        done = call(tiny_model, prepared, tmp_path / str(value) / "c.jsonl", "--min-p", value, *cache)
        assert json.loads(done.stdout)["num_cached"] == known


def test_a_run_older_than_an_option_goes_on_with_its_default_only(
    tiny_model: Path, prepared: Path, tmp_path: Path
) -> None:
    out, values = tmp_path / "c.jsonl", few(tiny_model, prepared)
    generate(GenerateOptions(**values), out)
    with pytest.raises(SFTKeyError, match=r"min_p is 0\.0, expected 0\.5"):
        generate(NewGenerateOptions(**values, min_p=0.5), out)
    assert generate(NewGenerateOptions(**values), out).num_new == 0


def test_a_run_newer_than_this_version_is_another_run(tiny_model: Path, prepared: Path, tmp_path: Path) -> None:
    out, values = tmp_path / "c.jsonl", few(tiny_model, prepared)
    generate(NewGenerateOptions(**values, min_p=0.5), out)
    with pytest.raises(SFTKeyError, match=r"min_p is 0\.5, expected None"):
        generate(GenerateOptions(**values), out)


@pytest.mark.parametrize("part", [MODEL, DATA])
def test_an_option_of_model_or_data_is_recorded_and_compared_too(
    tiny_model: Path, prepared: Path, tmp_path: Path, part: str
) -> None:
    @dataclass(frozen=True, kw_only=True)
    class New(GenerateOptions):
        new: Annotated[str | None, Option(help="New.", record=part)] = None

    values = few(tiny_model, prepared)
    generate(New(**values, new="x"), tmp_path / "c.jsonl")
    assert json.loads((tmp_path / "run.json").read_text())[part]["new"] == "x"
    with pytest.raises(SFTKeyError, match="new is 'x', expected 'y'"):
        generate(New(**values, new="y"), tmp_path / "c.jsonl")


def test_a_run_record_has_the_keys_it_always_had(tiny_model: Path, prepared: Path, tmp_path: Path) -> None:
    values = few(tiny_model, prepared)
    generate(GenerateOptions(**values), tmp_path / "c.jsonl")
    record = read_sealed(tmp_path / "run.json", "")
    known = {"name", "completions", "completions_sha256", "model", "data", "template", "sampling", "versions"}
    assert set(record) == {*known, "config"}
    found = {"path", "fingerprint", "tokenizer_fingerprint", "end_token_ids", "recipe", "seed"}
    assert set(record["model"]) == {*found, "dtype"}
    assert set(record["data"]) == {"path", "manifest_sha256", "split", "limit", "num_items"}
    assert set(record["sampling"]) == {
        *("backend", "backend_args", "max_new_tokens", "temperature", "top_p", "top_k", "num_samples", "seed"),
    }


def test_rendered_prompts_are_not_given_to_a_server_that_renders(prepared: Path, tmp_path: Path) -> None:
    """A folder that says `chat` in its manifest, and a back-end that sends messages: refused before any request."""
    data = shutil.copytree(prepared, tmp_path / "data")
    manifest = read_manifest(data)
    rendered = manifest.model_copy(update={"config": {**manifest.config, "chat": True}})
    (data / "manifest.json").write_text(rendered.model_dump_json())
    options = GenerateOptions(model="served", data=data, backend="local-chat-completions", backend_args="base_url=x")
    with pytest.raises(SFTKeyError, match="local-chat-completions' would render them again: take local-completions"):
        generate(options, tmp_path / "completions.jsonl")
