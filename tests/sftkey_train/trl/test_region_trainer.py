"""A step of `Trainer` and of `SFTTrainer` with region weights has the gradients of ours, however it is split."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from some_slow import some_slow
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments

import sftkey_data
from sftkey_data.errors import SFTKeyError
from sftkey_train.batches.batch import ExampleOrder
from sftkey_train.batches.training_set import TrainingSet
from sftkey_train.loss.objective import batch_loss, step_batches, token_costs
from sftkey_train.recipe import Stage
from sftkey_train.trl import RegionCollator, with_region_weights

trl = pytest.importorskip("trl")

NUM = 8
STEPS = 2
KEY40 = {"cot": 1.0, "tag": 1.0, "key": 40.0, "eos": 1.0}
TOLERANCE = 1e-5
KINDS = pytest.mark.parametrize("kind", ["Trainer", "SFTTrainer"])


class Gradients(TrainerCallback):
    """Keeps the gradients of each step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, torch.Tensor]] = []

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        named = kwargs["model"].named_parameters()
        self.steps.append({name: p.grad.clone() for name, p in named if p.grad is not None})


def arguments(kind: str, out: Path, **changes: Any) -> Any:
    """Of `STEPS` steps of `NUM` examples each, in the order of the folder, with weights that stay as they are."""
    values: dict[str, Any] = {
        "output_dir": str(out),
        "per_device_train_batch_size": NUM,
        "train_sampling_strategy": "sequential",
        "max_steps": STEPS,
        "max_grad_norm": 0.0,
        "learning_rate": 0.0,
        "save_strategy": "no",
        "report_to": [],
        "logging_steps": 1,
        "use_cpu": True,
        "bf16": False,
        "disable_tqdm": True,
        **changes,
    }
    if kind == "Trainer":
        return TrainingArguments(**values)
    return trl.SFTConfig(**{"max_length": None, **values})


def trainer_of(kind: str, model: PreTrainedModel, prepared: TrainingSet, out: Path, loss: Any, **changes: Any) -> Any:
    base = Trainer if kind == "Trainer" else trl.SFTTrainer
    return with_region_weights(base, **loss)(
        model,
        args=arguments(kind, out, **changes),
        train_dataset=sftkey_data.load(prepared.path),
        processing_class=prepared.tokenizer,
    )


def our_step(
    model: PreTrainedModel, prepared: TrainingSet, loss: Mapping[str, Any], step: int
) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of one step of our own loop over the same examples."""
    stage = Stage.model_validate({"name": "s", "steps": STEPS, "batch_size": NUM, "lr": 1.0, **loss})
    examples = [prepared.examples[i] for i in range((step - 1) * NUM, step * NUM)]
    order = ExampleOrder(0, 0, len(prepared.examples), NUM, STEPS * NUM)
    total = 0.0
    for batch in step_batches(stage, examples, step, order, 0):
        share = batch_loss(token_costs(model, batch), batch, stage)
        share.backward()
        total += share.item()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    return total, found


def worst(found: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> float:
    """The largest difference of any gradient, as a share of that parameter's largest."""
    assert found.keys() == expected.keys()
    return max(float((found[n] - g).abs().max() / g.abs().max().clamp_min(1e-6)) for n, g in expected.items())


LOSSES: dict[str, dict[str, Any]] = {
    "answer": {"loss_on": "answer"},
    "weights": {"weights": KEY40},
    "example": {"weights": KEY40, "normalisation": "example"},
    "region": {"weights": KEY40, "normalisation": "region"},
    "dft": {"weights": KEY40, "token_loss": "dft"},
    "focal": {"weights": KEY40, "token_loss": "focal", "focal_gamma": 1.5},
    "annealed": {"weights": {"cot": 1.0, "key": 100.0}, "weights_end": {"cot": 1.0}, "weight_schedule": "linear"},
}


