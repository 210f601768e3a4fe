r"""Exact numbers from text: `Fraction`, never float, and nothing is ever evaluated.

Read are integers, decimals, thousands marks (commas or spaces) in groups of three, fractions (`1/2`, `\frac12`), mixed
numbers, percent, scientific notation, currencies, scale words, units and quantities in parts. All patterns are
possessive, so the cost is linear.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from sftkey_eval.answers.compounds import read_compound
from sftkey_eval.answers.markup import plain, strip_markup
from sftkey_eval.answers.units import read_unit, split_scale

MAX_NUMBER_CHARS = 4_000  # below CPython's limit of 4,300 digits for int(str); longer texts are not read as numbers
MAX_EXPONENT = 4_000

_DECIMAL = r"(?:[1-9]\d{0,2}(?:(?:,\d{3})++|(?:[ ]\d{3})++(?!\d))(?:\.\d++)?+|\d++(?:\.\d*+)?+|\.\d++)"
_SIGNED = rf"[+-]?+\s*+{_DECIMAL}"
_ARGUMENT = rf"(?:\{{\s*+{_SIGNED}\s*+\}}|\d)"
_FRACTION = rf"\\frac\s*+{_ARGUMENT}\s*+{_ARGUMENT}"
_TEN_TO = r"10\s*+\^\s*+(?:\{\s*+[+-]?+\d++\s*+\}|\(\s*+[+-]?+\d++\s*+\)|[+-]?+\d++)"
_ORDINAL = r"(?:(?:st|nd|rd|th)\b)?+"
_CURRENCY = r"(?:US|CA|AU)?+[$€£¥₹]|(?:USD|EUR|GBP|INR|JPY|CNY)(?=[\s\d])"

_NUMBER = re.compile(
    rf"""
    (?:(?P<variable>[A-Za-z])\s*+=\s*+)?+
    (?P<sign>[+-]\s*+)?+ (?P<currency>{_CURRENCY})?+ \s*+ (?P<inner_sign>[+-]\s*+)?+
    (?:
        (?P<ten_to>{_TEN_TO})
      | (?P<repeating>\d*+\.\d*+(?:\\(?:overline|bar)\s*+\{{\s*+\d++\s*+\}}|\s*+(?:\\[lc]?dots|…)))
      | (?:(?P<whole>\d++)\s*+)?+ (?P<fraction>{_FRACTION})
      | (?P<mixed>\d++)\s++(?P<above>\d++)\s*+/\s*+(?P<below>\d++)
      | (?P<over>{_DECIMAL})\s*+/\s*+(?P<under>{_SIGNED})
      | (?P<decimal>{_DECIMAL}) {_ORDINAL}
        (?: [eE](?P<exponent>[+-]?+\d++) | \s*+[*xX]\s*+(?P<power>{_TEN_TO}) )?+
    )
    (?P<gap>\s*+) (?P<percent>%|percent(?:age)?\b|pct\b|per\ cent\b)?+ \s*+ (?P<unit>.*+)
    """,
    re.VERBOSE | re.DOTALL,
)
_PARENTHESISED = re.compile(r"(-?\s*)(\(++)([^(),]*+)(\)++)")
_VALUE = re.compile(_SIGNED)

# A number in running text: not inside a word, an exponent or a subscript. A minus that joins two operands is no sign.
_MARKED = r"[1-9]\d{0,2}(?:(?:,\d{3})++|(?:\{,\}\d{3})++|(?:\\[,;:! ]\d{3})++)(?!\d)"  # thousands
_SPACED = r"(?<!\d\ )[1-9]\d{0,2}(?:[\u00a0\u2009\u202f ]\d{3})++(?!\ ?\d)"  # no numbers side by side
_TOKEN_NUMBER = rf"(?:(?:{_MARKED}|{_SPACED})(?:\.\d++)?+|\d++(?:\.\d++)?+|(?<!\.)\.\d++)"
_TOKEN_ARGUMENT = rf"(?:\{{\s{{0,3}}[+-]?{_TOKEN_NUMBER}\s{{0,3}}\}}|\d)"
_TOKEN_POWER = r"[ ]?+(?:\\times|\\cdot|[×x*])[ ]?+10\^(?:\{[+\-−]?+\d++\}|[+\-−]?+\d++)"
_TOKEN = re.compile(
    rf"""
    (?<![\w^\\]) (?<!\w\.) (?<![\^_]\{{)
    (?: (?<![)\]}}%])[+\-−–] | (?<=[=:(])[ ]?[\-−–][ ] )?+
    (?: \\?[$€£¥₹] [ ]?+ [\-−–]?+ )?+
    (?:
        (?:\d++[ ]?+)?+ \\[dtc]?frac\s{{0,3}}{_TOKEN_ARGUMENT}\s{{0,3}}{_TOKEN_ARGUMENT}
      | \d++[ ]\d++/\d++ (?![\d/])
      | \d++/\d++ (?![\d/])
      | {_TOKEN_NUMBER} (?: [eE][+-]?+\d++ | {_TOKEN_POWER} )?+
    )
    (?: [ ]?+\\?[%％] )?+
    (?!(?:st|nd|rd|th)\b)
    """,
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Number:
    """A number as it was written.

    Args:
        value: 50 for `50%`; scale words are multiplied in.
        percent: A percent sign or word follows.
        unit: Canonical name, empty where none is written.
        variable: `x` for `x = 5`, else empty.
    """

    value: Fraction
    percent: bool = False
    unit: str = ""
    variable: str = ""


_SIGN_IN_WORDS = re.compile(r"\A(?:minus|negative)\s{1,3}(?=[\d.$\\])", re.IGNORECASE)


def read_number(text: str) -> Number | None:
    """The number that makes up all of `text`, None where it is anything else."""
    text = strip_markup(text)
    if text.isascii() and text.isdecimal() and len(text) <= MAX_NUMBER_CHARS:
        return Number(Fraction(int(text)))  # most answers; the pattern takes four times as long
    inside = _PARENTHESISED.fullmatch(text)
    if inside and len(inside[2]) == len(inside[4]):
        text = inside[1] + inside[3].strip()
    if len(text) > MAX_NUMBER_CHARS or not any(map(str.isnumeric, text)):
        return None
    text = _SIGN_IN_WORDS.sub("-", plain(text), count=1)
    found = _NUMBER.fullmatch(text)
    number = _number(found) if found else None
    if number is None and (compound := read_compound(text)):
        number = Number(compound[0], unit=compound[1])
    return number


def find_numbers(text: str, start: int = 0, end: int | None = None) -> Iterator[re.Match[str]]:
    """Numbers in running text, in order, each with sign, currency and percent but without a unit."""
    return _TOKEN.finditer(text, start, len(text) if end is None else end)


def _number(found: re.Match[str]) -> Number | None:
    magnitude = _magnitude(found)
    scale, unit = _scale_and_unit(found["unit"], spaced=bool(found["gap"])) if found["unit"] else (_ONE, "")
    both_signs = bool(found["sign"] and found["inner_sign"])
    if magnitude is None or unit is None or both_signs:
        return None
    currency = _currency(found["currency"])
    if currency and (found["percent"] or unit not in ("", currency)):
        return None
    sign = -1 if (found["sign"] or found["inner_sign"] or "+").strip() == "-" else 1
    if sign < 0 or scale != _ONE:
        magnitude = sign * magnitude * scale
    return Number(magnitude, bool(found["percent"]), currency or unit, found["variable"] or "")


_ONE = Fraction(1)


def _scale_and_unit(text: str, *, spaced: bool) -> tuple[Fraction, str | None]:
    scale, rest = split_scale(text)
    return scale, read_unit(rest, spaced=spaced or rest != text)


def _currency(text: str | None) -> str:
    if not text:
        return ""
    return read_unit(text if text.isalpha() else text[-1], spaced=True) or ""


def _magnitude(found: re.Match[str]) -> Fraction | None:
    if found["ten_to"]:
        return _ten_to(_exponent(found["ten_to"]))
    if found["repeating"]:
        return _repeating(found["repeating"])
    if found["fraction"]:
        above, below = _arguments(found["fraction"])
        return _mixed(found["whole"], _ratio(above, below))
    if found["mixed"]:
        return _mixed(found["mixed"], _ratio(_value(found["above"]), _value(found["below"])))
    if found["over"]:
        return _ratio(_value(found["over"]), _value(found["under"]))
    if not (found["exponent"] or found["power"]):
        return _value(found["decimal"])
    power = _ten_to(int(found["exponent"]) if found["exponent"] else _exponent(found["power"]))
    return None if power is None else _value(found["decimal"]) * power


MAX_REPEATING = 100  # code points; the search for what repeats is quadratic
_REPEATING = re.compile(r"(\d*)\.(?:(\d*)\\[a-z]+\s*\{\s*(\d+)\s*\}|(\d*?)(\d{1,6}?)\5{2,}\D*)")


def _repeating(text: str) -> Fraction | None:
    r"""The value of `0.1\overline{6}`, or of dots behind digits that were repeated three times, as in `0.1666…`.

    None where it is not known how the digits go on. Both examples have the fixed digits `1` and the block `6`, so the
    value is 1/10 + 6/90 = 1/6.
    """
    found = _REPEATING.fullmatch(text) if len(text) <= MAX_REPEATING else None
    if found is None:
        return None
    fixed, block = (found[2], found[3]) if found[3] else (found[4], found[5])
    whole = Fraction(int(f"{found[1]}{fixed}" or "0"), 10 ** len(fixed))
    return whole + Fraction(int(block), (10 ** len(block) - 1) * 10 ** len(fixed))


def _mixed(whole: str | None, part: Fraction | None) -> Fraction | None:
    if whole is None or part is None:
        return part
    # 2\frac{7}{4} reads as a product, 1\frac{3}{4} as one and three quarters.
    return int(whole) + part if 0 < part < 1 else None


def _ratio(above: Fraction, below: Fraction) -> Fraction | None:
    return above / below if below else None


def _value(text: str) -> Fraction:
    # Fraction() also accepts "1/2" and "1_000"; the pattern has let through digits, commas, sign and point only.
    text = text.replace(",", "").replace(" ", "")
    if text.isdecimal():
        return Fraction(int(text))  # a third of the time that Fraction takes for a text
    return Fraction(f"{text}0" if text.endswith(".") else text)


def _arguments(fraction: str) -> tuple[Fraction, Fraction]:
    body = fraction.removeprefix("\\frac").strip()
    arguments = re.findall(r"\{([^{}]*)\}|(\d)", body)
    above, below = (_value("".join(braced.split()) or single) for braced, single in arguments)
    return above, below


def _exponent(ten_to: str) -> int:
    digits = ten_to.partition("^")[2].strip(" {}()")
    return int("".join(digits.split()))


def _ten_to(exponent: int) -> Fraction | None:
    return Fraction(10) ** exponent if abs(exponent) <= MAX_EXPONENT else None
