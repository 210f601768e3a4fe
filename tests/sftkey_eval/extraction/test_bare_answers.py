"""A completion, or what follows its CoT, that is an answer and nothing else."""

import pytest

from sftkey_data.extract.parts import AnswerType
from sftkey_eval.extraction.candidates import find_candidate
from sftkey_eval.kinds.grade import grade
from sftkey_eval.kinds.kind_table import KINDS

BARE = [
    ("text", "Paris", "Paris"),
    ("text", "  **Paris**.\n", "Paris"),
    ("text", "Paris<|im_end|>", "Paris"),
    ("text", "<Thinking>\nIt is the capital.\n</Thinking>\nParis", "Paris"),
    ("text", "- St. Louis", "St. Louis"),
    ("text", "6:30 PM", "6:30 PM"),
    ("list", "red, blue and green", "red, blue and green"),
    ("math", "x+1", "x+1"),
    ("math", "\\sqrt{2}", "\\sqrt{2}"),
    ("math", "√2", "√2"),
    ("math", "$$x^2 + 2xy$$", "x^2 + 2xy"),
    ("math", "(2, 3)", "(2, 3)"),
    ("math", "1, 2, 3", "1, 2, 3"),
    ("math", "{3, 2, 1}", "{3, 2, 1}"),
    ("math", "\\pi", "\\pi"),
    ("math", "2\\sin(x)</s>", "2\\sin(x)"),
    ("math", "<think>a sum</think> (x+1)^2.", "(x+1)^2"),
    ("math", "\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", "\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}"),
]


@pytest.mark.parametrize(("answer_type", "completion", "text"), BARE, ids=[c[1] for c in BARE])
def test_all_of_a_completion_may_be_the_answer(answer_type: AnswerType, completion: str, text: str) -> None:
    found = find_candidate(completion, KINDS[answer_type])
    assert found is not None
    assert (found.text, found.source) == (text, "whole")


@pytest.mark.parametrize("answer_type", ["number", "math"])
@pytest.mark.parametrize(
    ("completion", "gold"),
    [
        ("three quarters", "3/4"),
        ("Negative five.", "-5"),
        ("two and a half", "2.5"),
        ("twelve and three quarters", "12.75"),
        ("one and a half million", "1500000"),
        ("half a million", "500000"),
        ("a dozen", "12"),
        ("half a dozen", "6"),
        ("two dozen eggs", "24"),
        ("a hundred", "100"),
        ("a third", "1/3"),
        ("three hundred and four", "304"),
    ],
)
def test_a_number_is_read_with_all_that_belongs_to_it(answer_type: AnswerType, completion: str, gold: str) -> None:
    for text in (completion, f"The answer is {completion}"):
        found = find_candidate(text, KINDS[answer_type])
        assert found is not None
        assert grade(gold, found.text, answer_type).verdict == "correct", text


@pytest.mark.parametrize(
    ("answer_type", "completion"),
    [
        ("text", "The capital is Paris."),
        ("text", "I do not know"),
        ("text", "Paris\nLondon"),
        ("text", "Paris! It lies on the Seine"),
        ("text", "one two three four five six seven eight nine ten eleven twelve thirteen"),
        ("text", "..."),
        ("math", "so 5"),
        ("math", "x = 5"),
        ("math", "y' = 2x"),
        ("math", "3 + 5 \\to 8"),
        ("math", "5"),
        ("math", "- 5"),
        ("math", "3 or 4"),
        ("math", "18 kg"),
        ("math", "3\\text{ cm}"),
        ("math", "1 + 1\n2 + 2"),
    ],
)
def test_a_sentence_an_equation_and_a_number_are_read_as_before(answer_type: AnswerType, completion: str) -> None:
    found = find_candidate(completion, KINDS[answer_type])
    assert found is None or found.source == "last_number"


@pytest.mark.parametrize(
    ("gold", "predicted", "right"),
    [
        ("[1,2)", "[1,2[", True),
        ("(1,2)", "]1; 2[", True),
        ("(-\\infty, 3]", "]-\\infty, 3]", True),
        ("(-\\infty,1) \\cup (2,\\infty)", "]-\\infty,1[ \\cup ]2,\\infty[", True),
        ("[1,2]", "[1,2[", False),
        ("(1,2)", "[1,2[", False),
    ],
)
def test_brackets_turned_outwards_leave_out_an_end(gold: str, predicted: str, *, right: bool) -> None:
    assert (grade(gold, predicted, "math").verdict == "correct") is right
