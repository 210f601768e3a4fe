"""What a run would do, without doing it: shapes, steps, tokens, memory, the first batch in colour."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.text import Text
from torch._subclasses.fake_tensor import FakeTensorMode

from sftkey_data.prepared.prepared_folder import open_prepared
from sftkey_data.prepared.shards import open_shards
from sftkey_data.schema import REGIONS
from sftkey_data.view.show import heading, tokens_in_colour
from sftkey_train.batches.batch import Batch, ExampleOrder, collate
from sftkey_train.batches.packing import forward_passes
from sftkey_train.batches.region_weights import KEY
from sftkey_train.batches.training_set import TrainingSet
from sftkey_train.loss.objective import selected_regions
from sftkey_train.loss.router_loss import router_coefficient
from sftkey_train.loss.schedule import num_decay_steps, num_warmup_steps
from sftkey_train.measure.flops import flop_count, step_work
from sftkey_train.measure.generated_match import SOURCES, Prompts
from sftkey_train.measure.memory_estimate import MemoryEstimate, estimate_memory, skeleton
from sftkey_train.model.optimizer import hidden_matrices
from sftkey_train.recipe import Recipe, Stage, Weights
from sftkey_train.recipe_tables import Lora

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

NUM_SHOWN = 3  # examples of a first batch
SUPERVISED, SUPERVISED_KEY, UNSUPERVISED = "green", "bold green", "dim"


@dataclass(frozen=True, slots=True)
class StagePlan:
    """One stage, the order of its examples, by `parent` the name of what it starts from, and what it generates for."""

    stage: Stage
    data: TrainingSet
    order: ExampleOrder
    parent: str
    prompts: Prompts | None


def describe(
    recipe: Recipe,
    data: TrainingSet,
    heldout: TrainingSet | None,
    config: "PreTrainedConfig",
    plans: Sequence[StagePlan],
) -> Iterator[Text]:
    """The lines of a dry run; nothing is trained or written.

    Args:
        recipe: The run.
        data: What it trains on.
        heldout: What it measures on.
        config: The model's.
        plans: The stages in order.
    """
    yield _line("recipe", f"{recipe.name}, seed {recipe.seed}, out {recipe.out}")
    yield _line("data", _size(data))
    if heldout is not None:
        yield _line("heldout", f"{_size(heldout)}; the first {recipe.heldout_examples} are measured")
    with FakeTensorMode() as mode:
        model = skeleton(config, mode, recipe.lora)
    yield _line("model", _model(recipe, config, model))
    yield _line("device", f"{recipe.device}, {recipe.precision}")
    for number, plan in enumerate(plans, start=1):
        yield Text(f"\nstage {number} of {len(plans)}: {plan.stage.name}, from {plan.parent}", "bold")
        if plan.stage.data is not None:
            yield _line("data", _size(plan.data))
        yield from _stage(recipe, model, plan)


def _line(name: str, text: str) -> Text:
    return Text().append(f"{name:<9} ", "bold").append(text)


def _size(data: TrainingSet) -> str:
    lengths = data.examples.num_tokens
    return f"{data.path}: {len(lengths):,} examples, {lengths.sum():,} tokens, longest {lengths.max():,}"


def _model(recipe: Recipe, config: "PreTrainedConfig", model: "PreTrainedModel") -> str:
    num = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    adapter = "" if recipe.lora is None else f", of which {trained:,} {_trained_parts(recipe.lora)} are trained"
    text_config = config.get_text_config()
    shape = f"{text_config.num_hidden_layers} layers, hidden {text_config.hidden_size}"
    context = getattr(text_config, "max_position_embeddings", None)
    limit = "" if context is None else f", context {context:,}"
    name = recipe.model.path or "from scratch"
    return (
        f"{name} ({config.model_type}): {num:,} parameters{adapter}, {shape}, "
        f"vocabulary {text_config.vocab_size:,}{limit}{_router_loss(config)}"
    )


def _trained_parts(lora: Lora) -> str:
    parts = " and in ".join(["the adapter", *lora.modules_to_save])
    return f"in {parts}" if lora.quantization is None else f"in {parts}, above weights in 4 bits,"


def _router_loss(config: "PreTrainedConfig") -> str:
    if not hasattr(config, "output_router_logits"):
        return ""
    coefficient = router_coefficient(config)
    return f", router loss times {coefficient:g}" if coefficient else ", no router loss (output_router_logits is false)"


def _stage(recipe: Recipe, model: "PreTrainedModel", plan: StagePlan) -> Iterator[Text]:
    stage, data, order = plan.stage, plan.data, plan.order
    weights, vocab_size = stage.region_weights, model.config.get_text_config().vocab_size
    chosen = [data.examples[i] for i in order.batch(1)]
    pad_token_id = data.tokenizer.pad_token_id or 0
    whole = router_coefficient(model.config) > 0
    passes = forward_passes(chosen, weights, stage, pad_token_id, packed=False, whole=whole)
    largest = largest_pass(data, stage, pad_token_id, whole=whole)
    epochs = order.num_seen / order.num_examples
    yield _line("loss", " · ".join(f"{name} {value:g}" for name, value in weights.model_dump().items() if value))
    yield _line("steps", f"{order.num_steps:,} of {stage.batch_size} examples, {epochs:.3g} epochs")
    yield _line("lr", _rates(stage, order.num_steps))
    if stage.optimizer != "adamw":
        yield _line("optimizer", _optimizer(model, stage))
    yield _line("tokens", _tokens(data, weights, epochs))
    yield _line("passes", f"{len(passes)} a step; first batch: {', '.join(_shapes(p, vocab_size) for p in passes[:4])}")
    yield _line("largest", _shapes(largest, vocab_size))
    yield _line("memory", _memory(estimate_stage(recipe, stage, model.config, largest)))
    yield _line("compute", _compute(model, stage, chosen, passes))
    yield _line("generate", _generated(stage, plan.prompts))
    yield from _first_batch(data, passes[0], len(chosen))


def _optimizer(model: "PreTrainedModel", stage: Stage) -> str:
    if stage.optimizer != "muon":
        return stage.optimizer
    matrices = hidden_matrices(model)
    num, trained = sum(p.numel() for p in matrices), sum(p.numel() for p in model.parameters() if p.requires_grad)
    return f"muon for {len(matrices):,} matrices of {num:,} parameters, AdamW for the other {trained - num:,}"


def _rates(stage: Stage, num_steps: int) -> str:
    least = f" to {stage.min_lr_ratio * stage.lr:g}" if stage.min_lr_ratio else ""
    decay = f" in the last {num_decay_steps(stage, num_steps):,}" if stage.schedule == "wsd" else ""
    return f"{stage.lr:g}, {stage.schedule}{least}{decay} after {num_warmup_steps(stage, num_steps):,} steps of warm-up"


def largest_pass(data: TrainingSet, stage: Stage, pad_token_id: int, *, whole: bool) -> Batch:
    """The longest examples together, or those that fill a budget of tokens most: no forward pass is larger."""
    lengths = data.examples.num_tokens
    longest_first = np.argsort(-lengths, kind="stable")
    if stage.max_tokens:
        # How many fit when the i-th is the longest, and there are that many. Lengths (5, 4, 3, 3, 2) in a budget of 9:
        # (1, 2, 3, 2, 1) together make (5, 8, 9, 6, 2) tokens, so (3, 3, 2) is the largest pass.
        widths = lengths[longest_first]
        together = np.minimum(stage.max_tokens // widths, np.arange(len(widths), 0, -1))
        start = int((together * widths).argmax())
        chosen = longest_first[start : start + int(together[start])]
    else:
        chosen = longest_first[: stage.micro_batch_size or stage.batch_size]
    return collate([data.examples[int(i)] for i in chosen], selected_regions(stage), pad_token_id, whole=whole)


def estimate_stage(recipe: Recipe, stage: Stage, config: "PreTrainedConfig", largest: Batch) -> MemoryEstimate:
    """What the largest pass of a stage needs, see `estimate_memory`."""
    return estimate_memory(
        config,
        largest,
        recipe.precision,
        attention=recipe.attention,
        lora=recipe.lora,
        optimizer=stage.optimizer,
        gradient_checkpointing=recipe.gradient_checkpointing,
        context_gradient=stage.context_gradient,
        anchor=stage.anchor > 0,
        num_shares=int(os.environ.get("WORLD_SIZE", "1")) if recipe.fsdp else 1,
        reduce_once=recipe.reduce_once,
    )


def _tokens(data: TrainingSet, weights: Weights, epochs: float) -> str:
    """Over the whole stage; a mean where it ends within an epoch."""
    has_weight = np.array([getattr(weights, region) > 0 for region in REGIONS])
    total = data.examples.num_tokens.sum() * epochs
    targets = (data.examples.region_tokens() @ has_weight).sum() * epochs
    return f"{total:,.0f}, of which {targets:,.0f} ({targets / total:.1%}) carry loss"


def _shapes(batch: Batch, vocab_size: int) -> str:
    return f"input_ids {tuple(batch.input_ids.shape)} -> logits ({len(batch.labels)}, {vocab_size})"


def _memory(estimate: MemoryEstimate) -> str:
    parts = ", ".join(f"{name} {size_text(size)}" for name, size in estimate.parts().items())
    return f"about {size_text(estimate.total)} for the largest pass: {parts}"


def size_text(size: int) -> str:
    """Bytes as `1.50 GiB` or `20.0 MiB`."""
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"


def _compute(model: "PreTrainedModel", stage: Stage, chosen: Sequence[Any], passes: Sequence[Batch]) -> str:
    count, num_labels = flop_count(model), sum(len(batch.labels) for batch in passes)
    flops = count.of(passes, context_gradient=stage.context_gradient)
    # As a trainer that projects every position and masks the labels afterwards.
    everywhere = sum(step_work(n, n).at(count.learning) for n in (len(example.input_ids) for example in chosen))
    per_token = flops / sum(len(example.input_ids) for example in chosen)
    in_head = count.learning.labels * num_labels / flops
    return (
        f"{per_token / 1e9:.3g} GFLOP a token, {in_head:.1%} of it in the output layer; "
        f"{flops / everywhere:.1%} of what logits at every position cost"
    )


def _generated(stage: Stage, prompts: Prompts | None) -> str:
    if prompts is None:
        return "nothing"
    often, at_end = f"every {stage.generate_every:,} steps", "at the end"
    times = [often] * bool(stage.generate_every) + [at_end] * stage.generate_at_end
    num, limit = len(prompts.input_ids), prompts.max_new_tokens
    return f"{' and '.join(times)}: for {num} {SOURCES[prompts.of]} examples, at most {limit:,} tokens each"


def _first_batch(data: TrainingSet, batch: Batch, num: int) -> Iterator[Text]:
    shown = batch.ids[:NUM_SHOWN]
    yield Text(f"first batch, {len(shown)} of its {num} examples: ", "bold") + _legend()
    encoder = open_prepared(data.path).encoder()
    rows = _rows(data, shown)
    for index, row in enumerate(rows[example] for example in shown):
        styles = token_styles(batch, index)
        yield heading(row)
        if encoder is not None:
            in_order = [styles.get(position, UNSUPERVISED) for position in range(len(row["input_ids"]))]
            yield tokens_in_colour(row, encoder, in_order)


def token_styles(batch: Batch, row: int) -> dict[int, str]:
    """The style of every token of one example that carries loss, by its position in `input_ids` of the shards.

    It is read off the tensors that a training step would see, so that a wrong shift shows.
    """
    mine = batch.rows == row
    # A position predicts the token after it: in row 1 of width 5, position 7 is place 2 and predicts token 3.
    tokens = (batch.positions[mine] - row * batch.input_ids.shape[1] + 1).tolist()
    regions = batch.regions[mine].tolist()
    return {at: SUPERVISED_KEY if region == KEY else SUPERVISED for at, region in zip(tokens, regions, strict=True)}


def _legend() -> Text:
    text = Text().append("no loss", UNSUPERVISED).append("  ").append("loss", SUPERVISED)
    return text.append("  ").append("loss, Key", SUPERVISED_KEY)


def _rows(data: TrainingSet, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    table = open_shards(data.path)
    found = table.filter(pc.is_in(table["id"], value_set=pa.array(ids)))
    return {row["id"]: row for row in found.to_pylist()}
