"""Which words mark an answer, in which language: a table, `answer_marks.toml`, that a user's own file extends."""

import hashlib
import json
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sftkey_data.config import load_toml
from sftkey_data.errors import SFTKeyError
from sftkey_data.format.template import Template
from sftkey_data.once import once
from sftkey_eval.extraction.mark_languages import LETTERED, Language, merged, read_languages, shipped_languages

TABLE = Path(__file__).with_name("answer_marks.toml")
MAX_MARKS = 20  # marks tried from the last one backwards
ENGLISH = "english"


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

    def find(self, text: str, template: Template | None = None) -> Iterator[MarkedPlace]:
        """The last marks of a text, the very last one first; a template adds its own tag."""
        # Only a user's own tag is added: the chain must not depend on the arm, and it already knows the built-in marks.
        tagged = template is not None and not (template.balanced or template.to_end)
        own = template.before_key.strip().lower() if template and tagged else ""
        names, start = self._present(text, "" if own in self._english_marks else own)
        if not names:
            return
        pattern = self._compiled.get(names)
        if pattern is None:
            pattern = self._compiled[names] = self._compile(names)
        for found in reversed(deque(pattern.finditer(text, start), maxlen=MAX_MARKS)):
            language = (found.lastgroup or "").removeprefix(_IN)
            denied = language in self._denying and any(found[f"{name}_{language}"] for name in _DENIALS)
            yield MarkedPlace(found.start(), found.end(), found.group(), language, denied)

    def read_in_english(self, text: str) -> str:
        """A text whose words such as `or` and `not`, of languages that have no spaces, are the English ones."""
        if text.isascii():
            return text
        if self._unspaced_first.search(text) is None:
            return text
        text = text.translate(_FULLWIDTH)
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

    def _present(self, text: str, own: str) -> tuple[tuple[str, ...], int]:
        """Languages of which a word stands in a text, with a user's own tag, and where the first of these may begin.

        Finding fixed strings takes a fraction of the time of the patterns.
        """
        lower = text.lower()
        plain, other, characters = self._all_needles
        present = [name for needle, name in plain if needle in lower]
        if not text.isascii() and characters is not None and characters.search(lower):
            present += [name for needle, name in other if needle in lower]
        if own and own in lower:
            present.append(f"{_OWN}{own}")
        aligned = len(lower) == len(text) and "\u017f" not in lower  # `ſ` matches an s, whatever its case
        if not aligned:
            present.append(ENGLISH)
        names = tuple(dict.fromkeys(present))
        if not (names and aligned):
            return names, 0
        needles = [needle for name in names for needle in self._needles_by_name.get(name, [own])]
        return names, max(0, min(at for needle in needles if (at := lower.find(needle)) >= 0) - _MAX_BEFORE)

    @once
    def _english_marks(self) -> frozenset[str]:
        return frozenset(word.lower() for word in self.languages[ENGLISH].marks)

    @once
    def _denying(self) -> frozenset[str]:
        """Languages whose marks may deny."""
        return frozenset(name for name, words in self.languages.items() if words.answer and words.english.get("not"))

    @once
    def _needles_by_name(self) -> dict[str, list[str]]:
        """What a language's marks cannot do without."""
        return {name: _needles(language) for name, language in self.languages.items()}

    @once
    def _all_needles(self) -> tuple[list[tuple[str, str]], list[tuple[str, str]], re.Pattern[str] | None]:
        """These in ASCII, the others, and a pattern of the characters without which none of the others can stand."""
        needles = [(needle, name) for name, listed in self._needles_by_name.items() for needle in listed]
        plain = [pair for pair in needles if pair[0].isascii()]
        other = [pair for pair in needles if not pair[0].isascii()]
        return plain, other, _any_character(next(c for c in needle if not c.isascii()) for needle, _ in other)

    @once
    def _compiled(self) -> dict[tuple[str, ...], re.Pattern[str]]:
        return {}

    def _compile(self, names: tuple[str, ...]) -> re.Pattern[str]:
        patterns = [
            f"(?P<{_IN}{name}>{self._patterns[name]})" if name in self._patterns else re.escape(name.removeprefix(_OWN))
            for name in names
        ]
        return re.compile("|".join(patterns), re.IGNORECASE)

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
            for word in (*language.answer, *language.links, *language.marks, *language.before_letter)
        }
        return re.compile(_any_of({*self._unspaced_words, *marks}))

    @once
    def _unspaced_first(self) -> re.Pattern[str]:
        """A character without which a text has none of their words, nor letters as wide as theirs."""
        pattern = _any_character([word[0] for word in self._unspaced_words] + [chr(code) for code in _FULLWIDTH])
        assert pattern is not None  # the wide letters are always in it
        return pattern

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
    return AnswerMarks(shipped_languages(load_toml(TABLE, "answer marks")))


