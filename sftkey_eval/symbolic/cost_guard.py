r"""What an expression may cost, judged from its text alone, before a symbolic parser sees it.

The judgement is linear in the text and errs on the side of refusing: `9^{9^{9^9}}` has nine characters.
"""

import re

MAX_SYMBOLIC_CHARS = 1_000
MAX_SYMBOLIC_DEPTH = 20
MAX_NUMBER_DIGITS = 40  # of one number; the symbolic comparison computes to far more places than that
MAX_EXPONENT_DIGITS = 3  # `2^{999}` is handed on, `2^{1000}` is not
MAX_FACTORIAL_DIGITS = 2  # `99!` is handed on, `100!` is not
MAX_FACTORIALS = 4
MAX_POWERS = 40

_DIGIT_RUN = re.compile(rf"\d{{{MAX_NUMBER_DIGITS + 1}}}")
_POWER = re.compile(r"\^|\*\*")
_EXPONENT = re.compile(rf"(?:\^|\*\*)[\s{{(+-]*+(?:\\frac\s*+\{{)?+\d{{{MAX_EXPONENT_DIGITS + 1}}}")
_CHAINED = re.compile(r"(?:\^|\*\*)\s*+[\w.]*+\s*+(?:\^|\*\*)")  # `9^9^9`, without braces
_BIG_FACTORIAL = re.compile(rf"(?:\d{{{MAX_FACTORIAL_DIGITS + 1}}}|[)}}\]!])\s*+!")
_BIG_GAMMA = re.compile(
    rf"Gamma\s*+(?:\\left\s*+)?+\(\s*+\d++(?<=\d{{{MAX_FACTORIAL_DIGITS + 1}}})|Gamma[^)]{{0,20}}\d\s*+\^"
)
_BIG_BINOMIAL = re.compile(r"binom\D{0,4}\d{4}|binom\s*+\{[^{}]*+\}\s*+\{\s*+\d{4}")
_OPENING, _CLOSING = "([{", ")]}"


def refusal(text: str) -> str | None:
    """Why an expression is too costly to be handed on: a `snake_case` reason, None where it is not."""
    if len(text) > MAX_SYMBOLIC_CHARS:
        return "long"
    if _DIGIT_RUN.search(text):
        return "digits"
    if len(_POWER.findall(text)) > MAX_POWERS or _EXPONENT.search(text) or _CHAINED.search(text) or _is_tower(text):
        return "exponent"
    big = _BIG_FACTORIAL.search(text) or _BIG_GAMMA.search(text) or _BIG_BINOMIAL.search(text)
    if big or text.count("!") > MAX_FACTORIALS:
        return "factorial"
    return "nested" if _depth(text) > MAX_SYMBOLIC_DEPTH else None


def _depth(text: str) -> int:
    depth = deepest = 0
    for character in text:
        depth += (character in _OPENING) - (character in _CLOSING)
        deepest = max(deepest, depth)
    return deepest


def _is_tower(text: str) -> bool:
    """Whether an exponent holds a power of its own, as `2^{3^{4}}` does."""
    if len(_POWER.findall(text)) < 2:
        return False
    exponents: list[bool] = []  # for every open bracket, whether it is (inside) an exponent
    for position, character in enumerate(text):
        inside = bool(exponents) and exponents[-1]
        if character in _OPENING:
            before = text[:position].rstrip()[-2:]
            exponents.append(inside or before.endswith("^") or before == "**")
        elif character in _CLOSING and exponents:
            exponents.pop()
        elif character == "^" and inside:
            return True
    return False
