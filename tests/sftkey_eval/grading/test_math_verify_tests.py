"""Math-Verify's own published tests, run through our grader: agreement, and every disagreement with its reason.

The pairs are read from an unpacked source distribution of Math-Verify, at `$SFTKEY_MATH_VERIFY_TESTS`; none is copied
here. Its tests extract and compare. They run here with Math-Verify's own extraction, which says where in a text the
answer stands, and our comparison of what stands there.
"""

import contextlib
import importlib.util
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sftkey_eval.answers.decision import Decision
from sftkey_eval.answers.sequences import split_top_level, unbracket
from sftkey_eval.kinds.grade import grade
from sftkey_eval.policy import DEFAULT_POLICY, Policy

MIN_AGREEMENT = 0.90


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A pair on which our verdict is not what Math-Verify's test expects; answers as they were graded."""

    test: str
    gold: str
    predicted: str
    expected: bool
    decision: Decision


def _same(gold: str, predicted: str, policy: Policy = DEFAULT_POLICY) -> bool:
    return grade(gold, predicted, "math", policy=policy).verdict == "correct"


def _rounded(case: Disagreement) -> bool:
    return case.expected and any(_same(case.gold, case.predicted, Policy(rounding=places)) for places in range(2, 7))


def _decimal_comma(case: Disagreement) -> bool:
    pair = [re.sub(r"^(\d+),(\d+)$", r"\1.\2", text) for text in (case.gold, case.predicted)]
    return pair != [case.gold, case.predicted] and _same(*pair)


def _contradiction(case: Disagreement) -> bool:
    for text in (case.gold, case.predicted):
        members = [part for part in re.split(r"=|\\approx", text) if not re.fullmatch(r"\s*[a-z]\s*", part)]
        if not set(",;") & set(text) and any(
            grade(members[0], member, "math").verdict == "wrong" for member in members[1:]
        ):
            return True
    return False


def _brackets(case: Disagreement) -> bool:
    kinds, insides = zip(*map(unbracket, (case.gold, case.predicted)), strict=True)
    return kinds[0] != kinds[1] and insides[0] == insides[1]


def _repeated(case: Disagreement) -> bool:
    sides = [[part.replace(" ", "") for part in split_top_level(text)] for text in (case.gold, case.predicted)]
    return any(len(set(side)) < len(side) for side in sides) and set(sides[0]) == set(sides[1])


def _unnamed(case: Disagreement) -> bool:
    values = [re.sub(r"[a-z]=|[\s()]", "", text).replace(";", ",") for text in (case.gold, case.predicted)]
    return "=" in case.gold and values[0] == values[1]


def _direction(case: Disagreement) -> bool:
    return not case.expected and _same(case.predicted, case.gold) and "\\in" in case.gold and "\\le" in case.predicted


REASONS: dict[str, Callable[[Disagreement], bool]] = {
    "numbers are compared exactly, nothing is rounded": _rounded,
    "a comma between digits is no decimal point, it separates two numbers": _decimal_comma,
    "an equation between different numbers states none of them": _contradiction,
    "a tuple is not the set of its members": _brackets,
    "a list that repeats a member is not the list without": _repeated,
    "values that are named are not taken for a tuple": _unnamed,
    "a relation and the set it describes are the same answer, whichever is the gold": _direction,
    "functions of other arguments are other functions": lambda case: (
        case.gold != case.predicted and case.gold == case.predicted.replace("(y)", "(x)")
    ),
    "what cannot be proven within the limits is left undecided": lambda case: (
        case.decision.verdict == "undecided" and case.decision.rule.startswith("symbolic_")
    ),
}
"""A reason of the policy, and whether it explains a disagreement."""