def _extended(known: AnswerMarks, path: Path) -> AnswerMarks:
    tables = load_toml(path, "answer marks")
    if not tables:
        raise SFTKeyError(f"{path}: no language, expected a table of answer marks such as [english]")
    both = dict(known.languages)
    for name, added in read_languages(tables, str(path)).items():
        both[name] = merged(both[name], added) if name in both else added
    return AnswerMarks(both, tables)


def _needles(language: Language) -> list[str]:
    """Of each mark the word that most marks share, less those words that hold another one."""
    marks = [word.lower().split() for key in LETTERED if key != "of" for word in getattr(language, key)]
    counts = Counter(word for mark in marks for word in mark)
    words = {max(mark, key=lambda word: (counts[word], len(word))) for mark in marks}
    return [word for word in sorted(words) if not any(other in word for other in words if other != word)]


_IN, _OWN = "in_", " "  # groups of the patterns; a user's own tag, whose name no language has
_DENIALS = ("not_first", "not_alone")
_ASIDE = r"(?:\s{0,3}\([^()\n]{1,40}\)|,[^,.:=\n]{1,30},)?"  # the answer (in cm) is, the answer, in dollars, is
_CLOSING = r"[*_\"')」】\]]{0,4}"
_COLON = r"\s{0,3}[:=：]"
_LINE, _LINE_END = r"(?m:^)[ \t]{0,3}[#*_]{0,6}[ \t]{0,3}", r"[*_]{0,3}[ \t]{0,3}\n"  # a heading


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
            first, alone = (rf"{space}(?P<{number}_{name}>{_any_of(denial)}){after}" for number in _DENIALS)
            link = (f"(?:{first})?{link}" if links else "") + f"{alone}|"
        patterns.append(rf"{before}(?:{_any_of(language.answer)}){after}{_CLOSING}{_ASIDE}{of}(?:{link}{_COLON})")
        patterns.append(rf"{_LINE}(?:{_any_of(language.answer)}){_LINE_END}")
    if language.headings:
        patterns.append(rf"{before}(?:{_any_of(language.headings)}){after}{_CLOSING}\s{{0,3}}\n")
    if language.line_starts:
        patterns.append(rf"(?m:^)[*_]{{0,2}}(?:{_any_of(language.line_starts)})")
    for word in language.marks:
        edges = [edge if side.isalnum() else "" for edge, side in ((before, word[0]), (after, word[-1]))]
        patterns.append(rf"{edges[0]}{_words(word)}{edges[1]}(?:{_COLON})?")
    before_letter = {*language.before_letter, *(() if name == ENGLISH else language.answer)}
    if before_letter:
        letter = r"\s{0,3}(?:[:：]\s{0,3})?(?=[(（\[]?\s?(?-i:[A-ZＡ-Ｚ])(?![A-Za-z]))"
        patterns.append(rf"{before}(?:{_any_of(before_letter)}){letter}")
    return "|".join(patterns)


def _any_character(characters: Iterable[str]) -> re.Pattern[str] | None:
    listed = "".join(sorted(set(characters)))
    return re.compile(f"[{re.escape(listed)}]") if listed else None


def _any_of(words: Iterable[str]) -> str:
    """Any of the words, the longest that fits."""
    return "|".join(_words(word) for word in sorted(words, key=lambda word: (-len(word), word)))


def _words(text: str) -> str:
    return r"\s{1,3}".join(map(re.escape, text.split()))
