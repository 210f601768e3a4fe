"""Sentences that are read whole or not at all: what hedges, bounds, denies or continues a value belongs to it.

Each case: a completion, golds for which it is right, and golds for which it must not be taken.
"""

import json
from pathlib import Path

import pytest

from sftkey_data.extract.parts import AnswerType
from sftkey_eval.answers.numbers import read_number
from sftkey_eval.answers.option_letters import Choices
from sftkey_eval.extraction.candidates import find_candidate
from sftkey_eval.kinds.grade import grade
from sftkey_eval.kinds.kind_table import KINDS

NUMBERS: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = [
    ("The answer is 5 or 6.", (), ("5", "6")),
    ("The answer is either 5 or 6.", (), ("5", "6")),
    ("It is either 5 or 6.", (), ("5", "6")),
    ("The answer is between 5 and 6.", (), ("5", "6")),
    ("So it is between 5 and 6.", (), ("5", "6")),
    ("The answer is at least 7.", (), ("7",)),
    ("The answer is at least 7 apples in total.", (), ("7",)),
    ("So she needs at least 7.", (), ("7",)),
    ("The answer is more than 5.", (), ("5",)),
    ("The answer is 5 (or 6 if the box is open).", (), ("5", "6")),
    ("The answer is 5, or maybe 6.", (), ("5", "6")),
    ("The answer is 5, or it could be 6.", (), ("5", "6")),
    ("The answer is 5 - 6.", (), ("5", "6")),
    ("The answer is 5-6.", (), ("5", "6")),
    ("The answer is 5 to 6 apples.", (), ("5", "6")),
    ("The answer is probably not 5.", (), ("5",)),
    ("The answer cannot be 5.", (), ("5",)),
    ("The answer is not 5.", (), ("5",)),
    ("The answer is not 5. It is 6.", ("6",), ("5",)),
    ("The answer is not 5 but 6.", ("6",), ("5",)),
    ("The answer is 5, not 9.", ("5",), ("9",)),
    ("The answer is 5 (not 9).", ("5",), ("9",)),
    ("The answer is 5 and not 9.", ("5",), ("9",)),
    ("The answer is 5 cm, not 9 cm.", ("5",), ("9",)),
    ("The answer is 5 cm not 9.", ("5",), ("9",)),
    ("Therefore, the answer (in cm) is 5, not 9.", ("5",), ("9",)),
    ("The answer is neither 5 nor 6.", (), ("5", "6")),
    ("The answer is around 5.", ("5",), ()),
    ("The answer is about 5 apples.", ("5",), ()),
    ("The answer is approximately 5.", ("5",), ()),
    ("The answer is x=2 and x=5.", (), ("2", "5")),
    ("The answer is x = 2 or x = 5.", (), ("2", "5")),
    ("The answer is all real numbers except 2.", (), ("2",)),
    ("The final answer is all real numbers except $x=2$ and $x=5$.", (), ("2", "5")),
    ("So f is defined for all real numbers except 2.", (), ("2",)),
    ("The domain is all real numbers excluding $x = 2$.", (), ("2",)),
    ("The answer is $12 each.", ("12",), ()),
    ("The answer is $\\$10$.", ("10",), ()),
    ("The answer is $\\$1{,}000$.", ("1000",), ()),
    ("So he has $\\$10.50$ left.", ("10.5",), ()),
    ("The answer is $\\$10.50$ per box.", ("10.5",), ()),
    ("The answer is \\$10.", ("10",), ()),
    ("The answer is \\(\\$10\\).", ("10",), ()),
    ("The answer is $\\$10 + \\$5 = \\$15$.", ("15",), ()),
    ("The answer is 12 dollars and 50 cents.", ("12.5",), ("12", "50")),
    ("The answer is 2 feet 3 inches.", ("2.25",), ("2", "3")),
    ("The answer is 1 h 15 min.", ("1.25",), ("1", "15")),
    ("It takes 1 h 15 min.", ("1.25",), ("1", "15")),
    ("It takes 4 hours and 30 minutes.", ("4.5",), ("4", "30")),
    ("The answer is 4 hours 30 minutes.", ("4.5",), ("4", "30")),
    ("The answer is 4 hours 30 minutes because he is slow.", ("4.5",), ("4", "30")),
    ("The answer is 6 ft 2.", (), ("6", "2")),
    ("The answer is 3 dozen.", ("36",), ("3",)),
    ("The answer is 3 dozen eggs.", ("36",), ("3",)),
    ("She buys 3 dozen.", ("36",), ("3",)),
    ("The answer is 2 million people.", ("2000000",), ("2",)),
    ("The answer is 5 and a half hours.", ("5.5",), ("5",)),
    ("The answer is 5 + 3.", (), ("5", "3")),
    ("The answer is 5 + 3 = 8.", ("8",), ("5", "3")),
    ("The answer is 5 times 3.", (), ("5", "3")),
    ("The answer is 20% of 50.", (), ("20", "50")),
    ("The answer is the square root of 5.", (), ("5",)),
    ("The answer is negative 5.", ("-5",), ("5",)),
    ("The answer is minus 5 degrees.", ("-5",), ("5",)),
    ("The answer is seven.", ("7",), ("2",)),
    ("2 boys left. The answer is seven.", ("7",), ("2",)),
    ("The answer is 5, 6.", (), ("5", "6")),
    ("The answer is 5 and 6.", (), ("5", "6")),
    ("The answer is 5 apples and 6 pears.", (), ("6", "5")),
    ("The answer is 18 dollars, because 3*6=18.", ("18",), ("3",)),
    ("The answer is 18, since 3 of 6 are gone.", ("18",), ("3", "6")),
    ("The answer is 18 (see step 3).", ("18",), ("3",)),
    ("The answer is 5. However, 6 is also possible.", (), ("5", "6")),
    ("The answer is 5. But it could also be 6.", (), ("5", "6")),
    ("The answer is 5. However, the box is 9 deep.", ("5",), ("9",)),
    ("The answer is unknown. 5 boxes.", (), ("5",)),
    ("The answer cannot be determined from the 5 boxes.", (), ("5",)),
    ("The answer is that she has 5 apples.", ("5",), ()),
    ("The answer is definitely 5.", ("5",), ()),
    ("The answer is most likely 5.", ("5",), ()),
    ("The final answer (rounded) is 12. Thanks, 2 more to go.", ("12",), ("2",)),
    ("The answer, in dollars, is 12. It was 13 before.", ("12",), ("13",)),
    ("So the answer is: 12.", ("12",), ()),
    ("The answer is 1,234 - as we saw.", ("1234",), ()),
    ("The answer is ½.", ("0.5",), ()),
    ("The answer is 3:4.", (), ("3", "4")),
    ("The answer is in the range 5 to 6.", (), ("5", "6")),
    ("The answer is somewhere between 5 and 6.", (), ("5", "6")),
    ("The answer is from 5 to 6.", (), ("5", "6")),
    ("The answer is 5~6.", (), ("5", "6")),
    ("The answer is 5 or so.", ("5",), ()),
    ("The answer is less than 5.", (), ("5",)),
    ("The answer is fewer than 5 apples.", (), ("5",)),
    ("The answer is no more than 5.", (), ("5",)),
    ("The answer is at most 5.", (), ("5",)),
    ("The answer is greater than 5.", (), ("5",)),
    ("The answer is ≥ 5.", (), ("5",)),
    ("The answer is $\\geq 5$.", (), ("5",)),
    ("The answer is $x > 5$.", (), ("5",)),
    ("The answer is x > 5.", (), ("5",)),
    ("The answer is x < 5.", (), ("5",)),
    ("The answer is x ≠ 5.", (), ("5",)),
    ("The answer is $x \\neq 5$.", (), ("5",)),
    ("The answer is not equal to 5.", (), ("5",)),
    ("The answer isn't 5.", (), ("5",)),
    ("The answer can't be 5.", (), ("5",)),
    ("It is not 5.", (), ("5",)),
    ("The answer is definitely not 5.", (), ("5",)),
    ("The answer is 5 instead of 9.", ("5",), ("9",)),
    ("The answer is 5 rather than 9.", ("5",), ("9",)),
    ("The answer is not 9, it is 5.", ("5",), ("9",)),
    ("The answer is not 9; it's 5.", ("5",), ("9",)),
    ("The answer is 5 (and not 9).", ("5",), ("9",)),
    ("The answer is 5 apples, not 9 apples.", ("5",), ("9",)),
    ("The answer is either 5 apples or 6 apples.", (), ("5", "6")),
    ("The answer is 5 apples or 6 apples.", (), ("5", "6")),
    ("The answer is maybe 5, maybe 6.", (), ("5", "6")),
    ("The answer is 5, perhaps 6.", (), ("5", "6")),
    ("The answer is 5 (possibly 6).", (), ("5", "6")),
    ("The answer is 5 or 6 or 7.", (), ("5", "6", "7")),
    ("The answer is 5, 6, or 7.", (), ("5", "6", "7")),
    ("The answer is 5, 6 and 7.", (), ("5", "6", "7")),
    ("The answer is 5; 6.", (), ("5", "6")),
    ("The answer is 5/6/7.", (), ("5", "6", "7")),
    ("The answer is all integers except 3.", (), ("3",)),
    ("The answer is every number but 3.", (), ("3",)),
    ("The answer is all real numbers other than 3.", (), ("3",)),
    ("The answer is $\\mathbb{R} \\setminus \\{3\\}$.", (), ("3",)),
    ("The answer is $x \\in \\mathbb{R}, x \\neq 2$.", (), ("2",)),
    ("The answer is all x with x not equal to 3.", (), ("3",)),
    ("The answer is any number apart from 3.", (), ("3",)),
    ("The answer is 3 feet 6 inches.", ("3.5",), ("3", "6")),
    ("The answer is 3 ft 6 in.", ("3.5",), ("3", "6")),
    ("The answer is 2 hours and 15 minutes.", ("2.25",), ("2", "15")),
    ("The answer is 2 hrs 15 mins.", ("2.25",), ("2", "15")),
    ("The answer is 2 hours, 15 minutes.", ("2.25",), ("2", "15")),
    ("The total time is 2 hours and 15 minutes.", ("2.25",), ("2", "15")),
    ("The answer is 5 dollars and 25 cents.", ("5.25",), ("5", "25")),
    ("The answer is $5 and 25 cents.", ("5.25",), ("5", "25")),
    ("The answer is 1 pound 8 ounces.", ("1.5",), ("1", "8")),
    ("The answer is 2 minutes 30 seconds.", ("2.5",), ("2", "30")),
    ("The answer is 2 min 30 s.", ("2.5",), ("2", "30")),
    ("The answer is 1 day and 12 hours.", ("1.5",), ("1", "12")),
    ("The answer is 2 weeks.", ("2",), ()),
    ("The answer is 3 m 50 cm.", ("3.5",), ("3", "50")),
    ("The answer is 1 kg 500 g.", ("1.5",), ("1", "500")),
    ("The answer is 2 years and 6 months.", ("2.5",), ("2", "6")),
    ("The answer is 3 and a half.", ("3.5",), ("3",)),
    ("The answer is three and a half.", (), ("3",)),
    ("The answer is 3 1/2 hours.", ("3.5",), ("3",)),
    ("The answer is 2:30.", (), ("2", "30")),
    ("The answer is 6'2\".", (), ("6", "2")),
    ("The answer is 90° 30'.", (), ("90", "30")),
    ("The answer is 3 tens and 2 ones.", (), ("3", "2")),
    ("The answer is 3 remainder 2.", (), ("2", "3")),
    ("The answer is 3 R 2.", (), ("2", "3")),
    ("The answer is 3, remainder 2.", (), ("2",)),
    ("The final answer is \\$12.50.", ("12.5",), ()),
    ("The answer is $\\$12.50$.", ("12.5",), ()),
    ("The answer is $\\text{\\$}12$.", ("12",), ()),
    ("The answer is \\$12{,}000.", ("12000",), ()),
    ("The answer is $\\$ 12$.", ("12",), ()),
    ("Thus, the cost is $\\$12$ per ticket.", ("12",), ()),
    ("The answer is $12$ dollars.", ("12",), ()),
    ("The price is $12.", ("12",), ()),
    ("\\boxed{\\$12}", ("12",), ()),
    ("\\boxed{$12}", ("12",), ()),
    ("\\boxed{12\\text{ dollars}}", ("12",), ()),
    ("The answer is $\\$12,000$.", ("12000",), ()),
    ("The answer is 12\\%.", ("12%",), ()),
    ("The answer is (in cm): 5", ("5",), ()),
    ("The answer (in simplest form) is 5.", ("5",), ()),
    ("The answer for part (a) is 5.", ("5",), ()),
    ("The answer to the question is 5.", ("5",), ()),
    ("Final answer (to two decimals): 5.25", ("5.25",), ()),
    ("The answer, rounded, is 5.", ("5",), ()),
    ("The answer, as computed above, is 5. There were 9.", ("5",), ("9",)),
]

