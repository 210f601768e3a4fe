"""OpenR1-Math-220k: competition problems with the thoughts of DeepSeek-R1; the Key is the reference answer.

Schema: `problem`, `solution`, `answer`, `problem_type`, `question_type`, `source`, `uuid`, `is_reasoning_complete`,
`generations` (two to four texts `<think>…</think>…`), `correctness_math_verify` and `correctness_llama` (one flag per
generation, the second null where it was not needed), `finish_reasons`, `correctness_count`, `messages`. The CoT is what
the first correct generation thinks: Math-Verify's flags are asked first, then Llama's. Boxes in it are unwrapped.
Source: Hugging Face, Open R1 (2025); hub id open-r1/OpenR1-Math-220k, subsets `default`, `extended`, `all`.
Licence: Apache-2.0.
"""

from collections.abc import Sequence

from sftkey_data.extract import Parts, Reject, Row, text
from sftkey_data.format.boxes import unwrap

INPUT = "open-r1/OpenR1-Math-220k:default"
COLUMNS = ("problem", "answer", "generations")

FLAGS = ("correctness_math_verify", "correctness_llama")
NO_ANSWER = frozenset({"", "proof", "notfound"})  # what NuminaMath 1.5, the problems' source, writes for no answer
OPEN, CLOSE = "<think>", "</think>"


def extract(row: Row) -> Parts:
    """The thoughts of the first generation flagged correct, and the reference answer."""
    key = text(row, "answer")
    if key.strip().lower() in NO_ANSWER:
        raise Reject("missing_key", f"answer must be an answer, found {key!r}")
    thoughts, _, _ = _correct_generation(row).partition(CLOSE)
    is_letter = row.get("question_type") == "MCQ" and len(key.strip()) == 1
    return Parts(
        prompt=text(row, "problem"),
        cot=unwrap(thoughts.replace(OPEN, "")),
        key=key,
        answer_type="choice" if is_letter else "math",
    )


def _correct_generation(row: Row) -> str:
    generations = _listed(row["generations"], "generations", "strings")
    for flags in [_listed(row.get(column) or (), column, "booleans") for column in FLAGS]:
        for generation, is_correct in zip(generations, flags, strict=False):
            if is_correct and isinstance(generation, str) and CLOSE in generation:
                return generation
    raise Reject("no_correct_generation", f"no generation is both flagged correct and closes its {CLOSE}")


def _listed(value: object, column: str, of_what: str) -> Sequence[object]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise Reject("wrong_type", f"{column} must be a list of {of_what}, found {type(value).__name__}")
    return value