@KINDS
@pytest.mark.parametrize("loss", some_slow(LOSSES, quick=["answer", "region", "annealed"]))
@pytest.mark.parametrize("accumulate", [1, 4], ids=["whole", "accumulated"])
def test_gradients_of_each_step_are_ours(
    kind: str,
    loss: dict[str, Any],
    accumulate: int,
    tiny_model: Callable[..., PreTrainedModel],
    prepared: TrainingSet,
    tmp_path: Path,
) -> None:
    model, seen = tiny_model("llama"), Gradients()
    split = {"per_device_train_batch_size": NUM // accumulate, "gradient_accumulation_steps": accumulate}
    trainer = trainer_of(kind, model, prepared, tmp_path, loss, **split)
    trainer.add_callback(seen)
    trainer.train()
    assert len(seen.steps) == STEPS
    plain = tiny_model("llama")
    for step, found in enumerate(seen.steps, start=1):
        assert worst(found, our_step(plain, prepared, loss, step)[1]) < TOLERANCE


@KINDS
def test_two_steps_change_the_model_and_measure(
    kind: str, tiny_model: Callable[..., PreTrainedModel], prepared: TrainingSet, tmp_path: Path
) -> None:
    model = tiny_model("llama")
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    base = Trainer if kind == "Trainer" else trl.SFTTrainer
    examples = sftkey_data.load(prepared.path)
    trainer = with_region_weights(base, weights=KEY40)(
        model,
        args=arguments(kind, tmp_path, learning_rate=1e-3, max_grad_norm=1.0, eval_strategy="steps", eval_steps=1),
        train_dataset=examples,
        eval_dataset=examples.select(range(4)),
        processing_class=prepared.tokenizer,
    )
    trainer.train()
    assert all(not torch.equal(p, before[name]) for name, p in model.named_parameters())
    logged = trainer.state.log_history
    assert len([row for row in logged if "loss" in row]) == STEPS
    measured = [row["eval_loss"] for row in logged if "eval_loss" in row]
    assert measured[1] < measured[0]


@KINDS
def test_the_logged_loss_is_the_weighted_mean_over_the_step(
    kind: str, tiny_model: Callable[..., PreTrainedModel], prepared: TrainingSet, tmp_path: Path
) -> None:
    split = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    trainer = trainer_of(kind, tiny_model("llama"), prepared, tmp_path, {"weights": KEY40}, **split)
    trainer.train()
    expected, _ = our_step(tiny_model("llama"), prepared, {"weights": KEY40}, 1)
    logged = next(row["loss"] for row in trainer.state.log_history if "loss" in row)
    assert logged == pytest.approx(expected, rel=1e-3)


@KINDS
def test_gradients_of_an_adapter_are_ours(
    kind: str, tiny_model: Callable[..., PreTrainedModel], prepared: TrainingSet, tmp_path: Path
) -> None:
    def adapted() -> Any:
        model = tiny_model("llama")
        return get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj", "down_proj"], init_lora_weights=False))

    seen, loss = Gradients(), {"weights": KEY40}
    trainer = trainer_of(kind, adapted(), prepared, tmp_path, loss, max_steps=1)
    trainer.add_callback(seen)
    trainer.train()
    assert all("lora" in name for name in seen.steps[0])
    assert worst(seen.steps[0], our_step(adapted(), prepared, loss, 1)[1]) < TOLERANCE


def test_a_class_below_a_trainer_keeps_what_is_its_own(
    tiny_model: Callable[..., PreTrainedModel], prepared: TrainingSet, tmp_path: Path
) -> None:
    class Counting(Trainer):
        def __init__(self, *args: Any, start: int, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.count = start

        def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
            self.count += 1
            return super().training_step(*args, **kwargs)

    args = arguments("Trainer", tmp_path)
    trainer = with_region_weights(Counting, loss_on="key")(
        tiny_model("llama"), args, train_dataset=sftkey_data.load(prepared.path), start=10
    )
    trainer.train()
    assert trainer.count == 10 + STEPS
    with pytest.raises(SFTKeyError, match="7 arguments by their place, expected model, args"):
        with_region_weights(Counting, loss_on="key")(None, args, None, None, None, None, None, start=0)


def test_examples_that_a_shuffle_or_a_filter_leaves_are_those_that_train(
    tiny_model: Callable[..., PreTrainedModel], prepared: TrainingSet, tmp_path: Path
) -> None:
    model, seen = tiny_model("llama"), Gradients()
    examples = sftkey_data.load(prepared.path).select(range(NUM, 2 * NUM))
    trainer = with_region_weights(Trainer, loss_on="key")(
        model, args=arguments("Trainer", tmp_path, max_steps=1), train_dataset=examples
    )
    trainer.add_callback(seen)
    trainer.train()
    assert worst(seen.steps[0], our_step(tiny_model("llama"), prepared, {"loss_on": "key"}, 2)[1]) < TOLERANCE


def test_outputs_that_are_asked_for_have_the_logits_of_all_tokens(
    tiny_model: Callable[..., PreTrainedModel], prepared: TrainingSet, tmp_path: Path
) -> None:
    trainer = trainer_of("Trainer", tiny_model("llama"), prepared, tmp_path, {"loss_on": "answer"})
    rows = sftkey_data.load(prepared.path).select(range(2)).to_list()
    batch = RegionCollator()(rows)
    with torch.no_grad():
        loss, outputs = trainer.compute_loss(trainer.model, dict(batch), return_outputs=True)
        assert float(loss) == pytest.approx(float(trainer.compute_loss(trainer.model, dict(batch))), rel=1e-6)
    assert outputs.logits.shape[:2] == batch["input_ids"].shape


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "packing": ("SFTTrainer", {"packing": True, "max_length": 64}, "packing is True, expected False"),
    "padding-free": ("SFTTrainer", {"padding_free": True}, "padding_free is True, expected False"),
    "loss type": ("SFTTrainer", {"loss_type": "dft"}, "loss_type is 'dft', expected 'nll'"),
    "smoothing": ("Trainer", {"label_smoothing_factor": 0.1}, "label_smoothing_factor is 0.1, expected 0.0"),
    "too long": ("SFTTrainer", {"max_length": 20}, r"max_length is 20, and 60 of 60 examples are longer, up to \d+"),
}


@pytest.mark.parametrize(("kind", "changes", "said"), REFUSED.values(), ids=REFUSED)
def test_settings_that_would_change_the_loss_are_refused(
    kind: str,
    changes: dict[str, Any],
    said: str,
    tiny_model: Callable[..., PreTrainedModel],
    prepared: TrainingSet,
    tmp_path: Path,
) -> None:
    with pytest.raises(SFTKeyError, match=said):
        trainer_of(kind, tiny_model("llama"), prepared, tmp_path, {"loss_on": "key"}, **changes)


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"args": None}, "args is missing"),
        ({"data_collator": list}, "data_collator is a type, expected a RegionCollator or none"),
        ({"compute_loss_func": print}, "compute_loss_func is given, expected none"),
    ],
    ids=["no arguments", "collator", "loss"],
)
def test_parts_that_do_not_fit_are_refused(
    keywords: dict[str, Any],
    said: str,
    tiny_model: Callable[..., PreTrainedModel],
    prepared: TrainingSet,
    tmp_path: Path,
) -> None:
    given = {"args": arguments("Trainer", tmp_path), "train_dataset": sftkey_data.load(prepared.path), **keywords}
    with pytest.raises(SFTKeyError, match=said):
        with_region_weights(Trainer, loss_on="key")(tiny_model("llama"), **given)


