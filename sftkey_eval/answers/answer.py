"""One answer as a value: a text and what has been read from it, each reading made once and kept."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sftkey_data.once import once
from sftkey_eval.answers.markup import plain, strip_markup, tighten
from sftkey_eval.answers.numbers import Number, read_number
from sftkey_eval.answers.option_letters import Choices, read_options, read_truth
from sftkey_eval.answers.sequences import Elements, split_elements

_Reading = TypeVar("_Reading")


@dataclass(frozen=True)
class Answer:
    """A text as an answer; rules compare two of these.

    Args:
        text: As it was written, less the white space around it.
        choices: The options of the question, None where it has none.
    """

    text: str
    choices: Choices | None = None
    _readings: dict[Callable[["Answer"], Any], Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, text: str | None, choices: Sequence[str] | Choices | None = None) -> "Answer":
        """The answer in a text; an absent one is empty."""
        return cls((text or "").strip(), Choices.of(choices))

    def read(self, reader: Callable[["Answer"], _Reading]) -> _Reading:
        """What a reader makes of this answer: asked once, then remembered.

        Args:
            reader: A function of the module's own, not a closure: it is the name under which the reading is kept.
        """
        if reader not in self._readings:
            self._readings[reader] = reader(self)
        reading: _Reading = self._readings[reader]
        return reading

    @once
    def stripped(self) -> str:
        """Without the markup around it."""
        return strip_markup(self.text)

    @once
    def plain(self) -> str:
        """`stripped` in one spelling."""
        return plain(self.stripped)

    @once
    def compact(self) -> str:
        """`plain` without the white space and braces that change nothing."""
        return tighten(self.plain)

    @once
    def number(self) -> Number | None:
        """The number that makes up all of it."""
        return read_number(self.stripped)

    @once
    def elements(self) -> Elements | None:
        """The elements of a tuple, interval, set or comma list; a lone value is a list of one."""
        return split_elements(self.compact)

    @once
    def letters(self) -> tuple[str, ...]:
        """The option letters it commits to."""
        return read_options(self.text, self.choices)

    @once
    def truth(self) -> bool | None:
        """True for yes and true, False for no and false."""
        return read_truth(self.stripped)
