"""What is fuzzed of the code that reads texts: the template, scoring, and the grader with every kind of answer."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import get_args

from sftkey_data.errors import SFTKeyError
from sftkey_data.extract.parts import Reject
from sftkey_data.format.template import BUILTIN, Template
from sftkey_eval.answers.decision import Ruling
from sftkey_eval.kinds.grade import grade, is_usable
from sftkey_eval.kinds.kind_table import KINDS
from sftkey_eval.records.completion_rows import Completion
from sftkey_eval.scoring.score import score_completion

BREAK = "\x1f"
"""Stands between the texts of an input."""
FINISH_REASONS = ("stop", "length", None)
MARKS = tuple(sorted({tag for template in BUILTIN.values() for tag in template.tags.values()}))
LATEX = ("\\frac{", "\\sqrt{", "\\boxed{", "\\text{", "\\pi", "^{", "\\begin{pmatrix}", "\\cup", "\\infty", "\\pm")
WORDS = ("The answer is ", "Answer: ", " or ", "(A)", "yes", "none of these", "twelve", "10^", "1,234", "½", "50%")


@dataclass(frozen=True)
class Target:
    """One thing that is fuzzed.

    Args:
        name: What it is called in the record.
        check: Raises where something is wrong; the input is any bytes.
        seeds: What the first corpus is made of.
        words: Pieces that inputs are put together of.
    """

    name: str
    check: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]
    words: Sequence[str] = ()


def texts(data: bytes, num: int) -> list[str]:
    """The texts of an input, so many; bytes that are no UTF-8 become lone surrogates, as JSON may hold them too."""
    found = data.decode("utf-8", "surrogateescape").split(BREAK, num - 1)
    return found + [""] * (num - len(found))


def check_template(data: bytes) -> None:
    """What is written reads back; reading never raises, and its levels agree."""
    template = _template(data[:2], data[2:])
    if template is None:
        return
    cot, key, *_ = texts(data[2:], 6)
    try:
        completion, spans = template.render(cot, key)
    except Reject:
        pass
    else:
        assert template.parse(completion) == (cot.strip(), key.strip()), completion
        reading = template.read(completion, "stop")
        assert (reading.spans, reading.strict) == (spans, None), completion
    for text, finish in product((cot, cot + key, f"{cot}{template.before_key}{key}"), FINISH_REASONS):
        _check_reading(template, text, finish)
    _check_batch(template, [cot, key, cot + key], [key, cot, key])


def _template(picked: bytes, rest: bytes) -> Template | None:
    """A built-in template, or a user's own of the input's last texts; None where these make none."""
    number, flags = (*picked, 0, 0)[:2]
    if number % (len(BUILTIN) + 3) < len(BUILTIN):
        return list(BUILTIN.values())[number % (len(BUILTIN) + 3)]
    names = ("balanced", "last", "to_end", "free_text")
    try:
        return Template(
            "own", *texts(rest, 6)[2:], **{name: bool(flags >> index & 1) for index, name in enumerate(names)}
        )
    except SFTKeyError:
        return None


def _check_reading(template: Template, text: str, finish: str | None) -> None:
    reading = template.read(text, finish)
    assert (reading.spans is None) == (reading.strict is not None), reading
    assert reading.strict is not None or reading.tolerant is None, reading
    assert reading.tolerant is not None or reading.present is None, reading
    if (spans := reading.spans) is not None:
        assert 0 <= spans.cot_start < spans.cot_end <= len(text), reading
        assert 0 <= spans.key_start < spans.key_end <= len(text), reading
        assert template.parse(text, finish) == (text[spans[0] : spans[1]], text[spans[3] : spans[4]]), reading


def _check_batch(template: Template, cots: list[str], keys: list[str]) -> None:
    completions, spans, unsure = template.render_batch(cots, keys)
    for row in {*range(len(cots))} - {*unsure}:
        assert template.render(cots[row], keys[row]) == (completions[row], tuple(spans[row].tolist())), completions[row]


def check_grader(data: bytes) -> None:
    """Any two texts get a verdict of every kind, the same one again; a gold that decides anything is right itself."""
    gold, predicted, *options = texts(data[1:], 6)
    choices = [option for option in options if option] if data[:1] > b"\x7f" else None
    for kind in KINDS:
        decision = grade(gold, predicted, kind, choices=choices)
        assert decision.verdict in get_args(Ruling), (kind, decision)
        assert decision == grade(gold, predicted, kind, choices=choices), (kind, decision)
        if is_usable(gold.strip(), kind, choices):
            same = grade(gold, gold, kind, choices=choices)
            assert same.verdict == "correct", (kind, gold, same)
        if kind in ("boolean", "text", "list") and all(is_usable(text.strip(), kind) for text in (gold, predicted)):
            other = grade(predicted, gold, kind, choices=choices)
            assert (decision.verdict == "correct") == (other.verdict == "correct"), (kind, gold, predicted)


def check_scoring(data: bytes) -> None:
    """Any completion is scored under every kind, and its numbers agree."""
    number, flags = (*data, 0, 0)[:2]
    completion, gold, *options = texts(data[2:], 6)
    template = list(BUILTIN.values())[number % len(BUILTIN)]
    choices = tuple(option for option in options if option) or None
    for kind in (None, *KINDS):
        row = Completion(
            id="a",
            item_id="a",
            sample=0,
            dataset="",
            split="",
            prompt="",
            completion=completion,
            gold=gold,
            answer_type=None,
            choices=choices,
            finish_reason=FINISH_REASONS[flags % 3],
        )
        verdict = score_completion(row, template, answer_type=kind)
        assert verdict.format_valid or not verdict.correct, verdict
        assert verdict.format_valid == (verdict.format_error is None), verdict
        assert verdict.format_tolerant or not verdict.format_valid, verdict
        assert verdict.format_present or not verdict.format_tolerant, verdict
        assert not verdict.correct or verdict.lenient_correct, verdict
        assert verdict.predicted is None or verdict.predicted in completion, verdict


def _template_seeds() -> Iterable[bytes]:
    for number, template in enumerate(BUILTIN.values()):
        yield bytes([number, 0]) + BREAK.join(("2 + 2 = 4", "4")).encode()
        yield bytes([number, 1]) + template.render("First.\n\nThen.", "1,234")[0].encode()
    for flags in range(16):
        yield bytes([len(BUILTIN), flags]) + BREAK.join(("a", "4", "[T]", "[/T]", "\\boxed{", "} [/A]")).encode()


@cache
def _answers() -> tuple[str, ...]:
    numbers = ("42", "-3.50", "1,234", "50%", "\\frac{3}{4}", "2^{10}", "3 or 4", "at least 7", "twelve", "0x1F_{16}")
    sets = ("(1, 2]", "\\{1, 2\\}", "x = 5 \\text{ cm}", "[-\\infty, 3)", "\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}")
    return (*numbers, *sets, "x^2 - 2x + 1", "\\sqrt{2}\\pi i", "B", "(C)", "yes", "not true", "red, blue", "100!")


def _grader_seeds() -> Iterable[bytes]:
    for index, answer in enumerate(_answers()):
        other = _answers()[index - 1]
        yield b"\0" + BREAK.join((answer, other)).encode()
        yield b"\xff" + BREAK.join((answer, other, "red", "2", other, answer)).encode()


def _scoring_seeds() -> Iterable[bytes]:
    for number, template in enumerate(BUILTIN.values()):
        for index, answer in enumerate(_answers()):
            text = template.before_cot + f"So it is {answer}." + template.after_cot
            text += template.before_key + answer + template.after_key
            yield bytes([number, index]) + BREAK.join((text, answer, "red", "2", answer)).encode()
    yield bytes([0, 0]) + BREAK.join(("The answer is not 5 but (B).", "B", "5", "6")).encode()


TEXT_TARGETS = (
    Target("template", check_template, _template_seeds, (*MARKS, BREAK)),
    Target("grader", check_grader, _grader_seeds, (*LATEX, *WORDS, BREAK)),
    Target("scoring", check_scoring, _scoring_seeds, (*MARKS, *LATEX, *WORDS, BREAK)),
)
