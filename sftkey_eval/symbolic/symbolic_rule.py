r"""Symbolic equivalence: the last rule for mathematics, and Math-Verify as a second grader.

What the policy has a say in is decided here, before anything is parsed: hedges, units, names, kinds of brackets,
order, ratios. Only single expressions go to the worker process, and only those that a static guard lets through.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

from sftkey_eval.answers.answer import Answer
from sftkey_eval.answers.markup import compact, plain
from sftkey_eval.answers.sequences import read_elements
from sftkey_eval.mathematics.front_end import INFINITY, JOINED, RELATION, ROW_END, both_signs, split_name, unit_splits
from sftkey_eval.mathematics.notations import nothing_kind
from sftkey_eval.policy import Policy
from sftkey_eval.symbolic.cost_guard import refusal
from sftkey_eval.symbolic.symbolic_process import SYMBOLIC

MAX_SYMBOLIC_PARTS = 12

Element = str | tuple[str, tuple["Element", ...]]
RuledVerdict = tuple[Literal["correct", "wrong", "undecided"], str]

_OR = re.compile(r"\s*\bor\b\s*", re.IGNORECASE)
_MATRIX = re.compile(r"\\begin\s*\{(?:[a-zA-Z]*matrix|array)\}")
_ESCAPED_TWICE = re.compile(r"\\\\([A-Za-z])")  # `\\\\frac`, as JSON within JSON leaves it
_ROW_MARK = "\ue000"  # kept from the respelling of `\ ` and `\,`, which would eat half of a row's end
_MEASURE = re.compile(r"(?=.*[\d\\]).*[\d})A-Za-z]", re.DOTALL)  # a unit follows a number or a constant, not a word
_SET_WORK = re.compile(r"\\(?:cup|cap|setminus|bigcup|mathbb|emptyset|varnothing)(?![A-Za-z])|[∪∩∅]")
# A percent sign, a base, degrees, spaced digits or digits that go on within an expression: the grammar reads past them.
_MISREAD = re.compile(
    r"[%$]|\d\s*_|degrees|\d\s+\d|(?<![\w.])0[xXbB][0-9A-Fa-f]|\d\s*(?:\\[lc]?dots|…)|\d\s*\\(?:overline|bar)"
)
_TWO_READINGS = re.compile(  # 1/2x, a/bc
    r"/\s*(?:\d+(?:\.\d+)?|[A-Za-z]|\\pi|\([^()]*\))\s*(?:[A-Za-z(]|\\(?:pi|sqrt|frac|sin|cos|tan|ln|log)(?![A-Za-z]))"
)
_ANGLE = re.compile(r"sin|cos|tan|cot|sec|csc")
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{4,}")
_FUNCTIONS = frozenset({"sqrt", "frac", "sinh", "cosh", "tanh", "arcsin", "arccos", "arctan"})
_UNICODE = str.maketrans({"≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "∪": r"\cup ", "∩": r"\cap ", "∅": r"\emptyset "})


@dataclass(frozen=True, slots=True)
class _Side:
    """An answer taken apart. `brackets` is empty for one value and for a comma list."""

    parts: tuple[str, ...]
    brackets: str
    name: str
    unit: str
    text: str = ""  # with the name

    @property
    def ordered(self) -> bool:
        return self.brackets not in ("", "{}")

    @property
    def relation(self) -> bool:
        return len(self.parts) == 1 and bool(RELATION.search(self.parts[0]))

    @property
    def set_like(self) -> bool:
        return len(self.parts) == 1 and bool(_SET_WORK.search(self.parts[0]))


def same_expression(gold: Answer, predicted: Answer, policy: Policy) -> RuledVerdict:
    """Verdict and rule for two mathematical answers that no cheaper rule could decide.

    Returns:
        `undecided` where a limit was hit or an answer is no mathematics that can be read; the rule says which.
    """
    if reason := gold.read(_refusal) or predicted.read(_refusal):
        return "undecided", f"symbolic_costly_{reason}"
    if _OR.search(predicted.plain) and len(_comma_parts(gold)) < 2 and not _OR.search(gold.plain):
        return "wrong", "hedged"
    left, right = gold.read(_take_apart), predicted.read(_take_apart)
    if left is None or right is None:
        return "undecided", "symbolic_unreadable"
    left, right = _named_alike(left, right)
    verdict = _forbidden(left, right, policy) or _ask(left, right, policy)
    if verdict[0] == "wrong" and {left.unit, right.unit} == {"", "degree"}:
        return "undecided", "symbolic_angle"  # what has no unit may be in radians
    return verdict


def second_opinion(gold: str, predicted: str) -> RuledVerdict:
    """Math-Verify's own verdict on two answers, with its defaults; `undecided` where it cannot read one of them."""
    if reason := refusal(gold) or refusal(predicted):
        return "undecided", f"too_costly_{reason}"
    return _verdict(SYMBOLIC.ask({"opinion": [gold, predicted]}), "math_verify")


