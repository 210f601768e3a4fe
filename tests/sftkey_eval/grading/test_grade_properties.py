"""What holds of every answer: another digit is another answer, and grading many answers keeps nothing."""

import gc
import json
import random
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sftkey_data.format.boxes import find_boxes
from sftkey_eval.kinds.grade import grade

FORMS = (
    "%s",
    "-%s.5",
    "0.%s",
    "%s\\%%",
    "%s \\text{ cm}",
    "%s^\\circ",
    "x = %s",
    "\\frac{%s}{7}",
    "%s\\sqrt{2}",
    "\\sqrt{%s}",
    "%s\\pi + 1",
    "%sx^2 - y",
    "x > %s",
    "(3, %s)",
    "[-1, %s)",
    "\\{-1, %s\\}",
    "1, %s",
    "\\begin{pmatrix} 1 \\\\ %s \\end{pmatrix}",
    "y = 2x + %s",
    "1:%s",
    "2^{x} + %si",
)


def with_one_digit_changed(text: str, numbers: random.Random) -> str:
    """A digit of the text replaced by another one."""
    position = numbers.choice([index for index, character in enumerate(text) if character in "0123456789"])
    other = numbers.choice([digit for digit in "0123456789" if digit != text[position]])
    return text[:position] + other + text[position + 1 :]


@settings(max_examples=200, deadline=None)
@given(st.integers(min_value=1, max_value=10**9), st.sampled_from(FORMS), st.randoms(use_true_random=False))
def test_with_one_digit_changed_an_answer_is_never_equal(n: int, form: str, numbers: random.Random) -> None:
    digits = f"{n}1"  # no zeros at the end of a decimal, no interval without length
    gold, other = form % digits, form % with_one_digit_changed(digits, numbers)
    assert grade(gold, gold, "math").verdict == "correct"
    for pair in ((gold, other), (other, gold)):
        assert grade(*pair, "math").verdict == "wrong", pair


@pytest.mark.slow
def test_no_math_gold_equals_itself_with_one_digit_changed(shared_data: Path) -> None:
    numbers, equal, changed = random.Random(7), [], 0
    for line in (shared_data / "raw" / "math" / "test.jsonl").read_text(encoding="utf-8").splitlines():
        solution = json.loads(line)["solution"]
        box = find_boxes(solution)[-1]
        gold = solution[box.content_start : box.content_end]
        if any(character in "0123456789" for character in gold):
            other = with_one_digit_changed(gold, numbers)
            changed += 1
            if grade(gold, other, "math").verdict == "correct":
                equal.append((gold, other))
    assert changed > 4_000
    assert equal == []


PIECES = (
    *"0123456789xyiezn+-*/^(){}[]|,;:=<>!_% $&.",
    *("\\frac", "\\sqrt", "\\pi ", "\\pm ", "\\infty ", "\\sin ", "\\log_", "\\cup ", "\\in ", "\\le ", "\\{", "\\}"),
    *("\\begin{pmatrix}", "\\end{pmatrix}", "\\\\", "\\text{", "\\boxed{", " or ", " cm", "½", "٤", "\ud800", "12,345"),
)
NUM_STRINGS = 10_000
MAX_GROWTH = 2_000_000  # bytes


def fuzzed(numbers: random.Random) -> str:
    """A string of up to 14 pieces."""
    return "".join(numbers.choices(PIECES, k=numbers.randint(1, 14)))


@pytest.mark.slow
def test_ten_thousand_fuzzed_answers_raise_nothing_and_leave_no_memory_behind() -> None:
    numbers, sizes = random.Random(11), []
    tracemalloc.start()
    try:
        for count in range(1, NUM_STRINGS + 1):
            grade(fuzzed(numbers), fuzzed(numbers), "math")
            if count % (NUM_STRINGS // 2) == 0:
                gc.collect()
                sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert sizes[1] - sizes[0] < MAX_GROWTH, sizes  # the caches of the readers are full by then
