"""The problems behind the `arithmetic` dataset: sums and word problems whose sentences are also their solution.

A problem is written as sentences with slots. Each solution sentence holds one equation such as
`{cups} * {price} = {cost}`, and that text *is* the computation: the slots left of the equals sign are known (stated in
the question, or the result of an earlier sentence) and the one on the right receives the result. So what a CoT says and
what is true cannot drift apart.
"""

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

Kind = Literal["sums", "word"]

_EQUATION = re.compile(r"\{(\w+)\} ([-+*/]) \{(\w+)\} = \{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Step:
    """One operation of a solution, `left op right = result`, and the slot that receives the result."""

    left: int
    op: str
    right: int
    result: int
    slot: str

    def __str__(self) -> str:
        return f"{self.left} {self.op} {self.right} = {self.result}"

    def checks(self) -> tuple[str, str, str]:
        """Three other true equations between the same three numbers."""
        a, b, c = self.left, self.right, self.result
        return {
            "+": (f"{c} - {b} = {a}", f"{c} - {a} = {b}", f"{b} + {a} = {c}"),
            "-": (f"{c} + {b} = {a}", f"{a} - {c} = {b}", f"{b} + {c} = {a}"),
            "*": (f"{c} / {b} = {a}", f"{c} / {a} = {b}", f"{b} * {a} = {c}"),
            "/": (f"{c} * {b} = {a}", f"{a} / {c} = {b}", f"{b} * {c} = {a}"),
        }[self.op]


@dataclass(frozen=True)
class Problem:
    """A kind of question with number slots and word slots.

    Args:
        name: Unique; shown in the rows.
        kind: `sums` or `word`.
        numbers: Every number the question states, with its (smallest, largest) value; `None` stands for `max_value`.
        question: Text with slots; word slots are keys of `WORDS`.
        solution: One sentence per operation, each with one equation between slots.
        least: Smallest result allowed in any step (2 where a sentence uses the plural).
    """

    name: str
    kind: Kind
    numbers: Mapping[str, tuple[int, int | None]]
    question: str
    solution: tuple[str, ...]
    least: int = 2

    @cached_property
    def equations(self) -> tuple[tuple[str, str, str, str], ...]:
        """(left slot, operator, right slot, result slot) of every step."""
        return tuple(_EQUATION.findall(sentence)[0] for sentence in self.solution)

    def ranges(self, max_value: int) -> list[range]:
        """Values each number may take, in the order of `numbers`."""
        return [range(low, min(high or max_value, max_value) + 1) for low, high in self.numbers.values()]

    def solve(self, numbers: tuple[int, ...]) -> tuple[Step, ...] | None:
        """The steps, or `None` where a result would be a fraction or smaller than `least`."""
        known = dict(zip(self.numbers, numbers, strict=True))
        steps = []
        for left, op, right, slot in self.equations:
            result = _apply(known[left], op, known[right])
            if result is None or result < self.least:
                return None
            known[slot] = result
            steps.append(Step(known[left], op, known[right], result, slot))
        return tuple(steps)


def _apply(left: int, op: str, right: int) -> int | None:
    if op == "+":
        return left + right
    if op == "-":
        return left - right
    if op == "*":
        return left * right
    return left // right if left % right == 0 else None


def sums(num_steps: int, operators: str) -> Iterator[Problem]:
    """Plain sums of `num_steps` operations, worked from left to right: one problem per choice of operators."""
    terms = [f"n{i}" for i in range(num_steps + 1)]
    totals = [terms[0], *(f"total{i}" for i in range(1, num_steps + 1))]
    for ops in itertools.product(operators, repeat=num_steps):
        yield Problem(
            name="n" + "".join(f"{op}n" for op in ops),
            kind="sums",
            numbers=dict.fromkeys(terms, (1, None)),
            question="{n0}" + "".join(f"{op}{{{term}}}" for op, term in zip(ops, terms[1:], strict=True)) + "?",
            solution=tuple(
                f"{{{totals[i]}}} {ops[i]} {{{terms[i + 1]}}} = {{{totals[i + 1]}}}" for i in range(num_steps)
            ),
            least=1,
        )
