"""Generated arithmetic: sums and word problems of several steps, with the Key in one of three relations to the CoT.

Schema: `question`, `solution`, `answer`, and what else `generate` puts into a row.
Source: generated here, no input (`sftkey-data build arithmetic --set num=2000 --set regime=choice --out DIR`).
Licence: MIT, as this package.

The *regime* says what is left for the Key after the CoT:

- `copy`: the Key is the last value of the CoT.
- `step`: the CoT stops one operation early; the Key is the result of the unstated operation.
- `choice`: the CoT ends with the value; the Key is the letter of the option that shows it.

Equal options and split give equal rows on every machine, and fewer examples are a prefix of more. The numbers of a
question alone decide its split, whatever their order, the seed or the regime: no training question appears in a test.
"""

import hashlib
import math
import random
from collections.abc import Iterator
from typing import Literal, Self, get_args

from pydantic import BaseModel, Field, model_validator

from sftkey_data.datasets._arithmetic_problems import Kind, Problem, Step, sums
from sftkey_data.datasets._word_problems import WORD_PROBLEMS, WORDS
from sftkey_data.errors import SFTKeyError, nearest
from sftkey_data.extract import Parts, Reject, Row, text

COLUMNS = ("question", "solution", "answer")

SPLITS = {"train": range(80), "validation": range(80, 90), "test": range(90, 100)}
"""Percentiles of the questions' hash that belong to each split."""

_LETTERS = "ABCDEFGH"


class Options(BaseModel, extra="forbid", frozen=True):
    """What to generate."""

    num: int = Field(1000, ge=1, description="number of examples")
    seed: int = Field(0, description="seed of the order, the wording and the options; the split does not depend on it")
    kind: Literal["sums", "word", "mixed"] = Field("mixed", description="sums, word problems, or half of each")
    regime: Literal["copy", "step", "choice"] = Field(
        "copy", description="Key = last value of the CoT | one further unstated step | letter of the right option"
    )
    min_steps: int = Field(2, ge=1, le=8, description="fewest operations of a question (word problems have 2 to 4)")
    max_steps: int = Field(3, ge=1, le=8, description="most operations of a question")
    max_value: int = Field(99, ge=10, le=100_000, description="largest number a question states")
    operators: Literal["+", "+-"] = Field("+", description="operators of the sums; word problems use + - * /")
    num_choices: int = Field(4, ge=2, le=len(_LETTERS), description="options of a question in the choice regime")
    distractor_gap: int = Field(9, ge=1, description="largest distance of a wrong option from the right value")
    cot_ratio: float = Field(
        0, ge=0, description="pad the CoT with true checks until it has this many characters per character of the Key"
    )
    noise: int = Field(
        0, ge=0, description="random digits in the first line of the CoT, which nothing predicts and nothing needs"
    )

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.min_steps > self.max_steps:
            raise ValueError(f"min_steps = {self.min_steps} is more than max_steps = {self.max_steps}")
        if self.kind != "sums" and (self.min_steps < 2 or self.max_steps > 4):
            raise ValueError(
                f"word problems have 2 to 4 steps, found {self.min_steps} to {self.max_steps}: "
                'use kind = "sums", or min_steps >= 2 and max_steps <= 4'
            )
        if self.regime == "step" and self.min_steps < 2:
            raise ValueError("the step regime leaves one step unstated, so min_steps must be at least 2, found 1")
        if self.regime == "choice" and self.distractor_gap < self.num_choices - 1:
            raise ValueError(
                f"{self.num_choices} distinct options need distractor_gap >= {self.num_choices - 1}, "
                f"found {self.distractor_gap}"
            )
        return self


def generate(options: Options, split: str) -> Iterator[Row]:
    """Rows of one split, distinct in their problem and numbers.

    Raises:
        SFTKeyError: Unknown split, or fewer distinct questions than `num` exist with these options.
    """
    if split not in SPLITS:
        known = ", ".join(SPLITS)
        raise SFTKeyError(f"arithmetic: split {split!r} is not known{nearest(split, SPLITS)}; known: {known}")
    rng = random.Random(f"arithmetic/{options.seed}/{split}")
    decks = [(problem, _deck(problem, options, split), weight) for problem, weight in _problems(options)]
    for done in range(options.num):
        while decks:
            index = rng.choices(range(len(decks)), [weight for _, _, weight in decks])[0]
            problem, deck, _ = decks[index]
            if drawn := next(deck, None):
                yield _row(problem, *drawn, options, rng)
                break
            del decks[index]
        else:
            raise SFTKeyError(
                f"arithmetic: only {done} distinct {split} questions exist with these options, expected at least "
                f"num = {options.num}: raise max_value or max_steps, or lower num"
            )


def extract(row: Row) -> Parts:
    """Question and options become the prompt; a Key among options is a letter, else a number.

    Raises:
        Reject: A missing or non-text column, options that are no list of text, a Key that names no option.
    """
    question, solution, answer = (text(row, column) for column in COLUMNS)
    options = row.get("options")
    if options is None:
        return Parts(prompt=question, cot=solution, key=answer, answer_type="number")
    if not isinstance(options, list) or not all(isinstance(option, str) for option in options):
        raise Reject("wrong_type", f"options must be null or a list of strings, found {options!r}")
    letters = _LETTERS[: len(options)]
    if len(options) > len(_LETTERS) or answer not in tuple(letters):
        raise Reject("answer_not_an_option", f"answer must be one of {', '.join(letters)}, found {answer!r}")
    lines = [f"{letter}) {option}" for letter, option in zip(letters, options, strict=True)]
    prompt = "\n".join([question, *lines])
    return Parts(prompt=prompt, cot=solution, key=answer, answer_type="choice", choices=tuple(options))


