import pytest

from sftkey_data.extract.parts import AnswerType
from sftkey_eval.answers.option_letters import Choices
from sftkey_eval.extraction.marked_answers import find_marked
from sftkey_eval.extraction.sentences import sentence_after
from sftkey_eval.extraction.value_sentences import find_last_number
from sftkey_eval.kinds.kind_table import KINDS

CHOICES = Choices.of(("cat", "dog", "ox", "hen"))
MATRIX = "\\begin{pmatrix}\n1 & 2\\\\\n3 & 4\n\\end{pmatrix}"
SHOWN: list[tuple[AnswerType, str, str]] = [
    ("math", "x+1", "x+1"),
    ("math", "\\frac{1}{2}", "\\frac{1}{2}"),
    ("math", MATRIX, "\\begin{pmatrix} 1 & 2\\\\ 3 & 4 \\end{pmatrix}"),
    ("number", "5", "5"),
    ("text", "\\text{ellipse}", "ellipse"),
    ("list", "1, 2", "1, 2"),
    ("choice", "(B)", "B"),
    ("boolean", "yes", "yes"),
]
DISPLAYS = [
    "So it is 7.\n\n**Final Answer**:\n\\[\nX\n\\]\nDone.",
    "The answer is:\n$$\nX\n$$",
    "The answer is\n\\[\n    X.\n\\]",
    "The answer is:\n$\nX\n$ as 9 is odd.",
    "The answer is:\n\n\\(\nX\n\\)",
    "The answer is: \\[ X \n\\]",
    "The answer is:\n```\nX\n```",
    "The answer is:\n```text\nX\n```",
    "The answer is:\n\\begin{equation}\nX\n\\end{equation}",
    "The answer is:\n\\begin{align*}\nX\n\\end{align*}",
    "The answer is:\n\\[\n\\begin{aligned}\nX\n\\end{aligned}\n\\]",
    "The answer is:\n\n> \\[\n> X\n> \\]",
    "The answer is the following: \\[\nX\n\\]",
    "The final answer is given by\n$$ X $$",
    "Therefore, the answer is, in simplest form,\n\\[\nX.\n\\]",
    "**Final answer:**\nThe value that 8 people reach is:\n\\[\nX\n\\]",
]


@pytest.mark.parametrize("display", DISPLAYS)
@pytest.mark.parametrize(("answer_type", "written", "answer"), SHOWN, ids=[f"{kind} {text}" for kind, _, text in SHOWN])
def test_a_formula_with_lines_of_its_own_is_what_a_mark_announces(
    display: str, answer_type: AnswerType, written: str, answer: str
) -> None:
    found = find_marked(display.replace("X", written), KINDS[answer_type], CHOICES)
    assert found is not None
    assert (found[0], found[1]) == (answer, "the_answer_is")


@pytest.mark.parametrize(
    "written",
    [
        "Answer:\n- X",
        "Answer:\n• X",
        "## Answer\n\n\\[\nX\n\\]",
        "**Answer**\n\nX",
        "Answer\n======\nX",
        "The answer is:\n\n## Result\n\nX",
        '{"answer": "X"}',
        "{'answer': 'X'}",
        '{"answer": X}',
        '```json\n{\n  "steps": [3, 4],\n  "final_answer": "X"\n}\n```',
        "<final_answer>X</final_answer>",
        "\\textbf{Answer: } X",
        "<b>Answer:</b> X",
        "Answer: <strong>X</strong>",
        "Answer:&nbsp;X",
        "Ans: X",
        "Answer – X",
        "We see that the answer equals X.",
        "So the answer comes out to X.",
    ],
)
@pytest.mark.parametrize(
    ("answer_type", "answer"), [("math", "x+1"), ("number", "5"), ("text", "Evelyn"), ("choice", "B")]
)
def test_an_answer_is_found_in_the_markup_that_models_write(written: str, answer_type: AnswerType, answer: str) -> None:
    found = find_marked("It has 7 legs.\n\n" + written.replace("X", answer), KINDS[answer_type], CHOICES)
    assert found is not None
    assert found[0] == answer


@pytest.mark.parametrize(
    ("written", "answer"),
    [
        ("18 (since 3 x 5 + 3 = 15 + 3)", "18"),
        ("18 dollars, because 3 * 5 = 15", "18 dollars"),
        ("18 since 3 * 5 = 15", "18"),
        ("18, as 3 * 5 = 15", "18"),
        ("18 as long as x is 5", "18"),
    ],
)
def test_a_reason_is_no_part_of_the_value(written: str, answer: str) -> None:
    for answer_type in ("number", "math"):
        found = find_marked(f"The answer is {written}.", KINDS[answer_type])
        assert found is not None
        assert found[0] in (answer, answer.removesuffix(" dollars"))


def test_an_arrow_is_no_bound() -> None:
    for arrow in ("=>", "->", "-->"):
        assert find_last_number(f"3 * 6 {arrow} 18", None) == ("18", "last_number", len(f"3 * 6 {arrow} "))


def test_an_article_before_a_number_is_no_second_option() -> None:
    choices = Choices.of(("A 3% rise", "A 5 km run", "A dog", "A 4% price increase"))
    for written in ("The answer is D A 4% price increase.", "Answer: (D) A 4% price increase"):
        assert find_marked(written, KINDS["choice"], choices) == ("D", "the_answer_is", written.lower().index("answer"))
    hedged = find_marked("The answer is D or A 4 km", KINDS["choice"], choices)
    assert hedged is not None
    assert hedged[0] == "D or A"


@pytest.mark.parametrize("answer_type", ["math", "number", "text", "list", "choice", "boolean"])
@pytest.mark.parametrize(
    "broken_off",
    [
        "$",
        "$$",
        "\\(",
        "\n\\[\n",
        "**",
        "`",
        "```\n",
        "\\boxed{",
        "\\text{",
        "\\[ \\text{",
        '"',
        "(",
        "\\begin{aligned}",
    ],
)
def test_markup_that_only_opens_announces_nothing(answer_type: AnswerType, broken_off: str) -> None:
    assert find_marked(f"The answer is {broken_off}", KINDS[answer_type]) is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("$18\nShe has $3 left.", "$18"),  # money opens no formula
        ("yes, since it is\n\\[ 5 > 3 \\]", "yes, since it is"),
        ("5\n\n\\[ 5 > 3 \\]", "5"),
        ("x &= 5", "x &= 5"),
        ("\\begin{align*}\nx &= 2+3\\\\\n&= 5\n\\end{align*}", "x = 2+3 = 5"),
        ("\\[\nA \\begin{pmatrix} 1 \\end{pmatrix}\n\\]", "A \\begin{pmatrix} 1 \\end{pmatrix}"),
        ("\\[\nx + 1", "x + 1"),  # broken off
    ],
)
def test_a_sentence_ends_where_it_did_but_for_formulas_of_several_lines(text: str, sentence: str) -> None:
    assert sentence_after(text, 0, same_line=False)[0] == sentence
