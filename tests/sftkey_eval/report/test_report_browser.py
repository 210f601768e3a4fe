"""The report in a real browser: no errors, no requests, filters, search, keyboard, narrow and wide screens."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eval_samples import AFTER, CUT, LUCKY, RIGHT, SLIP, WRONG, completion, write_run
from opened_page import CONTRAST
from report_pages import Watched

from sftkey_eval.records.verdicts import ERROR_CLASSES
from sftkey_eval.report.compare import compare
from sftkey_eval.report.report import report

HOSTILE = "</script><script>window.pwned=1</script><img src=x onerror=window.pwned=1>\x00\u202egnp \"'&amp;"
LONG = "a" * 500 + " " + "words " * 400


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    first = [RIGHT] * 20 + [SLIP] * 15 + [WRONG] * 3 + [AFTER, CUT, LUCKY]
    second = [SLIP] * 5 + [RIGHT] * 30 + [WRONG] * 3 + [completion(HOSTILE, "42"), completion(LONG, "42"), HOSTILE]
    extra = {"choices": ["42", HOSTILE], "answer_type": "number"}
    runs = [
        write_run(folder / "first", [{"completion": text} | extra for text in first]),
        write_run(folder / "second", [{"completion": text} | extra for text in second]),
    ]
    specs = [str(runs[0]), f"{HOSTILE.replace('=', '')}={runs[1]}"]
    report(specs, folder / "report")
    compare(specs[0], specs[1], folder / "compare")
    return {"report": folder / "report" / "report.html", "compare": folder / "compare" / "compare.html"}


@pytest.fixture
def opened(browser: Any, pages: dict[str, Path]) -> Iterator[Watched]:
    watched = Watched(browser, pages["report"])
    yield watched
    watched.page.close()


@pytest.mark.parametrize("name", ["report", "compare"])
@pytest.mark.parametrize(
    ("width", "scheme"), [(1280, "light"), (1280, "dark"), (375, "light"), (375, "dark")], ids=lambda value: str(value)
)
def test_a_page_opens_without_errors_requests_or_sideways_scrolling(
    browser: Any, pages: dict[str, Path], name: str, width: int, scheme: str
) -> None:
    watched = Watched(browser, pages[name], width, scheme)
    watched.page.wait_for_selector(".example")
    assert watched.complaints == []
    assert watched.requests == [pages[name].as_uri()]
    assert watched.page.evaluate("document.documentElement.scrollWidth") == width
    watched.page.close()


MOST_LINES = """() => Math.max(...[...document.querySelectorAll('th[scope=row]')].filter(e => e.offsetParent).map(e => {
    const range = document.createRange(); range.selectNodeContents(e)
    return Math.round(range.getBoundingClientRect().height / (1.5 * parseFloat(getComputedStyle(e).fontSize))) }))"""


CUT_OFF = """() => {
  for (const each of document.querySelectorAll("details")) each.open = true;
  const wide = (e) => e.offsetParent && e.scrollWidth > e.clientWidth;
  return [...document.querySelectorAll(".scroll")].filter(wide).map(e => e.getAttribute("aria-label"));
}"""


def test_no_name_is_broken_into_pieces_and_no_column_is_cut_off(browser: Any, tmp_path: Path) -> None:
    names = ("continued", "answer_only", "key40", "stage1")
    texts = [RIGHT] * 5 + [SLIP, CUT, AFTER, "no tags at all"]
    runs = [f"{name}={write_run(tmp_path / name, [{'completion': text} for text in texts])}" for name in names]
    report(runs, tmp_path / "report")
    for width in (1280, 375):
        watched = Watched(browser, tmp_path / "report" / "report.html", width)
        assert watched.page.evaluate(MOST_LINES) == 1
        assert watched.page.evaluate(CUT_OFF) == []
        watched.page.close()


def test_text_from_models_never_runs(opened: Watched) -> None:
    opened.choose("run", "1")
    opened.search("gnp", "Showing 1–2 of 2 (82 in all)")
    assert opened.page.evaluate("window.pwned") is None
    assert opened.page.locator("img").count() == 0
    text = opened.page.locator(".completion").first.inner_text()
    assert "</script><script>window.pwned=1</script>" in text
    assert "⟨U+0000⟩⟨U+202E⟩gnp" in text
    assert opened.complaints == []


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, "Showing 1–20 of 82 (82 in all)"),
        ({"run": "0"}, "Showing 1–20 of 41 (82 in all)"),
        ({"class": "slip"}, "Showing 1–20 of 20 (82 in all)"),
        ({"run": "1", "class": "slip"}, "Showing 1–5 of 5 (82 in all)"),
        ({"code": "text_after_key"}, "Showing 1–1 of 1 (82 in all)"),
        ({"class": "lucky", "run": "0"}, "Showing 1–1 of 1 (82 in all)"),
        ({"change": "broken"}, "Showing 1–6 of 6 (82 in all)"),
        ({"run": "0", "change": "fixed"}, "Showing 0 (82 in all)"),
    ],
    ids=["all", "run", "class", "run-and-class", "code", "lucky", "change", "none"],
)
def test_filters_change_the_list(opened: Watched, filters: dict[str, str], expected: str) -> None:
    for name, value in filters.items():
        opened.choose(name, value)
    assert opened.shown() == expected
    assert opened.page.locator(".empty").is_visible() == (expected == "Showing 0 (82 in all)")


def test_search_finds_ids_and_text(opened: Watched) -> None:
    opened.search("sums/test/39", "Showing 1–2 of 2 (82 in all)")
    opened.search("DONE.", "Showing 1–1 of 1 (82 in all)")
    opened.search("no such words", "Showing 0 (82 in all)")
    opened.page.keyboard.press("Escape")
    assert opened.shown() == "Showing 1–20 of 82 (82 in all)"


def test_pages_of_twenty_turn(opened: Watched) -> None:
    assert opened.page.locator(".example").count() == 20
    forward = opened.page.locator(".pager").first.get_by_role("button", name="Next")
    for _ in range(4):
        forward.click()
    assert opened.shown() == "Showing 81–82 of 82 (82 in all)"
    assert forward.is_disabled()
    assert opened.page.locator(".example").count() == 2


def test_the_completion_is_coloured_by_region(opened: Watched) -> None:
    first = opened.page.locator(".completion").first
    regions = first.locator("[data-region]").evaluate_all("nodes => nodes.map(n => [n.dataset.region, n.textContent])")
    assert regions == [
        ["tag", "<Thinking>\n"],
        ["cot", "20 + 22 = 42"],
        ["tag", "\n</Thinking>\n<Answer>\n"],
        ["key", "42"],
        ["tag", "\n</Answer>"],
    ]


def test_gold_and_predicted_stand_side_by_side_with_the_rule(opened: Watched) -> None:
    opened.choose("class", "slip")
    card = opened.page.locator(".example").first
    gold, predicted = (card.locator(f".{name} dd") for name in ("gold", "predicted"))
    assert (gold.inner_text(), predicted.inner_text()) == ("42", "41")
    assert gold.bounding_box()["y"] == predicted.bounding_box()["y"]
    assert card.locator(".decided").inner_text() == f"wrong, decided by {card.locator('.rule').inner_text()}"
    assert card.locator(".rule").inner_text() == "number"


def test_a_long_completion_unfolds(opened: Watched) -> None:
    opened.choose("run", "1")
    opened.search("words words", "Showing 1–1 of 1 (82 in all)")
    pre = opened.page.locator(".completion")
    before = pre.bounding_box()["height"]
    opened.page.get_by_role("button", name="Show all").click()
    assert pre.bounding_box()["height"] > before
    assert opened.page.get_by_role("button", name="Show less").get_attribute("aria-expanded") == "true"


def test_a_number_in_a_table_opens_its_examples(opened: Watched) -> None:
    opened.page.get_by_role("button", name="Show 15 examples of first, slip").click()
    assert opened.shown() == "Showing 1–15 of 15 (82 in all)"


def test_everything_is_reached_and_worked_by_keyboard(opened: Watched) -> None:
    keyboard = opened.page.keyboard
    keyboard.press("/")
    active = "(({filter, step, ...others}) => filter || step || Object.keys(others)[0])(document.activeElement.dataset)"
    visited = []
    for _ in range(10):
        visited.append(opened.page.evaluate(active))
        keyboard.press("Tab")
    filters = ["search", "run", "class", "code", "change"]
    assert visited == [*filters, "view", "view", "clear", "keys", "1"]  # "Previous" is disabled on the first page
    keyboard.press("Shift+Tab")
    keyboard.press("Enter")
    assert opened.shown() == "Showing 21–40 of 82 (82 in all)"


def test_controls_have_labels_and_tables_have_headers(opened: Watched) -> None:
    unlabelled = "nodes => nodes.filter(n => !n.labels || n.labels.length === 0).length"
    assert opened.page.locator("#examples input, #examples select").evaluate_all(unlabelled) == 0
    for table in opened.page.locator("table").all():
        assert table.locator("thead th[scope=col]").count() > 1
        assert table.locator("tbody th[scope=row]").count() == table.locator("tbody tr").count()
    assert opened.page.locator("html").get_attribute("lang") == "en"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_contrast(browser: Any, pages: dict[str, Path], scheme: str) -> None:
    watched = Watched(browser, pages["report"], scheme=scheme)
    watched.page.wait_for_selector(".example")
    legend = "name => document.querySelector('.legend').append(Object.assign(document.createElement('li'), name))"
    for name in ERROR_CLASSES:
        watched.page.evaluate(legend, {"className": f"c-{name}", "textContent": name})
    assert watched.page.evaluate(CONTRAST) == []
    watched.page.close()


def test_the_comparison_shows_both_completions_of_an_item(browser: Any, pages: dict[str, Path]) -> None:
    watched = Watched(browser, pages["compare"])
    watched.choose("change", "broken")
    assert watched.shown() == "Showing 1–6 of 6 (41 in all)"
    outcomes = watched.page.locator(".example").first.locator(".outcome")
    assert outcomes.count() == 2
    assert outcomes.nth(0).bounding_box()["y"] == outcomes.nth(1).bounding_box()["y"]
    assert [outcomes.nth(i).locator(".predicted dd").inner_text() for i in (0, 1)] == ["42", "41"]
    watched.page.close()
