"""The study file: one TOML file that says which arms are trained on which data, and with which seeds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from sftkey_data.config import validate
from sftkey_data.errors import SFTKeyError, nearest
from sftkey_train.recipe_file import load_tables
from sftkey_train.recipe_tables import AtLeastOne, AtLeastZero, Lora, ModelSource, Name, RecipeTable, Seed, Weight

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")


class Seeds(RecipeTable):
    """Which seeds the claims are made on, and which ones choices are made on."""

    claim: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0, 1, 2, 3, 4)
    tuning: tuple[Seed, ...] = Field((), description="never used by a claim, and never generated for on test")

    @model_validator(mode="after")
    def _disjoint(self) -> Self:
        if both := sorted(set(self.claim) & set(self.tuning)):
            raise ValueError(f"seed {both[0]} is in 'claim' and in 'tuning', expected disjoint seeds")
        for name, seeds in (("claim", self.claim), ("tuning", self.tuning)):
            if repeated := [seed for seed in seeds if seeds.count(seed) > 1]:
                raise ValueError(f"seed {repeated[0]} is twice in {name!r}")
        return self


USUAL_ARMS: Mapping[str, Mapping[str, Any]] = {"continued": {}, "sftkey": {}, "weighted": {}, "annealed": {}}
"""What a study that names none compares: the control, the paper's stage 2, a weighted Key, and a weight that falls."""


# What is said of the sets that are made, and of which.
_OF_KINDS: Mapping[str, tuple[str, ...]] = {
    "sizes": ("arithmetic",),
    "input": ("source",),
    "shares": ("source",),
    "template": ("arithmetic", "source"),
    "tokenizer": ("arithmetic", "source"),
}
Share = Annotated[float, Field(gt=0, lt=1)]


def _one_or_more(value: object) -> object:
    return [value] if isinstance(value, str) else value


class SetSizes(RecipeTable):
    """How many examples each part of a generated dataset has."""

    train: AtLeastOne = 6000
    validation: AtLeastOne = 400
    test: AtLeastOne = 1000


class SetShares(RecipeTable):
    """Which shares of the questions of a source are kept apart; it trains on the rest."""

    validation: Share = 0.1
    test: Share = 0.2

    @model_validator(mode="after")
    def _leave_a_rest(self) -> Self:
        if self.validation + self.test >= 1:
            raise ValueError("validation and test together leave no question to train on, expected a sum below 1")
        return self


class StudySet(RecipeTable):
    """One dataset: three prepared folders, the options of a generated `arithmetic` set, or a source of rows."""

    train: Path | None = Field(None, description="prepared folder")
    validation: Path | None = Field(None, description="prepared folder: measured on the way, and to choose by")
    test: Path | None = Field(None, description="prepared folder that only claims are made on")
    arithmetic: dict[str, Any] | None = Field(None, description="options of `sftkey-data build arithmetic`, instead")
    sizes: SetSizes = SetSizes()
    source: str | None = Field(None, description="a dataset or a file as of `sftkey-data build`, instead")
    input: Annotated[tuple[str, ...], BeforeValidator(_one_or_more)] = Field(
        (), description="rows of the source, one file or several; default: the dataset's own"
    )
    shares: SetShares = SetShares.model_validate({})
    template: str = "sftkey"
    tokenizer: str | None = Field(None, description="default: the model's, or a small one made of the texts")
    arms: Annotated[tuple[Name, ...], Field(min_length=1)] | None = Field(
        None, description="those of the study that are trained on it; default: all"
    )

    @property
    def is_prepared(self) -> bool:
        """Whether its parts are folders that are there."""
        return self.arithmetic is None and self.source is None

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        absent = [part for part in PARTS if getattr(self, part) is None]
        if self.is_prepared and absent:
            raise ValueError(f"key {absent[0]!r} is missing, expected train, validation and test, arithmetic or source")
        kinds = ("train, validation and test", len(absent) < len(PARTS)), ("arithmetic", self.arithmetic is not None)
        found = [name for name, there in (*kinds, ("source", self.source is not None)) if there]
        if len(found) > 1:
            raise ValueError(f"expected either {' or '.join(found)}, found both")
        if self.arithmetic is not None and "num" in self.arithmetic:
            raise ValueError("arithmetic: 'num' is set by sizes = { train = …, validation = …, test = … }")
        for name in sorted(self.model_fields_set & _OF_KINDS.keys()):
            if found[0] not in _OF_KINDS[name]:
                raise ValueError(f"{name!r} is of a set with {' or '.join(_OF_KINDS[name])}, this one has {found[0]}")
        return self


