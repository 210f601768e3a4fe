"""A class of `Trainer` or `SFTTrainer` whose loss is the weighted one of `sftkey-train run`.

How a step is normalised (see `loss/normalisation.py`) depends on all its micro-batches and processes. A trainer
collects the micro-batches of a step first, in `get_batch_samples`; there each token gets its factor, and over the step
the factors add up to 1. So the gradients of a step are those of our own loop, however it is split.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from torch import Tensor
from torch.nn import functional
from transformers import Trainer

from sftkey_data.config import validate
from sftkey_data.errors import SFTKeyError
from sftkey_train.batches.batch import Examples
from sftkey_train.batches.region_weights import KEY, weight_by_region
from sftkey_train.loss.normalisation import normalised_weights, weight_sums
from sftkey_train.loss.objective import check_targets, token_loss
from sftkey_train.loss.schedule import step_weights
from sftkey_train.loss.token_loss import weighted_loss
from sftkey_train.recipe import LossOn, Normalisation, Stage, TokenLoss, Weights, WeightSchedule
from sftkey_train.trl.padded_targets import padded_targets, spread_weights
from sftkey_train.trl.region_collator import COLUMNS, REGIONS_KEY, RegionCollator, refuse_columns
from sftkey_train.trl.trainer_settings import refuse_arguments, refuse_model, refuse_trainer

if TYPE_CHECKING:
    from datasets import Dataset

_Trainer = TypeVar("_Trainer", bound=Trainer)
WEIGHTS_KEY = "loss_weights"
"""Of a batch: fp32 (B, T), the factor of each token; over all batches of a step they add up to 1."""

_BY_PLACE = ("model", "args", "data_collator", "train_dataset", "eval_dataset", "processing_class")
"""The first arguments of both trainers; a class below them may hide them behind `*args`."""

_SHAPE = {"name": "trl", "steps": 1, "batch_size": 1, "lr": 1.0}
"""What a stage has besides its loss, and the trainer's own arguments say here."""


def with_region_weights(
    base: type[_Trainer],
    *,
    loss_on: LossOn | None = None,
    weights: Weights | Mapping[str, float] | None = None,
    weights_end: Weights | Mapping[str, float] | None = None,
    weight_schedule: WeightSchedule = "constant",
    normalisation: Normalisation = "token",
    token_loss: TokenLoss = "nll",
    focal_gamma: float | None = None,
) -> type[_Trainer]:
    """A trainer class with a loss weight for each region; all else is that of `base`.

    It takes the arguments that `base` takes, with `sftkey_data.load(FOLDER)` as `train_dataset` and `eval_dataset`. The
    loss of a step is that of a stage of `sftkey-train run` with the same options, over all its micro-batches and
    processes. An evaluation weighs as the step it comes before, each batch by itself.

    Args:
        base: `transformers.Trainer`, `trl.SFTTrainer`, or a class of your own below one of them.
        loss_on: `completion`, `answer` or `key`: short for weights.
        weights: Weight by region, of `prompt`, `cot`, `tag`, `key` and `eos`; one that is not named has none.
        weights_end: Weights of the last step, with a `weight_schedule`.
        weight_schedule: How the weights go to `weights_end`: `linear` or `cosine`.
        normalisation: What the loss is a mean of: `token`, `example` or `region`.
        token_loss: `nll`, `dft` or `focal`, see [training](training.md#the-loss).
        focal_gamma: Of `focal`.

    Raises:
        SFTKeyError: One line: an option that is none, weights that do not fit together, and when a trainer is made or
            trains, arguments, a model or examples that do not fit.

    Example:
        from transformers import Trainer

        from sftkey_train.trl import with_region_weights

        KeyTrainer = with_region_weights(Trainer, weights={"cot": 1, "tag": 1, "key": 40, "eos": 1})
        print(KeyTrainer.__name__)
    """
    given: dict[str, Any] = {"loss_on": loss_on, "weights": weights, "weights_end": weights_end}
    given = {name: dict(value) if isinstance(value, Weights) else value for name, value in given.items()}
    given |= {"weight_schedule": weight_schedule, "normalisation": normalisation}
    given |= {"token_loss": token_loss, "focal_gamma": focal_gamma}
    stage = validate(_SHAPE | given, Stage, where="with_region_weights")
    refuse_trainer(base)
    return cast(type[_Trainer], type(f"Region{base.__name__}", (_RegionLoss, base), {"region_stage": stage}))


