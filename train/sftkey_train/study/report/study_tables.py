"""The tables of a study's report."""

from collections.abc import Iterable

from sftkey_eval.analysis.arms import ArmRate
from sftkey_eval.analysis.paired_comparison import FORMAT_MARGIN, PairedEstimate
from sftkey_eval.report.printed import finding, shown_from
from sftkey_eval.report.tables import Cell, Table
from sftkey_eval.statistics.arm_seeds import SeedEstimate
from sftkey_eval.statistics.item_means import Estimate
from sftkey_train.study.report.arm_gains import Gain, against
from sftkey_train.study.report.learning_curves import LEVELS
from sftkey_train.study.report.study_numbers import ArmNumbers, Claim, DatasetNumbers, StudyNumbers

RATE_TITLES = {"correct": "Accuracy", "format_valid": "Format", "slip": "Slips"}
INTERVALS = "95 % intervals over seeds and items"


def study_tables(numbers: StudyNumbers) -> dict[str, Table]:
    """Every table with rows, by name, in reading order."""
    of_datasets = [table for dataset in numbers.datasets for table in dataset_tables(dataset)]
    tables = [claims_table(numbers), headroom_table(numbers), *of_datasets]
    return {table.name: table for table in tables if table.rows}


def dataset_tables(dataset: DatasetNumbers) -> list[Table]:
    """The tables of one dataset; those without rows say nothing."""
    return [
        arms_of_dataset(dataset),
        gains_table(dataset),
        reach_table(dataset),
        validation_table(dataset),
        cost_table(dataset),
    ]


def claims_table(numbers: StudyNumbers) -> Table:
    """The paper's claims on each dataset."""
    rows: list[tuple[Cell, ...]] = [
        (
            dataset.name,
            claim_text(claim),
            claim.gain.first,
            gain_cell(claim.gain.rate),
            shown_from(claim.gain.rate.detectable),
            claim.finding,
        )
        for dataset in numbers.datasets
        for claim in dataset.claims
    ]
    return Table(
        name="claims",
        has_section=True,
        caption=f"The paper's claims, its stage 2 against an arm: difference in points with {INTERVALS}.",
        columns=("Dataset", "Claim", "Against", "Difference", "Shown from, points", "Finding"),
        rows=tuple(rows),
    )


def claim_text(claim: Claim) -> str:
    """A claim in words, with its bound."""
    if claim.claimed == "accuracy":
        return f"accuracy more than {100 * claim.bound:.0f} points better"
    return f"format less than {-100 * claim.bound:.0f} point worse"


def claim_columns(datasets: Iterable[DatasetNumbers]) -> list[tuple[str, str]]:
    """The claims of all datasets as text and the arm they are held against, each once."""
    return list(dict.fromkeys((claim_text(claim), claim.gain.first) for data in datasets for claim in data.claims))


def headroom_table(numbers: StudyNumbers) -> Table:
    """What went wrong after stage 1, by dataset."""
    rows: list[tuple[Cell, ...]] = [
        (
            dataset.name,
            *map(share_cell, (room.correct, room.slip, room.malformed, room.of_items, room.of_errors)),
            share_cell(room.key_gold_cot),
        )
        for dataset in numbers.datasets
        if (room := dataset.headroom)
    ]
    return Table(
        name="headroom",
        has_section=True,
        caption="After stage 1, what a second stage on the answer can mend: slips, and right answers in a broken "
        "format. A slip is seen where the CoT states the gold; where it leaves the last step to the Key, only the Keys "
        f"given the gold CoT (of validation) show what is missing. Percent with {INTERVALS}.",
        columns=(
            "Dataset",
            "Correct",
            "Slips",
            "Right but malformed",
            "Both, of all items",
            "Both, of the errors",
            "Key given the gold CoT",
        ),
        rows=tuple(rows),
    )


def arms_of_dataset(dataset: DatasetNumbers) -> Table:
    """What each arm has on test."""
    rows: list[tuple[Cell, ...]] = [
        (
            arm.name,
            len(arm.seeds),
            *map(share_cell, (arm.correct, arm.format_valid, arm.slip, arm.key_own_cot, arm.key_gold_cot)),
        )
        for arm in finished_arms(dataset)
    ]
    return Table(
        name=f"{dataset.name}_arms",
        has_section=True,
        caption=f"Arms on test, percent with {INTERVALS}; Keys given the gold CoT are of validation.",
        columns=("Arm", "Seeds", *RATE_TITLES.values(), "Key given its own CoT", "Key given the gold CoT"),
        rows=tuple(rows),
    )


