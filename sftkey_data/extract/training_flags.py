"""Keys of rows and turns by which datasets say what to train on, and what those of a row say."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from sftkey_data.extract.parts import Row

Kind = Literal["weight", "yes", "no", "filled"]


class TrainingFlag(NamedTuple):
    """What a key means.

    `weight` is 1 where it says nothing, `yes` is true, `no` is false, `filled` is absent, null or empty; anything else
    wants something of whoever trains. `decides`: a weight of 0, or the other truth value, says not to train on it.
    """

    kind: Kind
    decides: bool = False


def _flags(kind: Kind, names: str, *, decides: bool = False) -> dict[str, TrainingFlag]:
    return {name: TrainingFlag(kind, decides) for name in names.split()}


FLAGS: Mapping[str, TrainingFlag] = {
    # OpenAI, Mistral, Axolotl, ms-swift; data collators of samples
    **_flags("weight", "weight loss_weight loss_scale sample_weight train_weight training_weight", decides=True),
    **_flags("yes", "train training trainable train_on train_on_turn train_turn is_train is_trained", decides=True),
    **_flags("yes", "loss loss_mask compute_loss calculate_loss used_in_training use_for_training", decides=True),
    **_flags("yes", "learn learnable supervised include keep", decides=True),
    **_flags("no", "masked is_masked loss_masked mask_loss no_loss ignore_loss no_train skip_train", decides=True),
    **_flags("no", "ignore ignored exclude excluded skip discard drop do_not_train", decides=True),
    # which span of a turn is trained; `mask` means either, by the tool that wrote it
    **_flags("filled", "train_detail training_detail loss_spans mask segments"),
    # KTO (TRL, LLaMA-Factory): whether this completion is a wanted one
    **_flags("yes", "label kto_tag"),
    **_flags("yes", "is_correct correct correctness correctness_math_verify correctness_llama answer_correct"),
    **_flags("yes", "is_verified verified is_valid valid passed is_passed reward score"),
    **_flags("no", "is_incorrect incorrect is_wrong is_truncated truncated is_deleted deleted"),
    # preferences: the row holds an answer that is not wanted
    **_flags("filled", "chosen rejected rejected_response rejected_messages preferred_output non_preferred_output"),
    # of the prompt, as it was where the answer was made
    **_flags("filled", "tools functions cache_control"),
}

FLAG_NAMES = frozenset(FLAGS)
FLAG = "flag:"
"""Before the name of a flag that an extractor did not look at, in `Parts.left_out`."""
NO_WORDS = frozenset({"0", "0.0", "false", "no", "off", "n", "f", "incorrect", "wrong", "bad", "fail", "failed"})
YES_WORDS = frozenset({"1", "1.0", "true", "yes", "on", "y", "t"})
MAX_DEPTH = 3  # lists of dicts inside each other: the parts of a turn's content are the second
MAX_SHOWN_FLAG = 60  # characters of a value in a message


class Said(NamedTuple):
    """One flag of a row that says something: `where` is its place, such as `messages[1].weight`."""

    name: str
    where: str
    value: Any
    leaves_out: bool
    """It says not to train on what it stands at."""

    @property
    def shown(self) -> str:
        """Place and value in a few words."""
        value = repr(self.value)
        return f"{self.where} is {value if len(value) <= MAX_SHOWN_FLAG else value[:MAX_SHOWN_FLAG] + '…'}"


def said_by(values: Row, place: str = "") -> Iterator[Said]:
    """The flags among the keys of a row, or of a turn at `place`, that are not neutral."""
    for name, value in dict.items(values) if isinstance(values, dict) else values.items():  # asking is not looking
        if (flag := FLAGS.get(name)) is not None and not _neutral(value, flag.kind):
            leaves_out = flag.decides and _leaves_out(value, flag.kind)
            yield Said(name, f"{place}.{name}" if place else name, value, leaves_out)


def _neutral(value: Any, kind: Kind) -> bool:
    if value is None or value in ("", [], {}):
        return True
    if isinstance(value, list) and kind != "filled":  # a flag per generation, or per token
        return all(_neutral(item, kind) for item in value if not isinstance(item, list))
    if kind == "weight":
        return _number(value) in (1, None)
    if kind == "filled":
        return False
    return not (_is_no(value) if kind == "yes" else _is_yes(value))


def _leaves_out(value: Any, kind: Kind) -> bool:
    if isinstance(value, list):
        return all(not isinstance(item, list) and _leaves_out(item, kind) for item in value)
    return _number(value) == 0 if kind == "weight" else not _neutral(value, kind)


def _is_no(value: Any) -> bool:
    return value.strip().lower() in NO_WORDS if isinstance(value, str) else value in (False, 0)


def _is_yes(value: Any) -> bool:
    return value.strip().lower() in YES_WORDS if isinstance(value, str) else value in (True, 1)


def _number(value: Any) -> float | None:
    """The weight that a cell states; of a table of texts too."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return 0.0 if value.strip().lower() in NO_WORDS else None
    return float(value) if isinstance(value, bool | int | float) else None


class WatchedRow(dict[str, Any]):
    """A row that notes which of its keys are looked at, those of turns in its lists too; see `watched`."""

    def __init__(self, values: Row, place: str, seen: set[str]) -> None:
        super().__init__(values)
        self._place, self._seen = place, seen
        lists = values.items() if place.count("[") < MAX_DEPTH else ()
        for name, value in lists:
            if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
                places = (f"{self._at(name)}[{number}]" for number in range(len(value)))
                turns = [WatchedRow(item, at, seen) for item, at in zip(value, places, strict=True)]
                super().__setitem__(name, turns)

    def _at(self, name: str) -> str:
        return f"{self._place}.{name}" if self._place else name

    def __getitem__(self, name: str) -> Any:
        self._seen.add(self._at(name))
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """As of a dict."""
        self._seen.add(self._at(name))
        return super().get(name, default)

    def __iter__(self) -> Iterator[str]:
        return super().__iter__()  # a copy of a dict with this of its own is made key by key, see `__getitem__`

    def pop(self, name: str, *default: Any) -> Any:
        """As of a dict."""
        self._seen.add(self._at(name))
        return super().pop(name, *default)

    def copy(self) -> dict[str, Any]:
        """As of a dict: all keys are looked at."""
        return dict(self)

    def items(self) -> Any:
        """As of a dict: all keys are looked at."""
        return [(name, self[name]) for name in self]

    def values(self) -> Any:
        """As of a dict: all keys are looked at."""
        return [self[name] for name in self]


def has_flags(row: Row, depth: int = 0) -> bool:
    """Whether a row, or a turn in one of its lists, has a key of `FLAGS`; quick, and true of neutral ones too."""
    if not FLAG_NAMES.isdisjoint(row):
        return True
    for value in row.values():  # asked of every row, and loops are quicker than generators
        if type(value) is list and depth < MAX_DEPTH:
            for item in value:
                if type(item) is dict and has_flags(item, depth + 1):
                    return True
    return False


def unused(row: Row, seen: set[str], place: str = "") -> Iterator[Said]:
    """The flags that are not neutral, at places that were not looked at; of turns, where the turns were."""
    yield from (said for said in said_by(row, place) if said.where not in seen)
    for name, value in row.items():
        at = f"{place}.{name}" if place else name
        if at in seen and isinstance(value, list) and place.count("[") < MAX_DEPTH:
            for number, item in enumerate(value):
                if isinstance(item, dict):
                    yield from unused(item, seen, f"{at}[{number}]")
