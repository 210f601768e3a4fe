import json
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sftkey_data.extract.parts import AnswerType
from sftkey_data.format.template import BUILTIN, Template
from sftkey_eval.answers.option_letters import Choices, read_options
from sftkey_eval.extraction.candidates import Candidate, find_candidate, find_cot
from sftkey_eval.kinds.grade import grade
from sftkey_eval.kinds.kind_table import KINDS

MAX_GSM8K_DISAGREEMENTS = 5
MIN_MMLU_AGREEMENT = 0.98

CHAIN = [
    ("number", "2+2 is \\boxed{4}. #### 5\nThe answer is 6. 7", "4", "boxed"),
    ("number", "#### 5\nThe answer is 6. 7", "5", "hash"),
    ("number", "The answer is 6. 7", "6", "the_answer_is"),
    ("number", "So 3 + 4 = 7.", "7", "last_number"),
    ("choice", "(A) is bad. (B) is good.", "B", "last_option"),
    ("boolean", "I thought so. Yes", "Yes", "last_option"),
    ("number", "\\boxed{1}, and after a mistake \\boxed{2}", "2", "boxed"),
    ("number", "\\boxed{\\boxed{4}}", "\\boxed{4}", "boxed"),
    ("number", "#### $18\nand so on", "$18", "hash"),
    ("number", "#### Step 2: add\nso 7", "7", "last_number"),
    ("number", "A: 26", "26", "the_answer_is"),
    ("number", "**Answer:** 73", "73", "the_answer_is"),
    ("number", "**Final Answer**\n\n73", "73", "the_answer_is"),
    ("number", "Answer: 3 + 4 = 7", "7", "the_answer_is"),
    ("number", "The answer to 3+4 is 7", "7", "the_answer_is"),
    ("number", "The answer is - 5", "- 5", "the_answer_is"),
    ("number", "The answer is 10 m. Done", "10 m", "the_answer_is"),
    ("number", "The answer is not 5. It is 6.", "6", "last_number"),
    ("number", "<Answer>\n4", "4", "the_answer_is"),
    ("number", "<answer>4</answer> <answer>5</answer>", "5", "the_answer_is"),
    ("number", "18<|im_end|>", "18", "last_number"),
    ("math", "The answer is $x^2+1$.", "x^2+1", "the_answer_is"),
    ("math", "The answer is indeed 6.", "6", "the_answer_is"),
    ("math", "The answer is three boxes contain neither of them.", "three", "the_answer_is"),
    ("math", "The answer is two acute angles.", "two acute angles", "the_answer_is"),
    ("math", "So x = 18. Our answer is correct.", "18", "last_number"),
    ("math", "The answer is 5. So, that answer is indeed right.", "5", "the_answer_is"),
    ("math", "So:\n\\[\n5x - 7y + 4 = 0\n\\]", "5x - 7y + 4 = 0", "last_number"),
    ("math", "So x = 3. This is confusing.", "3", "last_number"),
    ("math", "The slope is 1/2.\nThe slope is 1/", "1/2", "last_number"),
    ("math", "So y = 7.\nx = 2 = \\frac", "7", "last_number"),
    ("choice", "A is wrong, C is wrong. Answer: (B)", "B", "the_answer_is"),
    ("choice", "A careful look shows the answer is B.", "B", "the_answer_is"),
    ("choice", "b)", "B", "last_option"),
    ("choice", "A: 12\nB: 14\nThe answer is B", "B", "the_answer_is"),
    ("boolean", "The answer is no.", "no", "the_answer_is"),
    ("text", "The answer is Paris. Because.", "Paris", "the_answer_is"),
    ("text", "The answer is unknown.", "unknown", "the_answer_is"),
    ("text", "Answer:\nNew York\n", "New York", "the_answer_is"),
    ("list", "Answer: a, b", "a, b", "the_answer_is"),
]


@pytest.mark.parametrize(("answer_type", "completion", "text", "source"), CHAIN, ids=[c[1] for c in CHAIN])
def test_the_first_link_of_the_chain_that_holds_gives_the_candidate(
    answer_type: AnswerType, completion: str, text: str, source: str
) -> None:
    found = find_candidate(completion, KINDS[answer_type])
    assert found is not None
    assert (found.text, found.source) == (text, source)


