"""The arms by name: what each changes of a stage, as tables of the recipe language.

`sft_plain`, the untagged arm, is not among them: it needs the data in another template, so it is a dataset of its own
with the arm `continued`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sftkey_data.config import validate
from sftkey_data.datasets.completions import Options
from sftkey_data.errors import SFTKeyError, nearest
from sftkey_train.recipe import Stage
from sftkey_train.recipe_tables import Lora
from sftkey_train.study.study_file import OwnWords, Study

STAGE1 = "stage1"
ArmStart = Literal["stage1", "model"]
KEY_WEIGHT = 40.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedArm:
    """What an arm is: keys of a stage, where it starts, and adapters where it trains these.

    `keep` says which of stage 1's own completions it trains on; None: on the train set.
    """

    stage: Mapping[str, Any]
    start: ArmStart = "stage1"
    lora: Mapping[str, Any] | None = None
    keep: str | None = None


NAMED_ARMS: Mapping[str, NamedArm] = {
    # the control: the same amount of plain training
    "continued": NamedArm(stage={"loss_on": "completion"}),
    # the paper's stage 2: everything after the closing CoT tag
    "sftkey": NamedArm(stage={"loss_on": "answer"}),
    "sftkey_key_only": NamedArm(stage={"loss_on": "key"}),
    # the paper's Key-Tag: the answer alone from the start, for stage 1's steps
    "key_tag": NamedArm(stage={"loss_on": "answer"}, start="model"),
    "cot_only": NamedArm(stage={"weights": {"cot": 1.0}}),
    # as many random tokens of the completion as the Key has
    "placebo": NamedArm(stage={"loss_on": "key", "placebo": True}),
    "weighted": NamedArm(stage={"weights": {"cot": 1.0, "tag": 1.0, "key": KEY_WEIGHT, "eos": 1.0}}),
    # the same from a Key's weight of 100 down to plain training, which mends what the weight does to the CoT
    "annealed": NamedArm(
        stage={
            "weights": {"cot": 1.0, "tag": 1.0, "key": 100.0, "eos": 1.0},
            "weights_end": {"cot": 1.0, "tag": 1.0, "key": 1.0, "eos": 1.0},
            "weight_schedule": "cosine",
        }
    ),
    "region": NamedArm(stage={"loss_on": "completion", "normalisation": "region"}),
    # SCALe, arXiv 2603.18656
    "scale": NamedArm(
        stage={
            "weights": {"cot": 1.0, "tag": 0.1, "key": 0.1, "eos": 0.1},
            "weights_end": {"cot": 0.1, "tag": 1.0, "key": 1.0, "eos": 1.0},
            "weight_schedule": "cosine",
            "normalisation": "region",
        }
    ),
    "anchored": NamedArm(stage={"loss_on": "answer", "anchor": 1.0}),
    "weighted_anchored": NamedArm(stage={"weights": {"tag": 1.0, "key": KEY_WEIGHT, "eos": 1.0}, "anchor": 1.0}),
    "low_weight_cot": NamedArm(stage={"weights": {"cot": 0.3, "tag": 1.0, "key": 1.0, "eos": 1.0}}),
    # the Key's tokens by how wrong they are
    "focal": NamedArm(stage={"loss_on": "completion", "token_loss": "focal"}),
    # arXiv 2508.05629
    "dft": NamedArm(stage={"loss_on": "completion", "token_loss": "dft"}),
    "lora_stage2": NamedArm(stage={"loss_on": "answer"}, lora={}),
    # own CoTs that reach the gold, with the gold Key put after them
    "own_cot": NamedArm(stage={"loss_on": "answer"}, keep="correct+slips"),
    # rejection sampling, arXiv 2308.01825: what any other stage 2 has to beat
    "rft": NamedArm(stage={"loss_on": "completion"}, keep="correct"),
}

SET_BY_PLAN = ("name", "init_from", "init_weights", "log_every", "best")
"""Keys of a stage that an arm cannot have: a run is one stage, every step of it is counted, its last weights count."""

EXCLUSIVE = (
    {"loss_on", "weights"},
    {"steps", "epochs"},
    {"warmup_steps", "warmup_ratio"},
    {"micro_batch_size", "max_tokens"},
)
"""Keys of which a stage has one: a table that sets one of them drops the other of the tables under it."""

_OF_OWN = ("keep", "own")
"""Keys of an arm that trains on the model's own words."""

