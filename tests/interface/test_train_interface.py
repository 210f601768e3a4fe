"""`sftkey_train.run`: the verb's run of a recipe that is a file or a mapping."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

import sftkey_data
import sftkey_train
from sftkey_train.recipe_file import load_recipe, recipe_of

SIZES = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
STAGE = {"batch_size": 4, "steps": 2, "lr": 1e-3, "generate_at_end": False}


def tables(folder: Path) -> dict[str, Any]:
    """A recipe of two stages over data in `folder`."""
    return {
        "name": "small",
        "data": str(folder / "data"),
        "out": str(folder / "run"),
        "model": {"config": {"model_type": "llama", **SIZES}},
        "stage": [
            {"name": "stage1", "loss_on": "completion", **STAGE},
            {"name": "answer", "loss_on": "answer", **STAGE},
        ],
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("train")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=260, special_tokens=["<eos>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([], trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>").save_pretrained(str(out / "tokenizer"))
    # two workers: what encodes has threads, which must not be waited for in a fork
    sftkey_data.build("arithmetic", out / "data", set={"num": 16}, tokenizer=str(out / "tokenizer"), workers=2)
    return out


def test_a_run_of_a_mapping_trains_resumes_and_shows_itself(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = tables(folder)
    trained = sftkey_train.run(given, {"stage.answer.steps": 3})
    assert capsys.readouterr().out == ""
    assert given == tables(folder)  # as it was
    assert [(stage["stage"], stage["steps"]) for stage in trained.stages] == [("stage1", 2), ("answer", 3)]
    assert trained.final == folder / "run" / "answer" / "final"
    assert (trained.final / "model.safetensors").is_file()
    metrics = trained.metrics()
    assert metrics.query("kind == 'train'").groupby("stage").size().to_dict() == {"stage1": 2, "answer": 3}
    assert repr(trained).startswith(f"TrainedRun('{folder}/run': stage1 2 steps loss ")
    assert "<td>answer</td><td>3</td>" in trained._repr_html_()
    assert sftkey_train.run(given, {"stage.answer.steps": 3}).stages == trained.stages
    with pytest.raises(sftkey_data.SFTKeyError, match="other"):
        sftkey_train.run(given)  # another recipe in the same folder


def test_a_mapping_and_a_file_with_settings_are_the_same_recipe(tmp_path: Path) -> None:
    lines = [f'name = "small"\ndata = "{tmp_path}/data"\nout = "{tmp_path}/run"', "[model.config]"]
    lines += [f"{key} = {json.dumps(value)}" for key, value in {"model_type": "llama", **SIZES}.items()]
    for stage in tables(tmp_path)["stage"]:
        lines += ["[[stage]]", *(f"{key} = {json.dumps(value)}" for key, value in stage.items())]
    (tmp_path / "small.toml").write_text("\n".join(lines))
    by_verb = load_recipe(tmp_path / "small.toml", ["stage.answer.lr=0.5", "seed=3", f"out={tmp_path}/there"])
    settings = {"stage.answer.lr": 0.5, "seed": 3, "out": tmp_path / "there"}
    assert recipe_of(tables(tmp_path), settings) == recipe_of(tmp_path / "small.toml", settings) == by_verb


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"stage.stage2.lr": 1.0}, r"^setting 'stage.stage2.lr': no stage 'stage2' \(did you mean 'stage1'\?\); known"),
        (
            {"stage.answer.learning_rate": 1.0},
            r"^recipe: stage 'answer': unknown key 'learning_rate' .*'lr'",
        ),
        ({"seed.x": 1}, r"^setting 'seed.x': 'seed' is not a table"),
    ],
    ids=["stage", "key", "below a value"],
)
def test_a_wrong_setting_is_one_line(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(sftkey_data.SFTKeyError, match=said):
        sftkey_train.run({**tables(tmp_path), "seed": 1}, settings)
