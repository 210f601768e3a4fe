"""Chats: which turn is the prompt, and how the last answer is read by the template of the rows."""

from pathlib import Path
from typing import Any

import pytest

from sftkey_data.errors import SFTKeyError
from sftkey_data.extract import Parts, Reject
from sftkey_data.registry import bind, load_dataset, parse_options

ANSWER = "<think>two and two</think>\n\\boxed{4}"


def parts_of(row: dict[str, Any], **options: str) -> Parts:
    dataset = load_dataset("chat")
    return bind(dataset, parse_options(dataset, options)).extract(row)


def messages(*turns: tuple[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def sharegpt(*turns: tuple[str, Any]) -> dict[str, Any]:
    return {"conversations": [{"from": role, "value": content} for role, content in turns]}


def reason(row: dict[str, Any], **options: str) -> str:
    with pytest.raises(Reject) as raised:
        parts_of(row, **options)
    return raised.value.reason


def test_messages_and_conversations_give_the_same_parts() -> None:
    by_role = messages(("system", "s"), ("user", "q1"), ("assistant", "a1"), ("user", "q2"), ("assistant", ANSWER))
    by_from = sharegpt(("system", "s"), ("human", "q1"), ("gpt", "a1"), ("human", "q2"), ("gpt", ANSWER))
    parts = parts_of(by_role)
    assert parts == parts_of(by_from)
    assert (parts.prompt, parts.cot, parts.key, parts.answer_type) == ("q2", "two and two", "4", "number")
    assert parts.history == (("system", "s"), ("user", "q1"), ("assistant", "a1"))


def test_turns_after_the_last_answer_are_left_out() -> None:
    assert parts_of(messages(("user", "q"), ("assistant", ANSWER), ("user", "thanks"))).prompt == "q"


def test_a_system_column_is_the_first_turn_unless_there_is_one() -> None:
    row = sharegpt(("user", "q"), ("assistant", ANSWER))
    assert parts_of({"system": "from the column", **row}).history == (("system", "from the column"),)
    with_turn = sharegpt(("system", "from the turn"), ("user", "q"), ("assistant", ANSWER))
    assert parts_of({"system": "from the column", **with_turn}).history == (("system", "from the turn"),)
    assert parts_of({"system": None, **row}).history == ()


def test_text_parts_of_a_content_are_joined() -> None:
    question = [{"type": "text", "text": "What is "}, {"type": "text", "text": "2 + 2?"}]
    assert parts_of(messages(("user", question), ("assistant", ANSWER))).prompt == "What is 2 + 2?"
    assert reason(messages(("user", [{"type": "image"}]), ("assistant", ANSWER))) == "wrong_type"


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"text": "q"}, "missing_column"),
        ({"messages": "q"}, "wrong_type"),
        ({"messages": ["q"]}, "wrong_type"),
        (messages(("user", None), ("assistant", ANSWER)), "null_value"),
        (messages(("tool", "q"), ("assistant", ANSWER)), "tool_turn"),
        (messages(("narrator", "q"), ("assistant", ANSWER)), "unknown_role"),
        (messages((None, "q"), ("assistant", ANSWER)), "unknown_role"),  # type: ignore[arg-type]
        (messages(), "unexpected_turns"),
        (messages(("user", "q")), "unexpected_turns"),
        (messages(("assistant", ANSWER)), "unexpected_turns"),
        (messages(("system", "s"), ("assistant", ANSWER)), "unexpected_turns"),
        (messages(("user", "q"), ("assistant", "a"), ("assistant", ANSWER)), "unexpected_turns"),
        (messages(("user", "q"), ("assistant", "\\boxed{4}")), "missing_cot"),
        (messages(("user", "q"), ("assistant", "<think>t</think> 4")), "missing_key"),
        (messages(("user", "q"), ("assistant", "<think>t \\boxed{4}")), "unclosed_cot"),
        (messages(("user", "q"), ("assistant", "")), "empty"),
    ],
)
def test_a_chat_that_cannot_be_used_is_rejected_under_a_reason(row: dict[str, Any], expected: str) -> None:
    assert reason(row) == expected


