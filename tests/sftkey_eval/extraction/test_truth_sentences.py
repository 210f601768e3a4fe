"""Which completions say yes, which say no, and which say neither."""

import pytest

from sftkey_eval.extraction.candidates import find_candidate
from sftkey_eval.kinds.grade import grade
from sftkey_eval.kinds.kind_table import KINDS

TRUTHS = [
    ("The answer is yes.", "yes"),
    ("The answer is no.", "no"),
    ("Some say the answer is yes. Therefore, the answer (yes or no) is no.", "no"),
    ("Therefore, the answer (Yes or No) is unknown. No idea.", None),
    ("It is hard to tell. Therefore, the answer (Yes or No) is unknown.", None),
    ("The honest answer is that there is no clear rule for this.", None),
    ("There is no clear rule.", None),
    ("There is no doubt that whales are mammals.", "yes"),
    ("There is no doubt.", "yes"),
    ("No doubt, whales are mammals.", "yes"),
    ("There's no doubt whales are not fish.", "no"),
    ("Without a doubt, yes.", "yes"),
    ("The answer is without a doubt no.", "no"),
    ("The answer is no doubt yes.", "yes"),
    ("No, whales are not fish.", "no"),
    ("No.", "no"),
    ("Yes", "yes"),
    ("The answer is not yes.", "no"),
    ("The answer is not no.", "yes"),
    ("The statement is not true.", "no"),
    ("That isn't true.", "no"),
    ("This is false.", "no"),
    ("The statement is true.", "yes"),
    ("It is true that whales are mammals.", "yes"),
    ("The answer is yes and no.", None),
    ("Yes and no.", None),
    ("The answer is neither yes nor no.", None),
    ("The answer is yes or no.", None),
    ("Answer yes or no.", None),
    ("The answer is unknown.", None),
    ("The answer cannot be determined.", None),
    ("It depends.", None),
    ("The answer is: it depends, yes if it rains.", None),
    ("The answer is yes, because no whale is a fish.", "yes"),
    ("The answer is no, as there is no true reason.", "no"),
    ("So the answer is definitely yes.", "yes"),
    ("The answer is a clear no.", "no"),
    ("The answer is a resounding yes!", "yes"),
    ('The answer is "no".', "no"),
    ("The answer is **No**.", "no"),
    ("Thus, no.", "no"),
    ("No one knows.", None),
    ("There is no way to know.", None),
    ("He has no money.", None),
    ("It points to true north.", None),
    ("This is a false positive.", None),
    ("The answer is that it is true.", "yes"),
    ("The answer is yes. However, no could also be right.", None),
    ("The answer is yes. But it could also be no.", None),
    ("So the final answer is true.", "yes"),
    ("Answer: False", "no"),
    ("Answer: TRUE.", "yes"),
    ("The answer is no. There is no true evidence for it.", "no"),
    ("The answer is maybe.", None),
    ("I would say yes.", "yes"),
    ("\\boxed{No}", "no"),
    ("#### yes", "yes"),
    ("The answer is 'yes'.", "yes"),
    ("The answer is likely no.", "no"),
    ("The answer is probably not.", None),
    ("So it is false.", "no"),
    ("Yes, it is.", "yes"),
    ("Yes it is.", "yes"),
]


@pytest.mark.parametrize(("completion", "truth"), TRUTHS, ids=[c[0] for c in TRUTHS])
def test_a_completion_is_right_for_what_it_says_and_for_nothing_else(completion: str, truth: str | None) -> None:
    found = find_candidate(completion, KINDS["boolean"])
    text = found.text if found else None
    right = [gold for gold in ("yes", "no") if grade(gold, text, "boolean").verdict == "correct"]
    assert right == ([truth] if truth else [])
