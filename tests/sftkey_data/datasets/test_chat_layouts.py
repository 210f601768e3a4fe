"""The layouts that chats are kept in: where turns, reasoning and answer stand, and what a row says of training."""

import json
from typing import Any

import pytest

from sftkey_data.extract import Parts, Reject
from sftkey_data.extract.training_flags import has_flags
from sftkey_data.registry import bind, load_dataset, parse_options

ANSWER = "<think>\n2 + 2 = 4.\n</think>\n\\boxed{4}"
PARTS = ("What is 2 + 2?", "2 + 2 = 4.", "4")
ASKED = {"role": "user", "content": PARTS[0]}


def parts_of(row: dict[str, Any], **options: str) -> Parts:
    dataset = load_dataset("chat")
    return bind(dataset, parse_options(dataset, options)).extract(row)


def rejected(row: dict[str, Any], **options: str) -> Reject:
    with pytest.raises(Reject) as raised:
        parts_of(row, **options)
    return raised.value


def answered(content: Any = ANSWER, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


def talk(*turns: dict[str, Any], **columns: Any) -> dict[str, Any]:
    return {"messages": list(turns), **columns}


LAYOUTS: dict[str, dict[str, Any]] = {
    "OpenAI": talk(ASKED, answered()),
    "ShareGPT": {"conversations": [{"from": "human", "value": PARTS[0]}, {"from": "gpt", "value": ANSWER}]},
    "conversations with roles": {"conversations": [ASKED, answered()]},
    "JSON in a table's cell": {"messages": json.dumps([ASKED, answered()])},
    "a number of turns": {"prompt": PARTS[0], "completion": ANSWER, "turns": 1},
    "conversation": {"conversation": [ASKED, answered()]},
    "a table's union of keys": talk(
        {**ASKED, "reasoning": None, "value": None}, answered(tool_calls=None, weight=None)
    ),
    "DeepSeek's reasoning_content": talk(ASKED, answered("\\boxed{4}", reasoning_content="2 + 2 = 4.")),
    "vLLM's reasoning": talk(ASKED, answered("\\boxed{4}", reasoning="2 + 2 = 4.")),
    "gpt-oss's thinking": talk({**ASKED, "thinking": None}, answered("\\boxed{4}", thinking="2 + 2 = 4.")),
    "reasoning in its own tags": talk(ASKED, answered("\\boxed{4}", reasoning="<think>\n2 + 2 = 4.\n</think>")),
    "reasoning twice": talk(ASKED, answered(reasoning_content="2 + 2 = 4.")),
    "two fields of one text": talk(ASKED, answered("\\boxed{4}", reasoning="2 + 2 = 4.", thinking="2 + 2 = 4.")),
    "an empty think block": talk(ASKED, answered("<think>\n\n</think>\n\n\\boxed{4}", reasoning="2 + 2 = 4.")),
    "Anthropic's parts": talk(
        ASKED, answered([{"type": "thinking", "thinking": "2 + 2 = 4."}, {"type": "text", "text": "\\boxed{4}"}])
    ),
    "Magistral's parts": talk(
        ASKED,
        answered(
            [
                {"type": "thinking", "thinking": [{"type": "text", "text": "2 + 2 = 4."}]},
                {"type": "text", "text": "\\boxed{4}"},
            ]
        ),
    ),
    "parts of reasoning and answer": talk(
        ASKED, answered([{"type": "reasoning", "content": "2 + 2 = 4."}, {"type": "answer", "content": "\\boxed{4}"}])
    ),
    "Harmony's channels": talk(
        ASKED, answered("2 + 2 = 4.", channel="analysis"), answered("\\boxed{4}", channel="final")
    ),
    "only the closing tag": talk(ASKED, answered("2 + 2 = 4.\n</think>\n\n\\boxed{4}")),
    "a tag opened by the prompt": {
        "prompt": f"{PARTS[0]}\n<think>\n",
        "completion": "2 + 2 = 4.\n</think>\n\\boxed{4}",
    },
    "TRL's texts": {"prompt": PARTS[0], "completion": ANSWER},
    "TRL's turns": {"prompt": [ASKED], "completion": [answered()]},
    "TRL's question with turns": {"prompt": PARTS[0], "completion": [answered()]},
    "prompt and response": {"prompt": PARTS[0], "response": ANSWER},
    "query and response": {"query": PARTS[0], "response": ANSWER},
    "Alpaca": {"instruction": PARTS[0], "input": "", "output": ANSWER},
    "GSM8K's columns": {"question": PARTS[0], "answer": ANSWER},
    "Gemini": {
        "contents": [
            {"role": "user", "parts": [{"text": PARTS[0]}]},
            {"role": "model", "parts": [{"text": "2 + 2 = 4.", "thought": True}, {"text": "\\boxed{4}"}]},
        ]
    },
    "OpenRouter": talk(
        ASKED, answered("\\boxed{4}", reasoning_details=[{"type": "reasoning.text", "text": "2 + 2 = 4."}])
    ),
    "Dolly": {"instruction": PARTS[0], "context": "", "response": ANSWER},
    "turns in and text out": {"input": [ASKED], "output": ANSWER, "reasoning": "on"},
    "a pair with its reasoning": {"prompt": PARTS[0], "completion": "\\boxed{4}", "reasoning": "2 + 2 = 4."},
    "a question with its reasoning and answer": talk(ASKED, reasoning="2 + 2 = 4.", answer="\\boxed{4}"),
    "a column that repeats the reasoning": talk(ASKED, answered(), thinking="2 + 2 = 4."),
}


@pytest.mark.parametrize("row", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_every_layout_gives_the_same_parts(row: dict[str, Any]) -> None:
    parts = parts_of(row)
    assert (parts.prompt.strip(), parts.cot.strip(), parts.key) == PARTS
    assert (parts.history, parts.left_out) == ((), ())


def test_what_an_instruction_is_about_stands_below_it() -> None:
    row = {"instruction": "Add.", "input": "2 and 2", "output": ANSWER, "system": "Be brief."}
    parts = parts_of(row)
    assert parts.prompt == "Add.\n\n2 and 2"
    assert parts.history == (("system", "Be brief."),)
    assert parts_of({**row, "history": [["Hi", "Hello"]]}).history[1:] == (("user", "Hi"), ("assistant", "Hello"))
    assert parts_of({"system_prompt": "s", "question": "q", "response": ANSWER}).history == (("system", "s"),)


def test_a_column_can_be_named_for_the_turns_and_for_the_reasoning() -> None:
    assert parts_of({"dialog": [ASKED, answered()]}, turns="dialog").key == "4"
    for chosen in (ANSWER, [answered()], [ASKED, answered()]):
        parts = parts_of({"prompt": PARTS[0], "chosen": chosen, "rejected": "no"}, turns="chosen")
        assert (parts.prompt, parts.key) == (PARTS[0], "4")
    row = talk(ASKED, answered("\\boxed{4}", my_rationale="So two and two are four."))
    assert rejected(row).reason == "unknown_reasoning_field"
    assert "messages[1].my_rationale" in rejected(row).detail
    assert parts_of(row, reasoning="my_rationale").cot == "So two and two are four."


@pytest.mark.parametrize(
    ("row", "reason", "named"),
    [
        (talk(ASKED, answered(None, tool_calls=[{"id": "1"}])), "tool_turn", "messages[1].tool_calls"),
        (
            talk(ASKED, {"role": "tool", "content": "4"}, answered()),
            "tool_turn",
            "messages[1] has the role 'tool'",
        ),
        (talk(ASKED, answered([{"type": "tool_use", "id": "1"}])), "tool_turn", "messages[1].content[0]"),
        ({"conversations": [{"from": "function_call", "value": "f()"}]}, "tool_turn", "conversations[0]"),
        ({"prompt": "q", "chosen": "a", "rejected": "b"}, "preference_row", "--set turns=chosen"),
        ({"text": "q a"}, "missing_column", "'text'"),
        (talk(ASKED, answered(thinking="so 5")), "two_cots", "messages[1]"),
        (
            talk(ASKED, answered("\\boxed{4}", reasoning="so 4", thinking="so 5")),
            "two_reasonings",
            "reasoning, thinking",
        ),
        (talk({"role": "user", "content": [{"type": "image_url"}]}, answered()), "wrong_type", "'image_url'"),
        ({"instruction": "q", "output": ANSWER, "history": "h"}, "wrong_type", "history"),
        (
            {"prompt": "q", "completion": "4", "rationale": "two and two are four"},
            "unknown_reasoning_field",
            "rationale",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and "_" in value else None,
)
def test_what_is_not_read_is_refused_with_the_name_of_the_field(row: dict[str, Any], reason: str, named: str) -> None:
    assert rejected(row).reason == reason
    assert named in rejected(row).detail


@pytest.mark.parametrize("flag", [{"weight": 0}, {"weight": 0.0}, {"train": False}, {"loss": False}, {"loss_mask": 0}])
def test_an_answer_that_is_not_to_be_trained_on_is_rejected(flag: dict[str, Any]) -> None:
    assert rejected(talk(ASKED, answered(**flag))).reason == "not_trained"
    assert rejected(talk(ASKED, answered(), **flag)).reason == "not_trained"
    assert next(iter(flag)) in rejected(talk(ASKED, answered(**flag))).detail
    # an earlier answer is a part of the prompt, on which nobody trains
    assert parts_of(talk(ASKED, answered("no", **flag), ASKED, answered(weight=1))).key == "4"


def test_an_answer_that_is_labelled_as_not_wanted_is_rejected() -> None:
    assert rejected({"prompt": "q", "completion": ANSWER, "label": False}).reason == "unwanted_answer"
    assert parts_of({"prompt": "q", "completion": ANSWER, "label": True}).key == "4"


def test_text_around_the_parts_is_in_left_out() -> None:
    row = talk(
        ASKED, answered("<think>It is \\boxed{4}.</think>There are \\boxed{4} seats."), {**ASKED, "content": "Hm"}
    )
    assert parts_of(row, free_text="true").left_out == (
        ("text_before_key", "There are"),
        ("text_after_key", "seats."),
        ("boxes_in_cot", "\\boxed{4}"),
        ("turns_after_answer", "Hm"),
    )
    boxed = parts_of(talk(ASKED, answered("We add. There are \\boxed{ 4 } seats.")), template="boxed")
    assert (boxed.cot, boxed.key, boxed.left_out) == ("We add. There are", "4", (("text_after_key", "seats."),))
    assert parts_of(talk(ASKED, answered("2 + 2. The answer is 4.")), template="plain").left_out == ()
    gold = parts_of(talk(ASKED, answered("<think>t</think>It is four."), gold="4"), gold_field="gold")
    assert gold.left_out == (("answer_text", "It is four."),)
    earlier = parts_of(talk(ASKED, answered("5", reasoning="so 5"), ASKED, answered()))
    assert earlier.left_out == (("earlier_answers", "5"), ("earlier_reasoning", "so 5"))
    flagged = parts_of(talk(ASKED, answered("5", weight=0), ASKED, answered()))
    assert flagged.left_out == ()


def test_all_that_follows_the_cot_is_the_key_where_asked_for() -> None:
    for row in (talk(ASKED, answered("Four\n", reasoning="so 4")), talk(ASKED, answered("<think>so 4</think>\nFour"))):
        parts = parts_of(row, key="rest")
        assert (parts.cot.strip(), parts.key, parts.left_out) == ("so 4", "Four", ())
    assert rejected(talk(ASKED, answered("Four")), key="rest").reason == "missing_cot"
    assert rejected(talk(ASKED, answered("<think>so</think> ")), key="rest").reason == "missing_key"


@pytest.mark.parametrize("kind", [None, ["text"], {"text": 1}, 7])
def test_a_part_of_no_known_kind_is_text_or_refused(kind: Any) -> None:
    row = talk(ASKED, answered([{"type": kind, "text": ANSWER}]))
    if kind is None:
        assert parts_of(row).key == "4"
    else:
        assert rejected(row).reason == "wrong_type"


def test_parts_inside_parts_without_end_are_refused() -> None:
    part: Any = "x"
    for _ in range(2_000):
        part = [{"text": part}]
    assert rejected(talk(ASKED, answered("\\boxed{4}", reasoning=part))).reason == "wrong_type"
    assert not has_flags({"turns": part})


def test_a_template_without_cot_tags_takes_none_for_text() -> None:
    assert rejected(talk(ASKED, answered()), template="boxed").reason == "tagged_cot"
