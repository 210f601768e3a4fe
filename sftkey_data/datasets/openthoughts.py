r"""OpenThoughts-114k: maths, science, code and puzzles with the thoughts of DeepSeek-R1; the Key is the last box.

Schema: `system`; `conversations`, two turns `{"from": …, "value": …}`, of `user` and `assistant`. The latter is
`<|begin_of_thought|>…<|end_of_thought|>`, the CoT, and `<|begin_of_solution|>…<|end_of_solution|>`, whose last
`\boxed{…}` is the Key; a solution without one, as code is, is rejected by design, as `missing_key`. Boxes inside the
CoT are unwrapped. The system prompt, which only describes those four marks, and the request for a box before a
mathematical question are left out: the template decides how an answer is written.
Source: Guha et al. 2025, "OpenThoughts: Data Recipes for Reasoning Models"; hub id open-thoughts/OpenThoughts-114k.
Licence: Apache-2.0.
"""

from sftkey_data.datasets._keys import boxed_key
from sftkey_data.extract import Parts, Reject, Row, text
from sftkey_data.format.boxes import unwrap

INPUT = "open-thoughts/OpenThoughts-114k"
COLUMNS = ("conversations",)
EXPECTED_REJECTS = ("missing_key",)

BOX_REQUEST = "Return your final response within \\boxed{}. "


def extract(row: Row) -> Parts:
    """The user's turn, the thought, and the last box of the solution."""
    turns = row["conversations"]
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise Reject("wrong_type", f"conversations must be a list of turns, found {type(turns).__name__}")
    if [turn.get("from") for turn in turns] != ["user", "assistant"]:
        found = ", ".join(str(turn.get("from")) for turn in turns)
        raise Reject("unexpected_turns", f"conversations must be one turn of user and one of assistant, found {found}")
    answer = text(turns[1], "value")
    return Parts(
        prompt=text(turns[0], "value").removeprefix(BOX_REQUEST),
        cot=unwrap(_between(answer, "thought", "missing_cot")),
        key=boxed_key(_between(answer, "solution", "missing_solution"), "the solution"),
        answer_type="math",
    )


def _between(answer: str, name: str, reason: str) -> str:
    _, begin, rest = answer.partition(f"<|begin_of_{name}|>")
    content, end, _ = rest.partition(f"<|end_of_{name}|>")
    if not (begin and end):
        raise Reject(reason, f"the assistant's turn must hold <|begin_of_{name}|>…<|end_of_{name}|>")
    return content
