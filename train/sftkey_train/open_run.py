"""A run before its first step: its recipe with everything it names opened, and what does not fit together refused."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from sftkey_data.errors import SFTKeyError
from sftkey_data.extras import require
from sftkey_train import ranks
from sftkey_train.batches.batch import ExampleOrder
from sftkey_train.batches.training_set import TrainingSet, read_training_set, refuse_other_tokens
from sftkey_train.checkpoint.checkpoint import StageFolder
from sftkey_train.checkpoint.earlier_run import METRICS, record_sha256
from sftkey_train.checkpoint.origin import Origin
from sftkey_train.checkpoint.stage_start import StageStart, hash_of
from sftkey_train.loss.router_loss import router_coefficient
from sftkey_train.loss.schedule import num_stage_examples
from sftkey_train.measure.generated_match import Prompts, SampleOf, read_prompts
from sftkey_train.measure.metrics_log import MetricsLog
from sftkey_train.measure.stage_trackers import check_recipe_trackers
from sftkey_train.model.attention_choice import attention_used
from sftkey_train.model.model import check_compiler, check_fit, check_tokenizer, model_config
from sftkey_train.model.quantization import check_quantization
from sftkey_train.recipe import LOSS_ON_WEIGHTS, Recipe, Stage
from sftkey_train.stage_checks import check_stage

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A recipe with everything it names opened and checked."""

    recipe: Recipe
    data: TrainingSet
    stage_data: Mapping[str, TrainingSet]  # of the stages that name one of their own
    heldout: TrainingSet | None
    config: "PreTrainedConfig"
    model_hash: str | None  # of the recipe's model where that is a folder
    attention: str  # of all its models

    @property
    def metrics(self) -> MetricsLog:
        """What it measures."""
        return MetricsLog(self.recipe.out / METRICS)

    def folder(self, stage: Stage) -> StageFolder:
        """Where a stage writes."""
        return StageFolder(self.recipe.out / stage.name, Origin(record_sha256(self.record()), stage.name))

    def folders(self) -> list[StageFolder]:
        """Those of all stages."""
        return [self.folder(stage) for stage in self.recipe.stages]

    def start(self, stage: Stage) -> StageStart:
        """What a stage starts from."""
        before = self.folder(parent) if (parent := self.recipe.parent(stage)) is not None else None
        own, tokenizer, device = self.folder(stage), self.data.tokenizer, ranks.own_device(self.recipe.device)
        shares = is_in_shares(self.recipe)
        return StageStart(self.recipe, self.config, tokenizer, stage, own, before, self.model_hash, device, shares)

    def starts(self) -> list[StageStart]:
        """Those of all stages."""
        return [self.start(stage) for stage in self.recipe.stages]

    def data_of(self, stage: Stage) -> TrainingSet:
        """What a stage trains on."""
        return self.stage_data.get(stage.name, self.data)

    def order(self, stage: Stage) -> ExampleOrder:
        """Which examples each step of a stage sees."""
        num = len(self.data_of(stage).examples)
        seen = num_stage_examples(stage, num)
        return ExampleOrder(self.recipe.seed, self.recipe.depth(stage), num, stage.batch_size, seen)

    def steps_before(self) -> dict[str, int]:
        """How many steps the stages before each one have together, in the order of the recipe."""
        num_steps = [self.order(stage).num_steps for stage in self.recipe.stages]
        return {stage.name: sum(num_steps[:i]) for i, stage in enumerate(self.recipe.stages)}

    def record(self) -> dict[str, Any]:
        """What must not change between two invocations on one directory."""
        record: dict[str, Any] = {"recipe": self.recipe.resolved(), "data_sha256": self.data.sha256}
        record |= {"router_coefficient": coefficient} if (coefficient := router_coefficient(self.config)) else {}
        record |= {"stage_data_sha256": {name: data.sha256 for name, data in self.stage_data.items()}}
        record |= {"heldout_sha256": self.heldout.sha256 if self.heldout else None}
        if self.recipe.model.path is None:
            return record
        # The commit of a model of the hub fixes its files; of a folder they are read.
        return record | {"model_hash": self.model_hash or getattr(self.config, "_commit_hash", None)}


def open_run(recipe: Recipe) -> OpenRun:
    """Open what the recipe names and check that it fits together; nothing is written.

    Raises:
        SFTKeyError: One line that says what does not.
    """
    if recipe.device == "cuda" and not torch.cuda.is_available():
        raise SFTKeyError("device is 'cuda', but torch sees no GPU; expected 'auto' or 'cpu'")
    check_recipe_trackers(recipe)
    device = ranks.own_device(recipe.device)
    if recipe.compile:
        check_compiler(device)
    if recipe.lora is not None:
        require("lora", "train", "peft")
        check_quantization(recipe.lora, device)
    data = read_training_set(recipe.data)
    heldout = read_training_set(recipe.heldout) if recipe.heldout else None
    own = {path: read_training_set(path) for path in dict.fromkeys(s.data for s in recipe.stages) if path is not None}
    stage_data = {stage.name: own[stage.data] for stage in recipe.stages if stage.data is not None}
    for name, other in stage_data.items():
        refuse_other_tokens(f"stage {name!r}: data", other, data)
    if heldout is not None:
        refuse_other_tokens("heldout", heldout, data)
    config = model_config(recipe.model, data.tokenizer)
    hashed = None if recipe.model.path is None else hash_of(recipe.model.path)
    attention = attention_used(recipe, config, device)
    run = OpenRun(recipe, data, stage_data, heldout, config, hashed, attention)
    check_tokenizer(recipe.model, data)
    for prepared in filter(None, (data, *own.values(), heldout)):
        check_fit(run.config, prepared)
        prepared.examples.check(LOSS_ON_WEIGHTS["completion"], str(prepared.path))
    for stage in recipe.stages:
        examples, num_steps = run.data_of(stage).examples, run.order(stage).num_steps
        coefficient = router_coefficient(config)
        check_stage(stage, examples, num_steps, coefficient, device, sharded=is_in_shares(recipe))
        prompts_of(run, stage)  # for what it refuses; made again where it is used
    return run


def prompts_of(run: OpenRun, stage: Stage) -> Prompts | None:
    """What a stage generates for; None where it does not."""
    if not (stage.generate_every or stage.generate_at_end) or is_in_shares(run.recipe):
        return None
    context = getattr(run.config.get_text_config(), "max_position_embeddings", None)
    of: SampleOf = "train" if run.heldout is None else "heldout"
    num, limit = stage.generate_examples, stage.generate_max_new_tokens
    return read_prompts(run.heldout or run.data_of(stage), num, limit, context, of)


def is_in_shares(recipe: Recipe) -> bool:
    """Whether each process holds a share of the model."""
    return recipe.fsdp and ranks.num_ranks() > 1