@pytest.mark.parametrize(
    ("answer_type", "completion"),
    [
        ("number", "   \n "),
        ("number", "<answer></answer>"),
        ("number", "no digits here"),
        ("math", f"so it is 1{'0' * 4_000}"),
        ("number", "<think>maybe \\boxed{4}</think> I am not sure."),
        ("number", "<Thinking>\n2+2=4\n</Thinking>"),
        ("number", "<think>2+2=4 and so on"),
        ("choice", "A person with Vitamin C in it"),
        ("choice", "The answer is not listed, but the closest option is (E)."),
        ("text", "Paris it is"),
    ],
)
def test_where_nothing_commits_to_an_answer_there_is_no_candidate(answer_type: AnswerType, completion: str) -> None:
    assert find_candidate(completion, KINDS[answer_type]) is None


@pytest.mark.parametrize("template", [None, *BUILTIN.values()], ids=lambda t: t.name if t else "none")
@pytest.mark.parametrize(
    "completion",
    [
        "<think>maybe \\boxed{8}, let me check that once more",
        "<Thinking>\n2+2=4\n<Answer>\n8\n</Answer> 8",
        "<thinking>The answer is 8.\n#### 8",
        "<think>first</think><think>So the answer is 8.",
    ],
)
def test_a_cot_that_was_never_closed_offers_no_candidate(completion: str, template: Template | None) -> None:
    assert find_candidate(completion, KINDS["math"], template=template) is None


def test_what_stands_before_a_cot_that_was_never_closed_counts() -> None:
    completion = "<think>2+2=4</think> The answer is 4.\n<think>Or is it 5? The answer is 5."
    assert find_candidate(completion, KINDS["number"]) == Candidate(
        "4", "the_answer_is", "2+2=4Or is it 5? The answer is 5."
    )


@pytest.mark.parametrize(
    "mark", ["Final   ANSWER\n", "**A: ", "__a: ", "<answer>", "the an\u017fwer is ", "answer: ", "#### "]
)
def test_a_mark_is_found_wherever_it_stands(mark: str) -> None:
    for before in ("", "x\n", "First 3 of them, then 5.\n" * 40):
        found = find_candidate(f"{before}{mark}12\nand 13 of 14", KINDS["number"])
        assert found is not None
        assert (found.text, found.source == "last_number") == ("12", False)


def test_a_cot_that_the_prompt_opened_ends_at_its_closing_tag() -> None:
    assert find_candidate("2+2 is \\boxed{4}</think> So 5", KINDS["number"]) == Candidate(
        "5", "last_number", "2+2 is \\boxed{4}"
    )


def test_without_tags_the_cot_is_what_precedes_the_candidate() -> None:
    assert find_candidate("So 2+2=4. The answer is 5", KINDS["number"]) == Candidate(
        "5", "the_answer_is", "So 2+2=4. The "
    )
    assert find_cot("only this") == "only this"


def test_the_tags_of_a_users_own_template_are_known() -> None:
    own = Template("own", "[why]", "[/why]", "[what]", "[/what]")
    assert find_candidate("[why]4[/why] [what] 5", KINDS["number"], template=own) == Candidate(
        "5", "the_answer_is", "4"
    )
    assert find_candidate("[why]4[/why]", KINDS["number"], template=own) is None


@pytest.mark.parametrize("completion", ["\\boxed{%s} or \\boxed{%s}", "The answer is %s or %s", "either %s or %s"])
def test_a_hedge_between_two_numbers_is_one_wrong_answer(completion: str) -> None:
    for pair in (("3", "4"), ("4", "3")):
        found = find_candidate(completion % pair, KINDS["number"])
        assert found is not None
        assert grade("4", found.text, "number").rule == "hedged"


