"""A stage that names data of its own: what it trains on, what it writes down, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.errors import SFTKeyError, Stopped
from sftkey_train.batches.batch import ExampleOrder
from sftkey_train.batches.training_set import read_training_set
from sftkey_train.checkpoint.checkpoint import save_checkpoint
from sftkey_train.measure.metrics_log import MetricsLog
from sftkey_train.recipe_file import load_recipe
from sftkey_train.recipe_run import dry_run, run_recipe

Write = Callable[[dict[str, Any]], Path]


def _build(rows_file: Path, tokenizer: Path, out: Path, limit: int) -> Path:
    config = BuildConfig(source="gsm8k", inputs=(str(rows_file),), tokenizer=str(tokenizer), limit=limit)
    build(config, out)
    return out


@pytest.fixture(scope="module")
def other_dir(rows_file: Path, tokenizer_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fewer rows than the recipe's data, of the same tokenizer."""
    return _build(rows_file, tokenizer_dir, tmp_path_factory.mktemp("data") / "other", limit=20)


def _weights(out: Path, stage: str) -> dict[str, torch.Tensor]:
    return load_file(out / stage / "final" / "model.safetensors")


def _assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert [name for name, weight in one.items() if not torch.equal(weight, other[name])] == []


def _train(recipe: Path, *overrides: str) -> Path:
    loaded = load_recipe(recipe, overrides)
    list(run_recipe(loaded))
    return loaded.out


def _tokens(out: Path, stage: str) -> list[int]:
    rows = MetricsLog(out / "metrics.jsonl").rows()
    return [row["tokens"] for row in rows if row["kind"] == "train" and row["stage"] == stage]


def test_a_stage_trains_on_its_own_data_in_the_order_of_its_depth(
    tables: dict[str, Any], write_recipe: Write, other_dir: Path
) -> None:
    tables["stage"][1]["data"] = str(other_dir)
    out = _train(write_recipe(tables))
    lengths = read_training_set(other_dir).examples.num_tokens
    order = ExampleOrder(seed=3, depth=1, num_examples=20, batch_size=8, num_seen=32)
    assert _tokens(out, "answer") == [sum(int(lengths[i]) for i in order.batch(step)) for step in (1, 2, 3, 4)]
    record = json.loads((out / "run.json").read_text())
    assert record["stage_data_sha256"] == {"answer": read_training_set(other_dir).sha256}


def test_the_recipes_own_data_named_by_a_stage_change_no_weight(tables: dict[str, Any], write_recipe: Write) -> None:
    plain = _train(write_recipe(tables))
    named = _train(write_recipe(tables), f"stage.answer.data={tables['data']}", f"out={plain.with_name('named')}")
    _assert_equal(_weights(named, "answer"), _weights(plain, "answer"))


def test_epochs_of_a_stage_are_those_of_its_data(tables: dict[str, Any], write_recipe: Write, other_dir: Path) -> None:
    del tables["stage"][1]["steps"]
    tables["stage"][1] |= {"data": str(other_dir), "epochs": 2}
    assert len(_tokens(_train(write_recipe(tables)), "answer")) == 5  # 40 examples in batches of 8


def test_an_interrupted_stage_goes_on_with_its_own_data(
    tables: dict[str, Any], write_recipe: Write, other_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables["stage"][1]["data"] = str(other_dir)
    recipe = write_recipe(tables)
    whole = _train(recipe, f"out={Path(tables['out']).with_name('whole')}")

    def stop_after(folder: Any, step: int, *rest: Any) -> None:
        save_checkpoint(folder, step, *rest)
        if folder.path.name == "answer":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("sftkey_train.loop.save_checkpoint", stop_after)
        with pytest.raises(Stopped):
            _train(recipe)
    out = _train(recipe)
    _assert_equal(_weights(out, "answer"), _weights(whole, "answer"))


def test_other_data_of_a_stage_under_the_same_name_are_refused(
    tables: dict[str, Any], write_recipe: Write, other_dir: Path, tmp_path: Path
) -> None:
    link = tmp_path / "link"
    link.symlink_to(other_dir)
    tables["stage"][1]["data"] = str(link)
    recipe = write_recipe(tables)
    _train(recipe)
    link.unlink()
    link.symlink_to(tables["data"])
    with pytest.raises(SFTKeyError, match=r"another recipe: stage_data_sha256\.answer was"):
        _train(recipe)


def test_a_dry_run_shows_the_data_and_the_first_batch_of_a_stage(
    tables: dict[str, Any], write_recipe: Write, other_dir: Path
) -> None:
    tables["stage"][1]["data"] = str(other_dir)
    lines = [line.plain for line in dry_run(load_recipe(write_recipe(tables)))]
    of_stage = lines[next(i for i, line in enumerate(lines) if "stage 2 of 2" in line) :]
    assert f"data      {other_dir}: 20 examples" in of_stage[1]
    assert any("4 of 8 examples, 1.6 epochs" in line for line in of_stage)
    assert sum(str(other_dir) in line for line in lines) == 1


def test_data_of_another_tokenizer_are_refused(
    tables: dict[str, Any], fail: Callable[..., str], rows_file: Path, tokenizer_dir: Path, tmp_path: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_dir)
    tokenizer.add_tokens(["apples"])
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    other = _build(rows_file, tmp_path / "tokenizer", tmp_path / "other", limit=20)
    tables["stage"][1]["data"] = str(other)
    assert fail() == f"stage 'answer': data {other} was made with another tokenizer than data {tables['data']}"


def test_data_that_are_missing_are_refused(tables: dict[str, Any], fail: Callable[..., str], tmp_path: Path) -> None:
    tables["stage"][1]["data"] = str(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in fail()


def test_examples_too_long_for_the_model_are_refused(
    tables: dict[str, Any], fail: Callable[..., str], rows_file: Path, tokenizer_dir: Path, tmp_path: Path
) -> None:
    long = tmp_path / "long.jsonl"
    row = json.loads(rows_file.read_text().splitlines()[0])
    long.write_text(json.dumps(row | {"question": row["question"] + " And one more." * 100}) + "\n")
    tables["stage"][1]["data"] = str(_build(long, tokenizer_dir, tmp_path / "long", limit=1))
    assert str(tmp_path / "long") in fail()
