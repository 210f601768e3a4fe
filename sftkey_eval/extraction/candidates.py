r"""The best candidate from a malformed completion: one fallback chain, the same for every arm.

In order: the last `\boxed{}`, the last `####`, the last "the answer is" (or `Answer:`, `A:`, an answer tag), and then
the last number or option letter; in mathematics the last value that is stated, as a whole. What stands inside a CoT is
not searched; one that was never closed runs to the end. Patterns are fixed strings or bounded, so the cost is linear.
"""

import re
from collections import deque
from dataclasses import dataclass

from sftkey_data.format.boxes import Box, find_boxes
from sftkey_data.format.template import Template
from sftkey_eval.answers.answer_kind import AnswerKind, CandidateSource, Found
from sftkey_eval.answers.numbers import read_number
from sftkey_eval.answers.option_letters import Choices
from sftkey_eval.extraction.sentences import FILLERS, OR, sentence_after

MAX_TAIL = 20_000  # code points at the end in which the last number or option must stand
MAX_MARKED = 200_000  # code points at the end in which marks are looked for
MAX_MARKS = 20  # marks tried from the last one backwards


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
) -> Candidate | None:
    """The best candidate in a completion that did not parse, None where there is none.

    Args:
        completion: Raw text.
        kind: What the answer looks like.
        choices: The options of the question.
        template: Adds a user's own tags to the usual ones.
    """
    split = _split_cot(completion, template)
    marked = split.outside[-MAX_MARKED:]
    found = find_marked(marked, kind, choices, template) or _last_value(split.outside, kind, choices)
    if found is None or not found[0]:
        return None
    text, source, start = found
    before = split.outside if source in ("last_number", "last_option") else marked
    cot = split.inside + split.unclosed or before[:start]
    return Candidate(kind.finish(text, choices) if kind.finish else text, source, cot)


def find_cot(completion: str, template: Template | None = None) -> str:
    """What stands inside the CoT tags, closed or not; the whole completion where there are none."""
    split = _split_cot(completion, template)
    return split.inside + split.unclosed or completion


def find_marked(
    text: str, kind: AnswerKind, choices: Choices | None = None, template: Template | None = None
) -> Found | None:
    r"""The last answer that the text marks as one: boxed, after `####`, or after "the answer is".

    Its text is empty where the mark says that there is none.
    """
    return (
        _boxed(text, kind, choices)
        or _after_mark(text, _HASH, "hash", kind, choices)
        or _after_mark(text, _answer_mark(template), "the_answer_is", kind, choices)
    )


def _split_cot(completion: str, template: Template | None) -> _Split:
    inside: list[str] = []
    outside: list[str] = []
    position, opened = 0, False
    for index, tag in enumerate(_cot_tag(template).finditer(completion)):
        closes = tag.lastgroup == "close"
        if opened and not closes:
            continue
        # A closing tag that comes first ends a CoT that the prompt opened.
        (inside if opened or (closes and index == 0) else outside).append(completion[position : tag.start()])
        position, opened = tag.end(), not closes
    rest = completion[position:]
    return _Split("\n".join(inside), "\n".join([*outside, "" if opened else rest]), rest if opened else "")


def _cot_tag(template: Template | None) -> re.Pattern[str]:
    before, after = (template.before_cot.strip(), template.after_cot.strip()) if template else ("", "")
    own = before and after
    opening = "<think(?:ing)?>" + (f"|{re.escape(before)}" if own else "")
    closing = "</think(?:ing)?>" + (f"|{re.escape(after)}" if own else "")
    return re.compile(f"(?P<close>{closing})|(?P<open>{opening})", re.IGNORECASE)


def _boxed(text: str, kind: AnswerKind, choices: Choices | None) -> Found | None:
    r"""The last box, joined with the boxes right before it: `\boxed{3} or \boxed{4}` is one hedged answer."""
    boxes = _outermost(find_boxes(text))
    group: list[Box] = []
    for box in reversed(boxes):
        if group and not _JOIN.fullmatch(text, box.end, group[0].start):
            break
        group.insert(0, box)
    contents = [content for box in group if (content := text[box.content_start : box.content_end].strip())]
    if not contents:
        return None
    joint = " or " if OR.search(text, group[0].end, group[-1].start) else ", "
    answer = joint.join({read_number(content) or content: content for content in contents}.values())
    if kind.may_be_boxed is not None and not kind.may_be_boxed(answer, choices):
        return None
    return answer, "boxed", group[0].start