def _cases(root: Path, patch: pytest.MonkeyPatch) -> Iterator[tuple[str, str, str, bool]]:
    """Test, gold, predicted and expected verdict of every parametrized case that compares two texts."""
    patch.syspath_prepend(str(root.parent))
    for file in sorted(root.glob("test_*.py")):
        spec = importlib.util.spec_from_file_location(f"math_verify_{file.stem}", file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for function in list(vars(module).values()):
            for mark in getattr(function, "pytestmark", []):
                yield from _of_mark(function, mark, patch)


def _of_mark(function: Any, mark: pytest.Mark, patch: pytest.MonkeyPatch) -> Iterator[tuple[str, str, str, bool]]:
    names = mark.args[0].replace(" ", "").split(",") if mark.name == "parametrize" else []
    if names[:2] != ["gold", "pred"]:
        return
    column = next(n for n, name in enumerate(names) if name in ("expected", "result"))
    for values in mark.args[1]:
        pair = _compared(function, dict(zip(names, values, strict=True)), patch)
        yield function.__name__, *pair, bool(values[column])


def _compared(function: Any, arguments: dict[str, Any], patch: pytest.MonkeyPatch) -> tuple[str, str]:
    """The two texts that a test function would parse and compare."""
    pairs: list[tuple[str, str]] = []

    def record(gold: str, predicted: str, **settings: Any) -> bool:
        pairs.append((gold, predicted))
        return True

    helper = function.__globals__.get("compare_strings", function)
    with patch.context() as inner, contextlib.suppress(AssertionError):
        for place in (function.__globals__, helper.__globals__):
            inner.setitem(place, "parse", _extracted)
            inner.setitem(place, "verify", record)
        function(**arguments)
    return pairs[0]


def _extracted(text: str, *settings: Any) -> str:
    """As it is written, the part of a text that Math-Verify would parse; the whole text where it finds none."""
    from math_verify import parser

    found: list[tuple[Any, dict[str, str | None]]] = []
    extract = parser.extract_match

    def record(match: re.Match[str], target: Any) -> Any:
        extracted = extract(match, target)
        found.append((extracted[0], match.groupdict()))
        return extracted

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parser, "extract_match", record)
        parser.parse(text, *settings)
    chosen = next((groups for parsed, groups in found if parsed is not None), found[0][1] if found else {})
    return _written({name: value for name, value in chosen.items() if value}) or text


def _written(groups: dict[str, str]) -> str:
    from latex2sympy2_extended.math_normalization import extract_boxed_content

    formulas = [value for name, value in groups.items() if "latex" in name]
    if not formulas:
        return "".join(value for name, value in groups.items() if not name.endswith("_percent"))
    mode: Any = "last" if any("latexBoxed" in name for name in groups) else "all"
    # Some texts are escaped twice.
    formulas = [extract_boxed_content(formula.replace(r"\\boxed", r"\boxed"), mode) for formula in formulas]
    percent = "%" if any(name.endswith("_percent") for name in groups) and "%" not in formulas[-1] else ""
    return " and ".join(formulas) + percent


def _reason(case: Disagreement) -> str | None:
    return next((reason for reason, explains in REASONS.items() if explains(case)), None)


@pytest.mark.slow
def test_math_verifys_own_tests_agree_and_every_disagreement_has_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = os.environ.get("SFTKEY_MATH_VERIFY_TESTS", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("set SFTKEY_MATH_VERIFY_TESTS to the tests folder of Math-Verify's source distribution")
    cases, differing = list(_cases(Path(folder), monkeypatch)), []
    for test, gold, predicted, expected in cases:
        decision = grade(gold, predicted, "math")
        if (decision.verdict == "correct") != expected:
            differing.append(Disagreement(test, gold, predicted, expected, decision))
    assert len(cases) > 200
    agreement = 1 - len(differing) / len(cases)
    print(f"{agreement:.3f} of {len(cases)}; {Counter(map(_reason, differing))}")  # noqa: T201 - the measurement
    for case in differing:
        print(f"{_reason(case)}: {case}")  # noqa: T201
    assert agreement >= MIN_AGREEMENT
    assert [case for case in differing if _reason(case) is None] == []
