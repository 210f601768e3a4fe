"""The command: what it prints, and the one line that each mistake gets before anything is written."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from transformers import AutoModelForCausalLM

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.prepared.manifest import file_sha256
from sftkey_train.batches.training_set import read_training_set
from sftkey_train.cli import main
from sftkey_train.recipe_file import READY_RECIPES, load_recipe
from sftkey_train.recipe_run import run_recipe

Write = Callable[[dict[str, Any]], Path]
Fail = Callable[..., str]
ROOT = Path(__file__).resolve().parents[2]


def test_help_shows_an_example_and_loads_nothing_heavy() -> None:
    command = [sys.executable, "-m", "sftkey_train.cli", "run", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Example: sftkey-train run train/recipes/" in shown
    assert "torch" not in _modules_after_help()


def _modules_after_help() -> list[str]:
    code = "import sys, sftkey_train.cli; print(*sys.modules)"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def test_stdout_is_one_json_object_per_stage(
    tables: dict[str, Any], write_recipe: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["sftkey-train", "run", str(write_recipe(tables)), "--set", "stage.0.steps=3"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 0
    shown = capsys.readouterr()
    summaries = [json.loads(line) for line in shown.out.splitlines()]
    assert [(s["stage"], s["steps"]) for s in summaries] == [("full", 3), ("answer", 4)]
    final = summaries[-1]["final"]
    assert shown.err.splitlines()[-1] == f"next: sftkey-eval run --model {final} --data TEST --out {final}-eval"


@pytest.mark.parametrize("spare", [20, 200])
def test_the_next_command_asks_for_no_more_tokens_than_the_context_has_left(
    spare: int,
    tables: dict[str, Any],
    write_recipe: Write,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    examples = read_training_set(Path(tables["data"])).examples
    completion = int((examples.num_tokens - examples.num_prompt_tokens).max())
    context = int(examples.num_prompt_tokens.max()) + completion + spare
    tables["model"]["config"]["max_position_embeddings"] = context
    tables["heldout"] = tables["data"]
    tables["stage"] = [tables["stage"][0] | {"steps": 1, "batch_size": 2, "warmup_steps": 0}]
    monkeypatch.setattr(sys, "argv", ["sftkey-train", "run", str(write_recipe(tables))])
    with pytest.raises(SystemExit):
        main()
    room = min(completion + spare, 2 * completion)
    assert capsys.readouterr().err.splitlines()[-1].endswith(f"-eval --max-new-tokens {room}")


def test_wrong_usage_exits_2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["sftkey-train", "run"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2


def test_a_recipe_that_is_not_there(fail: Fail, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any) -> None:
    monkeypatch.setattr(sys, "argv", ["sftkey-train", "run", str(tmp_path / "none.toml")])
    with pytest.raises(SystemExit, match="1"):
        main()
    assert capsys.readouterr().err == f"error: recipe file not found: {tmp_path / 'none.toml'}\n"


@pytest.mark.parametrize(("verb", "ready"), [("run", "demo.toml"), ("study", "studies/small.toml")])
def test_of_a_file_that_is_not_there_the_ready_one_is_named(
    verb: str, ready: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = tmp_path / "recipes" / ready
    monkeypatch.setattr(sys, "argv", ["sftkey-train", verb, str(asked)])
    with pytest.raises(SystemExit, match="1"):
        main()
    hint = f"; the ready one of that name is {READY_RECIPES / ready}"
    what = "recipe" if verb == "run" else "study"
    assert capsys.readouterr().err == f"error: {what} file not found: {asked}{hint}\n"


def test_a_misspelt_file_is_refused_before_torch_is_loaded(tmp_path: Path) -> None:
    code = "import sys; from sftkey_train.cli import main\n"
    code += "try: main()\nexcept SystemExit: print(*sys.modules)"
    for verb in ("run", "study"):
        command = [sys.executable, "-c", code, verb, str(tmp_path / "none.toml")]
        loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        assert {"torch", "transformers", "matplotlib"}.isdisjoint(loaded)


def test_a_misspelt_key(fail: Fail) -> None:
    assert fail("--set", "stage.1.lerning_rate=1e-3").endswith(
        "stage 'answer': unknown key 'lerning_rate' (did you mean 'lr'?)"
    )


def test_data_that_are_not_there(fail: Fail, tables: dict[str, Any]) -> None:
    tables["data"] = "no/such/folder"
    assert fail() == "no/such/folder: no manifest.json, expected a folder written by `sftkey-data build`"


def test_data_without_tokens(fail: Fail, tables: dict[str, Any], rows_file: Path, tmp_path: Path) -> None:
    build(BuildConfig(source="gsm8k", inputs=(str(rows_file),)), tmp_path / "text")
    tables["data"] = str(tmp_path / "text")
    assert fail() == f"{tmp_path / 'text'} holds no tokens, expected a build with --tokenizer"


def _copy(source: str, target: Path) -> Path:
    shutil.copytree(source, target)
    return target


def test_a_corrupt_shard(fail: Fail, tables: dict[str, Any], tmp_path: Path) -> None:
    data = _copy(tables["data"], tmp_path / "copy")
    shard = data / "data-00000.arrow"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    tables["data"] = str(data)
    assert str(shard) in fail()


def test_another_tokenizer_put_beside_the_shards(fail: Fail, tables: dict[str, Any], tmp_path: Path) -> None:
    data = _copy(tables["data"], tmp_path / "copy")
    manifest = json.loads((data / "manifest.json").read_text())
    del manifest["digest"]  # of a build that kept no hashes of other files than shards
    (data / "manifest.json").write_text(json.dumps(manifest | {"files": {}}))
    _retrained(data / "tokenizer")
    tables["data"] = str(data)
    assert "is not the tokenizer the shards were made with" in fail()


def _retrained(folder: Path) -> None:
    """Change one merge, as another training would."""
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["merges"].pop()
    (folder / "tokenizer.json").write_text(json.dumps(content))


def test_heldout_examples_made_with_another_tokenizer(
    fail: Fail, tables: dict[str, Any], tokenizer_dir: Path, rows_file: Path, tmp_path: Path
) -> None:
    other = _copy(str(tokenizer_dir), tmp_path / "other")
    _retrained(other)
    build(BuildConfig(source="gsm8k", inputs=(str(rows_file),), tokenizer=str(other)), tmp_path / "heldout")
    tables["heldout"] = str(tmp_path / "heldout")
    assert fail() == f"heldout {tmp_path / 'heldout'} was made with another tokenizer than data {tables['data']}"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("vocab_size", 10, "model: vocab_size is 10, but the tokenizer of {data} has "),
        ("max_position_embeddings", 16, "tokens, but the model's context (max_position_embeddings) is 16"),
        ("model_type", "lama", "model: config: unknown model_type 'lama' (did you mean 'llama'?)"),
        ("model_type", "t5", "model: config: t5 has no field 'intermediate_size'"),
        ("hidden_sise", 8, "model: config: llama has no field 'hidden_sise' (did you mean 'hidden_size'?)"),
        ("hidden_size", 30, "The hidden size (30) is not a multiple of the number of attention heads (4)."),
        ("hidden_size", "big", "Field 'hidden_size' expected int, got str (value: 'big')"),
    ],
)
def test_a_configuration_that_does_not_fit(
    fail: Fail, tables: dict[str, Any], field: str, value: Any, message: str
) -> None:
    tables["model"]["config"][field] = value
    assert message.format(data=tables["data"]) in fail()


def test_a_model_that_is_no_causal_language_model(fail: Fail, tables: dict[str, Any]) -> None:
    tables["model"]["config"] = {"model_type": "t5"}
    assert fail() == "model: 't5' is not a causal language model in transformers"


def test_an_example_longer_than_the_context_is_named_with_both_lengths(fail: Fail, tables: dict[str, Any]) -> None:
    tables["model"]["config"]["max_position_embeddings"] = 60
    line = fail()
    assert line.startswith(f"{tables['data']}: example 'gsm8k/train/")
    assert "tokens, but the model's context (max_position_embeddings) is 60: " in line
    assert line.endswith("or a build with --max-tokens 60")


def test_a_model_that_is_not_there(fail: Fail, tables: dict[str, Any], model_dir: Path) -> None:
    tables["model"] = {"path": str(model_dir.with_name("modle"))}
    assert fail() == f"model '{model_dir.with_name('modle')}' is not there: no such folder (did you mean 'model'?)"


def test_a_model_with_another_tokenizer_than_the_data(fail: Fail, tables: dict[str, Any], model_dir: Path) -> None:
    _retrained(model_dir)
    tables["model"] = {"path": str(model_dir)}
    assert fail() == (
        f"{tables['data']} was made with another tokenizer than that of model '{model_dir}'; "
        f"build it again with --tokenizer {model_dir}"
    )


def test_a_model_without_a_tokenizer_cannot_be_checked(fail: Fail, tables: dict[str, Any], model_dir: Path) -> None:
    for path in model_dir.glob("token*"):
        path.unlink()
    tables["model"] = {"path": str(model_dir)}
    assert fail().startswith(f"model '{model_dir}' has no tokenizer to compare with that of {tables['data']}: ")


def test_a_model_with_missing_weights(fail: Fail, tables: dict[str, Any], model_dir: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(model_dir / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, model_dir / "model.safetensors", metadata={"format": "pt"})
    tables["model"] = {"path": str(model_dir)}
    assert fail() == f"model '{model_dir}': 1 weights are missing or misshapen, the first is 'model.norm.weight'"


def test_a_warm_up_longer_than_the_stage(fail: Fail) -> None:
    assert fail("--set", "stage.0.warmup_steps=7") == "stage 'full': warmup_steps is 7, but the stage has only 6 steps"


def test_examples_without_a_target_are_named_with_the_stage(fail: Fail, tables: dict[str, Any], tmp_path: Path) -> None:
    data = _copy(tables["data"], tmp_path / "copy")
    _without_tags(data, rows=[3, 5])
    tables["data"] = str(data)
    del tables["stage"][1]["loss_on"]
    tables["stage"][1]["weights"] = {"tag": 1.0}
    ids = "gsm8k/train/3, gsm8k/train/5"
    assert fail() == f"stage 'answer': 2 of 60 examples have no token with a weight: {ids}"


def _without_tags(data: Path, rows: list[int]) -> None:
    """Give the tags of some rows to their neighbours, with shard and manifest in agreement."""
    table = pa.ipc.open_file(pa.memory_map(str(data / "data-00000.arrow"))).read_all()
    columns = table.to_pydict()
    for row in rows:
        columns["cot_token_end"][row] = columns["key_token_start"][row]
        columns["key_token_end"][row] = columns["answer_token_end"][row]
    with pa.OSFile(str(data / "changed.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(pa.table(columns, schema=table.schema))
    (data / "changed.arrow").replace(data / "data-00000.arrow")
    manifest = json.loads((data / "manifest.json").read_text())
    manifest["shards"][0]["sha256"] = file_sha256(data / "data-00000.arrow")
    del manifest["digest"]
    (data / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(fail: Fail, tables: dict[str, Any]) -> None:
    tables["device"] = "cuda"
    assert fail() == "device is 'cuda', but torch sees no GPU; expected 'auto' or 'cpu'"


@pytest.fixture
def line_of(
    tables: dict[str, Any], write_recipe: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[], str]:
    """Like `fail`, where `out` may exist: the last line of stderr, after the progress bars."""

    def call() -> str:
        monkeypatch.setattr(sys, "argv", ["sftkey-train", "run", str(write_recipe(tables))])
        with pytest.raises(SystemExit) as caught:
            main()
        assert caught.value.code == 1
        return capsys.readouterr().err.splitlines()[-1].removeprefix("error: ")

    return call


def test_an_output_directory_with_other_files(line_of: Callable[[], str], tables: dict[str, Any]) -> None:
    out = Path(tables["out"])
    out.mkdir()
    (out / "thesis.tex").write_text("mine")
    assert line_of() == f"out {out} is not empty and not written by sftkey, found thesis.tex: name another"
    assert [path.name for path in out.iterdir()] == ["thesis.tex"]


def test_an_output_path_that_is_a_file(line_of: Callable[[], str], tables: dict[str, Any]) -> None:
    Path(tables["out"]).write_text("mine")
    assert line_of() == f"out {tables['out']} is a file, expected a folder"


def test_a_loss_that_is_not_finite_stops_before_the_step_and_names_the_examples(
    line_of: Callable[[], str], tables: dict[str, Any], model_dir: Path, data_dir: Path
) -> None:
    from sftkey_train.batches.training_set import read_training_set

    examples = read_training_set(data_dir).examples
    culprit = next(i for i in range(len(examples)) if "12" in examples.id(i))
    poisoned = int(examples[culprit].input_ids[3])
    model = AutoModelForCausalLM.from_pretrained(model_dir)
    with torch.no_grad():
        model.get_input_embeddings().weight[poisoned] = float("nan")
    model.save_pretrained(model_dir)
    tables["model"] = {"path": str(model_dir)}
    tables["stage"][0] |= {"batch_size": len(examples), "warmup_steps": 0}
    named = [examples.id(i) for i in range(len(examples)) if poisoned in examples[i].input_ids[:-1]]
    line = line_of()
    assert line.startswith("stage 'full' step 1: loss is nan, stopped before the optimizer step; examples: ")
    shown = line.split("examples: ")[1].split(" and ")[0].split(", ")
    assert set(shown) <= set(named)
    assert len(named) < len(examples)
    assert not (Path(tables["out"]) / "full").exists()


def test_training_that_diverges_keeps_its_last_checkpoint(line_of: Callable[[], str], tables: dict[str, Any]) -> None:
    tables["stage"][0] |= {"lr": 1e38, "save_every": 1, "warmup_steps": 0}
    assert "stopped before the optimizer step; examples: gsm8k/train/" in line_of()
    assert [path.name for path in (Path(tables["out"]) / "full").iterdir()] == ["checkpoint-1"]


def test_every_recipe_in_the_repository_reads() -> None:
    paths = sorted((ROOT / "train" / "recipes").glob("*.toml"))
    assert [path.name for path in paths if load_recipe(path).stages] == [path.name for path in paths]
    assert paths


def test_a_pretrained_model_is_trained_from_its_weights(
    tables: dict[str, Any], write_recipe: Write, model_dir: Path
) -> None:
    tables["model"] = {"path": str(model_dir)}
    tables["heldout"] = tables["data"]
    (summary, _) = run_recipe(load_recipe(write_recipe(tables), ["stage.0.lr=1e-12", "stage.1.lr=1e-12"]))
    trained = AutoModelForCausalLM.from_pretrained(summary["final"])
    original = AutoModelForCausalLM.from_pretrained(model_dir)
    for (name, weight), (_, before) in zip(trained.named_parameters(), original.named_parameters(), strict=True):
        torch.testing.assert_close(weight, before, rtol=0, atol=1e-9, msg=name)


def test_without_torch_the_error_names_the_extra() -> None:
    hide = "import sys; sys.modules['torch'] = None; sys.argv = ['sftkey-train', 'run', 'r.toml']"
    code = f"{hide}; from sftkey_train.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    expected = 'error: run needs torch, not installed: pip install "sftkey[train]"\n'
    assert (done.returncode, done.stdout, done.stderr) == (1, "", expected)
