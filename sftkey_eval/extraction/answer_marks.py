"""Which words mark an answer, in which language: a table, `answer_marks.toml`, that a user's own file extends."""

import hashlib
import json
import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from sftkey_data.config import load_toml, validate
from sftkey_data.errors import SFTKeyError, nearest
from sftkey_data.format.template import Template
from sftkey_data.once import once

TABLE = Path(__file__).with_name("answer_marks.toml")
MAX_MARKS = 20  # marks tried from the last one backwards
MAX_WORD_CHARS = 40
ENGLISH = "english"
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


@dataclass(frozen=True, slots=True)
class MarkedPlace:
    """One place where a text marks an answer: where the mark begins and ends, its text, and its language."""

    start: int
    end: int
    text: str
    language: str
    denied: bool
    """Whether it says what the answer is not: `la respuesta no es`."""


@dataclass(frozen=True)
class AnswerMarks:
    """The whole table, by language."""

    languages: Mapping[str, Language]
    added: Mapping[str, Any] | None = None
    """What a user's file adds, as it stands there."""

    @once
    def digest(self) -> str:
        """SHA-256 over the content; verdicts under different digests are not comparable."""
        table = {name: asdict(language) for name, language in self.languages.items()}
        return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()

    def find(self, text: str, template: Template | None = None) -> list[MarkedPlace]:
        """The last marks of a text, in order; a template adds its own tag."""
        own = _own_tag(template)
        names, start = self._present(text, own)
        if not names:
            return []
        pattern = _pattern(tuple((name, self._patterns[name]) for name in names if name), own)
        found = deque(pattern.finditer(text, start), maxlen=MAX_MARKS)
        return [_mark(match) for match in found]

    def read_in_english(self, text: str) -> str:
        """A text whose words such as `or` and `not`, of languages that have no spaces, are the English ones."""
        if text.isascii():
            return text
        text = text.translate(_FULLWIDTH)
        if self._unspaced_first.isdisjoint(text):
            return text
        return self._unspaced.sub(lambda found: self._unspaced_words.get(found.group(), found.group()), text)

    def sentence_in_english(self, sentence: str, language: str) -> str:
        """The same of a sentence that follows a mark of a language with spaces."""
        words, pattern = self._spaced.get(language, ({}, None))
        if pattern is None:
            return sentence

        def english(found: re.Match[str]) -> str:
            alone = not any(map(str.isalnum, sentence[found.end() :]))
            word = words[found.group().lower()]
            return "no" if word == "not" and alone else word  # `no` and `não` are both

        return pattern.sub(english, sentence)

    def _present(self, text: str, own: str) -> tuple[list[str], int]:
        """Languages of which a word stands in a text, and where the first of these may begin.

        Finding fixed strings takes a fraction of the time of the patterns.
        """
        lower = text.lower()
        ascii_only = len(lower) == len(text) and text.isascii()
        keys = {""} if ascii_only else {"", *self._needles.keys() & set(lower)}
        found = [(at, name) for key in keys for needle, name in self._needles[key] if (at := lower.find(needle)) >= 0]
        if own and (at := lower.find(own.lower())) >= 0:
            found.append((at, ""))
        present = {name for _, name in found}
        if not ascii_only:
            present.add(ENGLISH)  # `ſ` matches an s, whatever its case
        names = [name for name in self.languages if name in present] + ([""] if "" in present else [])
        return names, max(0, min(found)[0] - _MAX_BEFORE) if ascii_only and found else 0

    @once
    def _needles(self) -> dict[str, list[tuple[str, str]]]:
        """What a language's marks cannot do without, by its first character that is not ASCII; empty for none."""
        needles: dict[str, list[tuple[str, str]]] = {"": []}
        for name, language in self.languages.items():
            words = [
                *language.answer,
                *language.marks,
                *language.before_letter,
                *language.headings,
                *language.line_starts,
            ]
            for word in _without_longer({word.lower().split()[-1] for word in words}):
                key = next((character for character in word if not character.isascii()), "")
                needles.setdefault(key, []).append((word, name))
        return needles

    @once
    def _patterns(self) -> dict[str, str]:
        return {name: _language_pattern(name, language) for name, language in self.languages.items()}

    @once
    def _unspaced_words(self) -> dict[str, str]:
        words: dict[str, str] = {}
        for language in self.languages.values():
            if not language.spaces:
                words |= {word: f" {english} " for english, theirs in language.english.items() for word in theirs}
        return words

    @once
    def _unspaced(self) -> re.Pattern[str]:
        """Their words, and their marks, which stay what they are."""
        marks = {
            word
            for language in self.languages.values()
            if not language.spaces
            for word in (*language.answer, *language.marks, *language.before_letter)
        }
        return re.compile(_any_of({*self._unspaced_words, *marks}))

    @once
    def _unspaced_first(self) -> frozenset[str]:
        return frozenset(word[0] for word in self._unspaced_words)

    @once
    def _spaced(self) -> dict[str, tuple[dict[str, str], re.Pattern[str]]]:
        spaced = {}
        for name, language in self.languages.items():
            words = {word.lower(): english for english, theirs in language.english.items() for word in theirs}
            if language.spaces and words:
                spaced[name] = (words, re.compile(rf"(?<!\w)(?:{_any_of(words)})(?!\w)", re.IGNORECASE))
        return spaced


_MAX_BEFORE = 20  # `final` and three spaces, `<`, or more words of a mark before the one that is looked for
_FULLWIDTH: dict[int, int | str] = {
    **{code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)},
    **dict.fromkeys(map(ord, "「」『』"), '"'),
}


