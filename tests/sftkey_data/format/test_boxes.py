import pytest

from sftkey_data.format.boxes import find_boxes, unwrap


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