_JOIN = re.compile(r"[\s$,;.()\\\[\]*]{0,20}(?:(?:or|and|also|alternatively)\b)?[\s$,;.()\\\[\]*]{0,20}")


def _outermost(boxes: list[Box]) -> list[Box]:
    outer: list[Box] = []
    for box in boxes:
        if not outer or box.start >= outer[-1].end:
            outer.append(box)
    return outer


_HASH = re.compile(r"(?<!#)####(?!#)")
_MARK = (
    r"\banswer\b[*_\"')]{0,4}(?:\s{1,3}(?:to|of|for)\b[^.:=\n]{1,80}?)?"
    r"(?:\s{1,3}(?:is|are|was|(?:will|would|should|must)\s+be)\b\s{0,3}[:=]?|\s{0,3}[:=])"
    r"|\bfinal\s{1,3}answer\b[*_]{0,4}\s{0,3}\n|(?m:^)[*_]{0,2}A:|<answer>"
)


def _answer_mark(template: Template | None) -> re.Pattern[str]:
    # Only a user's own tag is added: the chain must not depend on the arm, and it already knows the built-in marks.
    tagged = template is not None and not (template.balanced or template.to_end)
    own = template.before_key.strip() if template and tagged else ""
    return re.compile(_MARK + (f"|{re.escape(own)}" if own else ""), re.IGNORECASE)


def _after_mark(
    text: str, mark: re.Pattern[str], source: CandidateSource, kind: AnswerKind, choices: Choices | None
) -> Found | None:
    for found in reversed(deque(mark.finditer(text, _first_possible(text, mark)), maxlen=MAX_MARKS)):
        if kind.other_marks and found.group().strip("*_") in kind.other_marks:
            continue
        sentence = sentence_after(text, found.end(), same_line=source == "hash")
        names_none = _DENIED.match(sentence) or _PRAISED.fullmatch(sentence)
        if not kind.none_is_an_answer and (names_none or (source == "hash" and _HEADING.match(sentence))):
            continue
        answer = kind.read_sentence(sentence, choices)
        if not kind.none_is_an_answer and _NO_ANSWER.match(sentence) and not _is_whole(answer, sentence):
            return "", source, found.start()
        if answer:
            return answer, source, found.start()
    return None


def _first_possible(text: str, mark: re.Pattern[str]) -> int:
    """Where the first mark may begin: finding fixed strings takes a fraction of the time of the pattern."""
    if mark is _HASH:
        return text.find("####") if "####" in text else len(text)
    if mark.pattern != _MARK or not text.isascii():  # `ſ` matches an s, whatever its case
        return 0
    lower = text.lower()
    found = [at for word in ("answer", "a:") if (at := lower.find(word)) >= 0]
    return max(0, min(found) - _MAX_BEFORE) if found else len(text)


_MAX_BEFORE = 10  # `final` and three spaces, or `<`, before `answer`
_HEADING = re.compile(r"(?:\d{1,3}[.):]\s+)?[A-Za-z]{3,}\b[^\n]*\d")  # markdown's `#### Step 1`
# "The answer is not (B)" denies one value; "the answer is not listed, the closest option is (E)" commits to none.
_NO_ANSWER = re.compile(
    r"(?:not\s(?:listed|available|among|in|one|given|provided|clear|known|present|there)|none\sof|un(?:clear|known))\b",
    re.IGNORECASE,
)
_DENIED = re.compile(rf"(?!{_NO_ANSWER.pattern})not\b", re.IGNORECASE)
# "So, our answer is correct" speaks of a value that stands elsewhere.
_PRAISED = re.compile(
    rf"{FILLERS}(?:in)?(?:correct|right|wrong|consistent|plausible|reasonable|verified|confirmed)\b[^\w$\\]*",
    re.IGNORECASE,
)


def _is_whole(answer: str | None, sentence: str) -> bool:
    """The sentence as a whole is the answer, as where an option reads `None of the above`."""
    return answer is not None and answer == sentence


def _last_value(text: str, kind: AnswerKind, choices: Choices | None) -> Found | None:
    offset = max(0, len(text) - MAX_TAIL)
    found = kind.find_last(text[offset:], choices)
    return (found[0], found[1], offset + found[2]) if found else None
