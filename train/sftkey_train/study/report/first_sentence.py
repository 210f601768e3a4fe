"""What a study found, in one sentence for each dataset.

The arm that is named was chosen on validation, so its interval on test is that of an arm which nobody picked for it.
The datasets stand in the order of the study, whatever they show.
"""

from sftkey_eval.analysis.arms import ArmRate
from sftkey_eval.report.printed import points
from sftkey_train.study.named_arms import STAGE1
from sftkey_train.study.report.arm_gains import Gain
from sftkey_train.study.report.study_numbers import CONTROL, DatasetNumbers, StudyNumbers


def first_sentences(numbers: StudyNumbers) -> list[str]:
    """A sentence for each dataset, the first of which says how much is finished; one where nothing is."""
    if not numbers.num_finished:
        return [f"Nothing of this study is finished: 0 of {numbers.num_runs} runs."]
    so_far = "" if numbers.is_whole else f"so far ({numbers.num_finished} of {numbers.num_runs} runs), "
    one = len(numbers.datasets) == 1
    return [
        _upper(f"{so_far if i == 0 else ''}on {'this data' if one else f'`{dataset.name}`,'} {_found(dataset)}.")
        for i, dataset in enumerate(numbers.datasets)
    ]


def in_short(numbers: StudyNumbers) -> list[str]:
    """One sentence over all datasets, where there are several; it counts what validation chose and test has shown."""
    if len(numbers.datasets) < 2 or not numbers.num_finished:
        return []
    gains = {d.name: d.on_test(d.chosen.second) for d in numbers.datasets if d.chosen and d.chosen.rate.difference > 0}
    shown = {name: gain.rate.difference > 0 for name, gain in gains.items() if gain and gain.rate.shown}
    helps, harms = ([f"`{name}`" for name, better in shown.items() if better is wanted] for wanted in (True, False))
    finished = sum(dataset.chosen is not None for dataset in numbers.datasets)
    so_far = "" if numbers.is_whole else "So far, "
    control = "plain training" if all(d.control == CONTROL for d in numbers.datasets) else "its control"
    said = [
        _upper(f"{so_far}the stage 2 that validation chose is shown to beat {control} on "),
        f"{len(helps)} of {finished} datasets{_named(helps)}",
        f", and to lose to it on {len(harms)}{_named(harms)}" if harms else "",
        f"; on the other {finished - len(shown)} nothing is shown" if shown and finished > len(shown) else "",
    ]
    return ["".join([*said, "."])]


def _named(names: list[str]) -> str:
    return f" ({', '.join(names)})" if names else ""


def _found(numbers: DatasetNumbers) -> str:
    parts = [_chosen(numbers)]
    chosen = numbers.chosen.second if numbers.chosen else None
    if numbers.paper and numbers.paper not in (chosen, numbers.control) and (paper := numbers.on_test(numbers.paper)):
        called = "" if numbers.paper == "sftkey" else f", `{numbers.paper}`,"
        parts.append(f"the paper's stage 2{called} gives {_with_interval(paper.rate)}")
    return "; ".join(parts)


def _chosen(numbers: DatasetNumbers) -> str:
    chosen = numbers.chosen
    if chosen is None:
        return _control_alone(numbers)
    found = numbers.on_test(chosen.second)
    over = _over(numbers, chosen.second)
    name = f"`{chosen.second}`" if chosen.second != numbers.paper else f"the paper's stage 2, `{chosen.second}`,"
    by = points(chosen.rate.difference)
    if chosen.rate.difference <= 0:
        none = f"no arm is better than {over} on validation; the best of them, {name.rstrip(',')},"
        if found is None:
            return f"{none} is {by} points from it there; test is not finished"
        return f"{none} gives {points(found.rate.difference)} points, {_how_sure(found)}"
    if found is None:
        return f"{name} is best on validation, {by} points over {over}; test is not finished"
    return f"{name} gives {points(found.rate.difference)} points over {over}, {_how_sure(found)}{_shows(found.rate)}"


def _control_alone(numbers: DatasetNumbers) -> str:
    gained = next((found for found in numbers.over_stage1 if found.second == numbers.control), None)
    if gained is None:
        return "no two arms are finished that could be compared"
    given = f"{points(gained.rate.difference)} points over stage 1, {_how_sure(gained)}"
    return f"more plain training gives {given}; no other arm is finished"


def _over(numbers: DatasetNumbers, name: str) -> str:
    """What an arm is held against, in words that are true of it."""
    if numbers.control == STAGE1:
        return f"stage 1 alone (without an arm `{CONTROL}`, more training may be all there is to it)"
    if name in numbers.same_steps:
        return "the same amount of plain training"
    return f"plain training of another length (`{numbers.held_against[name]}`)"


def _how_sure(found: Gain) -> str:
    if found.rate.low is None:
        return "one seed, so no interval"
    return f"{_interval(found.rate)}, {len(found.seeds)} seeds"


def _with_interval(rate: ArmRate) -> str:
    return points(rate.difference) + ("" if rate.low is None else f" ({_interval(rate)})")


def _interval(rate: ArmRate) -> str:
    return f"95\u202f% {points(rate.low or 0.0)} to {points(rate.high or 0.0)}"


def _shows(rate: ArmRate) -> str:
    return "" if rate.shown or rate.low is None else ", which shows no difference"


def _upper(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]
