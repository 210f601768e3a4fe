"""docs/api.md says what the docstrings of the Python interface say, all of it."""

import inspect

import pytest
from api_page import CONTENT, PAGE, page, sections


def test_the_page_is_that_of_the_docstrings() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `python tests/docs/api_page.py`"


def test_every_name_of_the_interface_is_on_the_page() -> None:
    for package, names in CONTENT.values():
        assert sorted(names) == sorted({*package.__all__} - {"SFTKeyError"})


@pytest.mark.parametrize("title", CONTENT)
def test_every_function_says_its_arguments_its_errors_and_an_example(title: str) -> None:
    package, names = CONTENT[title]
    for name in names:
        if inspect.isfunction(found := getattr(package, name)):
            said = sections(inspect.getdoc(found) or "")
            assert {"text", "Args", "Raises", "Example"} <= {part for part, text in said.items() if text}, name


def test_a_docstring_is_taken_apart() -> None:
    text = "What it gives.\n\nMore.\n\nArgs:\n    a: One\n        thing.\n\nExample:\n    f(1)\n"
    args = "    a: One\n        thing."
    assert sections(text) == {"text": "What it gives.\n\nMore.", "Args": args, "Example": "    f(1)"}