def answer_marks(path: Path | None = None) -> AnswerMarks:
    """The marks that are built in, with those of a user's TOML file.

    Raises:
        SFTKeyError: The file is missing, no TOML, or does not hold words as the table has them.
    """
    return _built_in() if path is None else _extended(_built_in(), path)


@cache
def _built_in() -> AnswerMarks:
    return AnswerMarks(_languages(load_toml(TABLE, "answer marks"), str(TABLE)))


def _extended(known: AnswerMarks, path: Path) -> AnswerMarks:
    tables = load_toml(path, "answer marks")
    if not tables:
        raise SFTKeyError(f"{path}: no language, expected a table of answer marks such as [english]")
    merged = dict(known.languages)
    for name, added in _languages(tables, str(path)).items():
        merged[name] = _merged(merged[name], added) if name in merged else added
    return AnswerMarks(merged, tables)


def _languages(tables: Mapping[str, Any], where: str) -> dict[str, Language]:
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
            says = any(map(str.isalpha, word)) or (word and key not in _LETTERED)  # a dash may link
            if not says or word != word.strip() or len(word) > MAX_WORD_CHARS:
                expected = f"expected a word of at most {MAX_WORD_CHARS} characters without white space around it"
                raise SFTKeyError(f"{place}: {key}: found {word!r}, {expected}")


_LETTERED = ("answer", "of", "marks", "before_letter", "headings", "line_starts")


def _merged(known: Language, added: Language) -> Language:
    both = {}
    for each in fields(Language):
        one, other = getattr(known, each.name), getattr(added, each.name)
        if isinstance(one, tuple):
            both[each.name] = tuple(dict.fromkeys([*one, *other]))
    meanings = {**known.english, **added.english}
    english = {key: (*known.english.get(key, ()), *added.english.get(key, ())) for key in meanings}
    return Language(**both, english=english, spaces=known.spaces)


def _own_tag(template: Template | None) -> str:
    # Only a user's own tag is added: the chain must not depend on the arm, and it already knows the built-in marks.
    tagged = template is not None and not (template.balanced or template.to_end)
    return template.before_key.strip() if template and tagged else ""


@cache
def _pattern(patterns: tuple[tuple[str, str], ...], own: str) -> re.Pattern[str]:
    named = [f"(?P<{name}>{pattern})" for name, pattern in patterns]
    return re.compile("|".join([*named, *([f"(?P<own>{re.escape(own)})"] if own else [])]), re.IGNORECASE)


def _mark(found: re.Match[str]) -> MarkedPlace:
    groups = {name: text for name, text in found.groupdict().items() if text is not None}
    language = next(name for name in groups if not name.startswith(_DENIES))
    denied = any(name.startswith(_DENIES) for name in groups)
    return MarkedPlace(found.start(), found.end(), found.group(), language, denied)


_DENIES = "not_"
_ASIDE = r"(?:\s{0,3}\([^()\n]{1,40}\)|,[^,.:=\n]{1,30},)?"  # the answer (in cm) is, the answer, in dollars, is
_CLOSING = r"[*_\"')」】\]]{0,4}"
_COLON = r"\s{0,3}[:=：]"


def _language_pattern(name: str, language: Language) -> str:
    before, after = (r"(?<!\w)", r"(?!\w)") if language.spaces else ("", "")
    space = r"\s{1,3}" if language.spaces else r"\s{0,3}"
    patterns = []
    if language.answer:
        of = rf"(?:{space}(?:{_any_of(language.of)}){after}[^.:=\n]{{1,80}}?)?" if language.of else ""
        denial = language.english.get("not", ())
        links = _any_of({*language.links, *(() if language.spaces else ("is",))})
        link = rf"{space}(?:{links}){after}(?:{_COLON})?|" if links else ""
        if denial:
            first, alone = (
                rf"{space}(?P<{_DENIES}{number}_{name}>{_any_of(denial)}){after}" for number in ("first", "alone")
            )
            link = (f"(?:{first})?{link}" if links else "") + f"{alone}|"
        patterns.append(rf"{before}(?:{_any_of(language.answer)}){after}{_CLOSING}{_ASIDE}{of}(?:{link}{_COLON})")
    if language.headings:
        patterns.append(rf"{before}(?:{_any_of(language.headings)}){after}{_CLOSING}\s{{0,3}}\n")
    if language.line_starts:
        patterns.append(rf"(?m:^)[*_]{{0,2}}(?:{_any_of(language.line_starts)})")
    for word in language.marks:
        edges = [edge if side.isalnum() else "" for edge, side in ((before, word[0]), (after, word[-1]))]
        patterns.append(rf"{edges[0]}{_words(word)}{edges[1]}(?:{_COLON})?")
    if language.before_letter:
        letter = r"\s{0,3}(?:[:：]\s{0,3})?(?=[(（\[]?\s?(?-i:[A-ZＡ-Ｚ])(?![A-Za-z]))"
        patterns.append(rf"{before}(?:{_any_of(language.before_letter)}){letter}")
    return "|".join(patterns)


def _any_of(words: Any) -> str:
    """Any of the words, the longest that fits."""
    return "|".join(_words(word) for word in sorted(words, key=lambda word: (-len(word), word)))


def _words(text: str) -> str:
    return r"\s{1,3}".join(map(re.escape, text.split()))


def _without_longer(words: set[str]) -> Iterator[str]:
    """Those words that hold none of the others."""
    return (word for word in sorted(words) if not any(other in word for other in words if other != word))