MATHEMATICS: list[tuple[str, str, bool]] = [
    ("The answer is x=2 and x=5.", "2,5", True),
    ("The answer is $x=2$ and $x=5$.", "2,5", True),
    ("The answer is $x=2$ and $x=5$.", "2", False),
    ("The answer is $x=2$ or $x=5$.", "2,5", True),
    ("So $\\\\boxed{(2, \\infty)}$.", "(2,\\infty)", True),
    ("So $\\\\boxed{\\\\frac{1}{2}}$.", "1/2", True),
    ("So \\\\[ x = \\\\frac{1}{2} \\\\]", "1/2", True),
    ("The answer is \\\\(\\\\frac{1}{2}\\\\).", "1/2", True),
    ("\\boxed{\\begin{pmatrix}1\\\\2\\end{pmatrix}}", "\\begin{pmatrix}1\\\\2\\end{pmatrix}", True),
    ("\\\\boxed{5}", "5", True),
    ("The answer is \\\\frac{3}{4}.", "3/4", True),
    ("$$\\\\boxed{\\\\sqrt{2}}$$", "\\sqrt{2}", True),
    ("So \\\\[\\\\boxed{x = 3}\\\\]", "3", True),
    ("\\\\boxed{\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}}", "\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", True),
    ("\\\\text{The answer is } \\\\boxed{7}", "7", True),
    ("<think>so \\boxed{8}</think>", "8", False),
    ("<think>so 8\n\nThe answer is 8.", "8", False),
    ("<Thinking>\nThe answer is 8.\n<Answer>\n8", "8", False),
    ("<THINK>\n#### 8", "8", False),
    ("Let me see.\n<think>\n\\boxed{8}", "8", False),
    ("The answer is 8.\n<think>wait, maybe 9?", "8", True),
]