class _RegionLoss:
    """Stands before a trainer class, whose loss it replaces."""

    region_stage: ClassVar[Stage]
    loss_is_scaled_for_ga = True  # the factors are of the whole step

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        if len(arguments) > len(_BY_PLACE):
            named = f"expected {', '.join(_BY_PLACE)}, others by name"
            raise SFTKeyError(f"{len(arguments)} arguments by their place, {named}")
        given = dict(zip(_BY_PLACE, arguments, strict=False)) | keywords
        _prepare(given, self.region_stage)
        super().__init__(**given)
        refuse_model(self.model)  # type: ignore[attr-defined]

    def get_batch_samples(self, *arguments: Any, **keywords: Any) -> tuple[list[dict[str, Any]], Any]:
        """The micro-batches of a step, each token with its factor."""
        samples, num_items = super().get_batch_samples(*arguments, **keywords)  # type: ignore[misc]
        if samples:
            for sample, factors in zip(samples, self._factors(samples, of_step=True), strict=True):
                sample[WEIGHTS_KEY] = factors.to(sample["input_ids"].device)
        return samples, num_items

    def compute_loss(
        self,
        model: Any,
        inputs: Mapping[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,  # noqa: ARG002 - by which the factors are no more to be divided
    ) -> Any:
        """This micro-batch's share of the loss of its step; of an evaluation, the batch's own."""
        own: Any = self
        given = {name: value for name, value in inputs.items() if name not in ("labels", REGIONS_KEY, WEIGHTS_KEY)}
        factors = inputs.get(WEIGHTS_KEY)
        own_factors = self._factors([inputs], of_step=False)[0] if factors is None else factors
        targets = _Targets.of(inputs, own_factors.to(given["input_ids"].device))
        fewer = {} if return_outputs or not _takes_positions(own, model) else {"logits_to_keep": targets.columns}
        outputs = model(**given, use_cache=False, **fewer)
        logits = outputs.logits if fewer else outputs.logits[:, targets.columns]
        nll = functional.cross_entropy(logits[targets.chosen].float(), targets.labels, reduction="none")
        loss = weighted_loss(token_loss(nll, targets.is_key, self.region_stage), targets.factors)
        if factors is not None:
            loss = loss * own.accelerator.num_processes  # of which the trainer takes the mean
        return (loss, outputs) if return_outputs else loss

    def _factors(self, samples: Sequence[Mapping[str, Any]], *, of_step: bool) -> list[Tensor]:
        """The normalised weight of every token of each sample, fp32 (B, T)."""
        own: Any = self
        stage, state = self.region_stage, own.state
        step = min(state.global_step + 1, max(state.max_steps, 1))  # an evaluation may come before or after all steps
        by_region = weight_by_region(step_weights(stage, step, state.max_steps))
        batches = [padded_targets(sample, stage.target_regions) for sample in samples]
        sums = weight_sums(batches, by_region)
        if of_step and own.accelerator.num_processes > 1:
            sums = own.accelerator.reduce(sums.to(own.accelerator.device), "sum").cpu()
        return [spread_weights(b, normalised_weights(b, by_region, sums, stage.normalisation)) for b in batches]


@dataclass(frozen=True, slots=True)
class _Targets:
    """The N tokens of a batch that weigh something, where they are predicted."""

    columns: Tensor  # int64 (C,), the positions at which any row predicts one
    chosen: Tensor  # bool (B, C), which do
    labels: Tensor  # int64 (N,)
    factors: Tensor  # fp32 (N,)
    is_key: Tensor  # bool (N,)

    @classmethod
    def of(cls, inputs: Mapping[str, Any], factors: Tensor) -> "_Targets":
        # Column t of these belongs to token t + 1, which is predicted from token t.
        later = factors[:, 1:] > 0
        columns = later.any(0).nonzero().squeeze(1)
        chosen = later[:, columns]
        labels, factors, regions = (
            values[:, 1:][:, columns][chosen] for values in (inputs["input_ids"], factors, inputs[REGIONS_KEY])
        )
        return cls(columns, chosen, labels, factors, regions == KEY)


def _prepare(given: dict[str, Any], stage: Stage) -> None:
    """Refuse what does not go together, and give the trainer the columns and the collator that it needs."""
    args: Any = given.get("args")
    collator = given.get("data_collator")
    refuse_arguments(args, given)
    for name in ("train_dataset", "eval_dataset"):
        given |= {name: _own_columns(given[name], name)} if given.get(name) is not None else {}
    if given.get("train_dataset") is not None:
        _check_examples(given["train_dataset"], stage, getattr(args, "max_length", None))
    if collator is not None and not isinstance(collator, RegionCollator):
        raise SFTKeyError(f"data_collator is a {type(collator).__name__}, expected a RegionCollator or none")
    given["data_collator"] = collator or RegionCollator(pad_token_id=_pad_token_id(given))
    args.remove_unused_columns = False  # no model takes the borders
    if hasattr(args, "dataset_kwargs"):  # TRL would make labels of its own, and cut
        args.dataset_kwargs = {**(args.dataset_kwargs or {}), "skip_prepare_dataset": True}


def _own_columns(dataset: Any, name: str) -> Any:
    if isinstance(dataset, Mapping):
        return {key: _own_columns(one, f"{name} {key!r}") for key, one in dataset.items()}
    if (columns := getattr(dataset, "column_names", None)) is None:  # not of `datasets`: the collator looks
        return dataset
    refuse_columns(columns, name)
    return dataset.select_columns(list(COLUMNS))


def _check_examples(dataset: "Dataset", stage: Stage, max_length: int | None) -> None:
    if not hasattr(dataset, "with_format") or not hasattr(dataset, "__len__"):  # a stream is seen as it comes
        return
    examples = Examples(dataset.with_format("arrow")[:])
    check_targets(stage, examples)
    longest = int(examples.num_tokens.max())
    if max_length is not None and longest > max_length:
        num = int((examples.num_tokens > max_length).sum())
        raise SFTKeyError(
            f"max_length is {max_length}, and {num} of {len(examples)} examples are longer, up to {longest} tokens: no "
            f"Key is cut here; expected max_length=None, or a build with --max-tokens {max_length}"
        )


def _pad_token_id(given: Mapping[str, Any]) -> int:
    tokenizer = given.get("processing_class")
    return getattr(tokenizer, "pad_token_id", None) or 0  # any id would do: no real token attends to padding


def _takes_positions(trainer: Any, model: Any) -> bool:
    """Whether the model projects only the positions that it is told."""
    core = trainer.accelerator.unwrap_model(model)
    parts = [core, core.get_base_model()] if hasattr(core, "get_base_model") else [core]  # of adapters
    return any("logits_to_keep" in inspect.signature(type(part).forward).parameters for part in parts)
