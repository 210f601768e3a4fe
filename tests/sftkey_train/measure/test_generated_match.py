"""What the model writes during training, against a greedy loop without any shortcut."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from sftkey_data.errors import SFTKeyError
from sftkey_train.batches.training_set import TrainingSet
from sftkey_train.measure import generated_match
from sftkey_train.measure.generated_match import _complete, _outcome, generate_and_read, read_prompts
from sftkey_train.measure.metrics_log import MetricsLog
from sftkey_train.recipe_file import load_recipe
from sftkey_train.recipe_run import run_recipe

Make = Callable[..., PreTrainedModel]


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2", "gemma2"])
def test_generation_is_greedy_whatever_the_models_settings_and_the_padding(
    family: str, tiny_model: Make, prepared: TrainingSet
) -> None:
    model, prompts = tiny_model(family).eval(), read_prompts(prepared, 4, 8, None)
    cut = [ids[: len(ids) - 3 * row] for row, ids in enumerate(prompts.input_ids)]  # of different lengths
    prompts = replace(prompts, input_ids=cut)
    model.generation_config.update(do_sample=True, temperature=5.0, repetition_penalty=3.0)
    for ids, (text, reason) in zip(prompts.input_ids, _complete(model, prompts, prompts.input_ids), strict=True):
        written, eos = ids, prompts.tokenizer.eos_token_id
        while len(written) < len(ids) + 8 and int(written[-1]) != eos:
            with torch.no_grad():
                best = model(input_ids=written[None]).logits[0, -1].argmax()
            written = torch.cat([written, best[None]])
        stopped = int(written[-1]) == eos
        expected = prompts.tokenizer.decode(written[len(ids) : len(written) - stopped])
        assert (text, reason) == (expected, "stop" if stopped else "length")


@pytest.mark.parametrize(
    ("completion", "reason", "outcome"),
    [
        ("<Thinking>\nx\n</Thinking>\n<Answer>\n 72\n</Answer>", "stop", "right"),
        ("<Thinking>\nx\n</Thinking>\n<Answer>\n72.0\n</Answer>", "stop", "wrong"),  # exact text, no equivalence
        ("<Thinking>\nx\n</Thinking>\n72", "stop", "missing_key"),
        ("<Thinking>\nx", "length", "truncated"),
        ("", "stop", "empty"),
    ],
)
def test_format_and_key_are_read_from_the_raw_completion(
    completion: str, reason: str, outcome: str, prepared: TrainingSet
) -> None:
    assert _outcome(read_prompts(prepared, 1, 4, None), "72", completion, reason) == outcome


def test_a_completion_may_be_twice_as_long_as_the_gold_or_as_the_context_leaves(
    tiny_model: Make, prepared: TrainingSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = prepared.examples.first(5)
    prompt = max(e.borders.prompt_tokens for e in examples)
    gold = max(len(e.input_ids) - e.borders.prompt_tokens for e in examples)
    assert read_prompts(prepared, 5, 0, None).max_new_tokens == 2 * gold
    tight = read_prompts(prepared, 5, 0, prompt + 3)
    lengths = []
    for ids in tight.input_ids:  # a long prompt takes room from itself alone
        written = _complete(_mute(tiny_model), tight, [ids])
        lengths.append(len(tight.tokenizer(written[0][0])["input_ids"]))
    assert lengths == [min(2 * gold, prompt + 3 - len(ids)) for ids in tight.input_ids]
    monkeypatch.setattr(generated_match, "TWICE_UP_TO", gold - 1)  # of a long gold no more than itself
    assert read_prompts(prepared, 5, 0, None).max_new_tokens == gold
    with pytest.raises(SFTKeyError, match=f"generate_max_new_tokens is {gold + 1}, but the longest prompt"):
        read_prompts(prepared, 5, gold + 1, prompt + gold)


def _mute(tiny_model: Make) -> PreTrainedModel:
    """A model that says the same letter for ever."""
    model: Any = tiny_model("gpt2").eval()
    with torch.no_grad():
        model.transformer.ln_f.weight.zero_()
        model.transformer.ln_f.bias.fill_(1.0)
        model.lm_head.weight.zero_()
        model.lm_head.weight[5] = 1.0
    checked: PreTrainedModel = model
    return checked


def test_a_random_model_writes_no_valid_completion(tiny_model: Make, prepared: TrainingSet) -> None:
    model = tiny_model("llama").train()
    measured = generate_and_read(model, read_prompts(prepared, 20, 4, None))
    assert (measured["format_valid"], measured["key_exact_text"], measured["examples"]) == (0.0, 0.0, 20)
    assert sum(measured["malformed"].values()) == 20
    assert model.training


@pytest.mark.slow
def test_a_model_that_knows_its_examples_by_heart_writes_them(
    tables: dict[str, Any], write_recipe: Callable[[dict[str, Any]], Path], prepared: TrainingSet
) -> None:
    tables |= {"heldout": tables["data"]}
    del tables["model"]["config"]["attention_dropout"]
    stage = tables["stage"][0] | {"steps": 150, "lr": 1e-2, "batch_size": 60, "save_every": 0}
    tables["stage"] = [stage | {"generate_every": 75, "generate_examples": 20}]
    list(run_recipe(load_recipe(write_recipe(tables))))
    rows = [row for row in MetricsLog(Path(tables["out"]) / "metrics.jsonl").rows() if row["kind"] == "generated"]
    assert [row["step"] for row in rows] == [0, 75, 150]
    assert rows[0]["format_valid"] == 0.0
    assert rows[-1]["format_valid"] > 0.9
    assert rows[-1]["key_exact_text"] > 0.5
