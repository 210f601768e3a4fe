"""A report of several seeds in a real browser: arms first, seeds folded under them."""

from pathlib import Path
from typing import Any

import pytest
from eval_samples import AFTER, RIGHT, WRONG, sampled
from playwright.sync_api import expect
from report_pages import Watched

from sftkey_eval.report.report import report


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("arms")
    arms = {"control": [[WRONG], [AFTER]] * 20, "stage2": [[RIGHT], [RIGHT]] * 20, "other": [[RIGHT], [AFTER]] * 20}
    specs = [f"{arm}={sampled(folder / f'{arm}{i}', items)}" for arm, items in arms.items() for i in range(2)]
    report(specs, folder / "report")
    return folder / "report" / "report.html"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 375])
def test_arms_are_read_before_their_seeds_which_unfold(browser: Any, page: Path, width: int, scheme: str) -> None:
    watched = Watched(browser, page, width, scheme)
    first = watched.page.locator("main section").first
    expect(first.locator("h2")).to_have_text("Arms over their seeds")
    expect(first).to_contain_text("No difference shown; 80 % power begins at")
    expect(first).to_contain_text("stage2")
    seed = watched.page.locator("#results th", has_text="stage2 (2)").first
    expect(seed).to_be_hidden()
    watched.page.get_by_text("The 6 runs").click()
    expect(seed).to_be_visible()
    expect(watched.page.locator("#paired table").first).to_be_hidden()
    watched.page.get_by_text("The 5 pairs of single runs").click()
    expect(watched.page.locator("#paired table").first).to_be_visible()
    assert watched.page.evaluate("document.documentElement.scrollWidth") == width
    assert watched.complaints == []
    watched.page.close()
