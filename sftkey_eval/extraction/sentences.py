"""What a sentence such as `18 dollars, because …` gives as its answer."""

import re

from sftkey_eval.answers.answer_kind import Found
from sftkey_eval.answers.markup import strip_markup
from sftkey_eval.answers.option_letters import Choices

MAX_ANSWER_LINE = 300  # code points after a mark in which its answer must stand

OR = re.compile(r"\b(?:or|alternatively)\b")
FILLERS = (
    r"(?:(?:indeed|exactly|only|just|simply|about|approximately|around|roughly|equal\s+to|then|thus|therefore|now|also|most"
    r"|likely|probably|definitely|certainly|clearly|actually|obviously|simply|surely)[\s,]{1,3}){0,4}"
)
"""Words between `is` and the value."""
_LEADING = re.compile(r"[\s*_:>]{0,40}")
_EMPHASIS = re.compile(r"\*\*|__")
_SENTENCE_END = re.compile(
    r"(?:(?<=\w{3})|(?<=[\d)}\]$%*])|(?<=\d\s\w)|(?<=\d\s\w\w))[.!?]+(?=\s|$)|[。！？।]|\n|</|<\||<(?=answer>|think)",
    re.IGNORECASE,
)


def sentence_after(text: str, start: int, *, same_line: bool) -> tuple[str, int]:
    """What a mark announces, to the end of the sentence or line and without markup, and where that ends.

    Args:
        text: Running text.
        start: Where the mark ends.
        same_line: The answer must stand on the mark's own line.
    """
    leading = _LEADING.match(text, start)
    begin = start if leading is None or same_line else leading.end()
    rest = text[begin : begin + MAX_ANSWER_LINE]
    found = _SENTENCE_END.search(rest)
    end = found.start() if found else len(rest)
    return strip_markup(_EMPHASIS.sub("", rest[:end])), begin + end


def whole_sentence(sentence: str, choices: Choices | None) -> str | None:  # noqa: ARG001 - as a kind asks for it
    """The sentence, where it says anything."""
    return sentence or None


def find_only_marked(tail: str, choices: Choices | None) -> Found | None:  # noqa: ARG001 - as a kind asks for it
    """Nothing: of an answer in words only a mark tells where it stands."""
    return None
