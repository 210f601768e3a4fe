"""Which option a completion commits to: one letter, or none where it hedges, denies, or names what is no option."""

import pytest

from sftkey_eval.answers.option_letters import Choices
from sftkey_eval.extraction.candidates import find_candidate
from sftkey_eval.kinds.grade import grade
from sftkey_eval.kinds.kind_table import KINDS

ANIMALS = ("cat", "dog", "cow", "hen")
DESCRIBED = ("a tall cat", "a loud dog", "a brown cow", "a red hen")


def committed(completion: str, choices: tuple[str, ...] | None = ANIMALS) -> str:
    """The letters for which a completion is right."""
    found = find_candidate(completion, KINDS["choice"], Choices.of(choices))
    text = found.text if found else None
    return "".join(gold for gold in "ABCD" if grade(gold, text, "choice", choices=choices).verdict == "correct")


NO_COMMITMENT = [
    "The answer is either (A) or (C).",
    "The answer is A and C.",
    "The answer is A, C.",
    "The answer is A/C.",
    "The answer is A or maybe C.",
    "The answer is (A) or (C).",
    "The answer is between A and B.",
    "The answer is neither A nor B.",
    "The answer cannot be A.",
    "The answer is probably not A.",
    "The answer is not A.",
    "I would eliminate A.",
    "Both A and C are correct.",
    "So either A or C.",
    "It is A or C.",
    "The answer is A, or possibly C.",
    "The answer is A. However, C is also possible.",
    "The answer is A. But it could also be C.",
    "The answer might be A, or it might be C.",
    "The answer is a combination of (A) and (C).",
    "The answer is (A) and (C).",
    "The answer is A & C.",
    "The answer is A + C.",
    "Answer: A or C",
    "Answer: A, B, C",
    "Answer: A and/or C",
    "The answer is (A), (B) and (C).",
    "The answer is both A and C.",
    "Options A and C are correct.",
    "I am torn between (A) and (C).",
    "A and C",
    "A or C",
    "\\boxed{A or C}",
    "\\boxed{A, C}",
    "The answer is A if it barks, otherwise C.",
    "The answer is (A) but (C) is also plausible.",
    "The answer is A, although C might also be right.",
    "The answer is C or A",
    "It could be A or C.",
    "the answer is A as well as C.",
    "Answer: (A) (C)",
    "The answer is all of the above.",
    "The answer is none of these.",
    "The answer is unknown.",
    "The answer cannot be determined.",
    "It depends.",
    "The answer is (F).",
    "The answer is F.",
    "(D) is cheap. So the answer is (F).",
    "(D) is cheap. The answer is E.",
    "The answer is option G.",
    "Answer: F",
    "The answer is either A or F.",
    "The answer is (D, F).",
    "\\boxed{F}",
    "A is wrong, B is wrong, C is wrong and D is wrong.",
    "None of A, B, C or D.",
    "The answer is not among A, B, C, D.",
    "So the answer is hidden.",
    "There is a dog.",
    "The answer is 42.",
    "(A) is bad.",
    "Not C.",
    "I'd rule out D.",
    "The answer isn't C.",
    "It's not C.",
    "The answer could be A, or it could be D.",
    "The answer is A or B or C or D.",
    "I don't think it is C.",
    "The answer is A, but it is not correct.",
    "A person ate. I think so.",
    "The answer is vitamin C deficiency.",
    "The answer (A, B, C or D) is unknown.",
]
COMMITTED = [
    ("The answer is not A but C.", "C"),
    ("The answer is A (not C).", "A"),
    ("The answer is A, not C.", "A"),
    ("The answer is A and not C.", "A"),
    ("The answer is A because C is wrong.", "A"),
    ("The answer is A since B and C do not bark.", "A"),
    ("The answer is most likely C, cow.", "C"),
    ("The answer is C, cow.", "C"),
    ("The answer is C: cow.", "C"),
    ("The answer is (C) cow.", "C"),
    ("The answer is C - cow.", "C"),
    ("The answer is probably C.", "C"),
    ("The answer is definitely (C).", "C"),
    ("The answer is option C.", "C"),
    ("The correct answer is: C) cow", "C"),
    ("The answer is cow.", "C"),
    ("The answer is the letter C.", "C"),
    ("The answer (A, B, C or D) is C.", "C"),
    ("The answer is C rather than A.", "C"),
    ("A is wrong, B is wrong, D is wrong. So C.", "C"),
    ("(A) is good, (B) is bad.", "A"),
    ("(A) is bad. (B) is good.", "B"),
    ("Answer: C\nB is wrong.", "C"),
    ("I choose C.", "C"),
    ("I would eliminate A and B. The answer is D.", "D"),
    ("(D) is cheap. The answer is (B).", "B"),
    ("C", "C"),
    ("(C)", "C"),
    ("C.", "C"),
    ("**C**", "C"),
    ("The answer is **C**.", "C"),
    ("The answer is **(C) cow**.", "C"),
    ("The answer is $C$.", "C"),
    ("\\boxed{C}", "C"),
    ("\\boxed{\\text{C}}", "C"),
    ("Therefore, C is correct.", "C"),
    ("Option C is the best answer.", "C"),
    ("So the correct option is C.", "C"),
    ("The answer is A. Dogs bark.", "A"),
    ("The answer is C. However, it is a close call.", "C"),
    ("The answer is C. It could also be done otherwise.", "C"),
    ("The answer is A because I said so.", "A"),
    ("The answer is A.\n\nB is for dogs.", "A"),
    ("The answer is B. dog", "B"),
    ("The animal that barks is B. dog", "B"),
    ("So it must be (B).", "B"),
    ("The answer is indeed (C) cow", "C"),
    ("The answer would be C.", "C"),
    ("The answer must be C.", "C"),
    ("It's C.", "C"),
    ("The only option that fits is D.", "D"),
    ("D is right.", "D"),
    ("Not A. Not B. It is C.", "C"),
    ("The answer is neither A nor B but C.", "C"),
    ("The answer is not A, it is C.", "C"),
    ("The answer is C, as A and B are too small.", "C"),
    ("The answer is C which beats A and B.", "C"),
    ("The answer is C (A and B are wrong).", "C"),
    ("Answer: (C), because (A) is too small.", "C"),
    ("ANSWER: C", "C"),
    ("A: no. B: no. Answer: C", "C"),
    ("The answer is c.", "C"),
    ("the answer is (c)", "C"),
    ("Answer: c) cow", "C"),
    ("So, the answer is A.", "A"),
    ("The best choice is A", "A"),
    ("Let's go with A.", "A"),
    ("A", "A"),
    ("The final answer is A) cat", "A"),
    ("The answer is A cat.", "A"),
]
WITH_TEXT = [
    ("The answer is B. a tall cat", ""),
    ("The animal that barks is B. dog", "B"),
    ("The animal that barks is B. a loud dog", "B"),
    ("The animal that barks is B. a loud dog.", "B"),
    ("It is (B) a loud dog", "B"),
    ("The answer is B. a loud dog", "B"),
    ("The answer is B. The dog is loud.", "B"),
    ("So we choose B, a loud dog.", "B"),
    ("The answer is a loud dog.", "B"),
    ("The answer is B. a brown cow", ""),
    ("The animal that barks is B. a brown cow", ""),
    ("The author is J. Smith", ""),
    ("The answer is B: loud dog", "B"),
    ("B. a loud dog", "B"),
    ("B) a loud dog", "B"),
    ("B. a brown cow", ""),
]


@pytest.mark.parametrize("completion", NO_COMMITMENT)
def test_what_hedges_denies_or_is_no_option_is_right_for_no_letter(completion: str) -> None:
    assert committed(completion) == ""


@pytest.mark.parametrize(("completion", "letter"), COMMITTED, ids=[c[0] for c in COMMITTED])
def test_a_completion_that_commits_to_one_option_is_right_for_it_alone(completion: str, letter: str) -> None:
    assert committed(completion) == letter


@pytest.mark.parametrize(("completion", "letter"), WITH_TEXT, ids=[c[0] for c in WITH_TEXT])
def test_a_letter_and_the_text_behind_it_must_not_name_two_options(completion: str, letter: str) -> None:
    assert committed(completion, DESCRIBED) == letter


@pytest.mark.parametrize("completion", ["So C.", "The answer is most likely (C).", "The answer is not A but C."])
def test_options_that_are_not_known_are_any_letters(completion: str) -> None:
    assert committed(completion, None) == "C"