def test_equal_boxes_are_no_hedge_and_several_are_a_list() -> None:
    repeated = find_candidate("\\boxed{3}, \\boxed{3.0}", KINDS["math"])
    several = find_candidate("\\boxed{3} and \\boxed{4}", KINDS["math"])
    assert repeated is not None
    assert several is not None
    assert grade("3", repeated.text, "math").verdict == "correct"
    assert grade("4, 3", several.text, "math").verdict == "correct"
    assert grade("4", several.text, "math").verdict == "wrong"


def test_a_choice_may_be_given_as_the_text_or_value_of_an_option() -> None:
    found = find_candidate("So 2b = 18. The answer is (9).", KINDS["choice"], Choices(("8", "9", "10")))
    assert found is not None
    assert found.text == "B"


def test_lenient_conformance_cases_get_their_verdict(shared_conformance: Path) -> None:
    wrong = []
    for line in (shared_conformance / "lenient.jsonl").read_text(encoding="utf-8").splitlines():
        case = json.loads(line)
        found = find_candidate(case["completion"], KINDS[case["answer_type"]])
        verdict = grade(case["gold"], found.text if found else None, case["answer_type"]).verdict
        if (verdict == "correct") != case["lenient_correct"]:
            wrong.append(case["id"])
    assert wrong == []


def test_real_gsm8k_completions_get_their_authors_verdict(shared_data: Path) -> None:
    differ = []
    for line in (shared_data / "outputs" / "gsm8k_gpt3.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        found = find_candidate(row["completion"], KINDS["number"])
        verdict = grade(row["gold"], found.text if found else None, "number").verdict
        if (verdict == "correct") != row["verdict"]:
            differ.append(row["id"])
    assert len(differ) <= MAX_GSM8K_DISAGREEMENTS, differ


def test_real_mmlu_pro_completions_give_their_authors_letter(shared_data: Path) -> None:
    lines = (shared_data / "outputs" / "mmlu_pro_phi-3-mini.jsonl").read_text(encoding="utf-8").splitlines()
    agree = 0
    for row in map(json.loads, lines):
        found = find_candidate(row["completion"], KINDS["choice"], Choices.of(row["choices"]))
        letters = read_options(found.text, Choices.of(row["choices"])) if found else ()
        agree += (letters[0] if len(letters) == 1 else None) == row["extracted"]
    assert agree / len(lines) >= MIN_MMLU_AGREEMENT


PIECES = ["<think>", "</think>", "<Thinking>", "</Thinking>", "<Answer>", "</Answer>", "\\boxed{", "}", "{", "####"]
PIECES += [" 4", "\n", "The answer is ", "or", " B", "(A)", "=", "$", "**", "not", ".", "\ud800", "A:", "yes", "٤"]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=25), st.sampled_from(get_args(AnswerType)))
def test_extraction_never_raises_and_never_returns_blank(pieces: list[str], answer_type: AnswerType) -> None:
    for choices in (None, Choices(("4", "5"))):
        found = find_candidate("".join(pieces), KINDS[answer_type], choices, BUILTIN["sftkey"])
        assert found is None or found.text.strip()


SIZE = 2_000_000
HOSTILE = {
    "boxes": "\\boxed{" * (SIZE // 7),
    "closed boxes": "\\boxed{" * (SIZE // 8) + "}" * (SIZE // 8),
    "hashes": "#### " * (SIZE // 5),
    "answers": "the answer to " * (SIZE // 14),
    "answers with colons": "answer:" * (SIZE // 7),
    "line marks": "A:\n" * (SIZE // 3),
    "opening tags": "<think>" * (SIZE // 7),
    "closing tags": "</think>" * (SIZE // 8),
    "options": "(A) " * (SIZE // 4),
    "numbers": "1," * (SIZE // 2),
    "minus signs": "-" * SIZE,
    "ors": "1 or " * (SIZE // 5),
    "white space": " \n" * (SIZE // 2),
}


@pytest.mark.parametrize("completion", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("answer_type", ["number", "math", "choice"])
def test_a_hostile_completion_is_searched(answer_type: AnswerType, completion: str) -> None:
    found = find_candidate(completion, KINDS[answer_type])  # a search that is not linear would not come back
    assert found is None or found.text in completion
