"""A second grader's opinion beside ours, and where the two differ."""

import json
from dataclasses import replace

from sftkey_data.errors import SFTKeyError, nearest
from sftkey_data.extras import require
from sftkey_eval.records.verdicts import Outcome, Verdict
from sftkey_eval.symbolic.symbolic_rule import second_opinion

SECOND_GRADERS = ("math-verify",)
_LISTED = (
    "id",
    "answer_type",
    "gold",
    "predicted",
    "verdict",
    "rule",
    "lenient_predicted",
    "lenient_verdict",
    "second_verdict",
    "second_rule",
)


def check_second_grader(name: str | None) -> None:
    """Refuse an unknown or uninstalled second grader; None means that none is asked.

    Raises:
        SFTKeyError: Names the nearest known one, or what to install.
    """
    if name is None:
        return
    if name not in SECOND_GRADERS:
        known = ", ".join(SECOND_GRADERS)
        raise SFTKeyError(f"unknown second grader {name!r}{nearest(name, SECOND_GRADERS)}; known: {known}")
    require(f"--second-grader {name}", "eval", "math_verify")


def with_second_opinion(verdict: Verdict) -> Verdict:
    """The verdict with the second grader's; it is asked about what is scored only.

    About the Key, and where the format is malformed about the best candidate, so that every answer has two opinions.
    """
    if verdict.verdict == "unscored" or verdict.gold is None or verdict.lenient_predicted is None:
        return verdict
    second, rule = second_opinion(verdict.gold, verdict.lenient_predicted)
    return replace(verdict, second_verdict=second, second_rule=rule)


def disagreement(verdict: Outcome) -> bool:
    """Whether the second grader was asked and says otherwise; of a valid format the lenient verdict is the Key's."""
    return verdict.second_verdict is not None and verdict.second_verdict != verdict.lenient_verdict


def disagreement_line(verdict: Verdict) -> str:
    """One JSON line: the answers, both verdicts and both rules."""
    return json.dumps({name: getattr(verdict, name) for name in _LISTED}) + "\n"
