"""What the project must know of an answer type: how its answers are found in text, and how two of them are compared."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from sftkey_eval.answers.answer import Answer
from sftkey_eval.answers.decision import Rule
from sftkey_eval.answers.option_letters import Choices

CandidateSource = Literal["key", "boxed", "hash", "the_answer_is", "last_number", "last_option", "whole"]

Found = tuple[str, CandidateSource, int]
"""A candidate's text, its source, and where it or its mark begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerKind:
    """One answer type. Its functions are a module's own, so that a kind can be sent to another process."""

    name: str
    usable: Callable[[Answer], bool]
    """Whether a gold can decide anything: not empty, and of this type."""
    rules: tuple[Rule, ...]
    """The ladder, cheapest rule first; where none decides the verdict is undecided."""
    read_sentence: Callable[[str, Choices | None], str | None]
    """The answer that a sentence behind a mark gives: None where it gives none of this type, empty where it denies one.
    """
    find_last: Callable[[str, Choices | None], Found | None]
    """The last candidate in a text that marks none, None where only marks count."""
    find_cot_value: Callable[[str, Choices | None], str | None] | None = None
    """The last value the end of a CoT states; where this is None, what the CoT marks as its answer."""
    stated_values: Callable[[str], Iterator[str]] | None = None
    """Every value a text states, last one first; None for a type whose CoTs do not end in a check of the answer."""
    may_be_boxed: Callable[[str, Choices | None], bool] | None = None
    """Whether what stands in a box is an answer of this type; None where all is."""
    finish: Callable[[str, Choices | None], str] | None = None
    """Turns a candidate into the form that is graded; None where it stays as it was found."""
    other_marks: frozenset[str] = frozenset()
    """Marks of an answer that mean something else here."""
    none_is_an_answer: bool = True
    """Whether "unknown" and "none of them" may be the answer."""
    in_english: bool = False
    """Whether `or`, `not` and the like of other languages are read as the English words they mean."""
    second_opinion: bool = False
    """Whether a second grader has a say about this type."""
