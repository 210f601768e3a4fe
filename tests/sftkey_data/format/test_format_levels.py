"""The three levels of the format side by side, and that reading at each is linear."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, SupportsIndex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftkey_data.format.marks import Level, Malformed
from sftkey_data.format.presence import find_missing
from sftkey_data.format.scanner import MarkedText, find_spans
from sftkey_data.format.template import BUILTIN, Template

LEVELS: tuple[Level, ...] = ("strict", "tolerant", "present")
USER = (
    Template("brackets", "[T] ", " [/T]", " [A] ", " [/A]", free_text=True),
    Template("last-tag", "<T>\n", "\n</T>", "\n<A kind='final'>", "</A>", last=True),
    Template("no-cot-tag", "", "", "\nFinal answer: [", "]", last=True, free_text=True),
    Template("dollars", "", "", "\nSo $\\boxed{", "}$.", balanced=True),
    Template("tagged-hash", "<T>", "</T>", "\n####", "", to_end=True),
    Template("shout", before_key="##", to_end=True),
)
TEMPLATES = (*BUILTIN.values(), *USER)
every_template = pytest.mark.parametrize("template", TEMPLATES, ids=[template.name for template in TEMPLATES])


def code_at(template: Template, completion: str, finish_reason: str | None, level: Level) -> str | None:
    """Each level decided by itself, so that one does not hold only because another does."""
    text = MarkedText(template.marks, completion)
    if level == "present":
        return find_missing(text, finish_reason)
    try:
        find_spans(text, finish_reason, tolerant=level == "tolerant")
    except Malformed as malformed:
        return malformed.code
    return None


def codes(template: Template, completion: str, finish_reason: str | None = "stop") -> tuple[str | None, ...]:
    found = tuple(code_at(template, completion, finish_reason, level) for level in LEVELS)
    reading = template.read(completion, finish_reason)
    assert (reading.strict, reading.tolerant, reading.present) == found
    assert (reading.spans is None) == (reading.strict is not None)
    return found


GOOD = "<Thinking>\na\n</Thinking>\n<Answer>\n4\n</Answer>"
CASES: dict[str, tuple[str, str, str, str | None, str | None, str | None]] = {
    "as written": ("sftkey", GOOD, "stop", None, None, None),
    "no line breaks": ("sftkey", "<Thinking>a</Thinking><Answer>4</Answer>", "stop", None, None, None),
    "closed at the limit": ("sftkey", GOOD, "length", None, None, None),
    "lower case": ("sftkey", GOOD.lower(), "stop", "missing_cot", None, None),
    "one tag in lower case": ("sftkey", GOOD.replace("<A", "<a"), "stop", "missing_key", None, None),
    "attributes": ("sftkey", GOOD.replace("<Answer", '<Answer type="n"'), "stop", "missing_key", None, None),
    "space in tags": ("sftkey", GOOD.replace("<", "< ").replace(">", " >"), "stop", "missing_cot", None, None),
    "another tag's name": ("sftkey", GOOD.replace("Answer", "Answers"), "stop", "missing_key", *["missing_key"] * 2),
    "text before": ("sftkey", f"Sure! {GOOD}", "stop", "text_before_cot", None, None),
    "text between": ("sftkey", GOOD.replace("g>\n<A", "g>\nSo\n<A"), "stop", "text_before_key", None, None),
    "text after": ("sftkey", f"{GOOD}\nI hope this helps!", "stop", "text_after_key", None, None),
    "text after, cut": ("sftkey", f"{GOOD}\nI hope", "length", "text_after_key", None, None),
    "a special token after": ("sftkey", f"{GOOD}<|im_end|>", "stop", "text_after_key", None, None),
    "two Keys": ("sftkey", f"{GOOD}<Answer>5</Answer>", "stop", "repeated_key", "repeated_key", None),
    "the same Key twice": ("sftkey", f"{GOOD}<Answer>4</Answer>", "stop", "repeated_key", "repeated_key", None),
    "all twice": ("sftkey", f"{GOOD}\n{GOOD}", "stop", "repeated_cot", "repeated_cot", None),
    "Key first": ("sftkey", "<Answer>4</Answer><Thinking>a</Thinking>", "stop", "wrong_order", "wrong_order", None),
    "Key in the CoT": ("sftkey", "<Thinking>a<Answer>4</Answer></Thinking>", "stop", *["wrong_order"] * 2, None),
    "only a Key in the CoT": (
        *("sftkey", "<Thinking><Answer>4</Answer></Thinking>", "stop"),
        *("wrong_order", "wrong_order", "empty_cot"),
    ),
    "no tags": ("sftkey", "The answer is 4.", "stop", *["missing_cot"] * 3),
    "nothing": ("sftkey", " \n", "stop", *["empty"] * 3),
    "nothing, cut": ("sftkey", "", "length", *["truncated"] * 3),
    "no Key": ("sftkey", "<Thinking>a</Thinking> 4", "stop", *["missing_key"] * 3),
    "CoT not opened": ("sftkey", "a</Thinking><Answer>4</Answer>", "stop", *["missing_cot"] * 3),
    "CoT not closed": ("sftkey", "<Thinking>a<Answer>4</Answer>", "stop", *["unclosed_cot"] * 3),
    "Key not closed": ("sftkey", "<Thinking>a</Thinking><Answer>4", "stop", *["unclosed_key"] * 3),
    "Key cut": ("sftkey", "<Thinking>a</Thinking><Answer>4", "length", *["truncated"] * 3),
    "a tag cut": ("sftkey", "<Thinking>a</Thinking><Answer>4</Ans", "length", *["truncated"] * 3),
    "CoT cut": ("sftkey", "<thinking>a", "length", *["truncated"] * 3),
    "blank CoT": ("sftkey", "<Thinking> </Thinking><Answer>4</Answer>", "stop", *["empty_cot"] * 3),
    "blank Key": ("sftkey", "<Thinking>a</Thinking><Answer> </Answer>", "stop", *["empty_key"] * 3),
    "blank Key at the limit": ("sftkey", "<Thinking>a</Thinking><Answer></Answer>", "length", *["empty_key"] * 3),
    "blank Key and a Key": (
        *("sftkey", "<Thinking>a</Thinking><Answer></Answer><Answer>4</Answer>", "stop"),
        *("repeated_key", "repeated_key", None),
    ),
    "compact, spread out": ("sftkey-compact", GOOD, "stop", None, None, None),
    "compact, lower case": ("sftkey-compact", GOOD.lower(), "stop", "missing_cot", None, None),
    "box after text": ("think-boxed", "<think>a</think> so \\boxed{4}", "stop", "text_before_key", None, None),
    "box, then text": ("think-boxed", "<think>a</think>\\boxed {4}.", "stop", "missing_key", None, None),
    "box in the CoT only": ("think-boxed", "<think>a \\boxed{4}</think>", "stop", *["missing_key"] * 2, None),
    "last box after the CoT": ("think-boxed", "<think>\\boxed{3}</think>\\boxed{4}", "stop", None, None, None),
    "box first": ("think-boxed", "\\boxed{4}<think>a</think>", "stop", "wrong_order", "wrong_order", None),
    "box not closed": ("think-boxed", "<think>a</think>\\boxed{\\frac{1}{2}", "stop", *["unclosed_key"] * 3),
    "box, free text": ("boxed", "a \\boxed{\\frac{1}{2}} units", "stop", None, None, None),
    "box alone": ("boxed", "\\boxed{4}", "stop", *["missing_cot"] * 3),
    "box before its reason": ("boxed", "\\boxed{4}, as 2+2 is", "stop", "missing_cot", "missing_cot", None),
    "box cut": ("boxed", "a \\boxed{4", "length", *["truncated"] * 3),
    "blank box": ("boxed", "a \\boxed{ }", "stop", *["empty_key"] * 3),
    "no box": ("boxed", "a, so 4", "stop", *["missing_key"] * 3),
    "hash": ("hash", "a\n#### 4\n", "stop", None, None, None),
    "hash, more lines": ("hash", "a\n#### 4\nDone.", "stop", "text_after_key", None, None),
    "hash, more lines, cut": ("hash", "a\n#### 4\nDo", "length", "text_after_key", None, None),
    "hash, its line cut": ("hash", "a\n#### 4", "length", "truncated", "truncated", None),
    "hash, cut at the mark": ("hash", "a\n####", "length", *["truncated"] * 3),
    "hash without a Key": ("hash", "a\n####", "stop", *["empty_key"] * 3),
    "hash alone": ("hash", "#### 4", "stop", *["missing_cot"] * 3),
    "hash first": ("hash", "#### 4\nas 2+2 is", "stop", "text_after_key", "missing_cot", None),
    "two hashes": ("hash", "a\n#### 4\n#### 5", "stop", "repeated_key", "repeated_key", None),
    "plain": ("plain", "a\nThe answer is 3.5.", "stop", None, None, None),
    "plain without a stop": ("plain", "a\nThe answer is 4", "stop", "unclosed_key", None, None),
    "plain, cut": ("plain", "a\nThe answer is 4", "length", "truncated", "truncated", None),
    "plain, cut at the mark": ("plain", "a\nThe answer is ", "length", *["truncated"] * 3),
    "plain in capitals": ("plain", "a\nTHE  ANSWER IS 4.", "stop", "missing_key", None, None),
    "plain, more text": ("plain", "a\nThe answer is 4. Bye", "length", "text_after_key", None, None),
    "plain alone": ("plain", "The answer is 4.", "stop", *["missing_cot"] * 3),
    "plain twice": ("plain", "a\nThe answer is 4. The answer is 5.", "stop", *["repeated_key"] * 2, None),
    "own tags": ("brackets", "[T]a[/T] so [A]4[/A] ok", "stop", None, None, None),
    "own tags, lower case": ("brackets", "[t]a[/t][a]4[/a]", "stop", "missing_cot", None, None),
    "own tag with another attribute": ("last-tag", "<T>a</T><A>4</A>", "stop", "missing_key", None, None),
    "own box less its dollar": ("dollars", "a\nSo $\\boxed{4}", "stop", "unclosed_key", None, None),
    "own box": ("dollars", "a\nSo $\\boxed{4}$.", "stop", None, None, None),
    "own box alone": ("dollars", "So $\\boxed{4}$.", "stop", *["missing_cot"] * 3),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_each_style_has_its_code_at_each_level(
    case: tuple[str, str, str, str | None, str | None, str | None],
) -> None:
    name, completion, finish_reason, *expected = case
    template = next(template for template in TEMPLATES if template.name == name)
    assert codes(template, completion, finish_reason) == tuple(expected)


PIECES = [
    *"a4 \n{}\\.<>#$",
    *("<Thinking>", "</Thinking>", "<Answer>", "</Answer>", "<thinking>", "</answer >", '<Answer x="1">'),
    *("<think>", "</think>", "\\boxed{", "\\boxed {", "####", "The answer is ", "the  answer is", ". "),
    *("<T>", "</T>", "<A kind='final'>", "<a>", "</A>", "[T]", "[/t]", "[A]", "[/A]", "Final answer: [", "]"),
    *("So $\\boxed{", "}$."),
]
text = st.lists(st.sampled_from(PIECES), max_size=20).map("".join)


@st.composite
def near_miss(draw: st.DrawFn, template: Template) -> str:
    """A well-formed completion with a few edits."""
    parts = [template.before_cot, draw(text), template.after_cot, template.before_key, draw(text), template.after_key]
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(parts) - 1))
        parts[at : at + draw(st.integers(0, 1))] = [draw(st.one_of(text, st.sampled_from(parts).map(str.lower)))]
    return "".join(parts)


def assert_nested(found: tuple[str | None, ...], completion: str) -> None:
    strict, tolerant, present = (code is None for code in found)
    assert strict <= tolerant <= present, (found, completion)


@every_template
@given(data=st.data(), finish_reason=st.sampled_from(["stop", "length", None]))
def test_what_holds_at_a_level_holds_at_the_next(
    template: Template, data: st.DataObject, finish_reason: str | None
) -> None:
    completion = data.draw(st.one_of(near_miss(template), text, st.text()))
    found = codes(template, completion, finish_reason)
    assert_nested(found, completion)
    if found[0] is None:
        template.parse(completion, finish_reason)
    else:
        with pytest.raises(Malformed, match=found[0]):
            template.parse(completion, finish_reason)


@every_template
@given(cot=text, key=text)
def test_the_limit_only_renames_what_is_missing(template: Template, cot: str, key: str) -> None:
    completion = f"{template.before_cot}{cot}{template.after_cot}{template.before_key}{key}"
    for level in LEVELS:
        stopped, cut = (code_at(template, completion, reason, level) for reason in ("stop", "length"))
        assert cut in (stopped, "truncated")


@every_template
def test_the_levels_are_nested_on_real_outputs(template: Template, shared_data: Path) -> None:
    held = [0, 0, 0]
    opened, closed, key = template.before_cot, template.after_cot, f"{template.before_key}4{template.after_key}"
    for path in sorted((shared_data / "outputs").glob("*.jsonl")):
        for line in path.read_text("utf-8").splitlines()[::17]:
            completion = json.loads(line)["completion"]
            for variant in (completion, f"{opened}{completion}{closed}{key}", f"{key}\n{opened}{completion}{closed}"):
                found = codes(template, variant)
                assert_nested(found, variant)
                held = [count + (code is None) for count, code in zip(held, found, strict=True)]
    assert 0 < held[0] < held[2]


class _Counted(str):
    """A text that counts the characters that are copied from it or searched in it."""

    __slots__ = ("seen",)
    seen: int

    def __getitem__(self, part: SupportsIndex | slice) -> str:
        found = str(self)[part]
        self.seen += len(found)
        return found

    def find(self, wanted: str, /, *borders: Any) -> int:
        start, end = borders
        self.seen += (end if end is not None else len(self)) - start
        return str(self).find(wanted, start, end)


def work(template: Template, completion: str, level: Level) -> int:
    """Lines of the package that run, and characters that are copied or searched, while a completion is read."""
    lines = 0

    def trace(frame: FrameType, event: str, arg: object) -> Callable[..., Any] | None:
        nonlocal lines
        lines += 1
        return trace if "sftkey_data" in frame.f_code.co_filename else None

    counted, before = _Counted(completion), sys.gettrace()
    counted.seen = 0
    sys.settrace(trace)
    try:
        code_at(template, counted, "stop", level)
    finally:
        sys.settrace(before)
    return lines + counted.seen


@every_template
@pytest.mark.parametrize("level", LEVELS)
def test_sixteen_times_the_text_is_about_sixteen_times_the_work(template: Template, level: Level) -> None:
    opened = template.before_cot or "a"
    for piece in [*template.tags.values(), "{", "}", "#", ". ", "<a ", "\n"]:
        for head, tail in ((opened, ""), (f"{opened}a{template.after_cot}", ""), ("", template.after_key)):
            short, long = (work(template, head + piece * num + tail, level) for num in (25, 400))
            # Twice, as a text may hold at once or only in its loose spelling; a quadratic step would be 256 times.
            assert long <= 2 * 16 * short, (piece, head, tail)
