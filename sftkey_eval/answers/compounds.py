"""Quantities written in parts: `4 hours 30 minutes`, `2 feet 3 inches`, `12 dollars and 50 cents`, `3 and a half`."""

import re
from fractions import Fraction

from sftkey_eval.answers.units import read_unit

MAX_COMPOUND_CHARS = 80

# How many of the smallest unit each holds; a compound goes from larger to smaller within a line.
_FAMILIES: tuple[dict[str, int], ...] = (
    {"s": 1, "min": 60, "h": 3_600, "day": 86_400, "week": 604_800},
    {"month": 1, "year": 12},
    {"in": 1, "ft": 12, "yd": 36, "mi": 63_360},
    {"mm": 1, "cm": 10, "m": 1_000, "km": 1_000_000},
    {"oz": 1, "lb": 16},
    {"mg": 1, "g": 1_000, "kg": 1_000_000},
    {"ml": 1, "l": 1_000},
    {"qt": 1, "gal": 4},
    {"cent": 1, "$": 100},
    {"cent": 1, "€": 100},
)
_NUMBER = r"\d{1,12}(?:,\d{3}){0,3}(?:\.\d{1,9})?"
_PART = rf"[$€]\s?{_NUMBER}|{_NUMBER}\s?-?[A-Za-z¢]{{1,12}}\.?"
_JOIN = r"(?:\s?,\s?(?:and\s)?|\s(?:and|&)\s|\s|(?<=[A-Za-z]))"
_PARTS = re.compile(rf"(?:{_PART})(?:{_JOIN}(?:{_PART})){{1,3}}")
_HALVES = re.compile(r"(\d{1,12})\s(?:and|&)\s(an?|one|three)\s(half|third|quarter|fourth)s?\b\s?")
_SHARES = {"half": 2, "third": 3, "quarter": 4, "fourth": 4}
_ONE_PART = re.compile(rf"([$€])?\s?({_NUMBER})\s?-?([A-Za-z¢]{{1,12}}\.?)?")


def read_compound(text: str) -> tuple[Fraction, str] | None:
    """Value and unit, that of the largest part; None where the text as a whole is no such quantity."""
    if len(text) > MAX_COMPOUND_CHARS:
        return None
    text = " ".join(text.split())
    if halves := _HALVES.match(text):
        unit = read_unit(text[halves.end() :], spaced=True)
        share = Fraction(3 if halves[2] == "three" else 1, _SHARES[halves[3]])
        return None if unit is None else (int(halves[1]) + share, unit)
    if not _PARTS.fullmatch(text):
        return None
    parts = [_part(found) for found in _ONE_PART.finditer(text)]
    largest = parts[0][1]
    if largest == "h":
        parts = [(value, "min" if unit == "m" else unit) for value, unit in parts]  # `1h 15m`
    family = next((f for f in _FAMILIES if all(unit in f for _, unit in parts)), None)
    if family is None:
        return None
    sizes = [family[unit] for _, unit in parts]
    if sizes != sorted(set(sizes), reverse=True):
        return None
    total = sum((value * size for (value, _), size in zip(parts, sizes, strict=True)), Fraction(0))
    return total / sizes[0], largest


def match_compound(text: str, start: int) -> int | None:
    """Where the compound that begins at `start` of a running text ends; None where none begins there."""
    found = _HALVES.match(text, start) or _PARTS.match(text, start)
    return found.end() if found and read_compound(found.group()) else None


def _part(found: re.Match[str]) -> tuple[Fraction, str]:
    written = (found[3] or "").removesuffix(".")
    return Fraction(found[2].replace(",", "")), read_unit(found[1] or written, spaced=True) or "?"