def _refusal(answer: Answer) -> str | None:
    return refusal(answer.stripped)


def _comma_parts(answer: Answer) -> tuple[str, ...]:
    elements = read_elements(JOINED.sub(", ", answer.plain))
    return tuple(one for part in elements.parts for one in both_signs(part)) if elements else ()


def _take_apart(answer: Answer) -> _Side | None:
    if nothing := answer.read(nothing_kind):
        return _Side((r"\emptyset",), "", "", "") if nothing == "empty" else None
    text = answer.stripped
    matrix = bool(_MATRIX.search(text))
    text = ROW_END.sub(_ROW_MARK, text) if matrix else _ESCAPED_TWICE.sub(r"\\\1", text)
    text = INFINITY.sub(r"\\infty ", plain(text).translate(_UNICODE))
    text, unit = _split_unit(JOINED.sub(", ", text))
    if (
        _MISREAD.search(text)
        or _TWO_READINGS.search(text)
        or (unit == "degree" and _ANGLE.search(text))
        or _has_words(text)
    ):
        return None
    written = compact(text)
    name, text = split_name(written)
    if matrix:
        whole = text.replace(_ROW_MARK, r"\\ ")
        return _Side((whole,), "", name, unit, written.replace(_ROW_MARK, r"\\ "))
    elements = None if _SET_WORK.search(text) else read_elements(text)
    if elements is None or (elements.brackets in ("()", "[]") and len(elements.parts) == 1):
        return _Side((text,), "", name, unit, written) if text else None  # brackets around one expression only group
    parts = tuple(one for part in elements.parts for one in both_signs(part))
    return _Side(parts, elements.brackets, name, unit, written) if len(parts) <= MAX_SYMBOLIC_PARTS else None


def _split_unit(text: str) -> tuple[str, str]:
    """A unit of one word: one letter may be a variable, and several words (`minutes on her bed`) may be anything."""
    for head, unit, tail in unit_splits(text.strip()):
        of_one_word = tail[:2].isalpha() and len(tail) > 1 and " " not in tail and tail.lower() not in _FUNCTIONS
        if of_one_word and (unit == "degree" or _MEASURE.fullmatch(head)):
            return head, unit
    return text, ""


def _named_alike(gold: _Side, predicted: _Side) -> tuple[_Side, _Side]:
    """Two equations whole, names and all; names inside a list left out where the other side has none."""
    if gold.relation and _is_equation(predicted):
        return gold, replace(predicted, parts=(predicted.text,), brackets="", name="")
    if predicted.relation and _is_equation(gold):
        return replace(gold, parts=(gold.text,), brackets="", name=""), predicted
    named = [any(split_name(part)[0] for part in side.parts) for side in (gold, predicted)]
    if named[0] == named[1]:
        return gold, predicted
    bare = [replace(side, parts=tuple(split_name(part)[1] for part in side.parts)) for side in (gold, predicted)]
    return bare[0], bare[1]


