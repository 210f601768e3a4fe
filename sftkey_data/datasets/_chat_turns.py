"""The turns of a conversation in any of the layouts that chats are kept in."""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from types import MappingProxyType
from typing import Any, NamedTuple

from sftkey_data.extract import Reject, Row, text

ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "model", "bot", "ai", "chatgpt"), "assistant"),
}
TOOL_ROLES = frozenset(
    (
        *("tool", "function", "observation", "function_call", "tool_call", "tool_calls"),
        *("tool_response", "function_response", "ipython"),
    )
)
TOOL_KEYS = ("tool_calls", "function_call", "tool_call")
TOOLS_ARE_NOT_READ = "tools are not read: leave such rows out, or write call and result as text with a ./mine.py"

TURN_COLUMNS = ("messages", "conversations", "conversation", "dialogue", "dialog", "turns", "contents")
TEXT_KEYS = ("content", "value", "parts")  # OpenAI, ShareGPT, Gemini
PAIRS = (
    ("prompt", "completion"),  # TRL
    ("prompt", "response"),
    ("instruction", "output"),  # Alpaca
    ("instruction", "response"),
    ("query", "response"),
    ("question", "response"),
    ("question", "answer"),
    ("problem", "solution"),
    ("problem", "generated_solution"),
    ("input", "output"),
)
CONTEXT = ("input", "context")  # what an instruction is about
ANSWERS = ("completion", "response", "output", "answer")  # beside turns that end with the question
REASONING = (
    *("reasoning_content", "reasoning", "thinking", "thought", "thoughts", "think", "thinking_content"),
    *("reasoning_text", "reasoning_trace", "thinking_trace", "reasoning_details", "chain_of_thought"),
)
LIKE_REASONING = re.compile(r"reason|think|thought|(^|_)cot(_|$)|rationale|scratchpad", re.IGNORECASE)
THOUGHT_PARTS = frozenset({"thinking", "reasoning", "thought", "reasoning_text", "summary_text"})
TEXT_PARTS = frozenset({"text", "input_text", "output_text", "answer"})
TOOL_PARTS = frozenset({"tool_use", "tool_result", "tool_call", "tool-call", "tool-result", "function_call"})
MAX_PART_DEPTH = 6  # Magistral's thinking is a list of parts in a part of a content
SWITCHES = frozenset({"on", "off"})  # a column `reasoning` that says how the answer was asked for


class Turn(NamedTuple):
    """A turn: its role (`system`, `user` or `assistant`), its text, the reasoning beside it, and where it stands."""

    role: str
    content: str
    reasoning: str = ""
    place: str = ""
    row: Row = MappingProxyType({})
    """The turn as it was, or the row of a pair."""


def read_turns(row: Row, column: str = "", reasoning: str = "") -> list[Turn]:
    """The conversation in a row; its last turn need not be an answer.

    Args:
        row: With turns in one of `TURN_COLUMNS`, or a pair of `PAIRS`.
        column: Holds the turns, or the completion of the row's prompt; "" finds it.
        reasoning: The key of a turn, or column, with the reasoning; "" knows `REASONING`.

    Raises:
        Reject: No known layout, a turn of another kind, or tools.
    """
    turns = _merged(list(_found(row, column, reasoning)))
    if not any(turn.role == "assistant" for turn in turns):
        answer = next((name for name in ANSWERS if isinstance(row.get(name), str)), None)
        if turns and turns[-1].role == "user" and answer is not None:
            turns.append(Turn("assistant", row[answer], place=answer, row=row))
    turns = [*_history(row), *turns]
    if not any(turn.role == "system" for turn in turns):
        name = next((name for name in ("system", "system_prompt") if row.get(name) not in (None, "")), None)
        turns = [Turn("system", text(row, name)), *turns] if name else turns
    return _with_reasoning_of_row(turns, row, reasoning)


def _found(row: Row, column: str, reasoning: str) -> Iterator[Turn]:
    if column and row.get(column) is None:
        raise Reject("missing_column", f"expected turns or a completion in {column!r}, found {_names(row)}")
    name = column or next((name for name in TURN_COLUMNS if _may_hold_turns(row.get(name), name)), None)
    if name is not None and not (column and isinstance(row[name], str)):
        listed = list(_listed(row[name], name, reasoning))
        if column and not any(
            turn.role == "user" for turn in listed
        ):  # a preference's answer: its prompt stands beside
            yield from _asked(row, reasoning)
        yield from listed
        return
    if column:
        yield from _asked(row, reasoning)
        yield Turn("assistant", text(row, column), place=column, row=row)
        return
    pair = next((pair for pair in PAIRS if all(row.get(name) is not None for name in pair)), None)
    if pair is None:
        _refuse_layout(row)
    else:
        yield from _side(row, pair[0], "user", reasoning)
        yield from _side(row, pair[1], "assistant", reasoning)


