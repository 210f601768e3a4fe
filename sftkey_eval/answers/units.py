"""Units behind a number: one name per unit, and what is not a unit (a variable, a scale word, half a sentence)."""

import re
from fractions import Fraction
from functools import lru_cache

SCALES = {
    "hundred": Fraction(100),
    "thousand": Fraction(10**3),
    "million": Fraction(10**6),
    "billion": Fraction(10**9),
    "trillion": Fraction(10**12),
    "dozen": Fraction(12),
}

_NAMES = """
$: dollar usd us$ buck | €: euro eur | £: gbp | ¥: yen yuan jpy cny | ₹: rupee inr | cent: ¢
mm: millimeter millimetre | cm: centimeter centimetre | m: meter metre | km: kilometer kilometre
in: inch inche | ft: foot feet | yd: yard | mi: mile
mg: milligram | g: gram | kg: kilogram kilo | lb: pound | oz: ounce | ton: tonne
ml: milliliter millilitre | l: liter litre | gal: gallon | qt: quart
ms: millisecond | s: second sec | min: minute | h: hour hr | day | week | month | year yr
unit | degree: deg | rad: radian | mi/h: mph | km/h: kph kmh kmph | n: newton | j: joule | w: watt | v: volt
hz: hertz
"""


def _aliases() -> dict[str, str]:
    table: dict[str, str] = {}
    for entry in _NAMES.replace("\n", "|").split("|"):
        name, _, others = entry.strip().partition(":")
        table |= dict.fromkeys([name, *others.split()], name)
    return {alias: name for alias, name in table.items() if alias}


_ALIASES = _aliases()
_POWERS = {"square": "^2", "sq": "^2", "cubic": "^3", "cu": "^3"}
_NOT_UNIT_WORDS = """
or and not plus minus times to than less more but if is are was because since so over under between about equals
squared cubed factorial root sqrt half halves third thirds fourth fourths fifth fifths tenth tenths quarter quarters
double triple twice prime infinity sin cos tan sec csc cot log exp max mod arg det lim gcd lcm
alpha beta gamma delta epsilon theta lambda sigma omega phi psi chi eta
zero one two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty
"""
_NOT_UNITS = frozenset(_NOT_UNIT_WORDS.split())
_WORD = re.compile(r"[A-Za-z][A-Za-z'’-]*+")
_EXPONENT = re.compile(r"\^\s*\{?\s*(-?\d)\s*\}?$")
_VOWEL = re.compile(r"[aeiouy]")
MAX_UNIT_CHARS = 60
MAX_UNIT_WORDS = 5


def split_scale(text: str) -> tuple[Fraction, str]:
    """Factor of a leading scale word (`million`) and what follows it."""
    found = _WORD.match(text)
    word = found.group().lower().removesuffix("s") if found else ""
    return (SCALES[word], text[len(found.group()) :].strip()) if found and word in SCALES else (Fraction(1), text)


def read_unit(text: str, *, spaced: bool) -> str | None:
    """The canonical name of the unit that makes up all of `text`.

    Args:
        text: What follows a number.
        spaced: White space stands between the number and `text`: `5 m` is a length, `5m` may be a product.

    Returns:
        The name, an empty string where there is no unit, None where `text` is not a unit.
    """
    text = text.strip()
    if not text:
        return ""
    if len(text) > MAX_UNIT_CHARS:
        return None
    if (known := _ALIASES.get(text)) and not text.isalpha():
        return known  # currency signs, which stand before most sums of money
    parts = re.split(r"\s*/\s*|\s+per\s+|\s+an?\s+(?=hour|day|week|minute|second)", text)
    names = [_one_unit(part.strip(), spaced=spaced or index > 0) for index, part in enumerate(parts)]
    return "/".join(str(name) for name in names) if all(names) else None


@lru_cache(maxsize=4096)  # of units, of which a file names a few again and again; no answer is kept here
def _one_unit(text: str, *, spaced: bool) -> str | None:
    text = text.replace("²", "^2").replace("³", "^3")
    power = _EXPONENT.search(text)
    base = text[: power.start()].strip() if power else text
    suffix = f"^{power.group(1)}" if power else ""
    if known := _known(base):
        return known + suffix if spaced or len(base) > 1 or not base.isalpha() else None
    words = base.split()
    if len(words) == 2 and words[0].lower() in _POWERS and not power and (known := _known(words[1])):
        return known + _POWERS[words[0].lower()]
    return _thing(words) if spaced and not power else None


def _known(text: str) -> str | None:
    word = text.lower()
    # As it is first: `ms` is a millisecond, not several metres.
    return _ALIASES.get(word) or _ALIASES.get(word.removesuffix(".")) or _ALIASES.get(word.removesuffix("s"))


def _thing(words: list[str]) -> str | None:
    """Counted things: `10 red apples`. Never a variable, a function or a number in words."""
    if len(words) > MAX_UNIT_WORDS or not all(_WORD.fullmatch(word) for word in words):
        return None
    lower = [word.lower() for word in words]
    if any(word in _NOT_UNITS or word.removesuffix("s") in SCALES for word in lower):
        return None
    if not any(len(word) >= 3 and _VOWEL.search(word) for word in lower):
        return None
    return " ".join(word.removesuffix("s") if len(word) > 3 else word for word in lower)
