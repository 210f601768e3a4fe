"""The words of a language that mark an answer, checked as they come from a TOML file."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar

from sftkey_data.config import validate
from sftkey_data.errors import SFTKeyError, nearest

MAX_WORD_CHARS = 40
MEANINGS = (
    *("or", "and", "not", "nor", "either", "neither", "but", "yes", "no", "unknown", "option"),
    *("is not", "is right", "is wrong", "is not right"),
)
"""English words that the reading of sentences knows."""


@dataclass(frozen=True, kw_only=True)
class Language:
    """The words of one language; what each key holds stands in the table."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    answer: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    of: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    before_letter: tuple[str, ...] = ()
    headings: tuple[str, ...] = ()
    line_starts: tuple[str, ...] = ()
    spaces: bool = True
    english: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def read_languages(tables: Mapping[str, Any], where: str) -> dict[str, Language]:
    """The languages of a file; `where` begins the message of the error.

    Raises:
        SFTKeyError: A table that is none of a language's, or a word that is none.
    """
    languages = {}
    for name, table in tables.items():
        place = f"{where}: [{name}]"
        if not isinstance(table, dict):
            raise SFTKeyError(f"{where}: {name} is no table; expected a language such as [english] with its words")
        if not re.fullmatch(r"[a-z][a-z_]{0,30}", name):
            raise SFTKeyError(f"{place}: expected the name of a language in small letters, such as [english]")
        if text := next((key for key, words in table.items() if isinstance(words, str)), None):
            raise SFTKeyError(f"{place}: {text}: found {table[text]!r}, expected a list such as [{table[text]!r}]")
        languages[name] = language = validate(table, Language, where=place)
        _check(language, place)
    return languages


def shipped_languages(tables: Mapping[str, Any]) -> dict[str, Language]:
    """The languages of the shipped table, which a test checks: loading what checks takes longer than scoring."""
    return {name: Language(**{key: _words(value) for key, value in table.items()}) for name, table in tables.items()}


def _words(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: tuple(words) for key, words in value.items()}
    return tuple(value) if isinstance(value, list) else value


def _check(language: Language, place: str) -> None:
    for key in language.english:
        if key not in MEANINGS:
            raise SFTKeyError(
                f"{place}: english: found {key!r}{nearest(key, MEANINGS)}; expected {', '.join(MEANINGS)}"
            )
    words = {key: words for key, words in asdict(language).items() if isinstance(words, tuple)} | dict(language.english)
    if not any(words.values()):
        raise SFTKeyError(f'{place}: no word, expected lists such as answer = ["answer"]')
    for key, listed in words.items():
        for word in listed:
            says = any(map(str.isalpha, word)) or (word and key not in LETTERED)  # a dash may link
            if not says or word != word.strip() or len(word) > MAX_WORD_CHARS:
                expected = f"expected a word of at most {MAX_WORD_CHARS} characters without white space around it"
                raise SFTKeyError(f"{place}: {key}: found {word!r}, {expected}")


LETTERED = ("answer", "of", "marks", "before_letter", "headings", "line_starts")


def merged(known: Language, added: Language) -> Language:
    """A language with the words of both."""
    both = {}
    for each in fields(Language):
        one, other = getattr(known, each.name), getattr(added, each.name)
        if isinstance(one, tuple):
            both[each.name] = tuple(dict.fromkeys([*one, *other]))
    meanings = {**known.english, **added.english}
    english = {key: (*known.english.get(key, ()), *added.english.get(key, ())) for key in meanings}
    return Language(**both, english=english, spaces=known.spaces)
