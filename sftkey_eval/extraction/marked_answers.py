"""The last answer that a text marks as one: boxed, after `####`, or after "the answer is", in any language."""

import re
from collections import deque

from sftkey_data.format.boxes import Box, find_boxes
from sftkey_data.format.template import Template
from sftkey_eval.answers.answer_kind import AnswerKind, Found
from sftkey_eval.answers.numbers import read_number
from sftkey_eval.answers.option_letters import Choices
from sftkey_eval.extraction.answer_marks import MAX_MARKS, AnswerMarks, MarkedPlace, answer_marks
from sftkey_eval.extraction.sentences import FILLERS, OR, sentence_after


def find_marked(
    text: str,
    kind: AnswerKind,
    choices: Choices | None = None,
    template: Template | None = None,
    marks: AnswerMarks | None = None,
) -> Found | None:
    r"""The last answer that the text marks as one: boxed, after `####`, or after "the answer is".

    Its text is empty where the mark says that there is none.
    """
    return (
        _boxed(text, kind, choices)
        or _after_hash(text, kind, choices)
        or _after_mark(text, (marks or answer_marks()), template, kind, choices)
    )


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


def _after_hash(text: str, kind: AnswerKind, choices: Choices | None) -> Found | None:
    if "####" not in text:
        return None
    for found in reversed(deque(_HASH.finditer(text), maxlen=MAX_MARKS)):
        sentence, _ = sentence_after(text, found.end(), same_line=True)
        names_none = _DENIED.match(sentence) or _PRAISED.fullmatch(sentence) or _HEADING.match(sentence)
        if kind.none_is_an_answer or not names_none:
            answer = kind.read_sentence(sentence, choices)
            if answer or _names_none(sentence, answer, kind):
                return "" if _names_none(sentence, answer, kind) else answer or "", "hash", found.start()
    return None


def _after_mark(
    text: str, marks: AnswerMarks, template: Template | None, kind: AnswerKind, choices: Choices | None
) -> Found | None:
    for mark in marks.find(text, template):
        if kind.other_marks and mark.text.strip("*_") in kind.other_marks:
            continue
        sentence, end = sentence_after(text, mark.end, same_line=False)
        if kind.in_english:
            sentence = marks.sentence_in_english(_ASIDE.sub("", sentence), mark.language)
        if not kind.none_is_an_answer and _PRAISED.fullmatch(sentence):
            continue
        answer = _stated(sentence, mark, kind, choices)
        if _names_none(sentence, answer, kind):
            return "", "the_answer_is", mark.start
        if answer == "" and (later := kind.find_last(text[end : end + MAX_LATER], choices)):
            return later[0], later[1], end + later[2]  # "It is not 5. It is 6."
        if answer is not None:
            answer = _with_second_thoughts(answer, text, end, kind, choices) if answer else answer
            return answer, "the_answer_is", mark.start
    return None


_ASIDE = re.compile(r"\A\((?:in|to|rounded|as)\s[^()\n]{1,40}\)\s{0,3}:?\s{0,3}", re.IGNORECASE)  # `(in cm): 5`
MAX_LATER = 20_000
"""Code points after a denial in which the value must stand that holds instead."""


def _stated(sentence: str, mark: MarkedPlace, kind: AnswerKind, choices: Choices | None) -> str | None:
    """What the sentence behind a mark states: None for nothing, empty where it denies its value."""
    if kind.in_english:
        return kind.read_sentence(f"not {sentence}" if mark.denied else sentence, choices)
    denied = mark.denied or (not kind.none_is_an_answer and _DENIED.match(sentence) is not None)
    return "" if denied else kind.read_sentence(sentence, choices)


def _names_none(sentence: str, answer: str | None, kind: AnswerKind) -> bool:
    """Whether a sentence says that there is no answer; an option may read `None of the above` as a whole."""
    return not kind.none_is_an_answer and NO_ANSWER.match(sentence) is not None and not (answer and answer == sentence)


_HEADING = re.compile(r"(?:\d{1,3}[.):]\s+)?[A-Za-z]{3,}\b[^\n]*\d")  # markdown's `#### Step 1`
# "The answer is not (B)" denies one value; "the answer is not listed, the closest option is (E)" commits to none.
NO_ANSWER = re.compile(
    r"(?:not\s(?:listed|available|among|in|one|given|provided|clear|known|present|there|certain|sure|determin\w{2,5}|possible"
    r"|enough)|none\sof|un(?:clear|known|certain|determined|decided|decidable)|indeterminate|inconclusive|ambiguous"
    r"|impossible\sto|(?:can(?:not|['’]t|\snot)|could\snot)\sbe\s(?:determined|known|found|decided|answered|inferred)"
    r"|(?:that\s)?(?:it\s)?depend(?:s|ent)|(?:hard|difficult)\sto|insufficient|I\sdo(?:\snot|n['’]t)\sknow)\b",
    re.IGNORECASE,
)
"""What begins a sentence that names no answer."""
_DENIED = re.compile(rf"(?!{NO_ANSWER.pattern})not\b", re.IGNORECASE)
# "So, our answer is correct" speaks of a value that stands elsewhere.
_PRAISED = re.compile(
    rf"{FILLERS}(?:in)?(?:correct|right|wrong|consistent|plausible|reasonable|verified|confirmed)\b[^\w$\\]*",
    re.IGNORECASE,
)


_VALUE = (
    r"(?P<{}>[(\[$*]{{0,3}}(?:-?\d[\d.,/]{{0,12}}|\((?:[A-Z])\)|[A-HJ-Z](?![\w'’])|(?i:yes|no|true|false)\b)"
    r"[)\]$*]{{0,3}})"
)
_SECOND_THOUGHTS = re.compile(
    r"[.!?\s*$)\]]{0,8}(?:[Hh]owever|[Bb]ut|[Aa]lthough|[Tt]hough|[Aa]lternatively|[Oo]r|[Tt]hat said|[Ss]till)\b"
    r",?\s(?:"
    rf"(?:it|this|that|the answer|option)\s(?:could|might|may)\s(?:also\s|as well\s|well\s)?be\s{_VALUE.format('a')}"
    rf"|(?:option\s|maybe\s|perhaps\s)?{_VALUE.format('b')}\s"
    r"(?:is|are|could|might|may|seems?|looks?|works?|fits?)\b[^.\n]{0,20}"
    r"\b(?:possible|plausible|correct|right|valid|be|work|fits?|also|too|well|true|likely)"
    rf"|(?:maybe\s|perhaps\s|even\s)?{_VALUE.format('c')}\s?(?:[?.!]|\Z))"
)


def _with_second_thoughts(answer: str, text: str, end: int, kind: AnswerKind, choices: Choices | None) -> str:
    """`A or C` where `The answer is A.` is followed by `However, C is also possible.`"""
    found = _SECOND_THOUGHTS.match(text, end)
    if found is None or not kind.in_english:
        return answer
    other = kind.read_sentence((found["a"] or found["b"] or found["c"]).strip("$*"), choices)
    return f"{answer} or {other}" if other and other != answer else answer
