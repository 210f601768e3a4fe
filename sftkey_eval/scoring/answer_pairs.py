"""Pairs of answers in, verdicts out: grading without completions, one line out per line in, in the same order."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from sftkey_data.console import progress
from sftkey_data.errors import SFTKeyError, nearest
from sftkey_data.storage.appearing import appearing
from sftkey_data.storage.own_output import own_file, refuse_no_file
from sftkey_eval.answers.answer import Answer
from sftkey_eval.answers.answer_kind import AnswerKind
from sftkey_eval.answers.decision import Decision
from sftkey_eval.answers.option_letters import Choices
from sftkey_eval.grading.ladder import compare_answers
from sftkey_eval.kinds.kind_table import KINDS, find_kind
from sftkey_eval.policy import Policy, check_policy
from sftkey_eval.records.completion_rows import read_choices, read_gold, read_text
from sftkey_eval.records.row_files import read_row_file
from sftkey_eval.records.workers import ROWS_PER_JOB, in_order
from sftkey_eval.scoring.score_options import GradeOptions

PAIR_COLUMNS = ("gold", "predicted", "answer_type")


@dataclass(frozen=True, slots=True)
class Pair:
    """One line of a pairs file; `id` is handed on where the file has one."""

    gold: str | None
    predicted: str | None
    answer_type: str
    choices: tuple[str, ...] | None
    id: str | None


@dataclass(frozen=True, slots=True)
class _Job:
    policy: Policy
    kinds: dict[str, AnswerKind]
    """Travels with the job: a worker process knows no kind that was registered after the start."""

    def __call__(self, pairs: list[Pair]) -> list[tuple[str | None, Decision]]:
        """The id of each pair and how it is graded."""
        return [(pair.id, self._graded(pair)) for pair in pairs]

    def _graded(self, pair: Pair) -> Decision:
        choices = Choices.of(pair.choices)
        gold, predicted = Answer.of(pair.gold, choices), Answer.of(pair.predicted, choices)
        return compare_answers(gold, predicted, self.kinds[pair.answer_type], self.policy)


@dataclass(slots=True)
class PairTally:
    """How many pairs got which verdict."""

    verdicts: Counter[str] = field(default_factory=Counter)

    def to_json(self) -> str:
        """One line: all pairs, and those of every verdict."""
        names = ("correct", "wrong", "undecided", "unscored")
        return json.dumps({"n": self.verdicts.total(), **{name: self.verdicts[name] for name in names}})


def grade_file(path: Path, out: Path, options: GradeOptions | None = None) -> PairTally:
    """Grade a file of pairs.

    Args:
        path: JSON lines with `gold`, `predicted`, `answer_type`, and for type `choice` the option texts in `choices`.
        out: JSON lines with `verdict` and `rule`, and `id` where the pair has one; it appears when it is complete.
        options: Policy and workers, and the type of lines that do not say.

    Raises:
        SFTKeyError: No such file, no rows, broken JSON, a missing column, an unknown answer type, an unusable `out`.
    """
    options = options or GradeOptions()
    check_policy(options.policy)
    default = None if options.answer_type is None else find_kind(options.answer_type).name
    num_pairs = sum(1 for _ in read_pairs(path, default))  # every fault is found before the first pair is graded
    if num_pairs == 0:
        raise SFTKeyError(f"{path}: no rows, expected one JSON object per line")
    refuse_no_file(out, "verdicts")
    if out.exists() and out.samefile(path):
        raise SFTKeyError(f"{out}: the verdicts would replace the pairs, name another file")
    tally = PairTally()
    graded = closing(in_order(_Job(options.policy, dict(KINDS)), _batches(read_pairs(path, default)), options.workers))
    with (
        own_file(out, "verdicts"),
        appearing(out, "w") as file,
        progress("grading", num_pairs) as bar,
        graded as batches,
    ):
        for decisions in batches:
            for id_, decision in decisions:
                known = {} if id_ is None else {"id": id_}
                file.write(json.dumps({**known, "verdict": decision.verdict, "rule": decision.rule}) + "\n")
                tally.verdicts[decision.verdict] += 1
            bar.advance(bar.task_ids[0], len(decisions))
    return tally


def read_pairs(path: Path, default: str | None = None) -> Iterator[Pair]:
    """Pairs in the order of the file; blank lines are none.

    Raises:
        SFTKeyError: As `grade_file`, with the line.
    """
    for where, row in read_row_file(path, "pairs"):
        yield _pair(row, default, where)


def _pair(row: dict[str, Any], default: str | None, where: str) -> Pair:
    for name in PAIR_COLUMNS[: 2 if default else 3]:
        if name not in row:
            raise SFTKeyError(f"{where}: no column {name!r}{nearest(name, list(row))}; found: {', '.join(row)}")
    named = read_text(row, "answer_type", where)
    if named is None and default is None:
        raise SFTKeyError(f"{where}: 'answer_type' must be a string, found null")
    return Pair(
        gold=read_gold(row, "gold", where),
        predicted=read_gold(row, "predicted", where),
        answer_type=find_kind(named if named is not None else default or "", f"{where}: ").name,
        choices=read_choices(row, "choices", where),
        id=read_text(row, "id", where),
    )


def _batches(pairs: Iterator[Pair]) -> Iterator[list[Pair]]:
    while batch := list(islice(pairs, ROWS_PER_JOB)):
        yield batch
