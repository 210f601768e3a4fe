"""docs/study.md says what the committed records say, to the last figure."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def study_page() -> ModuleType:
    spec = importlib.util.spec_from_file_location("study_page", ROOT / "benchmarks" / "study_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["study_page"] = module
    spec.loader.exec_module(module)
    return module


def test_every_figure_is_that_of_the_records(study_page: ModuleType) -> None:
    text = study_page.PAGE.read_text(encoding="utf-8")
    assert study_page.FIGURE.search(text)
    assert study_page.page(text) == text


def test_a_figure_that_was_changed_by_hand_is_seen(study_page: ModuleType) -> None:
    text = study_page.PAGE.read_text(encoding="utf-8")
    changed = re.sub(r"(?m)^\|.*", lambda found: found[0].replace("1", "2"), text)
    assert changed != text
    assert study_page.page(changed) == text