def _is_equation(side: _Side) -> bool:
    r"""`y = 2x + 1`; the name of a set, as in `x \in (1,2)`, is left out."""
    return bool(side.name) and not side.relation and "=" in side.text


def _has_words(text: str) -> bool:
    return any(
        word.lower() not in _FUNCTIONS for word in _WORD.findall(re.sub(r"\\[A-Za-z]+|\{[a-z]*matrix\}", " ", text))
    )


def _forbidden(gold: _Side, predicted: _Side, policy: Policy) -> RuledVerdict | None:
    """What the policy calls wrong whatever the values are."""
    if gold.unit != predicted.unit and (policy.units == "strict" or (gold.unit and predicted.unit)):
        return "wrong", "symbolic_unit"
    if gold.name and predicted.name and gold.name != predicted.name:
        return "wrong", "symbolic_name"
    if gold.relation != predicted.relation and not (_may_be_set(gold) and _may_be_set(predicted)):
        return "wrong", "symbolic_relation"
    if any(":" in part for part in gold.parts + predicted.parts):
        return _same_ratio(gold, predicted)
    if _whole(gold, predicted):
        return None
    if gold.brackets != predicted.brackets and (gold.ordered or predicted.ordered):
        return "wrong", "symbolic_brackets"
    as_set = "{}" in (gold.brackets, predicted.brackets)
    if len(gold.parts) != len(predicted.parts) and not as_set:
        return "wrong", "symbolic_count"
    return None


def _same_ratio(gold: _Side, predicted: _Side) -> RuledVerdict | None:
    lengths = [[part.count(":") for part in side.parts] for side in (gold, predicted)]
    return None if lengths[0] == lengths[1] and len(gold.parts) == 1 else ("wrong", "symbolic_ratio")


def _may_be_set(side: _Side) -> bool:
    return side.relation or side.set_like or side.brackets != ""


def _whole(gold: _Side, predicted: _Side) -> bool:
    """Sets against relations, and unions: compared as they are written, not element by element."""
    return gold.relation != predicted.relation or gold.set_like or predicted.set_like


def _ask(gold: _Side, predicted: _Side, policy: Policy) -> RuledVerdict:
    golds: Iterable[Element]
    predicteds: Iterable[Element]
    if _whole(gold, predicted):
        golds, predicteds, ordered = (_written(gold),), (_written(predicted),), True
    elif ":" in gold.parts[0]:
        golds, predicteds, ordered = tuple(gold.parts[0].split(":")), tuple(predicted.parts[0].split(":")), True
    else:
        golds, predicteds = map(_nested, gold.parts), map(_nested, predicted.parts)
        ordered = gold.ordered or policy.order == "keep"
    as_set = not ordered and "{}" in (gold.brackets, predicted.brackets)
    return _verdict(_outcome(list(golds), list(predicteds), ordered, as_set, policy.rounding), "symbolic")


def _nested(part: str) -> Element:
    r"""A tuple within a list by its elements: the grammar would read `(8,5)` as an interval, which is empty."""
    elements = None if _SET_WORK.search(part) else read_elements(part)
    if elements is None or not elements.brackets or len(elements.parts) < 2:
        return part
    return elements.brackets, tuple(map(_nested, elements.parts))


def _written(side: _Side) -> str:
    opening, closing = ("\\{", "\\}") if side.brackets == "{}" else (side.brackets[:1], side.brackets[1:])
    return f"{opening}{','.join(side.parts)}{closing}"


def _outcome(golds: list[Element], predicteds: list[Element], ordered: bool, as_set: bool, rounding: int | None) -> str:
    request: dict[str, Any] = {"golds": golds, "predicteds": predicteds, "ordered": ordered, "as_set": as_set}
    return SYMBOLIC.ask({**request, "rounding": rounding})


def _verdict(outcome: str, rule: str) -> RuledVerdict:
    if outcome == "equal":
        return "correct", rule
    return ("wrong", rule) if outcome == "different" else ("undecided", f"{rule}_{outcome}")
