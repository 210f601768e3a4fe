r"""A completion that is an answer and nothing else: `Paris`, `x + 1`, `(2, 3)`, `$\sqrt{2}$`."""

import re

from sftkey_eval.answers.answer_kind import Found
from sftkey_eval.answers.markup import strip_markup
from sftkey_eval.answers.numbers import read_number
from sftkey_eval.answers.option_letters import Choices
from sftkey_eval.extraction.sentences import MAX_ANSWER_LINE
from sftkey_eval.extraction.value_sentences import is_worded

MAX_WORDS = 12
# What follows an answer when generation does not stop at it, or stands before one.
_END_TOKENS = re.compile(r"(?:\s*(?:<\|[^|<>\n]{1,40}\|>|</s>|<eos>))+\s*\Z")
_BULLET = re.compile(r"[-*•]\s+")
# What only a sentence has: somebody or a verb, or another sentence behind it.
_SENTENCE = re.compile(
    r"\b(?:is|are|was|were|am|be|been|has|have|had|do|does|did|could|would|should|might|must|I|[Ww]e|[Yy]ou|[Hh]e|[Ss]he"
    r"|[Tt]hey|[Tt]here|[Bb]ecause|[Ss]ince|[Ss]o|[Tt]hus|[Hh]ence|[Tt]herefore|[Ss]orry|[Ll]et)\b|n['’]t\b"
    r"|[!?;:]\s|(?<=\w{3})\.\s"
)
# More letters than variables beside each other: no function and no name of a command, an environment or a unit.
_WORD = re.compile(
    r"(?<![A-Za-z\\])(?<!\\begin\{)(?<!\\end\{)(?<!\\text\{)(?:"
    r"(?!(?:sqrt|a?sin|a?cos|a?tan|cot|sec|csc|log|exp|min|max|gcd|lcm|mod|inf)h?\b)[A-Za-z]{3,}"
    r"|\b(?:so|to|or|is|it|if|in|of|on|at|by|an|as|no|we|he|be|and|et|es|de|la|le|il|da)\b)"
    r"|[^\W\d_A-Za-z\u0370-\u03ff]"
)
_SAYS = re.compile(r"[=<>≤≥≠≈→∴?]|\\(?:implies|to|therefore|[Rr]ightarrow|[gl]eq?|neq?|approx|[gl]t)\b")


def find_bare_words(tail: str, choices: Choices | None) -> Found | None:  # noqa: ARG001 - as a kind asks for it
    """All of a text, where it is a line of a few words and no sentence; of an answer in words nothing else tells."""
    line = _line(tail)
    if line is None or _SENTENCE.search(line) or len(line.split()) > MAX_WORDS:
        return None
    return line, "whole", _start(tail)


def find_bare_mathematics(tail: str) -> Found | None:
    """All of a text, where it is a line of mathematics that states no more than itself, and no number."""
    line = _line(tail)
    if line is None or _WORD.search(line) or _SAYS.search(line) or read_number(line) is not None:
        return None
    return line, "whole", _start(tail)


def find_bare_number(tail: str) -> Found | None:
    """All of a text, where it is a number with all that belongs to it: `18 kg`, `1.2e3`, `three quarters`."""
    line = _line(tail)
    if line is None or "=" in line or not (read_number(line) or is_worded(line)):
        return None
    return line, "last_number", _start(tail)


def _start(tail: str) -> int:
    return len(tail) - len(tail.lstrip())


def _line(tail: str) -> str | None:
    """The only line of a text without what stands around it; None where it has more, or says nothing."""
    if len(tail) > 2 * MAX_ANSWER_LINE:
        return None
    text = _END_TOKENS.sub("", tail).strip()
    if "\n" in text or len(text) > MAX_ANSWER_LINE:
        return None
    if bullet := _BULLET.match(text):
        text = text[bullet.end() :]
    text = strip_markup(text)
    return text if any(map(str.isalnum, text)) else None