_UNDER_ALL: Mapping[str, Any] = {"loss_on": "completion", "eval_every": 0, "generate_at_end": False}
"""Generation comes after a run, for whole sets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnArm:
    """Which completions of stage 1 an arm trains on: how they are sampled, and which of them stay."""

    words: OwnWords
    keep: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One arm of a study with every setting; stage 1 is one too, which starts from the model."""

    name: str
    stage: Stage
    start: ArmStart
    lora: Lora | None = field(default=None)
    own: OwnArm | None = field(default=None)


def study_arms(study: Study, where: str) -> dict[str, Arm]:
    """Stage 1 and the arms of a study by name, in its order.

    Args:
        study: Whose.
        where: The file, for messages.

    Raises:
        SFTKeyError: An unknown arm or key, with the nearest known one, or a value that a stage does not take.
    """
    _refuse_set_by_plan(study.stage1, f"{where}: stage1")
    _refuse_set_by_plan(study.stage2, f"{where}: stage2")
    first = _stage(STAGE1, [study.stage1], f"{where}: stage1")
    _stage("stage2", [study.stage1, study.stage2], f"{where}: stage2")  # for what it refuses, before an arm is blamed
    arms = {STAGE1: Arm(name=STAGE1, stage=first, start="model", lora=study.lora)}
    for name, table in study.arms.items():
        arms[name] = _arm(study, name, table, f"{where}: arms.{name}")
    return arms


def _arm(study: Study, name: str, table: Mapping[str, Any], where: str) -> Arm:
    if name == STAGE1:
        raise SFTKeyError(f"{where}: the name is that of what all arms start from, take another")
    like = table.get("like", name)
    if like not in NAMED_ARMS:
        hint = f"{nearest(str(like), NAMED_ARMS)}; known: {', '.join(NAMED_ARMS)}; like = NAME begins with one of them"
        raise SFTKeyError(f"{where}: unknown arm {like!r}{hint}")
    named = NAMED_ARMS[like]
    own = _own_arm(study, named, table, where)
    keys = {key: value for key, value in table.items() if key not in ("like", "lora", *_OF_OWN)}
    _refuse_set_by_plan(keys, where)
    under = [study.stage1] if named.start == "model" else [study.stage1, study.stage2]
    lora = table.get("lora", named.lora)
    adapters = study.lora if lora is None else validate(lora, Lora, where=f"{where}: lora")
    stage = _stage(name, [*under, named.stage, keys], where)
    if own is not None and stage.data is not None:
        raise SFTKeyError(f"{where}: key 'data' is what stage 1 has written, found {str(stage.data)!r}")
    return Arm(name=name, stage=stage, start=named.start, lora=adapters, own=own)


def _own_arm(study: Study, named: NamedArm, table: Mapping[str, Any], where: str) -> OwnArm | None:
    if named.keep is None:
        if given := [key for key in _OF_OWN if key in table]:
            known = ", ".join(name for name, arm in NAMED_ARMS.items() if arm.keep is not None)
            raise SFTKeyError(f"{where}: key {given[0]!r} is for arms that train on the model's own words: {known}")
        return None
    keep = str(table.get("keep", named.keep))
    validate({"keep": keep}, Options, where=where)
    changed = table.get("own", {})
    if not isinstance(changed, Mapping):
        raise SFTKeyError(f"{where}: own: expected a table, found {changed!r}")
    return OwnArm(words=validate({**study.own.model_dump(), **changed}, OwnWords, where=f"{where}: own"), keep=keep)


def _stage(name: str, tables: Sequence[Mapping[str, Any]], where: str) -> Stage:
    merged = dict(_UNDER_ALL)
    for table in tables:
        dropped = {key for pair in EXCLUSIVE if pair & table.keys() for key in pair}
        merged = {key: value for key, value in merged.items() if key not in dropped} | dict(table)
    return validate({**merged, "name": name}, Stage, where=where)


def _refuse_set_by_plan(table: Mapping[str, Any], where: str) -> None:
    for key in SET_BY_PLAN:
        if key in table:
            raise SFTKeyError(f"{where}: key {key!r} is set by the study's plan")