def lenient_verdict(answer_type: AnswerType, completion: str, gold: str) -> str:
    found = find_candidate(completion, KINDS[answer_type])
    return grade(gold, found.text if found else None, answer_type).verdict


@pytest.mark.parametrize("answer_type", ["number", "math"])
@pytest.mark.parametrize(("completion", "right", "wrong"), NUMBERS, ids=[c[0] for c in NUMBERS])
def test_a_number_is_taken_with_all_that_belongs_to_it(
    answer_type: AnswerType, completion: str, right: tuple[str, ...], wrong: tuple[str, ...]
) -> None:
    assert [gold for gold in right if lenient_verdict(answer_type, completion, gold) != "correct"] == []
    assert [gold for gold in wrong if lenient_verdict(answer_type, completion, gold) == "correct"] == []


@pytest.mark.parametrize(("completion", "gold", "correct"), MATHEMATICS, ids=[f"{c[0]} {c[1]}" for c in MATHEMATICS])
def test_mathematics_is_taken_as_a_whole(completion: str, gold: str, correct: bool) -> None:
    assert (lenient_verdict("math", completion, gold) == "correct") is correct


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4 hours 30 minutes", "4.5 h"),
        ("1h15m", "1.25 h"),
        ("2 feet, 3 inches", "2.25 ft"),
        ("12 dollars and 50 cents", "12.5 dollars"),
        ("$1,000 and 5 cents", "1000.05 dollars"),
        ("5 pounds 8 ounces", "5.5 lb"),
        ("1 year and 6 months", "1.5 years"),
        ("4 hours, 30 minutes and 36 seconds", "4.51 h"),
        ("3 and a half hours", "3.5 h"),
        ("2 and three quarters", "2.75"),
    ],
)
def test_a_quantity_in_parts_is_one_number(text: str, value: str) -> None:
    assert read_number(text) == read_number(value) is not None


@pytest.mark.parametrize(
    "text", ["4 hours 30", "30 minutes 4 hours", "5 apples 3 pears", "5 m/s 3 m", "3 kg 2 m", "4 h 30 h", "1 " * 100]
)
def test_what_does_not_go_together_is_no_quantity(text: str) -> None:
    assert read_number(text) is None


def test_at_least_seven_is_undecided_for_seven() -> None:
    for answer_type in ("number", "math"):
        assert grade("7", "at least 7", answer_type).verdict == "undecided"
        assert grade("7", "more than 7", answer_type).verdict != "correct"
    assert grade("8", "at least 7", "number").verdict != "correct"


def test_more_lenient_conformance_cases_get_their_verdict(shared_conformance: Path) -> None:
    wrong = []
    for line in (shared_conformance / "lenient_more.jsonl").read_text(encoding="utf-8").splitlines():
        case = json.loads(line)
        choices = case.get("choices")
        found = find_candidate(case["completion"], KINDS[case["answer_type"]], Choices.of(choices))
        verdict = grade(case["gold"], found.text if found else None, case["answer_type"], choices=choices).verdict
        if (verdict == "correct") != case["lenient_correct"]:
            wrong.append(case["id"])
    assert wrong == []
