r"""The best candidate from a malformed completion: one fallback chain, the same for every arm.

In order: the last `\boxed{}`, the last `####`, the last "the answer is" (or `Answer:`, `A:`, an answer tag), and then
the last number or option letter; in mathematics the last value that is stated, as a whole. A closed CoT is not
searched. An unclosed CoT runs to the end, so only marks count in it. Patterns are fixed strings or bounded, so the cost
is linear.
"""

import re
from collections import deque
from dataclasses import dataclass
from typing import Literal

from sftkey_data.extract.parts import AnswerType
from sftkey_data.format.boxes import Box, find_boxes
from sftkey_data.format.template import Template
from sftkey_eval.answers.numbers import find_numbers, read_number
from sftkey_eval.answers.option_letters import Choices, find_options, find_truths, read_options
from sftkey_eval.extraction.sentences import FILLERS, HEDGE, MAX_ANSWER_LINE, OR, read_answer, sentence_after
from sftkey_eval.extraction.stated_values import stated_values

CandidateSource = Literal["key", "boxed", "hash", "the_answer_is", "last_number", "last_option"]

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
    answer_type: AnswerType,
    choices: Choices | None = None,
    template: Template | None = None,
) -> Candidate | None:
    """The best candidate in a completion that did not parse, None where there is none.

    Args:
        completion: Raw text.
        answer_type: What the answer looks like.
        choices: The options of the question.
        template: Adds a user's own tags to the usual ones.
    """
    split = _split_cot(completion, template)
    marked = f"{split.outside}\n{split.unclosed}"[-MAX_MARKED:]
    found = find_marked(marked, answer_type, choices, template) or _last_value(split.outside, answer_type, choices)
    if found is None or not found[0]:
        return None
    text, source, start = found
    before = split.outside if source in ("last_number", "last_option") else marked
    in_unclosed = start - (len(marked) - len(split.unclosed))  # position of the mark in an unclosed CoT, if >= 0
    unclosed = split.unclosed[:in_unclosed] if in_unclosed >= 0 else split.unclosed
    cot = split.inside + unclosed or before[:start]
    return Candidate(_as_letter(text, choices) if answer_type == "choice" else text, source, cot)


def find_cot(completion: str, template: Template | None = None) -> str:
    """What stands inside the CoT tags, closed or not; the whole completion where there are none."""
    split = _split_cot(completion, template)
    return split.inside + split.unclosed or completion


Marked = tuple[str, CandidateSource, int]
"""A candidate's text, its source, and where its mark begins; the text is empty where the mark says there is none."""


def find_marked(
    text: str, answer_type: AnswerType, choices: Choices | None = None, template: Template | None = None
) -> Marked | None:
    r"""The last answer that the text marks as one: boxed, after `####`, or after "the answer is"."""
    return (
        _boxed(text, answer_type, choices)
        or _after_mark(text, _HASH, "hash", answer_type, choices)
        or _after_mark(text, _answer_mark(template), "the_answer_is", answer_type, choices)
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


def _boxed(text: str, answer_type: AnswerType, choices: Choices | None) -> Marked | None:
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
    if answer_type == "choice" and not read_options(answer, choices):
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
    text: str, mark: re.Pattern[str], source: CandidateSource, answer_type: AnswerType, choices: Choices | None
) -> Marked | None:
    for found in reversed(deque(mark.finditer(text, _first_possible(text, mark)), maxlen=MAX_MARKS)):
        if answer_type == "choice" and found.group().strip("*_") == "A:":
            continue  # `A: 12` lists an option
        sentence = sentence_after(text, found.end(), same_line=source == "hash")
        names_none = _DENIED.match(sentence) or _PRAISED.fullmatch(sentence)
        if answer_type in _VALUES and (names_none or (source == "hash" and _HEADING.match(sentence))):
            continue
        answer = read_answer(sentence, answer_type, choices)
        if answer_type in _VALUES and _NO_ANSWER.match(sentence) and not _is_whole(answer, sentence):
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
_VALUES = frozenset({"number", "math", "choice"})  # in words, "unknown" and "none of them" may be the answer
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


def _last_value(text: str, answer_type: AnswerType, choices: Choices | None) -> Marked | None:
    offset = max(0, len(text) - MAX_TAIL)
    tail = text[offset:]
    if answer_type == "math" and (found := _last_stated(tail, offset)):
        return found
    if answer_type in ("number", "math"):
        return _last_number(tail, offset)
    if answer_type == "choice":
        return _last_option(tail, offset, choices)
    if answer_type == "boolean":
        truths = list(find_truths(tail))
        return (truths[-1].group(), "last_option", offset + truths[-1].start()) if truths else None
    return None


def _last_stated(tail: str, offset: int) -> Marked | None:
    r"""The last value a text states, as a whole: `\(\frac{3}{4}\)`, not its 4. None where it is put together."""
    value = next(stated_values(tail, "math"), "")
    start = tail.rfind(value) if value else -1
    return (value, "last_number", offset + start) if start >= 0 else None


def _last_number(tail: str, offset: int) -> Marked | None:
    numbers = list(find_numbers(tail))
    if not numbers:
        return None
    start, end = numbers[-1].span()
    if end - start >= MAX_ANSWER_LINE:
        return None  # digits without end
    if len(numbers) > 1 and HEDGE.fullmatch(tail, numbers[-2].end(), start):
        start = numbers[-2].start()
    return tail[start:end].strip(), "last_number", offset + start


def _last_option(tail: str, offset: int, choices: Choices | None) -> Marked | None:
    whole = tail.strip()
    if len(whole) <= MAX_ANSWER_LINE and not _JUDGED.search(whole) and read_options(whole, choices):
        return whole, "last_option", offset
    options = list(find_options(tail, choices))
    return (options[-1][1], "last_option", offset + options[-1][0]) if options else None


_JUDGED = re.compile(r"\b(?:is|are|was|wrong|right|true|false|correct|incorrect)\b", re.IGNORECASE)


def _as_letter(text: str, choices: Choices | None) -> str:
    letters = read_options(text, choices)
    return letters[0] if len(letters) == 1 else text