def _problems(options: Options) -> Iterator[tuple[Problem, float]]:
    """Problems with their weights: kinds are equally likely, so are lengths in a kind and problems of one length."""
    kinds: tuple[Kind, ...] = get_args(Kind) if options.kind == "mixed" else (options.kind,)
    lengths = range(options.min_steps, options.max_steps + 1)
    for kind in kinds:
        for length in lengths:
            if kind == "sums":
                group = list(sums(length, options.operators))
            else:
                group = [problem for problem in WORD_PROBLEMS if len(problem.solution) == length]
            for problem in group:
                yield problem, 1 / (len(kinds) * len(lengths) * len(group))


def _deck(problem: Problem, options: Options, split: str) -> Iterator[tuple[tuple[int, ...], tuple[Step, ...]]]:
    """Every usable choice of numbers of a problem that belongs to the split, with its steps, once, in random order."""
    ranges = problem.ranges(options.max_value)
    for index in _shuffled(math.prod(map(len, ranges)), f"{options.seed}/{problem.name}"):
        numbers = _numbers(index, ranges)
        steps = problem.solve(numbers)
        if not steps or _percentile(numbers) not in SPLITS[split]:
            continue
        if options.regime == "step" and _is_stated(steps[-1].result, steps[:-1]):
            continue
        yield numbers, steps


def _shuffled(size: int, key: str) -> Iterator[int]:
    """Every number below `size` once, in an order fixed by `key`, without holding them.

    A four-round Feistel network permutes the numbers below the next power of four; those beyond `size` are skipped.
    """
    half = ((size - 1).bit_length() + 1) // 2
    mask = (1 << half) - 1
    factors = [_hash(f"{key}/{turn}") | 1 for turn in range(4)]
    for position in range(1 << 2 * half):
        left, right = position >> half, position & mask
        for factor in factors:
            left, right = right, left ^ ((right + 1) * factor >> 64 & mask)
        if (number := left << half | right) < size:
            yield number


def _numbers(index: int, ranges: list[range]) -> tuple[int, ...]:
    """The choice of numbers that has this index among all, 0 <= index < product of the lengths."""
    numbers = []
    for values in ranges:
        index, position = divmod(index, len(values))
        numbers.append(values[position])
    return tuple(numbers)


def _hash(content: str) -> int:
    return int.from_bytes(hashlib.blake2b(content.encode(), digest_size=16).digest())


def _percentile(numbers: tuple[int, ...]) -> int:
    """Which of 100 equal parts of all questions this one is in; the order of the numbers does not matter."""
    return _hash(",".join(map(str, sorted(numbers)))) % 100


def _is_stated(value: int, steps: tuple[Step, ...]) -> bool:
    return any(value in (step.left, step.right, step.result) for step in steps)


def _row(
    problem: Problem, numbers: tuple[int, ...], steps: tuple[Step, ...], options: Options, rng: random.Random
) -> Row:
    slots: dict[str, object] = {slot: rng.choice(words) for slot, words in WORDS.items()}
    slots |= dict(zip(problem.numbers, numbers, strict=True)) | {step.slot: step.result for step in steps}
    value = steps[-1].result
    answer, shown = str(value), None
    if options.regime == "choice":
        shown = _choices(value, options, rng)
        answer = _LETTERS[shown.index(str(value))]
    stated = slice(-1 if options.regime == "step" else None)
    sentences = [sentence.format_map(slots) for sentence in problem.solution[stated]]
    lines = _padded(sentences, steps[stated], problem.kind, len(answer) * options.cot_ratio)
    return {
        "question": problem.question.format_map(slots),
        "solution": "\n".join([*_noise(problem, numbers, options), *lines]),
        "answer": answer,
        "options": shown,
        "value": value,
        "problem": problem.name,
        "regime": options.regime,
    }


def _noise(problem: Problem, numbers: tuple[int, ...], options: Options) -> list[str]:
    """A line of digits with random numbers of their own, so that the rest of the row is what it is without."""
    rng = random.Random(f"noise/{options.seed}/{problem.name}/{numbers}")
    return ["".join(rng.choices("0123456789", k=options.noise))] if options.noise else []


def _choices(value: int, options: Options, rng: random.Random) -> list[str]:
    """The right value and close distinct positive others, in random order.

    How many distractors are smaller is drawn evenly, else the middle option would be the best guess without any CoT.
    """
    num_wrong = options.num_choices - 1
    below = range(max(1, value - options.distractor_gap), value)
    above = range(value + 1, value + options.distractor_gap + 1)
    num_below = min(rng.randrange(num_wrong + 1), len(below))
    shown = [value, *rng.sample(below, num_below), *rng.sample(above, num_wrong - num_below)]
    rng.shuffle(shown)
    return [str(number) for number in shown]


def _padded(sentences: list[str], steps: tuple[Step, ...], kind: Kind, num_characters: float) -> list[str]:
    """The sentences, then as many checks as it takes, then the last sentence again: the last value stays the last."""
    checks = [equation for turn in zip(*(step.checks() for step in steps), strict=True) for equation in turn]
    lines, last, length = list(sentences), sentences[-1], len("\n".join(sentences))
    while length < num_characters:
        check = checks[(len(lines) - len(sentences)) % len(checks)]
        lines.append(f"Check: {check}." if kind == "word" else check)
        length = len("\n".join([*lines, last]))
    return lines if len(lines) == len(sentences) else [*lines, last]
