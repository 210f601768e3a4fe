"""The first sentence of a report, and the sentence on the format: they read forwards, and their numbers are right."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from eval_samples import CUT, RIGHT, SLIP, WRONG, sampled, write_run

from sftkey_eval.analysis.loaded_runs import load_runs
from sftkey_eval.analysis.paired_comparison import compare_runs
from sftkey_eval.report.printed import format_statement
from sftkey_eval.report.report import make_report, report_json
from sftkey_eval.report.terminal import report_text


def found(folder: Path, runs: Sequence[tuple[str, Sequence[str]]]) -> str:
    """What the report on some runs says first: their labels, and their completions."""
    specs = [
        f"{label}={write_run(folder / str(number), [{'completion': text} for text in texts])}"
        for number, (label, texts) in enumerate(runs)
    ]
    made = make_report(load_runs(specs))
    assert report_json(made)["found"] == made.found
    assert report_text(made).startswith(made.found)
    return made.found.replace("\u202f", " ")


MIXED = [RIGHT] * 40 + [SLIP] * 50 + [WRONG] * 10
BETTER = [RIGHT] * 80 + [SLIP] * 10 + [WRONG] * 10
LIKE = [RIGHT] * 41 + [SLIP] * 49 + [WRONG] * 10


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        (
            [("a", MIXED)],
            "a gets 40 of 100 questions right, in the format asked for (40.0 %, 95 % 30.9 to 49.8); most of its 60 "
            "errors are slips: the reasoning arrives and the answer does not follow it.",
        ),
        ([("a", [RIGHT] * 9)], "a gets 9 of 9 questions right, in the format asked for (100.0 %, 95 % 70.1 to 100.0)."),
        (
            [("a", MIXED), ("b", BETTER)],
            "b gets 80.0 % of 100 questions right, a 40.0 %: a gain of 40.0 points that chance does not explain "
            "(95 % +29.6 to +49.0).",
        ),
        (
            [("a", BETTER), ("b", MIXED)],
            "b gets 40.0 % of 100 questions right, a 80.0 %: a loss of 40.0 points that chance does not explain "
            "(95 % \u221249.0 to \u221229.6).",
        ),
        (
            [("a", MIXED), ("b", LIKE)],
            "b gets 41.0 % of 100 questions right, a 40.0 %: a difference that chance may explain (+1.0 points, "
            "95 % \u22121.8 to +3.8).",
        ),
        (
            [("a", MIXED), ("b", BETTER), ("c", LIKE)],
            "Of 3 runs, b gets most right (80.0 % of 100 questions); against a, b is shown to be better.",
        ),
        (
            [("a", BETTER), ("b", MIXED), ("c", LIKE)],
            "Of 3 runs, a gets most right (80.0 % of 100 questions); against a, b and c are shown to be worse.",
        ),
        (
            [("a", MIXED), ("b", LIKE), ("c", LIKE)],
            "Of 3 runs, b gets most right (41.0 % of 100 questions); against a, no other is shown to be better or "
            "worse.",
        ),
        (
            [("a", MIXED), ("b", BETTER[:50])],
            "The 2 runs cannot all be compared, so none is called the best: a gets 40.0 % right, b gets 100.0 % right.",
        ),
        (
            [("a", MIXED), ("a", LIKE)],
            "Over 2 seeds, a gets 40.5 % of 100 questions right, in the format asked for, 95 % 29.4 to 52.1.",
        ),
    ],
    ids=[
        "one run",
        "no error",
        "gain",
        "loss",
        "chance",
        "three runs",
        "worse",
        "nothing shown",
        "not paired",
        "one arm",
    ],
)
def test_a_report_begins_with_what_was_found(tmp_path: Path, runs: list[tuple[str, list[str]]], expected: str) -> None:
    assert found(tmp_path, runs) == expected


def test_an_arm_with_one_seed_is_not_told_from_chance(tmp_path: Path) -> None:
    said = found(tmp_path, [("a", MIXED), ("a", LIKE), ("b", BETTER)])
    assert said.endswith("+39.5 points, and with one seed nothing tells how much of it is chance.")


def test_several_samples_are_answers_and_not_questions(tmp_path: Path) -> None:
    made = make_report(load_runs([sampled(tmp_path / "run", [[RIGHT, WRONG], [RIGHT, RIGHT]])]))
    assert "gets 3 of 4 answers right" in made.found


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ([CUT] * 30 + [RIGHT] * 70, [RIGHT] * 100, "better; b has 30.0 points more valid completions than a (95 %"),
        ([RIGHT] * 100, [CUT] * 30 + [RIGHT] * 70, "worse; b has 30.0 points fewer valid completions than a (95 %"),
        ([RIGHT] * 400, [RIGHT] * 400, "kept; b loses less than 1 point to a (0.0 points, one-sided p"),
        (
            [RIGHT] * 20,
            [RIGHT] * 20,
            "open; no change is shown, but a loss of 1 point or more from a to b is not ruled",
        ),
        (
            [RIGHT] * 4000,
            [CUT] * 8 + [RIGHT] * 3992,
            "worse, though by less than the margin of 1 point; b has 0.2 points fewer valid completions than a (95 %",
        ),
    ],
    ids=["better", "worse", "kept", "open", "slightly worse"],
)
def test_the_sentence_on_the_format_reads_forwards(
    tmp_path: Path, before: list[str], now: list[str], expected: str
) -> None:
    paths = [
        write_run(tmp_path / name, [{"completion": c} for c in texts]) for name, texts in (("a", before), ("b", now))
    ]
    said = format_statement(compare_runs(*load_runs([str(path) for path in paths]))).replace("\u202f", " ")
    assert said.startswith(f"Format: {expected}")
