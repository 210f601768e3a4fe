"""Which arm of a study to use: chosen on validation, by a rule that was fixed before any study ran."""

from dataclasses import dataclass, replace
from typing import Literal

from sftkey_data.errors import SFTKeyError
from sftkey_eval.analysis.paired_comparison import FORMAT_MARGIN
from sftkey_eval.statistics.proportions import CONFIDENCE, newcombe_paired
from sftkey_train.study.named_arms import NAMED_ARMS, STAGE1
from sftkey_train.study.report.arm_gains import Gain, against, control_of, gain, validation_gains, validation_purpose
from sftkey_train.study.report.study_results import ArmResults, DatasetResults, ItemMark, Purpose
from sftkey_train.study.study_file import Part, Study

PLAIN = "continued"
CHANCE = 0.05
"""Of recommending an arm that is no better than the control, over all arms of the study together."""

Standing = Literal["better", "not shown better", "format shown worse"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """An arm that could be recommended, against the control on validation.

    Args:
        name: The arm's.
        accuracy: With the interval whose lower end the rule asks for.
        format: With its 95 % interval.
        standing: What the rule says of it.
    """

    name: str
    accuracy: Gain
    format: Gain
    standing: Standing


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The arm to use on a dataset, and all that it was chosen from.

    Args:
        dataset: Its name.
        arm: The arm's name; `continued` where no other is shown better.
        purpose: Of the seeds on whose validation scores it was chosen.
        confidence: Of the intervals of the contenders' accuracy.
        contenders: The most accurate first.
        without_result: Arms of which no run on these seeds came to a result.
    """

    dataset: str
    arm: str
    purpose: Purpose
    confidence: float
    contenders: tuple[Contender, ...]
    without_result: tuple[str, ...]


def check_selectable(study: Study, where: str) -> None:
    """Refuse, before anything is trained, a study that has nothing to choose from or nothing to compare with.

    Raises:
        SFTKeyError: Names the file, and what is missing.
    """
    for name, study_set in study.datasets.items():
        named = study_set.arms or tuple(study.arms)
        place = f"{where}: datasets.{name}: " if study_set.arms else f"{where}: "
        if PLAIN not in named or study.arms[PLAIN].get("like", PLAIN) != PLAIN:
            found = ", ".join(named)
            raise SFTKeyError(f"{place}arms: --select compares with the arm {PLAIN!r}, plain training; found {found}")
        if not any(_is_contender(arm, study.arms[arm].get("like", arm)) for arm in named):
            raise SFTKeyError(f"{place}arms: --select has nothing to choose from, expected a stage 2 beside {PLAIN!r}")


def choose(dataset: DatasetResults) -> Choice:
    """The arm to use, from scores on validation alone.

    An arm is better where its accuracy is shown to be higher than the control's, one-sided, at `CHANCE` divided by the
    number of arms (Bonferroni); an arm of another length is held against plain training of that length, where the study
    has it (`control_of`). What is looked at is the interval over seeds and items; with one seed, over the items. An arm
    whose format is shown, by its 95 % interval, to be more than `FORMAT_MARGIN` below that is out. Of the better
    ones the most accurate is chosen, of equals the first of the study.

    Raises:
        SFTKeyError: No run of the control is finished, or none of another arm.
    """
    control = dataset.arms.get(PLAIN)
    if control is None or not control.parts:
        raise SFTKeyError(f"{dataset.name}: no run of {PLAIN!r} is finished, so nothing can be compared with it")
    purpose = validation_purpose(dataset, control)
    arms = [arm for arm in dataset.arms.values() if _is_contender(arm.name, arm.like)]
    finished = [arm for arm in arms if gain(control_of(dataset, arm, control), arm, "correct", "validation", purpose)]
    if not finished:
        raise SFTKeyError(f"{dataset.name}: no arm but {PLAIN!r} has a finished run, so there is nothing to choose")
    confidence = 1 - 2 * CHANCE / len(finished)
    places = {name: place for place, name in enumerate(validation_gains(dataset, control))}
    held = [(control_of(dataset, arm, control), arm) for arm in finished]
    found = [c for first, arm in held if (c := _contender(first, arm, purpose, confidence)) is not None]
    found.sort(key=lambda contender: places[contender.name])
    return Choice(
        dataset=dataset.name,
        arm=next((contender.name for contender in found if contender.standing == "better"), PLAIN),
        purpose=purpose,
        confidence=confidence,
        contenders=tuple(found),
        without_result=tuple(arm.name for arm in arms if arm not in finished),
    )


def expected_gain(dataset: DatasetResults, arm: str, over: str | None = None) -> Gain | None:
    """What an arm has more than another on the test set, over the seeds for claims; None without a run of both.

    Args:
        dataset: With both.
        arm: Name of the one.
        over: Name of the other; None: what the arm is held against.
    """
    first = dataset.arms[over] if over else control_of(dataset, dataset.arms[arm], dataset.arms[PLAIN])
    return _measured(first, dataset.arms[arm], "correct", "test", "claim", CONFIDENCE)


def _is_contender(name: str, like: str) -> bool:
    """A stage 2 that one could use: it starts from stage 1, and is neither the control nor another control."""
    named = NAMED_ARMS.get(like)
    return name not in (STAGE1, PLAIN) and like != "placebo" and (named is None or named.start == "stage1")


def _contender(control: ArmResults, arm: ArmResults, purpose: Purpose, confidence: float) -> Contender | None:
    accuracy = _measured(control, arm, "correct", "validation", purpose, confidence)
    form = _measured(control, arm, "format_valid", "validation", purpose, CONFIDENCE)
    if accuracy is None or form is None:
        return None
    standing: Standing = "better" if against(accuracy.rate, 0.0) == "holds" else "not shown better"
    if against(form.rate, -FORMAT_MARGIN) == "fails":
        standing = "format shown worse"
    return Contender(name=arm.name, accuracy=accuracy, format=form, standing=standing)


def _measured(
    first: ArmResults, second: ArmResults, mark: ItemMark, part: Part, purpose: Purpose, confidence: float
) -> Gain | None:
    """As `gain`; in a study of a single seed, whose spread nobody knows, with the interval over its items.

    Where the first arm has more seeds, an arm with a result of one is not judged by that.
    """
    found = gain(first, second, mark, part, purpose, confidence)
    if found is None or len(first.parts[part, purpose].seeds) > 1:
        return found
    (seed,) = found.seeds
    of_parts = [arm.parts[part, purpose] for arm in (first, second)]
    before, now = (of.marks[mark][of.seeds.index(seed)] for of in of_parts)
    both, lost, gained = (int(items.sum()) for items in (before & now, before & ~now, ~before & now))
    interval = newcombe_paired(both, lost, gained, len(now) - both - lost - gained, confidence)
    return replace(found, rate=replace(found.rate, low=interval.low, high=interval.high))