def test_text_around_the_answer_needs_an_option_or_a_template_that_allows_it(tmp_path: Path) -> None:
    row = messages(("user", "q"), ("assistant", "<think>t</think> It is \\boxed{4}, surely."))
    with pytest.raises(Reject, match=r"text_before_key.*--set free_text=true"):
        parts_of(row)
    parts = parts_of(row, free_text="true")
    assert (parts.cot, parts.key) == ("t", "4")
    own = tmp_path / "loose.toml"
    own.write_text(
        'before_cot = "<think>"\nafter_cot = "</think>"\nbefore_key = "\\\\boxed{"\nafter_key = "}"\n'
        "balanced = true\nlast = true\nfree_text = true\n"
    )
    assert (parts_of(row, template=str(own)).cot, parts_of(row, template=str(own)).key) == ("t", "4")


def test_boxes_inside_the_cot_of_a_boxed_template_are_unwrapped() -> None:
    answer = "<think>a \\boxed{5} b</think>\\boxed{4}"
    assert parts_of(messages(("user", "q"), ("assistant", answer))).cot == "a 5 b"


def test_another_template_reads_other_answers() -> None:
    row = messages(("user", "q"), ("assistant", "1 + 3\n#### 4"))
    assert (parts_of(row, template="hash").cot, parts_of(row, template="hash").key) == ("1 + 3", "4")


def test_the_gold_column_is_the_key_where_the_template_finds_none() -> None:
    row = {"gold": 7, **messages(("user", "q"), ("assistant", "<think>t</think> It is seven."))}
    assert (parts_of(row, gold_field="gold").cot, parts_of(row, gold_field="gold").key) == ("t", "7")
    read = {"gold": "7", **messages(("user", "q"), ("assistant", ANSWER))}
    assert parts_of(read, gold_field="gold").key == "4"
    untagged = {"gold": "7", **messages(("user", "q"), ("assistant", "It is seven."))}
    assert parts_of(untagged, gold_field="gold", template="hash").cot == "It is seven."


@pytest.mark.parametrize(
    ("content", "gold", "expected"),
    [
        ("<think>t</think> It is seven.", None, "null_value"),
        ("It is seven.", "7", "missing_cot"),
        ("First <think>t</think> seven.", "7", "missing_key"),
        ("<think>t seven.", "7", "unclosed_cot"),
        ("<think>t</think> no, <think>u</think> seven.", "7", "missing_key"),
    ],
)
def test_the_gold_column_does_not_mend_a_cot_without_borders(content: str, gold: Any, expected: str) -> None:
    row = {"gold": gold, **messages(("user", "q"), ("assistant", content))}
    assert reason(row, gold_field="gold") == expected


@pytest.mark.parametrize(
    ("key", "answer_type"), [("4", "number"), ("yes", "boolean"), ("B", "choice"), ("x^2", "math")]
)
def test_the_answer_type_follows_from_the_key_unless_named(key: str, answer_type: str) -> None:
    row = messages(("user", "q"), ("assistant", f"<think>t</think>\\boxed{{{key}}}"))
    assert parts_of(row).answer_type == answer_type
    assert parts_of(row, answer_type="text").answer_type == "text"


def test_a_template_file_is_one_of_the_files_that_decide_how_a_row_is_read(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('before_key = "= "\nto_end = true\n')
    dataset = load_dataset("chat")
    assert bind(dataset, parse_options(dataset, {"template": str(own)})).option_files == (own,)
    assert bind(dataset, parse_options(dataset, {})).option_files == ()


def test_a_template_file_that_was_changed_is_read_again(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    for mark, key in (("= ", "2 ~ 3"), ("~ ", "3")):
        own.write_text(f'before_key = "{mark}"\nto_end = true\n')
        row = messages(("user", "q"), ("assistant", "1 + 1 = 2 ~ 3"))
        assert parts_of(row, template=str(own)).key == key


def test_an_unknown_template_fails_before_the_first_row() -> None:
    with pytest.raises(SFTKeyError, match=r"'think-boxd' is not known \(did you mean 'think-boxed'\?\)"):
        parse_options(load_dataset("chat"), {"template": "think-boxd"})
