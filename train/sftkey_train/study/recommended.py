"""`--select`: the recipe of stage 1 and the recommended stage 2, as a file that says why and what to expect."""

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sftkey_data.storage.appearing import write_text
from sftkey_eval.analysis.arms import ArmRate
from sftkey_eval.report.printed import points
from sftkey_train.recipe import Recipe
from sftkey_train.recipe_file import recipe_text
from sftkey_train.study.named_arms import STAGE1
from sftkey_train.study.report.arm_gains import Gain, control_of
from sftkey_train.study.report.study_results import DatasetResults, read_results
from sftkey_train.study.selection import PLAIN, Choice, Contender, choose, expected_gain
from sftkey_train.study.study_plan import PlannedRun, plan_runs
from sftkey_train.study.study_runner import RECORD, OpenStudy
from sftkey_train.study.study_sets import SETS, make_sets

_ROW = "#   {:<22} {:>9} {:>9} {:>7}   {}"


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A recipe that was written, for which dataset and arm, what is expected of it, and that in one sentence."""

    path: Path
    dataset: str
    arm: str
    gain: Gain | None
    sentence: str

    def to_json(self) -> str:
        """One line for stdout."""
        rate = None if self.gain is None else self.gain.rate
        found = None if rate is None else {"difference": rate.difference, "low": rate.low, "high": rate.high}
        facts = {"recommended": str(self.path), "dataset": self.dataset, "arm": self.arm, "gain_on_test": found}
        return json.dumps(facts)


def write_recommended(opened: OpenStudy) -> Iterator[Recommendation]:
    """Choose a stage 2 for each dataset of a finished study, and write `recommended.toml` (of several one for each).

    Raises:
        SFTKeyError: What `choose` refuses, or the study's record is not readable.
    """
    study = opened.study
    results = read_results(study.out / RECORD)
    runs = plan_runs(study, opened.arms, make_sets(study, study.out / SETS))
    for dataset in results.datasets:
        several = f"-{dataset.name}" if len(results.datasets) > 1 else ""
        choice = choose(dataset)
        gain = expected_gain(dataset, choice.arm) if choice.arm != PLAIN else None
        sentence = _sentence(dataset, choice, gain)
        path = study.out / f"recommended{several}.toml"
        finished = [run.seed for run in dataset.arms[choice.arm].runs]
        out = study.out.with_name(f"{study.out.name}-recommended{several}")
        recipe, notes = _recipe(opened, runs, choice, finished, out)
        heading = [f"# {sentence}", "#", *_reasons(dataset, choice, gain), "#", *notes, f"#   sftkey-train run {path}"]
        write_text(path, "\n".join(heading) + f"\n\n{recipe_text(recipe)}")
        yield Recommendation(path, dataset.name, choice.arm, gain, sentence)


def _recipe(
    opened: OpenStudy, runs: Sequence[PlannedRun], choice: Choice, finished: Collection[int], out: Path
) -> tuple[Recipe, list[str]]:
    """The recipe, of the first seed for claims that is finished, and comment lines on what it trains."""
    claimed = opened.study.seeds.claim
    seed = next((seed for seed in claimed if seed in finished), claimed[0])
    by_arm = {run.arm.name: run for run in runs if (run.dataset.name, run.seed) == (choice.dataset, seed)}
    first, second = by_arm[STAGE1].recipe, by_arm[choice.arm].recipe
    stages = [stage.model_copy(update={"generate_at_end": True}) for stage in (first.stages[0], second.stages[0])]
    named = {"name": f"{opened.study.name}: recommended", "out": out}
    if (first.lora, first.data) == (second.lora, second.data):
        stages[1] = stages[1].model_copy(update={"init_from": STAGE1})
        return first.model_copy(update={**named, "stages": tuple(stages)}), ["# This trains stage 1, and then stage 2:"]
    # One recipe has one kind of weights, and examples that stage 1 has written are of that stage 1.
    note = f"# This trains stage 2 from the study's own stage 1 of seed {seed}, with what was made for that:"
    return second.model_copy(update={**named, "stages": (stages[1],)}), [note]


def _sentence(dataset: DatasetResults, choice: Choice, gain: Gain | None) -> str:
    begun = f"on {choice.dataset}, train stage 1 and then `{choice.arm}`"
    if choice.arm == PLAIN:
        best = choice.contenders[0]
        found = f"the most accurate, `{best.name}`, has {points(best.accuracy.rate.difference)} points on validation"
        few = "" if len(best.accuracy.seeds) != 2 else "; with two seeds hardly anything can be, three or more tell"
        return f"{begun}: no stage 2 is shown better than this plain training ({found}: {best.standing}{few})"
    arm = dataset.arms[choice.arm]
    first = control_of(dataset, arm, dataset.arms[PLAIN])
    as_long = arm.num_steps == first.num_steps
    plain = "the same amount of plain training" if as_long else f"`{first.name}`, which has another length"
    if gain is None:
        return f"{begun}: shown better than {plain} on validation; of test nothing is known yet"
    return f"{begun}: expect {_points(gain.rate)} of accuracy over {plain} (test, {_seeds(gain)})"


def _reasons(dataset: DatasetResults, choice: Choice, gain: Gain | None) -> Iterator[str]:
    compared = choice.contenders[0].accuracy
    kind = "for tuning" if choice.purpose == "tuning" else "for claims; the study has none for tuning"
    yield f"# Chosen on validation ({_seeds(compared)} {kind}; {compared.num_items:,} items)."
    firsts = sorted({contender.accuracy.first for contender in choice.contenders} - {PLAIN})
    own_length = "".join(f", or over `{name}` where that is as long" for name in firsts)
    at_least = f"`at least` is the lower end of the {100 * choice.confidence:.1f} % interval"
    yield f"# Points over `{PLAIN}`{own_length}; {at_least}:"
    yield _ROW.format("arm", "accuracy", "at least", "format", "standing").rstrip()
    yield from map(_row, choice.contenders)
    for name in choice.without_result:
        yield f"#   {name:<22} no run came to a result"
    yield "# Better is an arm whose accuracy is shown to be higher, with a chance of error of 5 % over all arms."
    yield "# An arm whose format is shown to be more than 1 point lower is out. The most accurate of the better ones is"
    yield f"# recommended, where there is none `{PLAIN}`. Test had no part in it."
    yield "#"
    if gain is not None:
        size = f"{_seeds(gain)}, {gain.num_items:,} items"
        yield f"# Expected on test over `{gain.first}`: {_points(gain.rate)} of accuracy ({size})."
    if (plain := expected_gain(dataset, PLAIN, over=STAGE1)) is not None:
        yield f"# On test `{PLAIN}` itself has {_points(plain.rate)} of accuracy over stage 1."


def _row(contender: Contender) -> str:
    accuracy, form = contender.accuracy.rate, contender.format.rate
    low = "" if accuracy.low is None else points(accuracy.low)
    return _ROW.format(contender.name, points(accuracy.difference), low, points(form.difference), contender.standing)


def _points(rate: ArmRate) -> str:
    """`+9.8 points (95 % 4.1 to 15.0)`."""
    ends = "" if rate.low is None or rate.high is None else f" (95 % {points(rate.low)} to {points(rate.high)})"
    return f"{points(rate.difference)} points{ends}"


def _seeds(gain: Gain) -> str:
    return f"{len(gain.seeds)} seed{'s' if len(gain.seeds) > 1 else ''}"
