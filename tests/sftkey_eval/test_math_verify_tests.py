"""Math-Verify's own published tests, run through our grader: agreement, and every disagreement with its reason.

The pairs are read from an unpacked source distribution of Math-Verify, at `$SFTKEY_MATH_VERIFY_TESTS`; none is copied
here. Its tests extract and compare in one; here the answer is taken out of a text first, as Math-Verify would.
"""

import importlib.util
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sftkey_data.template import load_template
from sftkey_eval.grade import Decision, grade
from sftkey_eval.lenient import find_candidate
from sftkey_eval.markup import matching_brace

MIN_AGREEMENT = 0.90

_MATH = re.compile(r"\$\$(.+?)\$\$|\$([^$]+)\$|\\\[(.+?)\\\]|\\\((.+?)\\\)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A pair on which our verdict is not what Math-Verify's test expects; answers as they were graded."""

    test: str
    gold: str
    predicted: str
    expected: bool
    decision: Decision


def _has(pattern: str) -> Callable[[Disagreement], bool]:
    return lambda case: bool(re.search(pattern, case.gold) or re.search(pattern, case.predicted))


REASONS: dict[str, Callable[[Disagreement], bool]] = {
    "numbers are compared exactly, not to six places": lambda case: (
        "float" in case.test or "precision" in case.test or "complex" in case.test or _has(r"\d\.\d{2}")(case)
    ),
    "a decimal comma or spaced digits are no number we read": _has(r"^\D{0,3}\d+,\d+\D{0,2}$|\d \d{3}"),
    "a chain of equations that contradicts itself states no value": _has(r"=[^=]+=|\\approx"),
    "a tuple is neither a set nor a comma list": _has(r"^\{?\$?\(|^\\\{"),
    "functions of other arguments are other functions": _has(r"^f\("),
}
"""A reason of the policy, and which disagreements it explains."""


def _cases(root: Path) -> Iterator[tuple[str, str, str, bool]]:
    sys.path.insert(0, str(root.parent))
    try:
        for file in sorted(root.glob("test_*.py")):
            spec = importlib.util.spec_from_file_location(f"math_verify_{file.stem}", file)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            for name, function in vars(module).items():
                for mark in getattr(function, "pytestmark", []):
                    yield from _of_mark(name, mark)
    finally:
        sys.path.remove(str(root.parent))


def _of_mark(test: str, mark: pytest.Mark) -> Iterator[tuple[str, str, str, bool]]:
    names = mark.args[0].replace(" ", "").split(",") if mark.name == "parametrize" else []
    if names[:2] == ["gold", "pred"]:
        column = next(n for n, name in enumerate(names) if name in ("expected", "result"))
        for values in mark.args[1]:
            yield test, values[0], values[1], bool(values[column])


def _answer(text: str) -> str:
    """The boxes at the end of a text, joined; else its last formula; else what the lenient chain finds."""
    boxes = [found.end() for found in re.finditer(r"\\boxed\s*\{", text)]
    contents = [text[start:end] for start in boxes if (end := matching_brace(text, start)) is not None]
    if contents:
        return contents[-1] if len(text) > 400 else ", ".join(contents)
    if formulas := _MATH.findall(text):
        return next(filter(None, formulas[-1])).strip()
    if re.search(r"[A-Za-z]{3,} ", text) and (found := find_candidate(text, "math", None, load_template("boxed"))):
        return found.text
    return text


def _reason(case: Disagreement) -> str | None:
    return next((reason for reason, explains in REASONS.items() if explains(case)), None)


@pytest.mark.slow
@pytest.mark.xfail(strict=True, reason="agreement is below 90 %, and some disagreements are not explained yet")
def test_math_verifys_own_tests_agree_and_every_disagreement_has_a_reason() -> None:
    folder = os.environ.get("SFTKEY_MATH_VERIFY_TESTS", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("set SFTKEY_MATH_VERIFY_TESTS to the tests folder of Math-Verify's source distribution")
    cases, differing = list(_cases(Path(folder))), []
    for test, gold, predicted, expected in cases:
        pair = _answer(gold), _answer(predicted)
        decision = grade(*pair, "math")
        if (decision.verdict == "correct") != expected:
            differing.append(Disagreement(test, *pair, expected, decision))
    assert len(cases) > 200
    agreement = 1 - len(differing) / len(cases)
    print(f"{agreement:.3f} of {len(cases)}; {Counter(map(_reason, differing))}")  # noqa: T201 - the measurement
    for case in differing:
        print(f"{_reason(case)}: {case}")  # noqa: T201
    assert agreement >= MIN_AGREEMENT
    assert [case for case in differing if _reason(case) is None] == []
