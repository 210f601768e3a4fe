r"""The best candidate from a malformed completion: one fallback chain, the same for every arm.

In order: the last `\boxed{}`, the last `####`, the last "the answer is" (or `Answer:`, `A:`, an answer tag), and then
the last number or option letter; in mathematics the last value that is stated, as a whole. A text that is nothing but
an answer, in mathematics or in words, is one as a whole. What stands inside a CoT is not searched; one that was never
closed runs to the end. Patterns are fixed strings or bounded, so the cost is linear.
"""

import re
from dataclasses import dataclass
from functools import cache

from sftkey_data.format.template import Template
from sftkey_eval.answers.answer_kind import AnswerKind, CandidateSource, Found
from sftkey_eval.answers.markup import single_backslashes
from sftkey_eval.answers.option_letters import Choices
from sftkey_eval.extraction.answer_marks import AnswerMarks, answer_marks
from sftkey_eval.extraction.marked_answers import NO_ANSWER, find_marked

MAX_TAIL = 20_000  # code points at the end in which the last number or option must stand
MAX_MARKED = 200_000  # code points at the end in which marks are looked for


@dataclass(frozen=True, slots=True)
class Candidate:
    """An answer found outside the format, the link of the chain that found it, and the CoT that led to it."""

    text: str
    source: CandidateSource
    cot: str


@dataclass(frozen=True, slots=True)
class _Split:
    """A completion cut by its CoT tags: what they enclose, what lies outside, and what follows a tag never closed."""

    inside: str
    outside: str
    unclosed: str


def find_candidate(
    completion: str,
    kind: AnswerKind,
    choices: Choices | None = None,
    template: Template | None = None,
    marks: AnswerMarks | None = None,
) -> Candidate | None:
    """The best candidate in a completion that did not parse, None where there is none.

    Args:
        completion: Raw text.
        kind: What the answer looks like.
        choices: The options of the question.
        template: Adds a user's own tags to the usual ones.
        marks: Words that mark an answer; None: those built in.
    """
    marks = marks or answer_marks()
    split = _split_cot(single_backslashes(completion), template)
    outside = marks.read_in_english(split.outside) if kind.in_english else split.outside
    marked = outside[-MAX_MARKED:]
    found = find_marked(marked, kind, choices, template, marks) or _last_value(outside, kind, choices)
    if found is None or not found[0]:
        return None
    text, source, start = found
    before = outside if source in ("last_number", "last_option") else marked
    cot = split.inside + split.unclosed or before[:start]
    return Candidate(kind.finish(text, choices) if kind.finish else text, source, cot)


def find_cot(completion: str, template: Template | None = None) -> str:
    """What stands inside the CoT tags, closed or not; the whole completion where there are none."""
    split = _split_cot(completion, template)
    return split.inside + split.unclosed or completion


def _split_cot(completion: str, template: Template | None) -> _Split:
    before, after = (template.before_cot.strip(), template.after_cot.strip()) if template else ("", "")
    own = (before, after) if before and after else ()
    if completion.isascii():  # finding fixed strings takes a fraction of the time of the pattern
        lower = completion.lower()
        if "think" not in lower and not any(tag.lower() in lower for tag in own):
            return _Split("", completion, "")
    inside: list[str] = []
    outside: list[str] = []
    position, opened = 0, False
    for index, tag in enumerate(_cot_tag(own).finditer(completion)):
        closes = tag.lastgroup == "close"
        if opened and not closes:
            continue
        # A closing tag that comes first ends a CoT that the prompt opened.
        (inside if opened or (closes and index == 0) else outside).append(completion[position : tag.start()])
        position, opened = tag.end(), not closes
    rest = completion[position:]
    return _Split("\n".join(inside), "\n".join([*outside, "" if opened else rest]), rest if opened else "")


@cache
def _cot_tag(own: tuple[str, ...]) -> re.Pattern[str]:
    opening, closing = map(re.escape, own) if own else ("", "")
    return re.compile(
        f"(?P<close></think(?:ing)?>{closing and '|'}{closing})|(?P<open><think(?:ing)?>{opening and '|'}{opening})",
        re.IGNORECASE,
    )


def _last_value(text: str, kind: AnswerKind, choices: Choices | None) -> Found | None:
    if not kind.none_is_an_answer and _leaves_it_open(text):
        return None
    offset = max(0, len(text) - MAX_TAIL)
    found = kind.find_last(text[offset:], choices)
    return (found[0], found[1], offset + found[2]) if found else None


def _leaves_it_open(text: str) -> bool:
    """Whether the last sentence says that nothing can be said: `So the answer cannot be determined.`"""
    last = _BORDER.split(text[-MAX_LAST:].rstrip())[-1]
    return _OPEN.match(last) is not None


MAX_LAST = 300  # code points
_BORDER = re.compile(r"(?<=[.!?])\s+|[。！？\n]")
_OPEN = re.compile(
    r"(?:so|thus|hence|therefore|then|but|and|,|\s){0,3}\s?(?:(?:the|this|my|correct|final|answer|result|value|it|that|question)\s){0,3}"
    rf"(?:(?:is|remains|seems)\s)?(?:still\s)?{NO_ANSWER.pattern}",
    re.IGNORECASE,
)