def test_examples_without_tokens_or_targets_are_refused(
    tiny_model: Callable[..., PreTrainedModel], prepared: TrainingSet, tmp_path: Path
) -> None:
    examples, args = sftkey_data.load(prepared.path), arguments("Trainer", tmp_path)
    weighted = with_region_weights(Trainer, loss_on="key")
    with pytest.raises(SFTKeyError, match=r"train_dataset: no column 'input_ids', expected the examples of"):
        weighted(tiny_model("llama"), args=args, train_dataset=examples.remove_columns("input_ids"))
    without = examples.map(lambda row: {"key_token_end": row["key_token_start"]}, load_from_cache_file=False)
    with pytest.raises(SFTKeyError, match=r"stage 'trl': 60 of 60 examples have no token with a weight"):
        weighted(tiny_model("llama"), args=args, train_dataset=without)


def test_a_mixture_of_experts_with_a_loss_of_its_own_is_refused(
    tiny_model: Callable[..., PreTrainedModel], prepared: TrainingSet, tmp_path: Path
) -> None:
    model = tiny_model("llama")
    model.config.output_router_logits = True
    with pytest.raises(SFTKeyError, match="the model has output_router_logits = true"):
        trainer_of("Trainer", model, prepared, tmp_path, {"loss_on": "key"})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "expected exactly one of 'loss_on' and 'weights', found neither"),
        ({"weights": {"kye": 1}}, r"unknown key 'weights.kye' \(did you mean 'key'\?\)"),
        ({"weights": {"key": 1}, "weight_schedule": "linear"}, "weight_schedule is 'linear', expected none"),
        ({"loss_on": "answers"}, "loss_on: Input should be 'completion', 'answer' or 'key'"),
    ],
    ids=["nothing", "region", "schedule", "word"],
)
def test_weights_that_make_no_loss_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(SFTKeyError, match=said):
        with_region_weights(Trainer, **options)


def test_what_is_no_trainer_is_refused() -> None:
    with pytest.raises(SFTKeyError, match=r"expected transformers\.Trainer or a class below it"):
        with_region_weights(dict, loss_on="key")  # type: ignore[type-var]
