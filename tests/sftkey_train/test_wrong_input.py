"""Wrong input through the command: exit 1, one line, nothing written. More is in test_train_cli and test_recipe."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from sftkey_data.prepared.manifest import file_sha256
from sftkey_train.cli import main

Write = Callable[[dict[str, Any]], Path]
Fail = Callable[..., str]
SHARD = "data-00000.arrow"


@pytest.fixture
def copied(tables: dict[str, Any], tmp_path: Path) -> Path:
    """A copy of the data, which the recipe names, to damage."""
    target = tmp_path / "copy"
    shutil.copytree(tables["data"], target)
    tables["data"] = str(target)
    return target


def _edit_manifest(folder: Path, **changes: Any) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["digest"]
    (folder / "manifest.json").write_text(json.dumps(manifest | changes))


@pytest.mark.parametrize("at", [0.02, 0.3, 0.6, 0.9, 0.999], ids=lambda at: f"at {at}")
def test_one_flipped_bit_in_a_shard(fail: Fail, copied: Path, at: float) -> None:
    content = bytearray((copied / SHARD).read_bytes())
    content[int(at * len(content))] ^= 1
    (copied / SHARD).write_bytes(content)
    assert f"{copied / SHARD}" in fail()


@pytest.mark.parametrize("kept", [0, 7, 1000, -1], ids=lambda kept: f"{kept} bytes")
def test_a_shard_cut_short(fail: Fail, copied: Path, kept: int) -> None:
    (copied / SHARD).write_bytes((copied / SHARD).read_bytes()[:kept])
    assert f"{copied / SHARD}" in fail()


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_one_flipped_bit_in_the_copy_of_the_tokenizer(fail: Fail, copied: Path, name: str) -> None:
    file = copied / "tokenizer" / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert str(file) in fail()


def test_a_shard_that_is_gone(fail: Fail, copied: Path) -> None:
    (copied / SHARD).unlink()
    assert fail() == f"{copied / SHARD} is missing"


@pytest.mark.parametrize("column", ["input_ids", "key_token_end"])
def test_a_shard_without_a_column_whose_hash_was_made_to_fit(fail: Fail, copied: Path, column: str) -> None:
    table = pa.ipc.open_file(pa.memory_map(str(copied / SHARD))).read_all().drop_columns([column])
    with pa.OSFile(str(copied / "changed"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    (copied / "changed").replace(copied / SHARD)
    shard = {"file": SHARD, "rows": table.num_rows, "sha256": file_sha256(copied / SHARD)}
    _edit_manifest(copied, shards=[shard])
    assert fail().startswith(f"{copied}: the shards have no column {column!r}")


def test_a_manifest_of_another_schema_version(fail: Fail, copied: Path) -> None:
    _edit_manifest(copied, schema_version=3, a_field_of_the_future=[])
    assert fail() == f"{copied / 'manifest.json'}: schema version 3, this program reads 1 and 2"


@pytest.mark.parametrize("content", ["{", "[]", '{"schema_version": 1}'], ids=["cut", "a list", "no fields"])
def test_a_manifest_that_is_none(fail: Fail, copied: Path, content: str) -> None:
    (copied / "manifest.json").write_text(content)
    assert fail().startswith(f"{copied / 'manifest.json'}: ")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "stage.1.loss_on=answr",
            "stage 'answer': loss_on: Input should be 'completion', 'answer' or 'key', found 'an",
        ),
        ("stage.1.weights={kye = 1}", "stage 'answer': weights: unknown key 'kye' (did you mean 'key'?)"),
        ("stage.1.weights={cot = 0}", "stage 'answer': weights: all weights are zero, so the stage would train on n"),
        ("stage.1.weights={key = nan}", "stage 'answer': weights: key: Input should be a finite number, found nan"),
        ("modle.path=gpt2", "unknown key 'modle' (did you mean 'model'?)"),
        ("model.pth=gpt2", "model: unknown key 'pth' (did you mean 'path'?)"),
        ("stage.1.batchsize=4", "stage 'answer': unknown key 'batchsize' (did you mean 'batch_size'?)"),
        ("stage.1.batch_size=0", "stage 'answer': batch_size: Input should be greater than or equal to 1, found 0"),
        ("stage.1.init_weights=best", "stage 'answer': init_weights is 'best', but stage 'full' keeps no best"),
        ("stage.0.init_weights=best", "stage 'full': init_weights is 'best', but it starts from the model"),
        ("stage.1.init_from=ful", "init_from 'ful' is not an earlier stage (did you mean 'full'?)"),
    ],
)
def test_a_recipe_with_a_mistake(fail: Fail, tables: dict[str, Any], setting: str, message: str) -> None:
    if setting.startswith("stage.1.weights"):
        del tables["stage"][1]["loss_on"]
    assert message in fail("--set", setting)


@pytest.mark.parametrize("kept", [0, 20, -100], ids=lambda kept: f"{kept} bytes")
def test_weights_of_a_model_cut_short(fail: Fail, tables: dict[str, Any], model_dir: Path, kept: int) -> None:
    weights = model_dir / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:kept])
    tables["model"] = {"path": str(model_dir)}
    assert fail().startswith(f"model '{model_dir}' could not be loaded: ")


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[Path], str]:
    """Runs the command on a recipe file and returns the one line on stderr."""

    def call(recipe: Path) -> str:
        monkeypatch.setattr(sys, "argv", ["sftkey-train", "run", str(recipe)])
        with pytest.raises(SystemExit) as caught:
            main()
        printed = capsys.readouterr()
        assert (caught.value.code, printed.out) == (1, "")
        assert printed.err.count("\n") == 1
        return printed.err.removeprefix("error: ").removesuffix("\n")

    return call


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name = ", "not a readable TOML file: Invalid value"),
        (b'{"name": "json"}', "not a readable TOML file: "),
        (b"name = '\xff'", "not a readable TOML file: 'utf-8' codec can't decode"),
        (b"", "key 'name' is missing"),
    ],
    ids=["cut", "json", "not utf-8", "empty"],
)
def test_a_file_that_is_no_recipe(refused: Callable[[Path], str], tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_bytes(content)
    assert refused(path).startswith(f"{path}: {message}")


def test_a_folder_in_the_place_of_a_recipe(refused: Callable[[Path], str], tmp_path: Path) -> None:
    assert refused(tmp_path).startswith(f"{tmp_path}: not a readable TOML file: ")


@pytest.mark.parametrize(
    ("place", "why"),
    [("{file}/run", "{file} is a file, expected a folder"), ("/proc/run", "No such file or directory")],
    ids=["below a file", "where nobody may write"],
)
def test_an_output_that_cannot_be_made(
    fail: Fail, tables: dict[str, Any], tmp_path: Path, place: str, why: str
) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    tables["out"] = place.format(file=file)
    assert fail() == f"out {tables['out']} cannot be written: {why.format(file=file)}"


def test_a_run_of_another_recipe_is_refused_and_stays_as_it_is(
    refused: Callable[[Path], str],
    tables: dict[str, Any],
    write_recipe: Write,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tables["stage"] = [tables["stage"][0] | {"steps": 2, "save_every": 1, "lr": 1e38, "warmup_steps": 0}]
    monkeypatch.setattr(sys, "argv", ["sftkey-train", "run", str(write_recipe(tables))])
    with pytest.raises(SystemExit):  # diverges, so that a checkpoint stays
        main()
    capsys.readouterr()
    out = Path(tables["out"])
    assert (out / "full" / "checkpoint-1").is_dir()
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    tables["stage"][0]["lr"] = 1e-3
    line = f"out {out} holds a run of another recipe: recipe.stage.0.lr was 1e+38, now 0.001; --overwrite starts anew"
    assert refused(write_recipe(tables)) == line
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_a_damaged_record_of_a_run(
    refused: Callable[[Path], str], tables: dict[str, Any], write_recipe: Write, content: str
) -> None:
    out = Path(tables["out"])
    out.mkdir()
    (out / "run.json").write_text(content)
    assert refused(write_recipe(tables)).startswith(f"{out / 'run.json'} is damaged")
