"""Plain prompts, and the question that is read out of them again."""

import pytest

from sftkey_data.extract import Parts, Reject
from sftkey_data.prepare.prompts import plain_prompt, plain_question

HISTORY = (("system", "Be brief."), ("user", "Hi."), ("assistant", "Hello."))


def parts(prompt: str = "What is 3 + 4?", history: tuple[tuple[str, str], ...] = ()) -> Parts:
    return Parts(prompt=prompt, cot="3 + 4 = 7", key="7", history=history)


@pytest.mark.parametrize(
    ("system", "history", "expected"),
    [
        (None, (), "What is 3 + 4?\n"),
        ("Sys.", (), "System: Sys.\n\nUser: What is 3 + 4?\n"),
        (None, HISTORY, "System: Be brief.\n\nUser: Hi.\n\nAssistant: Hello.\n\nUser: What is 3 + 4?\n"),
        ("Sys.", HISTORY, "System: Sys.\n\nUser: Hi.\n\nAssistant: Hello.\n\nUser: What is 3 + 4?\n"),
    ],
    ids=["question", "system", "history", "the given system prompt wins"],
)
def test_a_plain_prompt(system: str | None, history: tuple[tuple[str, str], ...], expected: str) -> None:
    found = plain_prompt(parts(" \nWhat is 3 + 4?\n\n ", history), system)
    assert found == expected
    assert plain_question(found) == "What is 3 + 4?"


@pytest.mark.parametrize("system", [None, "Sys."])
def test_an_empty_question_is_rejected_in_a_plain_prompt(system: str | None) -> None:
    with pytest.raises(Reject, match="empty_prompt"):
        plain_prompt(parts(" \n\t", HISTORY), system)