def _may_hold_turns(value: object, name: str) -> bool:
    """Whether a column is that of the turns; `turns` may hold their number as well."""
    return value is not None and (isinstance(value, list) or name in TURN_COLUMNS[:2])


def _refuse_layout(row: Row) -> None:
    if row.get("rejected") is not None and row.get("chosen") is not None:
        raise Reject(
            "preference_row", "the columns chosen and rejected hold two answers: --set turns=chosen reads the first"
        )
    raise Reject(
        "missing_column",
        f"expected turns in 'messages' or 'conversations', or a pair as 'prompt' with 'completion' or 'instruction' "
        f"with 'output'; found {_names(row)}: name the column with the turns by --set turns=COLUMN, or map the columns "
        "in a ./mine.toml",
    )


def _asked(row: Row, reasoning: str) -> Iterator[Turn]:
    """The prompt that stands beside a completion."""
    name = next((prompt for prompt, _ in PAIRS if row.get(prompt) is not None), None)
    if name is not None:
        yield from _side(row, name, "user", reasoning)


def _side(row: Row, name: str, role: str, reasoning: str) -> Iterator[Turn]:
    """One half of a pair: a text, or turns."""
    if isinstance(row[name], list):
        yield from _listed(row[name], name, reasoning)
        return
    content = text(row, name)
    context = next((row[part] for part in CONTEXT if isinstance(row.get(part), str) and row[part].strip()), "")
    if name == "instruction" and context:
        content = f"{content}\n\n{context}"
    yield Turn(role, content, place=name, row=row)


def _history(row: Row) -> Iterator[Turn]:
    """Earlier rounds that stand in a column of their own, as [question, answer]."""
    rounds = row.get("history")
    if not rounds:
        return
    if not isinstance(rounds, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(side, str) for side in pair) for pair in rounds
    ):
        raise Reject("wrong_type", "history must be a list of [question, answer]")
    for question, answer in rounds:
        yield from (Turn("user", question), Turn("assistant", answer))


def _listed(turns: object, column: str, reasoning: str) -> Iterator[Turn]:
    if isinstance(turns, str) and turns.lstrip().startswith("["):  # JSON in a table's cell
        with suppress(ValueError, RecursionError):
            turns = json.loads(turns)
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        of = f"a list of {type(turns[0]).__name__}" if isinstance(turns, list) and turns else type(turns).__name__
        raise Reject("wrong_type", f"{column} must be a list of turns, found {of}")
    for number, turn in enumerate(turns):
        yield _turn(turn, f"{column}[{number}]", reasoning)


def _turn(turn: dict[str, Any], place: str, reasoning: str) -> Turn:
    role = _role(turn, place)
    if called := next((key for key in TOOL_KEYS if turn.get(key)), None):
        raise Reject("tool_turn", f"{place}.{called} is a call: {TOOLS_ARE_NOT_READ}")
    name = next((key for key in TEXT_KEYS if turn.get(key) is not None), "content")
    content, thoughts = _content(turn, name, place)
    found = {} if role != "assistant" else _reasoning_fields(turn, place, reasoning)
    thoughts = [*thoughts, *found.values()]
    if turn.get(name) is None and not thoughts:
        text(turn, name)  # raises: missing or null
    if len({thought.strip() for thought in thoughts}) > 1 and found:
        raise Reject("two_reasonings", f"{place} holds several: {', '.join([*found, 'content'])}, with different texts")
    return Turn(role, content, next(iter(found.values()), "\n\n".join(thoughts)), place, turn)


def _role(turn: dict[str, Any], place: str) -> str:
    name = turn.get("role") if turn.get("role") is not None else turn.get("from")
    if not isinstance(name, str) or name.lower() not in ROLES:
        if isinstance(name, str) and name.lower() in TOOL_ROLES:
            raise Reject("tool_turn", f"{place} has the role {name!r}: {TOOLS_ARE_NOT_READ}")
        raise Reject("unknown_role", f"{place}: {name!r}, expected one of {', '.join(ROLES)}")
    return ROLES[name.lower()]


