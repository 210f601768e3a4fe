"""The recipe: one TOML file that says everything about a training run; `--set` for what changes between runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from sftkey_data.errors import nearest
from sftkey_train.recipe_tables import (
    AtLeastOne,
    AtLeastZero,
    BelowOne,
    Name,
    Ratio,
    RecipeTable,
    Weight,
    WholeRun,
)

LossOn = Literal["completion", "answer", "key"]
Schedule = Literal["constant", "linear", "cosine", "wsd"]
WeightSchedule = Literal["constant", "linear", "cosine"]
Normalisation = Literal["token", "example", "region"]
TokenLoss = Literal["nll", "dft", "focal"]
Metric = Literal["key_nll", "forced_key_match", "generated_key_match"]
Packing = Literal["auto", "on", "off"]
OptimizerName = Literal["adamw", "adamw_8bit", "adafactor", "muon"]
BETAS = (0.9, 0.95)


class Weights(RecipeTable):
    """Loss weight of the tokens of each region; a region that is not named has none."""

    prompt: Weight = 0.0
    cot: Weight = 0.0
    tag: Weight = 0.0
    key: Weight = 0.0
    eos: Weight = 0.0

    @model_validator(mode="after")
    def _refuse_all_zero(self) -> Self:
        if not any(self.model_dump().values()):
            raise ValueError("all weights are zero, so the stage would train on nothing")
        return self


COMPLETION = ("cot", "tag", "key", "eos")
LOSS_ON_WEIGHTS: Mapping[LossOn, Weights] = {
    "completion": Weights(cot=1, tag=1, key=1, eos=1),
    "answer": Weights(tag=1, key=1, eos=1),  # the paper's stage 2: everything after the closing CoT tag
    "key": Weights(key=1),
}


class EarlyStopping(RecipeTable):
    """End a stage after `patience` measurements in a row that were not better than the best before them."""

    metric: Metric
    patience: AtLeastOne


class Stage(RecipeTable):
    """One `[[stage]]` table: where it starts, which tokens carry loss, for how long, and how it is optimised."""

    later = ("min_lr_ratio", "decay_ratio", "optimizer", "neftune_alpha")

    name: Name
    init_from: str | None = Field(None, description="earlier stage to fork from; default: the stage before")
    init_weights: Literal["final", "best"] = Field("final", description="which weights that stage hands on")
    data: Path | None = Field(None, description="prepared directory of this stage, instead of the recipe's")
    loss_on: LossOn | None = Field(None, description="shorthand for weights: completion, answer or key")
    weights: Weights | None = Field(None, description="loss weight per region, instead of loss_on")
    weights_end: Weights | None = Field(None, description="weights of the last step; needs a weight_schedule")
    weight_schedule: WeightSchedule = Field("constant", description="how the weights go to weights_end")
    normalisation: Normalisation = Field("token", description="what the loss is a mean of, see normalisation.py")
    token_loss: TokenLoss = Field(
        "nll",
        description="dft: NLL times probability, held constant; focal: the Key's tokens by how wrong they are",
    )
    focal_gamma: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None, description="focal: a Key token's NLL is multiplied by (1 - its probability)^focal_gamma; default: 2"
    )
    placebo: bool = Field(False, description="the Key's weight on as many random tokens of the completion instead")
    anchor: Weight = Field(0.0, description="weight of the KL to the stage's first model, on tokens without loss")
    steps: AtLeastOne | None = Field(None, description="optimizer steps")
    epochs: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(None, description="instead of steps")
    batch_size: AtLeastOne = Field(description="examples per optimizer step")
    micro_batch_size: AtLeastZero = Field(0, description="examples per forward pass; 0: the whole batch at once")
    max_tokens: AtLeastZero = Field(0, description="tokens per forward pass, padding included, instead")
    packing: Packing = Field("auto", description="examples end to end in a forward pass of max_tokens; auto: on a GPU")
    context_gradient: bool = Field(True, description="false: what precedes the first token with a weight is only read")
    prune_last_layer: bool = Field(False, description="run the last layer's attention and MLP at predicted tokens only")
    lr: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(description="peak learning rate")
    schedule: Schedule = Field("cosine", description="learning rate after the warm-up; wsd: stays, then decays")
    min_lr_ratio: BelowOne = Field(0.0, description="share of lr to which linear, cosine and wsd go")
    decay_ratio: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="wsd: the last share of the steps, in which the rate falls linearly; default: 0.1"
    )
    warmup_ratio: Ratio = Field(0.0, description="share of the steps with a linearly rising learning rate")
    warmup_steps: AtLeastZero | None = Field(None, description="instead of warmup_ratio")
    optimizer: OptimizerName = Field("adamw", description="which parameters it treats how, see model/optimizer.py")
    weight_decay: Weight = Field(0.0, description="times lr, on matrices only: norms and biases have none")
    betas: tuple[Ratio, Ratio] = Field(BETAS, description="AdamW's; of muon, for what is no matrix of a hidden layer")
    neftune_alpha: Weight = Field(0.0, description="noise on the embeddings in training, NEFTune's alpha; 0: none")
    max_grad_norm: Weight = Field(1.0, description="gradients are scaled down to this norm; 0: never")
    save_every: AtLeastZero = Field(500, description="steps between checkpoints; 0: none before the end")
    keep_last: AtLeastOne = Field(1, description="how many of the latest checkpoints stay while the stage runs")
    best: Metric | None = Field(None, description="keep best-STEP, the model that this metric prefers, beside final")
    early_stopping: EarlyStopping | None = None
    log_every: AtLeastOne = Field(1, description="steps between rows of metrics.jsonl")
    eval_every: AtLeastZero = Field(100, description="steps between held-out rows; 0: at start and end only")
    gradient_share_every: AtLeastZero = Field(0, description="steps between gradient norms by region; 0: never")
    generate_every: AtLeastZero = Field(0, description="steps between generations on held-out; 0: only at the end")
    generate_at_end: bool = Field(True, description="generate at the end; of training data where no heldout is given")
    generate_examples: AtLeastOne = Field(64, description="how many of the first examples are generated")
    generate_max_new_tokens: AtLeastZero = Field(
        0, description="0: twice the longest gold completion among them, or it alone where that is above 2048"
    )

    @property
    def region_weights(self) -> Weights:
        """The weight of each region, whichever way the stage says it."""
        return self.weights or LOSS_ON_WEIGHTS[self.loss_on or "completion"]

    @property
    def target_regions(self) -> tuple[str, ...]:
        """Regions that carry loss; one whose weight is zero at one end of the stage only is among them."""
        ends = (self.region_weights, self.weights_end or self.region_weights)
        return tuple(region for region in Weights.model_fields if any(getattr(end, region) for end in ends))

    @property
    def anchored_regions(self) -> tuple[str, ...]:
        """Regions of the completion that carry no loss, where the stage holds on to its first model."""
        return tuple(r for r in COMPLETION if self.anchor and r not in self.target_regions)

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> Self:
        for first, second in (("loss_on", "weights"), ("steps", "epochs")):
            given = [key for key in (first, second) if getattr(self, key) is not None]
            if len(given) != 1:
                found = " and ".join(given) or "neither"
                raise ValueError(f"expected exactly one of {first!r} and {second!r}, found {found}")
        wanted = {self.best, self.early_stopping.metric if self.early_stopping else None}
        if "generated_key_match" in wanted and not self.generate_every:
            raise ValueError("'generated_key_match' is only measured with generate_every > 0")
        # A ratio of 0 beside it is what `resolved` writes, and that must load again.
        if self.warmup_steps is not None and "warmup_ratio" in self.model_fields_set and self.warmup_ratio:
            raise ValueError("expected at most one of 'warmup_steps' and 'warmup_ratio', found both")
        return self

    @model_validator(mode="after")
    def _every_option_has_an_effect(self) -> Self:
        if (self.weights_end is None) != (self.weight_schedule == "constant"):
            expected = "none, or key 'weights_end'" if self.weights_end is None else "'linear' or 'cosine'"
            raise ValueError(f"weight_schedule is {self.weight_schedule!r}, expected {expected}")
        ends = (self.region_weights, self.weights_end or self.region_weights)
        if self.placebo and not any(end.key for end in ends):
            raise ValueError("placebo moves the weight of the Key, but that is zero")
        if self.placebo and all(len({getattr(end, region) for region in COMPLETION}) == 1 for end in ends):
            raise ValueError("placebo changes nothing, as every region of the completion weighs the same")
        if self.token_loss == "focal" and not any(end.key for end in ends):
            raise ValueError("token_loss = 'focal' weighs the tokens of the Key, but the weight of the Key is zero")
        if self.focal_gamma is not None and self.token_loss != "focal":
            raise ValueError(f"focal_gamma is for token_loss = 'focal', found {self.token_loss!r}")
        if self.anchor and not self.anchored_regions:
            raise ValueError("anchor has no token, as every region of the completion carries loss")
        if self.anchor and not self.context_gradient:
            raise ValueError("anchor needs context_gradient = true: it holds the context, which has no gradient then")
        return self

    @model_validator(mode="after")
    def _optimisation_fits_together(self) -> Self:
        if self.min_lr_ratio and self.schedule == "constant":
            raise ValueError("min_lr_ratio is for a schedule that falls, found 'constant'")
        if self.decay_ratio is not None and self.schedule != "wsd":
            raise ValueError(f"decay_ratio is for schedule = 'wsd', found {self.schedule!r}")
        if self.optimizer == "adafactor" and self.betas != BETAS:
            raise ValueError("optimizer = 'adafactor' has no betas, leave them out")
        if self.neftune_alpha and not self.context_gradient:
            raise ValueError("neftune_alpha needs context_gradient = true: the context is read ahead, without noise")
        return self

    @model_validator(mode="after")
    def _passes_fit_together(self) -> Self:
        if self.max_tokens and self.micro_batch_size:
            raise ValueError("expected at most one of 'micro_batch_size' and 'max_tokens', found both")
        if self.packing == "on" and not self.max_tokens:
            raise ValueError("packing = 'on' needs 'max_tokens', the tokens of a forward pass")
        if self.packing == "on" and not self.context_gradient:
            raise ValueError("packing = 'on' needs context_gradient = true: a cache holds one example per row")
        if self.prune_last_layer and not self.context_gradient:
            raise ValueError("prune_last_layer needs context_gradient = true: all layers only read the context then")
        return self


class Recipe(WholeRun):
    """A whole run. Paths are relative to the directory the command runs in."""

    stages: Annotated[tuple[Stage, ...], Field(alias="stage", min_length=1)]

    @model_validator(mode="after")
    def _stages_fit_together(self) -> Self:
        seen: list[str] = []
        for stage in self.stages:
            if stage.name in seen:
                raise ValueError(f"two stages are named {stage.name!r}")
            if stage.init_from is not None and stage.init_from not in seen:
                hint = nearest(stage.init_from, seen) or f"; earlier: {', '.join(seen) or 'none'}"
                raise ValueError(f"stage {stage.name!r}: init_from {stage.init_from!r} is not an earlier stage{hint}")
            if self.heldout is None and (stage.best or stage.early_stopping or stage.generate_every):
                raise ValueError(f"stage {stage.name!r}: best, early_stopping and generate_every need a heldout set")
            if stage.init_weights == "best" and ((parent := self.parent(stage)) is None or parent.best is None):
                found = "it starts from the model" if parent is None else f"stage {parent.name!r} keeps no best"
                raise ValueError(f"stage {stage.name!r}: init_weights is 'best', but {found}")
            seen.append(stage.name)
        return self

    @model_validator(mode="after")
    def _whole_layers_are_compiled(self) -> Self:
        for stage in self.stages if self.compile else ():
            if stage.prune_last_layer or not stage.context_gradient:
                names = "prune_last_layer and context_gradient = false"
                raise ValueError(f"stage {stage.name!r}: compile does not go with {names}, which run layers in parts")
        return self

    @model_validator(mode="after")
    def _attention_takes_a_mask(self) -> Self:
        for stage in self.stages if self.attention not in ("auto", "eager", "sdpa") else ():
            if stage.prune_last_layer:
                found = f"attention = {self.attention!r}, which takes no mask of its own"
                raise ValueError(f"stage {stage.name!r}: prune_last_layer does not go with {found}")
        return self

    @model_validator(mode="after")
    def _ranks_keep_pace(self) -> Self:
        for stage in self.stages if self.fsdp else ():
            if stage.optimizer in ("adamw_8bit", "adafactor"):
                found = f"optimizer = {stage.optimizer!r}, whose state is of whole tensors"
                raise ValueError(f"stage {stage.name!r}: fsdp does not go with {found}")
            if stage.generate_every or stage.gradient_share_every or not stage.context_gradient:
                names = "generate_every, gradient_share_every and context_gradient = false"
                raise ValueError(
                    f"stage {stage.name!r}: fsdp does not go with {names}: ranks would pass unequally often"
                )
        return self

    def parent(self, stage: Stage) -> Stage | None:
        """The stage whose weights, final or best, `stage` starts from; None where it starts from the model."""
        index = self.stages.index(stage)
        if stage.init_from is None:
            return self.stages[index - 1] if index else None
        return next(s for s in self.stages if s.name == stage.init_from)

    def depth(self, stage: Stage) -> int:
        """How many stages lie between the model and `stage`; arms forked from one stage have the same depth."""
        parent = self.parent(stage)
        return 0 if parent is None else self.depth(parent) + 1

    def resolved(self) -> dict[str, Any]:
        """Every setting with its value, as JSON types, from which the same recipe loads; see `RecipeTable.later`."""
        return self.model_dump(mode="json", by_alias=True)
