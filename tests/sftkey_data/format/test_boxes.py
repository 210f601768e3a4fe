import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftkey_data.format.boxes import Box, find_boxes, unwrap


@pytest.mark.parametrize(
    ("text", "contents"),
    [
        (r"\boxed{4}", ["4"]),
        (r"\boxed{\frac{1}{2}} and \fbox{x}", [r"\frac{1}{2}", "x"]),
        (r"\boxed{a\}b}", [r"a\}b"]),
        (r"\boxed{\boxed{4}}", [r"\boxed{4}", "4"]),
        (r"\boxed {4}", ["4"]),
        (r"$\boxed 2$.", ["2"]),
        (r"\boxed{open", []),
        (r"\boxedx{4} {\boxedfoo}", []),
        ("no box } here {", []),
        (r"\\boxed{4} and \\\boxed{5}", ["5"]),
        (r"{a} } \frac{1}{{2} \boxed{{4}}}", ["{4}"]),
    ],
)
def test_boxes_are_found_with_balanced_braces(text: str, contents: list[str]) -> None:
    assert [text[box.content_start : box.content_end] for box in find_boxes(text)] == contents


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        (r"x = \boxed{3} or \boxed{\{-3,3\}}.", r"x = 3 or \{-3,3\}."),
        (r"\boxed{\boxed{4}+1}", "4+1"),
        (r"\boxed 2$", "2$"),
        (r"\boxed{open", r"\boxed{open"),
        ("", ""),
    ],
)
def test_unwrapping_keeps_everything_but_the_box(text: str, plain: str) -> None:
    assert unwrap(text) == plain


def test_a_megabyte_of_open_boxes_is_read_in_one_pass() -> None:
    assert find_boxes("\\boxed{" * 150_000) == []


def boxes_by_counting(text: str) -> list[Box]:
    """Of every command with a brace behind it, the brace that closes it, counted from there."""
    found = []
    for command in re.finditer(r"\\(?:boxed|fbox)\s*(?=\{)", text):
        depth = 0
        for brace in re.finditer(r"\\.|[{}]", text[command.end() :], re.DOTALL):
            depth += {"{": 1, "}": -1}.get(brace.group(), 0)
            if depth == 0 and brace.group() == "}":
                end = command.end() + brace.start()
                found.append(Box(command.start(), end + 1, command.end() + 1, end))
                break
    return found


@given(st.lists(st.sampled_from(["\\boxed{", "\\fbox {", "{", "}", "\\}", "\\{", "a", " ", "\n", "}."])).map("".join))
def test_boxes_with_and_without_braces_inside_are_those_found_by_counting(text: str) -> None:
    assert find_boxes(text) == boxes_by_counting(text)