def _content(turn: dict[str, Any], name: str, place: str) -> tuple[str, list[str]]:
    """A turn's text and its thoughts; the parts of a list are joined."""
    parts = turn.get(name)
    if not isinstance(parts, list):
        return (text(turn, name) if parts is not None else "", [])
    texts, thoughts = list[str](), list[str]()
    for number, part in enumerate(parts):
        at = f"{place}.{name}[{number}]"
        kind = str(part.get("type") or "text") if isinstance(part, dict) else "text"
        if kind in TOOL_PARTS:
            raise Reject("tool_turn", f"{at} is of type {kind!r}: {TOOLS_ARE_NOT_READ}")
        if kind in THOUGHT_PARTS or (isinstance(part, dict) and part.get("thought") is True):
            thoughts.append(_joined(part, at))
        elif kind in TEXT_PARTS:
            texts.append(_joined(part, at))
        else:
            raise Reject("wrong_type", f"{at} is of type {kind!r}, only text and reasoning are read")
    return "".join(texts), thoughts


def _joined(value: object, place: str, depth: int = 0) -> str:
    """A text, wherever a part, or a list of parts, has it."""
    if isinstance(value, str):
        return value
    if depth > MAX_PART_DEPTH:
        raise Reject("wrong_type", f"{place} must be a text, found one nested over {MAX_PART_DEPTH} times")
    if isinstance(value, list):
        return "\n\n".join(_joined(item, place, depth + 1) for item in value)
    if isinstance(value, dict):
        for name in ("text", "thinking", "reasoning", "content", "summary"):
            if value.get(name):
                return _joined(value[name], place, depth + 1)
        return ""
    raise Reject("wrong_type", f"{place} must be a text, found {type(value).__name__}")


def _reasoning_fields(turn: Row, place: str, named: str) -> dict[str, str]:
    """The reasoning that stands beside a turn's content, by the name of its field."""
    names = (named,) if named else REASONING
    values = {name: turn[name] for name in names if turn.get(name) and not isinstance(turn[name], bool | int | float)}
    found = {name: joined for name, value in values.items() if (joined := _joined(value, f"{place}.{name}")).strip()}
    found = {name: joined for name, joined in found.items() if joined.strip().lower() not in SWITCHES}
    if not found and not named:
        _refuse_like_reasoning(turn, f"{place}.", "")
    return found


def _refuse_like_reasoning(values: Row, place: str, content: str) -> None:
    """Refuse sentences under a key of which only the name says that they are reasoning, unless the content has them."""
    for name in values:
        if name in REASONING or not LIKE_REASONING.search(name):
            continue
        value = values[name]
        if isinstance(value, str) and len(value.split()) > 3 and value.strip() not in content:
            raise Reject(
                "unknown_reasoning_field",
                f"{place}{name} may hold the reasoning: --set reasoning={name} takes it as the CoT; known are "
                f"{', '.join(REASONING)}",
            )


def _with_reasoning_of_row(turns: list[Turn], row: Row, named: str) -> list[Turn]:
    """A column with the reasoning belongs to the last answer, if that neither has one nor repeats it."""
    last = max((i for i, turn in enumerate(turns) if turn.role == "assistant"), default=None)
    if last is None or turns[last].reasoning:
        return turns
    columns = {name: row[name] for name in ((named,) if named else REASONING) if isinstance(row.get(name), str)}
    for value in columns.values():
        if value.strip() and value.strip().lower() not in SWITCHES and value.strip() not in turns[last].content:
            return [*turns[:last], turns[last]._replace(reasoning=value), *turns[last + 1 :]]
    if turns[last].row is row and not named:
        _refuse_like_reasoning(row, "", turns[last].content)
    return turns


def _merged(turns: list[Turn]) -> list[Turn]:
    """Harmony's channels: a turn of the channel `analysis` is the reasoning of the answer after it."""
    merged = list[Turn]()
    for turn in turns:
        before = merged[-1] if merged else None
        if before is not None and before.role == turn.role == "assistant" and before.row.get("channel") == "analysis":
            merged[-1] = turn._replace(reasoning=turn.reasoning or before.content)
        else:
            merged.append(turn)
    return merged


def _names(row: Row) -> str:
    return ", ".join(map(repr, row)) or "no columns"
