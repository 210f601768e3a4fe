"""docs/study.md says what the committed records say, to the last figure."""

import re
from types import ModuleType

import pytest
from benchmark_scripts import benchmark_script


@pytest.fixture(scope="module")
def study_page() -> ModuleType:
    return benchmark_script("study_page")


def test_every_figure_is_that_of_the_records(study_page: ModuleType) -> None:
    text = study_page.PAGE.read_text(encoding="utf-8")
    assert study_page.FIGURE.search(text)
    assert study_page.page(text) == text


def test_a_figure_that_was_changed_by_hand_is_seen(study_page: ModuleType) -> None:
    text = study_page.PAGE.read_text(encoding="utf-8")
    changed = re.sub(r"(?m)^\|.*", lambda found: found[0].replace("1", "2"), text)
    assert changed != text
    assert study_page.page(changed) == text