class EvaluationTable(RecipeTable):
    """How each model is asked, greedily, on validation and test."""

    batch_size: AtLeastOne = 100
    max_new_tokens: AtLeastZero = Field(0, description="0: twice the longest gold completion")
    validation_examples: AtLeastZero = Field(0, description="the first so many; 0: all")
    test_examples: AtLeastZero = Field(0, description="the first so many; 0: all")


class OwnWords(RecipeTable):
    """What stage 1 writes for the train set, for the arms that train on the model's own words."""

    items: AtLeastZero = Field(0, description="the first so many of the train set; 0: all")
    samples: AtLeastOne = Field(4, description="completions of an item, each with a seed of its own")
    temperature: Weight = Field(0.7, description="0: greedy, one completion an item")
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_new_tokens: AtLeastZero = Field(0, description="0: twice the longest gold completion")
    per_item: AtLeastZero = Field(0, description="distinct CoTs of an item that are kept at most; 0: all")

    @model_validator(mode="after")
    def _samples_differ(self) -> Self:
        if self.temperature == 0 and (self.samples > 1 or self.top_p < 1):
            name = "samples" if self.samples > 1 else "top_p"
            raise ValueError(f"{name} means nothing at temperature 0, which is greedy; expected a temperature above 0")
        return self


class Study(RecipeTable):
    """A whole study. Paths are relative to the directory the command runs in; the rest of a recipe is set by the plan.

    `stage1`, `stage2` and each arm are tables of a recipe's `[[stage]]`, each over those before it.
    """

    name: str
    out: Path = Field(description="folder of the study; the same command goes on in it")
    seeds: Seeds = Seeds.model_validate({})
    model: ModelSource
    lora: Lora | None = Field(None, description="of stage 1 and of all arms that name no other")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    threads: AtLeastOne = Field(1, description="CPU threads of a run; their number changes the rounding")
    gradient_checkpointing: bool = False
    heldout_examples: AtLeastOne = Field(128, description="how many of validation are measured with the gold CoT given")
    keep_models: bool = Field(True, description="false: an arm's weights are deleted once it is scored")
    stage1: dict[str, Any] = Field(description="what all arms start from")
    stage2: dict[str, Any] = Field({}, description="what all arms have in common, over stage 1's")
    arms: Annotated[dict[Name, dict[str, Any]], Field(min_length=1)] = Field(
        {name: dict(table) for name, table in USUAL_ARMS.items()}, description="default: see USUAL_ARMS"
    )
    datasets: Annotated[dict[Name, StudySet], Field(min_length=1)]
    evaluation: EvaluationTable = EvaluationTable.model_validate({})
    own: OwnWords = OwnWords.model_validate({})

    @model_validator(mode="after")
    def _known_arms(self) -> Self:
        for name, table in self.datasets.items():
            for arm in table.arms or ():
                if arm not in self.arms:
                    raise ValueError(f"datasets.{name}: arms: {arm!r} is not in the study{nearest(arm, self.arms)}")
        return self

    @model_validator(mode="after")
    def _generates_by_itself(self) -> Self:
        if self.model.trust_remote_code:
            raise ValueError("model: trust_remote_code is for training alone, generation runs no code of a model")
        return self


def load_study(path: Path) -> Study:
    """Read a study file.

    Raises:
        SFTKeyError: One line that names the file and the key, with the nearest known key.
    """
    return validate(load_tables(path, "study"), Study, where=str(path))


def chosen_seeds(study: Study, text: str | None) -> Sequence[int]:
    """The seeds of the study that `A:B` names, from A up to but not B; all of them for None.

    Raises:
        SFTKeyError: It is no such range, or none of the study's seeds is in it.
    """
    seeds = [*study.seeds.claim, *study.seeds.tuning]
    if text is None:
        return seeds
    first, colon, end = text.partition(":")
    if not (colon and all(not bound or bound.isdecimal() for bound in (first, end))):
        raise SFTKeyError(f"--seeds {text!r}: expected A:B, the seeds from A up to but not B")
    chosen = [seed for seed in seeds if int(first or 0) <= seed and (not end or seed < int(end))]
    if not chosen:
        raise SFTKeyError(f"--seeds {text}: no seed of the study is in it; there are {', '.join(map(str, seeds))}")
    return chosen


def check_known(flag: str, names: Sequence[str], known: Sequence[str]) -> None:
    """Refuse a name that the study does not have.

    Raises:
        SFTKeyError: Names the nearest one.
    """
    for name in names:
        if name not in known:
            raise SFTKeyError(f"{flag} {name}: not in the study{nearest(name, known)}; there are {', '.join(known)}")
