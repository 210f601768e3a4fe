"""Option letters and truth values: what an answer to a choice or a yes/no question names."""

import re
from collections.abc import Iterator, Sequence

from sftkey_eval.answers.markup import fold, plain, strip_markup
from sftkey_eval.answers.numbers import Number, read_number

_PREFIX = r"(?:(?:the\s+)?(?:(?:correct|right|best|final)\s+)?(?:answer|option|choice)\b(?:\s+is\b)?\s*:?\s*)?"
_LABEL = re.compile(
    rf"""
    (?i:{_PREFIX})
    (?: \(\s?(?P<round>[A-Za-z])\s?\) | \[\s?(?P<square>[A-Za-z])\s?\]
      | (?P<bare>[A-Z])(?![\w'’]) | (?P<small>[a-z])(?=[).:]|$) )
    (?P<mark>[).:\-–—,/;&]?)
    """,
    re.VERBOSE,
)
_ANOTHER = re.compile(
    r"(?:^|\bor\b|\band\b|[/,;&|+)\]])\s{0,3}(?:(?:option|choice)\s{1,3})?"
    r"[(\[]?([A-Z])(?:[)\]]|[.:](?=\s|$)|(?=\s{0,3}(?:$|[,/;&|]|or\b|and\b)))"
)
# In running text a letter counts only where it is marked as an option: "a person" and "Vitamin A is" name none.
_MENTION = re.compile(
    r"\((?P<round>[A-Z])\)|\*\*\(?(?P<bold>[A-Z])\)?[.:]?\*\*"
    r"|\b(?i:option|choice)\s\(?(?P<named>[A-Z])\b(?!['’])"
    r"|\b(?i:answer(?:\s(?:is|would\sbe))?:?)\s\(?(?P<answered>[A-Z])\b(?!['’]|\s[a-z])"
    r"|(?m:^|(?<=[\s$]))(?P<alone>[A-Z])(?=[.)]?\$?\.?\s*\Z)"
)
_TRUTH = {"yes": True, "true": True, "no": False, "false": False}
_TRUTH_WORD = re.compile(r"\b(?i:yes|no|true|false)\b")
_OTHER_TRUTH = re.compile(r"^\W{0,3}\s*(?:or|and|/)\s*\W{0,3}(?i:yes|no|true|false|not)\b")

MAX_OPTION_CHARS = 2_000  # longer texts are no answer to a choice
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def read_options(text: str, choices: Sequence[str] | None = None) -> tuple[str, ...]:
    """Letters an answer commits to: none, one, or several where it hedges.

    Args:
        text: A whole answer, not running text: `B`, `(b)`, `B. Paris`, `Option B`, or with `choices` an option's text.
        choices: Option texts in the order A, B, C, …
    """
    if len(text) > MAX_OPTION_CHARS:
        return ()
    text = strip_markup(plain(strip_markup(text)))
    named_by_text = letter_of_value(text, choices) if choices and len(text) > 1 else None
    found = _LABEL.match(text)
    if named_by_text or found is None:  # an option that reads `E. coli` names itself, not option E
        return (named_by_text,) if named_by_text else ()
    letter, rest = _letter(found), text[found.end() :].strip()
    if not _is_option(letter, choices):
        return ()
    if not rest or _names(rest, letter, choices):
        return (letter,)
    if _may_be_a_word(found) and not _ANOTHER.match(rest):
        return ()
    others = [other for other in _ANOTHER.findall(found["mark"] + rest) if _is_option(other, choices)]
    return tuple(dict.fromkeys([letter, *others]))


def find_options(text: str, choices: Sequence[str] | None = None) -> Iterator[tuple[int, str]]:
    """Position and letter of every option that running text names, in order."""
    for found in _MENTION.finditer(text):
        letter = _letter(found)
        if _is_option(letter, choices):
            yield found.start(), letter


def letter_of_value(text: str, choices: Sequence[str]) -> str | None:
    """The letter of the one option whose text or number equals `text`; None for none and for several."""
    wanted = fold(plain(strip_markup(text)))
    number = read_number(text)
    equal = [
        letter
        for letter, choice in zip(LETTERS, choices, strict=False)
        if fold(plain(strip_markup(choice))) == wanted or _same_value(number, read_number(choice))
    ]
    return equal[0] if len(equal) == 1 and wanted else None


def read_truth(text: str) -> bool | None:
    """Yes/true or no/false where an answer begins with it and does not name the other one as well."""
    text = strip_markup(plain(strip_markup(text)))
    found = _TRUTH_WORD.match(text)
    if found is None or _OTHER_TRUTH.match(text[found.end() :]):
        return None
    return _TRUTH[found.group().lower()]


def find_truths(text: str) -> Iterator[re.Match[str]]:
    """Every yes, no, true and false in running text, in order."""
    return _TRUTH_WORD.finditer(text)


def _letter(found: re.Match[str]) -> str:
    return next(value for value in found.groupdict().values() if value and value.isalpha()).upper()


def _is_option(letter: str, choices: Sequence[str] | None) -> bool:
    return choices is None or LETTERS.index(letter) < len(choices)


def _names(text: str, letter: str, choices: Sequence[str] | None) -> bool:
    if choices is None:
        return False
    choice = choices[LETTERS.index(letter)]
    return fold(plain(strip_markup(choice))) == fold(plain(strip_markup(text)))


def _may_be_a_word(found: re.Match[str]) -> bool:
    """`A cat` and `I think` begin with a word; `A. cat` and `B cat` begin with a label."""
    return found["bare"] in ("A", "I") and not found["mark"]


def _same_value(one: Number | None, other: Number | None) -> bool:
    if one is None or other is None or one.percent != other.percent:
        return False
    return one.value == other.value and (one.unit == other.unit or not (one.unit and other.unit))
