"""Which option a sentence commits to: one letter, several where it hedges, none where it denies all that it names."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from sftkey_eval.answers.markup import fold, plain, strip_markup
from sftkey_eval.answers.option_letters import Choices, letter_of_value, read_options
from sftkey_eval.extraction.sentences import FILLERS

_LATIN = r"0-9A-Za-z_\u00c0-\u024f'’"  # a letter beside Chinese or Japanese text stands alone
_LETTER = re.compile(
    rf"\(\s?(?P<round>[A-Z])\s?\)|\[\s?(?P<square>[A-Z])\s?\]|(?<![{_LATIN}\[.\\^-])(?P<bare>[A-Z])(?![{_LATIN}])(?!\.\w)"
)
_ARTICLE = re.compile(r"\s+[a-z]")
_BEFORE_NUMBER = re.compile(r"\s\$?\d[\d.,]{0,12}\s?%?\s[a-z]")  # `(D) A 4% rise`
_HEAD = re.compile(
    rf"[\s*_(\"'`:,]{{0,6}}{FILLERS}(?:(?:without\s+a\s+doubt|no\s+doubt|in\s+short|in\s+the\s+end|I\s+think|I\s+believe|either|both|neither|not|between|one\s+of|perhaps|maybe|possibly|approximately|that\s+of"
    rf"|that|it\s+is|the|correct|right|best|final|answer|option|choice|letter|statement)\b[\s:*_(,]{{1,4}}){{0,5}}\Z",
    re.IGNORECASE,
)
_LED = re.compile(
    r"(?:\b(?:options?|choices?|letters?|answers?|either|neither|nor|or|not|both|between|and|is|be|are|but|of|as|otherwise|although|though|alternatively|eliminate"
    r"|reject|than)\s{1,3}|[,/&;+]\s{0,3})[*_(]{0,3}\Z",
    re.IGNORECASE,
)
_STRONG_LED = re.compile(
    r"\b(?:options?|choices?|letters?|answers?(?:\s(?:is|are|would\sbe))?:?|either|neither|nor|both|between|eliminate|reject|choose|pick|select|with|towards?|prefer|(?:one|any|all|each|none|both)\s+of)"
    r"\s{1,3}[*_(]{0,3}\Z|\*\*\Z",
    re.IGNORECASE,
)
_DENIES = re.compile(
    r"(?P<word>\b(?:(?<!if\s)not|cannot|never|neither|nor|rather\s+than|instead\s+of|unlike|except|excluding|without(?!\s+a)|eliminate[sd]?"
    r"|(?:anything|everything|nothing|all)\s+but|rul(?:e|ed|ing)\s+out|reject(?:ed|s)?|exclude[sd]?|discard(?:ed)?|against)\b"
    r"|n['’]t\b)[^.;:]{0,30}\Z",
    re.IGNORECASE,
)
_REPAIRED = re.compile(r"\b(?:but|only|rather\s(?!than)|instead(?!\s+of))\b|[,;]\s(?:it\s+is|it['’]s)\b", re.IGNORECASE)
_ADVERB = r"(?:also\s+|both\s+|all\s+|clearly\s+|therefore\s+|definitely\s+)?"
_WRONG = re.compile(
    rf"[\s)\]*]{{0,4}}(?:options?\s+)?(?:(?:is|are|was|were|seems?|looks?|must\s+be|can\s+be|would\s+be)\s+{_ADVERB}"
    r"(?:wrong|incorrect|false|bad|eliminated|ruled\s+out|excluded|invalid|unlikely|too\s+\w+|implausible|out\b|not(?!\s+only))"
    r"|(?:cannot|never|isn['’]t|aren['’]t|does\s+not|do\s+not|doesn['’]t|don['’]t|can['’]t|fails?|contradicts?)"
    r"|[.,:]?\s*(?:wrong|incorrect|false|bad|eliminated|ruled\s+out|invalid))\b",
    re.IGNORECASE,
)
_RIGHT = re.compile(
    r"[\s)\].*]{0,3}(?:option\s+)?(?:(?:is|are|must\s+be)\s+(?:the\s+)?(?:also\s+)?(?:right|correct|best|true|answer|good|possible|plausible)"
    r"|(?:could|might|may)\s+(?:also\s+)?(?:be|work|fit))\b",
    re.IGNORECASE,
)
_JOINED = re.compile(
    r"[\s)\].,;/&+*|?!(]{0,5}(?:(?:or|and|and/or|as\s+well\s+as|alternatively|also)\b[\s,]{0,3})?"
    r"(?:(?:maybe|perhaps|possibly|probably|even|also|both|either|else|it|that|is|so|could|may|might|can|be|option|choice"
    r"|the|answer|if(?:\s+not)?|with|equally)\b[\s,]{1,3}){0,7}[\s(\[*]{0,4}",
    re.IGNORECASE,
)
_CLAUSE = re.compile(
    r"[\s,;(–—-](?:because|since|as(?!\s+well)|for|which|so|while|whereas|given|due|when|where|explains?|therefore|thus)\b",
    re.IGNORECASE,
)
_CONDITION = re.compile(r"\b(?:if|unless|otherwise|depending|depends|except)\b", re.IGNORECASE)
_POSSIBLE = re.compile(
    r"\b(?:also|possible|possibly|could|might|may|plausible|either|both|equally|alternatively|combination|too|as\s+well)\b",
    re.IGNORECASE,
)
_DENIES_ITSELF = re.compile(r"\bbut\s(?:it|this|that)\s(?:is|was|does|seems)\s?(?:not|n['’]t)\b", re.IGNORECASE)
_LABELLED = re.compile(r"\)?[.):,]?\s{1,3}\"?(?=\w)")


@dataclass(frozen=True, slots=True)
class _Mention:
    letter: str
    start: int
    end: int
    denied: bool


def option_in(sentence: str, choices: Choices | None) -> str | None:
    """The letter a sentence behind a mark commits to.

    Returns:
        Several letters, as `A or C`, where it hedges; an option's own text where it is all of the sentence; empty where
        it denies what it names; None where it names no option.
    """
    if letter := _by_text(sentence, choices):
        return letter
    mentions = list(_mentions(sentence, choices, marked=True))
    if not mentions:
        return " or ".join(read_options(sentence, choices)) or None
    return _committed(sentence, mentions, choices, marked=True)


def last_option(text: str, choices: Choices | None) -> tuple[str, int] | None:
    """What the last sentence that commits to an option commits to, and where that sentence begins."""
    end = len(text)
    borders = [(found.start(), found.end()) for found in _BORDER.finditer(text)]
    for border, start in [*reversed(borders), (-1, 0)]:
        mentions = list(_mentions(text[start:end], choices, marked=False, last=end == len(text)))
        if mentions and (option := _committed(text[start:end], mentions, choices, marked=False)):
            return option, start
        end = max(border, 0)
    return None


_BORDER = re.compile(r"(?<=[.!?])(?<!\b[A-Z]\.)\s+|[。！？\n]+")


def _by_text(sentence: str, choices: Choices | None) -> str | None:
    text = strip_markup(plain(strip_markup(sentence)))
    return letter_of_value(text, choices) if choices and choices.texts and len(text) > 1 else None


def _mentions(sentence: str, choices: Choices | None, *, marked: bool, last: bool = False) -> Iterator[_Mention]:
    previous: _Mention | None = None
    for found in _LETTER.finditer(sentence):
        letter = found["round"] or found["square"] or found["bare"]
        start, end = found.span()
        if found["bare"] and not _is_option_letter(sentence, found, previous, choices, marked=marked, last=last):
            continue
        named = marked or (found["round"] and _is_known(letter, choices))  # `[A]` is a concentration, too
        if not found["bare"] and (_is_symbol(sentence, start) or not named):
            continue
        previous = _Mention(letter, start, end, _is_denied(sentence, start, end, previous))
        yield previous


def _is_option_letter(
    sentence: str,
    found: re.Match[str],
    previous: _Mention | None,
    choices: Choices | None,
    *,
    marked: bool,
    last: bool,
) -> bool:
    start, end = found.span()
    before = sentence[max(0, start - 60) : start]
    ends = _END.fullmatch(sentence, end) is not None
    if not _is_known(found["bare"], choices) and not (marked and ends):
        return False
    if before.endswith("("):
        said = marked or _IS.search(before[:-1])
        return bool(said and (ends or _LISTED.match(sentence, end)))  # `(A, B, D)`, or `(F` where the text breaks off
    judged = _WRONG.match(sentence, end) or _RIGHT.match(sentence, end)
    article = _ARTICLE.match(sentence, end) or (
        previous is not None and _BEFORE_NUMBER.match(sentence, end) and not _LED.search(before)
    )
    if found["bare"] in "AI" and article and not (judged or _GOES_ON.match(sentence, end)):
        return False
    if _STRONG_LED.search(before) or (judged and (marked or previous or _CLAUSE_BEGINS.search(before))):
        return True
    joined = previous is not None and _JOINED.fullmatch(sentence, previous.end, start) is not None
    if marked:
        leads = start <= _MAX_HEAD and _HEAD.match(before) is not None
        return leads or joined or (previous is not None and _LED.search(before) is not None)
    led = _BEGINS.search(before) is not None
    if (ends and (led or (last and before[-1:].isspace()))) or (led and _GOES_ON.match(sentence, end)):
        return (
            not sentence.startswith((",", ";"), end) or _IS.search(before) is not None
        )  # `nodes: H, U and P` lists names
    own_text = _LABELLED.match(sentence, end) if _IS.search(before) else None
    labelled = own_text is not None and _shares_words(sentence[own_text.end() :], found["bare"], choices)
    return joined or labelled


_MAX_HEAD = 60  # code points between a mark and its letter
_END = re.compile(r"[.)\]\s*$。]{0,6}")
_GOES_ON = re.compile(r"[,;]\s|\s{1,3}(?:or|and|nor|but|because|since|as|if|when|either|both)\b")
_LISTED = re.compile(r"\s{0,2}(?:[,/&]|or\b|and\b)\s{0,2}(?:(?:or|and)\s)?[A-Z](?!\w)")
_CLAUSE_BEGINS = re.compile(
    r"(?:\A|[,;:]|[^\x00-\x7f]|\b(?:so|therefore|thus|hence|conclude|that|think|believe|and|but|is|only|both))[\s*_$]{0,3}\Z",
    re.IGNORECASE,
)
_IS = re.compile(r"(?:\b(?:is|be|are)|['’]s)[\s*_]{1,3}\Z", re.IGNORECASE)
_BEGINS = re.compile(r"(?:\b(?:is|be|are|not|or|nor|and)|['’]s|\A|:)[\s*_]{1,3}\Z|\A[\s*_$]{0,3}\Z", re.IGNORECASE)


def _is_known(letter: str, choices: Choices | None) -> bool:
    return choices is None or not choices.texts or letter in choices.letters


def _is_symbol(sentence: str, start: int) -> bool:
    """`P(C)`, `copper(I)`."""
    return sentence[max(0, start - 1) : start].isascii() and sentence[max(0, start - 1) : start].isalnum()


def _is_denied(sentence: str, start: int, end: int, previous: _Mention | None) -> bool:
    if _WRONG.match(sentence, end):
        return True
    after = previous.end if previous else 0
    gap = sentence[after:start]
    if denial := _DENIES.search(gap):
        return not _REPAIRED.search(gap, denial.end("word"))
    joined = previous is not None and previous.denied and (_JOINED.fullmatch(gap) or _SO_IS.search(gap)) is not None
    return joined and not _REPAIRED.search(gap)


def _committed(sentence: str, mentions: list[_Mention], choices: Choices | None, *, marked: bool) -> str:
    affirmed = _affirmed(sentence, mentions, marked=marked)
    if not affirmed or _DENIES_ITSELF.search(sentence, affirmed[0].end):
        return ""
    first = affirmed[0]
    letters = [first.letter]
    for one, other in pairwise(affirmed):
        gap = sentence[one.end : other.start]
        joined = _JOINED.fullmatch(gap) is not None
        if _CLAUSE.search(gap) and not joined:
            break
        if joined or _POSSIBLE.search(gap) or _POSSIBLE.search(sentence, other.end, other.end + _MAX_BEHIND):
            letters.append(other.letter)
    conditional = len(affirmed) > 1 and _CONDITION.search(sentence, first.end) is not None
    if conditional or len(set(letters)) > 1:
        return " or ".join(dict.fromkeys(mention.letter for mention in affirmed))
    chosen = first if marked else affirmed[-1]
    other_letter = _other_text(sentence[chosen.end :], chosen.letter, choices)
    return f"{chosen.letter} or {other_letter}" if other_letter else chosen.letter


_MAX_BEHIND = 120  # code points behind a letter that may say that it is possible too


def _affirmed(sentence: str, mentions: list[_Mention], *, marked: bool) -> list[_Mention]:
    """Those not denied; what is said of B in `A and B are wrong` is said of A too."""
    affirmed: list[_Mention] = []
    following: _Mention | None = None
    in_list = False
    for mention in reversed(mentions):
        gap = sentence[mention.end : following.start] if following else ""
        listed = following is not None and following.denied and (in_list or _AND.search(gap)) and _JOINED.fullmatch(gap)
        judged = following is not None and (in_list or _WRONG.match(sentence, following.end))
        in_list = bool(listed and judged and not _DENIES.search(gap) and not {";", "("} & set(gap))
        if in_list and not (marked and mention is mentions[0]):  # `The answer is C, A and B are wrong`
            mention = replace(mention, denied=True)
        if not mention.denied:
            affirmed.insert(0, mention)
        following = mention
    return affirmed


_SO_IS = re.compile(r"\bso\s(?:is|are)\s\Z", re.IGNORECASE)
_AND = re.compile(r"\b(?:and|or)\b|&")


def _other_text(rest: str, letter: str, choices: Choices | None) -> str | None:
    """The letter of another option whose text follows a letter: `B. a brown cow` where that is what C says."""
    label = _LABELLED.match(rest)
    if label is None or choices is None:
        return None
    other = letter_of_value(rest[label.end() :].strip(' ."*)'), choices)
    return other if other != letter else None


def _shares_words(text: str, letter: str, choices: Choices | None) -> bool:
    """Whether what follows a letter is the text of its option, or a part of it that says something."""
    if choices is None or letter not in choices.letters:
        return False
    said = _content(fold(plain(strip_markup(text))))
    wanted = _content(choices.folded[choices.letters.index(letter)])
    return bool(said and wanted) and (said <= wanted or wanted <= said)


def _content(text: str) -> set[str]:
    return set(re.findall(r"\w+", text)) - _SMALL_WORDS


_SMALL_WORDS = {"a", "an", "the", "of", "in", "is"}
