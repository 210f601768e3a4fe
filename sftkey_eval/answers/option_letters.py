"""Option letters and truth values: what an answer to a choice or a yes/no question names."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sftkey_data.once import once
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
_USUAL = "ABCDEFGHIJ"  # `A or F` hedges where there is no F, too
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Choices:
    """Option texts in the order A, B, C, …, each read once."""

    texts: tuple[str, ...]

    @classmethod
    def of(cls, choices: "Sequence[str] | Choices | None") -> "Choices | None":
        """The options of a question; None for a question without."""
        return choices if choices is None or isinstance(choices, Choices) else cls(tuple(choices))

    @once
    def letters(self) -> str:
        """A letter for each, as far as the alphabet goes."""
        return LETTERS[: len(self.texts)]

    @once
    def folded(self) -> tuple[str, ...]:
        """The texts as `fold` leaves them."""
        return tuple(map(_folded, self.texts))

    @once
    def numbers(self) -> tuple[Number | None, ...]:
        """The number that makes up each text."""
        return tuple(map(read_number, self.texts))


def _folded(text: str) -> str:
    return fold(plain(strip_markup(text)))


def read_options(text: str, choices: Choices | None = None) -> tuple[str, ...]:
    """Letters an answer commits to: none, one, or several where it hedges.

    Args:
        text: A whole answer, not running text: `B`, `(b)`, `B. Paris`, `Option B`, or with `choices` an option's text.
        choices: The options there are; None where any letter may be one.
    """
    if len(text) > MAX_OPTION_CHARS:
        return ()
    text = strip_markup(plain(strip_markup(text)))
    named_by_text = letter_of_value(text, choices) if choices and choices.texts and len(text) > 1 else None
    found = _LABEL.match(text)
    if named_by_text or found is None:  # an option that reads `E. coli` names itself, not option E
        return (named_by_text,) if named_by_text else ()
    letter, rest = _letter(found), text[found.end() :].strip()
    if not _is_option(letter, choices):
        return ()
    if not rest or _names(rest, letter, choices):
        return (letter,)
    if choices and (other := letter_of_value(rest, choices)):
        return (letter, other)  # `B. a brown cow`, where that is what C says
    if _may_be_a_word(found) and not _ANOTHER.match(rest):
        return ()
    others = [
        other for other in _ANOTHER.findall(found["mark"] + rest) if _is_option(other, choices) or other in _USUAL
    ]
    return tuple(dict.fromkeys([letter, *others]))


def find_options(text: str, choices: Choices | None = None) -> Iterator[tuple[int, str]]:
    """Position and letter of every option that running text names, in order."""
    for found in _MENTION.finditer(text):
        letter = _letter(found)
        if _is_option(letter, choices):
            yield found.start(), letter


def letter_of_value(text: str, choices: Choices) -> str | None:
    """The letter of the one option whose text or number equals `text`; None for none and for several."""
    wanted, number = _folded(text), read_number(text)
    if not wanted:
        return None
    equal = [letter for letter, choice in zip(choices.letters, choices.folded, strict=False) if choice == wanted]
    if number is not None:
        numbers = zip(choices.letters, choices.numbers, strict=False)
        equal += [letter for letter, other in numbers if other and _same_value(number, other)]
    return equal[0] if len(set(equal)) == 1 else None


def read_truth(text: str) -> bool | None:
    """Yes/true or no/false where an answer begins with it and does not name the other one as well."""
    text = strip_markup(plain(strip_markup(text)))
    found = _TRUTH_WORD.match(text)
    if found is None or _OTHER_TRUTH.match(text[found.end() :]):
        return None
    return _TRUTH[found.group().lower()]


def _letter(found: re.Match[str]) -> str:
    return next(value for value in found.groupdict().values() if value and value.isalpha()).upper()


def _is_option(letter: str, choices: Choices | None) -> bool:
    return choices is None or letter in choices.letters


def _names(text: str, letter: str, choices: Choices | None) -> bool:
    return choices is not None and choices.folded[choices.letters.index(letter)] == _folded(text)


def _may_be_a_word(found: re.Match[str]) -> bool:
    """`A cat` and `I think` begin with a word; `A. cat` and `B cat` begin with a label."""
    return found["bare"] in ("A", "I") and not found["mark"]


def _same_value(one: Number, other: Number) -> bool:
    return (
        one.percent == other.percent
        and one.value == other.value
        and (one.unit == other.unit or not (one.unit and other.unit))
    )
