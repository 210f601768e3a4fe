"""Numbers in English words: `twenty-five`, `three hundred and four`, `two thirds`, `two and a half`, `a dozen`."""

import re
from fractions import Fraction

_SMALL = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
eighteen nineteen
"""
_TENFOLD = "twenty thirty forty fifty sixty seventy eighty ninety"
_UNITS = {word: value for value, word in enumerate(_SMALL.split())}
_TENS = {word: 10 * tens for tens, word in enumerate(_TENFOLD.split(), 2)}
_LARGE = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_PARTS = {
    "half": 2,
    "halves": 2,
    "third": 3,
    "fourth": 4,
    "quarter": 4,
    "fifth": 5,
    "sixth": 6,
    "eighth": 8,
    "tenth": 10,
}
_PARTS |= {f"{word}s": parts for word, parts in _PARTS.items() if not word.endswith("s") and word != "half"}
_DOZENS = frozenset({"dozen", "dozens"})
NUMBER_WORDS = frozenset({*_UNITS, *_TENS, *_LARGE, *_PARTS, *_DOZENS, "hundred", "and"})
_ARTICLE = re.compile(rf"\ban?[\s-]+(?=(?:hundred|{'|'.join([*_LARGE, *_PARTS, *_DOZENS])})\b)")  # of `a hundred`
_WORDS = re.compile(r"[a-z]+(?:[\s-]+[a-z]+)*+", re.IGNORECASE)
MAX_WORDED_CHARS = 120


def split_number_words(text: str) -> tuple[Fraction | None, str]:
    """The number in the first words of a text, and the words behind it; None where they state no number."""
    text = text.strip()
    if len(text) > MAX_WORDED_CHARS or not _WORDS.fullmatch(text):
        return None, text
    words = re.split(r"[\s-]+", _ARTICLE.sub("one ", text.lower()))
    negative = words[0] in ("minus", "negative")
    words = words[negative:]
    count = next((index for index, word in enumerate(words) if word not in NUMBER_WORDS), len(words))
    value = _fraction(words[:count]) if count else None
    return (-value if negative and value is not None else value), " ".join(words[count:])


def _fraction(words: list[str]) -> Fraction | None:
    if words[0] == "half" and words[1:] and (part := _fraction(words[1:])) is not None:
        return part / 2  # `half a million`
    if words[-1] in _DOZENS:
        count = _whole(words[:-1] or ["one"])
        return None if count is None else Fraction(12 * count)
    if words[-1] in _LARGE and words[:-1] and words[-2] in _PARTS:  # `two and a half million`
        return None if (many := _fraction(words[:-1])) is None else many * _LARGE[words[-1]]
    if words[-1] not in _PARTS:
        whole = _whole(words)
        return None if whole is None else Fraction(whole)
    if "and" in words:  # `two and a half`
        border = len(words) - 1 - words[::-1].index("and")
        before, part = _whole(words[:border]) if border else None, _fraction(words[border + 1 :])
        return None if before is None or part is None or not 0 < part < 1 else before + part
    above = _whole(words[:-1] or ["one"])
    return None if above is None else Fraction(above, _PARTS[words[-1]])


def _whole(words: list[str]) -> int | None:
    # `group` is what stands before the next thousand, million, …; `smallest` the last of these, as they must descend.
    # A word must be less than `room`: 10 after `forty`, 0 after `two`, 100 after `hundred`: `two forty` is none.
    total, group, smallest, room = 0, 0, 10**15, 1000  # 10**15: above a trillion, the largest word
    if words[0] == "and" or words[-1] == "and":
        return None
    for word in words:
        if word in _UNITS or word in _TENS:
            value = _UNITS[word] if word in _UNITS else _TENS[word]
            if value >= room or (value == 0 and len(words) > 1):
                return None
            group, room = group + value, 10 if word in _TENS else 0
        elif word == "hundred" and 0 < group < 10:
            group, room = group * 100, 100
        elif word in _LARGE and group > 0 and _LARGE[word] < smallest:
            smallest = _LARGE[word]
            total, group, room = total + group * smallest, 0, 1000
        elif word != "and":
            return None
    return total + group