def finished_arms(dataset: DatasetNumbers) -> list[ArmNumbers]:
    """The arms that have a finished claim seed."""
    return [arm for arm in dataset.arms if arm.seeds]


def gains_table(dataset: DatasetNumbers) -> Table:
    """Differences on test against the control, `rft` and stage 1."""
    found: Iterable[Gain] = [gain for gains in dataset.gains.values() for gain in gains]
    known = {(gain.first, gain.second, gain.mark) for gain in found}
    found = [*found, *(g for g in dataset.over_stage1 if (g.first, g.second, g.mark) not in known)]
    return Table(
        name=f"{dataset.name}_gains",
        has_section=True,
        caption=f"Differences on test in points with {INTERVALS}, arms paired by seed and item; and the smallest "
        "difference found with 80 % power. The last column: whether the format is shown to be kept.",
        columns=(
            *("Arm", "Against", "Rate", "Seeds", "Difference", "Shown from, points", "Finding"),
            f"Less than {100 * FORMAT_MARGIN:.0f} point worse",
        ),
        rows=tuple(
            (
                gain.second,
                gain.first,
                RATE_TITLES[gain.mark],
                len(gain.seeds),
                gain_cell(gain.rate),
                shown_from(gain.rate.detectable),
                finding(gain.rate),
                against(gain.rate, -FORMAT_MARGIN) if gain.mark == "format_valid" else "–",
            )
            for gain in found
        ),
    )


def reach_table(dataset: DatasetNumbers) -> Table:
    """How soon each arm got to each level."""
    by_arm = {reach.name: {r.level: r for r in dataset.reached if r.name == reach.name} for reach in dataset.reached}
    return Table(
        name=f"{dataset.name}_steps",
        has_section=True,
        caption="Steps after stage 1 until the model chooses so many held-out Keys given the gold CoT, as far as "
        "measured on the way: median over the seeds, and how many of them got there.",
        columns=("Arm", *(text for level in LEVELS for text in (f"{level:.0%} of Keys", f"Seeds at {level:.0%}"))),
        rows=tuple(
            (
                name,
                *(
                    text
                    for level in LEVELS
                    for text in (
                        steps_text(found[level].median_steps),
                        f"{found[level].num_reached} of {found[level].num_seeds}",
                    )
                ),
            )
            for name, found in by_arm.items()
        ),
    )


def steps_text(median: float | None) -> str:
    """A median of steps; `not reached` where half of the seeds did not get there."""
    return "not reached" if median is None else f"{median:,g}"


def validation_table(dataset: DatasetNumbers) -> Table:
    """Every arm where choices are made."""
    purpose = next((f"{found.purpose} seeds" for found in dataset.validation), "")
    return Table(
        name=f"{dataset.name}_validation",
        has_section=True,
        caption=f"On validation, over the {purpose}, where choices are made: accuracy, and the gain over the control "
        f"in points, with {INTERVALS}.",
        columns=("Arm", "Like", "Learning rate", "Steps", "Accuracy", "Gain"),
        rows=tuple(
            (
                found.name,
                found.like,
                "–" if found.lr is None else f"{found.lr:g}",
                found.steps,
                share_cell(found.correct),
                None if found.gain is None else gain_cell(found.gain.rate),
            )
            for found in dataset.validation
        ),
    )


def cost_table(dataset: DatasetNumbers) -> Table:
    """What a run of each arm cost."""
    return Table(
        name=f"{dataset.name}_cost",
        has_section=True,
        caption="Cost of a run, mean over the claim seeds; stage 1 comes before every arm that starts from it.",
        columns=(
            "Arm",
            "Steps",
            "Supervised tokens",
            "FLOPs",
            "Sampling, s",
            "Training, s",
            "Generation and scoring, s",
        ),
        rows=tuple(
            (
                arm.name,
                _whole(arm.steps),
                _whole(arm.supervised_tokens),
                "–" if arm.flops is None else f"{arm.flops:.2e}",
                _whole(arm.sampling_seconds),
                _whole(arm.training_seconds),
                _whole(arm.other_seconds),
            )
            for arm in finished_arms(dataset)
        ),
    )


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def share_cell(found: SeedEstimate | None) -> Estimate | None:
    """A share as a cell."""
    return None if found is None else Estimate(found.value, found.low, found.high)


def gain_cell(rate: ArmRate) -> PairedEstimate:
    """A difference as a cell."""
    return PairedEstimate(rate.difference, rate.low, rate.high)
