"""A recipe with what a newcomer cannot know: lengths of the data, passes and LoRA by the memory, steps by the speed."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch._subclasses.fake_tensor import FakeTensorMode

from sftkey_data.arrays import Ints
from sftkey_data.prepared.manifest import MANIFEST, read_manifest
from sftkey_train.batches.packing import forward_passes
from sftkey_train.batches.training_set import TrainingSet, read_training_set
from sftkey_train.dry_run import estimate_stage, largest_pass
from sftkey_train.loss.router_loss import router_coefficient
from sftkey_train.measure.flops import flop_count
from sftkey_train.measure.memory_estimate import MemoryEstimate, skeleton
from sftkey_train.model.model import check_fit, check_tokenizer, model_config
from sftkey_train.proposal.course import STAGE1, STAGE2, Course, course_from_scratch, course_of_pretrained
from sftkey_train.proposal.machine import TrainingMachine
from sftkey_train.recipe import Recipe
from sftkey_train.recipe_run import dry_run
from sftkey_train.recipe_tables import ModelSource

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

ROOM = 0.8  # of the machine's memory: the estimate leaves out the program, fragmentation and single operations
EFFICIENCY = 0.3  # share of a matrix product's speed that training reaches
RECOMPUTED = 4 / 3  # forward and backward are three thirds, and the forward pass comes once more
MAX_HOURS = 24.0  # of stage 1; what would take longer is given fewer steps …
LEAST_SHARE = 0.1  # … but not fewer than this share: so little teaches nothing, and the machine is the wrong one
_BATCH_SIZES = (32, 16, 8, 4)
_MIN_STEPS = 100  # of stage 1, for the warm-up and the decay of the rate to be more than a few steps
_MAX_PASS_TOKENS = 2**17
GENERATED = 512  # tokens of a completion at most, unless sftkey-eval is told otherwise
_COUNTED_EXAMPLES = 64  # over which the operations of a token are averaged
_LORA_RATE = 2e-4
_LORA = {"r": 16, "alpha": 32, "dropout": 0.05}
# A model from scratch is the demo's: some minutes on two cores.
SMALL: Mapping[str, Any] = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 170,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "tie_word_embeddings": True,
    "initializer_range": 0.06,
}
# From what trains best to what needs least memory.
WAYS: Mapping[str, Mapping[str, Any]] = {
    "all weights": {},
    "all weights, activations recomputed": {"gradient_checkpointing": True},
    "LoRA": {"lora": _LORA},
    "LoRA, activations recomputed": {"lora": _LORA, "gradient_checkpointing": True},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposedRecipe:
    """The recipe, and what it was made of.

    `way` is a name in `WAYS`, `others` what those before it would need in bytes; `hours` are those of stage 1 with all
    its epochs, of which there are `num_epochs`, in `num_steps` steps.
    """

    recipe: Recipe
    machine: TrainingMachine
    lengths: Ints
    num_parameters: int
    way: str
    memory: MemoryEstimate
    others: Mapping[str, int]
    num_epochs: int
    num_steps: int
    hours: float

    @property
    def is_slow(self) -> bool:
        """Whether this machine is far too slow for it."""
        return self.hours * LEAST_SHARE > MAX_HOURS

    @property
    def fits(self) -> bool:
        """Whether the memory is enough."""
        return self.memory.total <= ROOM * self.machine.memory


def propose_recipe(model: str | None, data: Path, heldout: Path | None, machine: TrainingMachine) -> ProposedRecipe:
    """A stage 1, the paper's stage 2 and its control, on a prepared folder.

    Args:
        model: Folder or hub name of a pretrained one; None: a small one from scratch.
        data: To train on.
        heldout: To measure on; None: what a build with `--holdout` has left beside `data`, if it has.
        machine: Where it is to run.

    Raises:
        SFTKeyError: What a run refuses: a folder without tokens, another tokenizer, an example longer than the context.
    """
    training = read_training_set(data)
    source = _small_model(training) if model is None else ModelSource.model_validate({"path": model})
    config = model_config(source, training.tokenizer)
    check_tokenizer(source, training)
    check_fit(config, training)
    lengths, num_parameters = training.examples.num_tokens, _num_parameters(config)
    course = course_from_scratch(len(lengths)) if model is None else course_of_pretrained(num_parameters)
    batch_size = _batch_size(course, len(lengths))
    tables = {
        **_named(model, data),
        "data": data,
        "heldout": heldout or _own_holdout(data),
        "precision": machine.precision,
        "model": source,
    }

    def recipe(way: str, tokens: int, hours: float = 0.0) -> Recipe:
        rated = replace(course, rate=_LORA_RATE) if "lora" in WAYS[way] else course
        stages = _stages(rated, len(lengths), batch_size, tokens, hours)
        return Recipe.model_validate({**tables, **WAYS[way], "stage": stages})

    others: dict[str, int] = {}
    for way in [way for way, settings in WAYS.items() if model is not None or "lora" not in settings]:
        tokens, memory = _largest_budget(
            lambda tokens, way=way: recipe(way, tokens),  # type: ignore[misc]
            training,
            config,
            ROOM * machine.memory,
        )
        if memory.total <= ROOM * machine.memory:
            break
        others[way] = memory.total
    others.pop(way, None)
    hours = _hours(recipe(way, tokens), course, training, config, machine)
    proposed = recipe(way, tokens, hours)
    dry_run(proposed)  # for what it refuses; its lines are not asked for
    return ProposedRecipe(
        recipe=proposed,
        machine=machine,
        lengths=lengths,
        num_parameters=num_parameters,
        way=way,
        memory=memory,
        others=others,
        num_epochs=course.epochs[STAGE1],
        num_steps=course.num_steps(STAGE1, len(lengths), batch_size),
        hours=hours,
    )


def _small_model(training: TrainingSet) -> ModelSource:
    """With a context for the longest prompt and what is generated: twice the longest completion, or the default."""
    prompts = training.examples.num_prompt_tokens
    generated = max(2 * (training.examples.num_tokens - prompts).max(), GENERATED)
    context = 2 ** int(prompts.max() + generated - 1).bit_length()
    return ModelSource.model_validate({"config": {**SMALL, "max_position_embeddings": context}})


def _named(model: str | None, data: Path) -> dict[str, str]:
    """A name after both, and the first folder of that name that is not there yet."""
    titles = (*([] if model is None else [Path(model).name]), data.resolve().name)
    name = "-".join(re.sub(r"[^\w.-]+", "-", title).strip("-.") or "mine" for title in titles)
    outs = (f"runs/{name}{n}" for n in ("", *(f"-{n}" for n in range(2, 1000))))
    return {"name": name, "out": next(out for out in outs if not Path(out).exists())}


def _own_holdout(data: Path) -> Path | None:
    beside = data.resolve().with_name(f"{data.resolve().name}-holdout")
    if not (beside / MANIFEST).is_file():
        return None
    of = read_manifest(beside).holdout
    return data.with_name(beside.name) if of is not None and of.part == "holdout" else None


def _batch_size(course: Course, num_examples: int) -> int:
    """The largest with enough steps."""
    steps = {size: course.num_steps(STAGE1, num_examples, size) for size in _BATCH_SIZES}
    return next((size for size, num in steps.items() if num >= _MIN_STEPS), _BATCH_SIZES[-1])


def _stages(course: Course, num_examples: int, batch_size: int, tokens: int, hours: float) -> list[dict[str, Any]]:
    """The tables of the stages; where stage 1 would take longer than a day they have steps and not epochs."""
    stages, day = [], MAX_HOURS / hours if hours else 1.0
    share = day if LEAST_SHARE <= day < 1 else 1.0
    for name, epochs in course.epochs.items():
        num_steps = course.num_steps(name, num_examples, batch_size)
        done = max(1, int(num_steps * share))
        later = {} if name == STAGE1 else {"init_from": STAGE1}
        stages.append(
            {
                "name": name,
                **later,
                "loss_on": "answer" if name == STAGE2 else "completion",
                **({"epochs": epochs} if share == 1 else {"steps": done}),
                "batch_size": batch_size,
                "max_tokens": tokens,
                "lr": course.rate if name == STAGE1 else course.rate * course.later,
                "warmup_ratio": 0.05,
                "eval_every": max(1, done // 5),
            }
        )
    return stages


def _largest_budget(
    recipe: Callable[[int], Recipe], training: TrainingSet, config: "PreTrainedConfig", room: float
) -> tuple[int, MemoryEstimate]:
    """The tokens of a forward pass, one long example or 2, 4, … of them, whose estimate is within `room`; else one."""

    def estimate(tokens: int) -> MemoryEstimate:
        asked = recipe(tokens)
        whole, pad = router_coefficient(config) > 0, training.tokenizer.pad_token_id or 0
        return estimate_stage(asked, asked.stages[0], config, largest_pass(training, asked.stages[0], pad, whole=whole))

    tokens = longest = int(training.examples.num_tokens.max())
    most = max(longest, min(longest * recipe(longest).stages[0].batch_size, _MAX_PASS_TOKENS))
    memory = estimate(tokens)
    while memory.total <= room and tokens < most:
        larger = min(2 * tokens, most)
        if (needed := estimate(larger)).total > room:
            break
        tokens, memory = larger, needed
    return tokens, memory


def _hours(
    recipe: Recipe, course: Course, training: TrainingSet, config: "PreTrainedConfig", machine: TrainingMachine
) -> float:
    """Of stage 1, by its operations and the machine's speed: right in its order of magnitude."""
    stage, pad = recipe.stages[0], training.tokenizer.pad_token_id or 0
    some = np.linspace(0, len(training.examples) - 1, min(len(training.examples), _COUNTED_EXAMPLES)).astype(int)
    chosen = [training.examples[int(index)] for index in some]
    with FakeTensorMode() as mode:
        count = flop_count(skeleton(config, mode, recipe.lora))
    flops = count.of(forward_passes(chosen, stage.region_weights, stage, pad, packed=False))
    num_seen = training.examples.num_tokens.sum() * course.epochs[STAGE1]
    total = flops * num_seen / sum(len(example.input_ids) for example in chosen)
    total *= RECOMPUTED if recipe.gradient_checkpointing else 1
    return float(total / (EFFICIENCY * machine.flops) / 3600)


def _num_parameters(config: "PreTrainedConfig") -> int:
    with FakeTensorMode() as mode:
        return sum(parameter.numel() for parameter in skeleton(config, mode).parameters())
