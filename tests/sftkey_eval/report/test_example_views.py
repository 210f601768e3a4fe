"""How the examples of a page can be looked at: groups of any column, by length, one by its link, formulas set."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eval_samples import CUT, RIGHT, SLIP, WRONG, completion, write_run
from opened_page import CONTRAST
from report_pages import Watched

from sftkey_eval.analysis.loaded_runs import load_runs
from sftkey_eval.records.verdict_reader import read_verdicts
from sftkey_eval.records.verdicts import open_verdicts
from sftkey_eval.report.compare import compare
from sftkey_eval.report.example_browser import group_columns, single_examples
from sftkey_eval.report.maths.katex_files import has_maths
from sftkey_eval.report.report import report

FORMULAS = completion(r"So \(x^2 = \frac{1}{4}\), it costs $5 and $10, and $$y = \sqrt{2}$$ holds.", r"\frac{1}{2}")
REFUSED = completion(r"\(\frac{1}\) \(\href{javascript:window.pwned=1}{x}\) \(\def\a{\a\a}\a\) $x", r"\html")
LONG = completion("words " * 300, "42")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("views")
    first = [RIGHT] * 6 + [SLIP] * 3 + [WRONG, CUT]
    rows = [{"completion": text, "split": "easy" if i % 2 else "hard"} for i, text in enumerate(first)]
    rows += [{"id": "a b/#&1", "completion": LONG, "split": "easy"}]
    other = [row | {"completion": RIGHT} for row in rows]
    runs = [str(write_run(folder / "first", rows)), str(write_run(folder / "second", other))]
    report(runs[:1], folder / "report")
    compare(*runs, folder / "compare")
    maths = [
        {"completion": text, "prompt": r"What is $\frac12$?", "gold": r"\frac{1}{2}"} for text in (FORMULAS, REFUSED)
    ]
    report([str(write_run(folder / "maths", maths))], folder / "formulas")
    return {
        "report": folder / "report" / "report.html",
        "compare": folder / "compare" / "compare.html",
        "formulas": folder / "formulas" / "report.html",
    }


@pytest.fixture
def opened(browser: Any, pages: dict[str, Path]) -> Iterator[Watched]:
    watched = Watched(browser, pages["report"])
    yield watched
    assert watched.complaints == []
    watched.page.close()


def groups(watched: Watched, column: str) -> list[list[str]]:
    watched.page.locator("[data-view=group]").select_option(column)
    rows = "nodes => nodes.map(n => [...n.cells].map(c => c.textContent.replace(/\\u202f/g, ' ')))"
    found = watched.page.locator(".group-table tbody tr").evaluate_all(rows)
    return [list(map(str, row)) for row in found]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("class", [["correct", "7", "7 (100.0 %)"], ["no answer", "1", "0 (0.0 %)"], ["slip", "3", "0 (0.0 %)"]]),
        ("split", [["easy", "6", "4 (66.7 %)"], ["hard", "6", "3 (50.0 %)"]]),
        ("code", [["unclosed_cot", "1", "0 (0.0 %)"], ["valid", "11", "7 (63.6 %)"]]),
        ("length", [["0 to 249", "11", "6 (54.5 %)"], ["1,000 to 1,999", "1", "1 (100.0 %)"]]),
    ],
    ids=["class", "split", "code", "length"],
)
def test_examples_are_grouped_by_a_column(opened: Watched, column: str, expected: list[list[str]]) -> None:
    found = groups(opened, column)
    assert [row for row in found if row in expected] == expected
    assert sum(int(row[1]) for row in found) == 12


def test_every_column_that_is_offered_makes_groups_of_all_examples(browser: Any, pages: dict[str, Path]) -> None:
    for name in ("report", "compare"):
        watched = Watched(browser, pages[name])
        for column in group_columns(paired=name == "compare", several_runs=False):
            assert sum(int(row[1]) for row in groups(watched, column)) == 12, column
        assert watched.complaints == []
        watched.page.close()


def test_a_group_opens_and_closes(opened: Watched) -> None:
    groups(opened, "split")
    button = opened.page.get_by_role("button", name="easy")
    button.click()
    assert opened.shown() == "Showing 1\u20136 of 6 (12 in all), only group easy"
    assert opened.page.locator(".group-table [aria-pressed=true]").inner_text() == "easy"
    opened.choose("class", "slip")
    assert opened.shown() == "Showing 1\u20131 of 1 (12 in all), only group easy"
    opened.page.get_by_role("button", name="Clear filters").click()
    assert opened.shown() == "Showing 1\u201312 of 12 (12 in all)"


def test_a_comparison_counts_both_runs_of_a_group(browser: Any, pages: dict[str, Path]) -> None:
    watched = Watched(browser, pages["compare"])
    assert ["slip \u2192 correct", "3", "0 (0.0 %)", "3 (100.0 %)"] in groups(watched, "class")
    watched.page.close()


def test_examples_are_sorted_by_length(opened: Watched) -> None:
    titles = opened.page.locator(".example h3")
    for order, place in (("longest", 0), ("shortest", 11)):
        opened.page.locator("[data-view=order]").select_option(order)
        assert titles.nth(place).inner_text() == "a b/#&1"
    opened.page.locator("[data-view=order]").select_option("")
    assert titles.nth(0).inner_text() == "sums/test/0"


def test_a_link_opens_one_item(browser: Any, pages: dict[str, Path], opened: Watched) -> None:
    one = "Showing 1\u20131 of 1 (12 in all), only item a b/#&1"
    opened.page.get_by_role("link", name="a b/#&1").click()
    opened.comes_to_show(one)
    address = opened.page.url
    assert address.endswith("#item=a%20b%2F%23%261")
    opened.page.get_by_role("button", name="Clear filters").click()
    assert opened.shown() == "Showing 1\u201312 of 12 (12 in all)"
    opened.page.goto("about:blank")
    opened.page.goto(address)
    opened.comes_to_show(one)
    assert opened.page.locator(".example").count() == 1
    assert opened.page.evaluate("document.activeElement.querySelector('h3').textContent") == "a b/#&1"
    opened.page.goto("about:blank")
    opened.page.goto(f"{pages['report'].as_uri()}#item=%E0%A4%A")  # no text of ours, and no item
    opened.comes_to_show("Showing 1\u201312 of 12 (12 in all)")
    assert opened.page.locator(".example").count() == 12


def test_the_list_of_flipped_items_links_to_them(browser: Any, pages: dict[str, Path]) -> None:
    watched = Watched(browser, pages["compare"])
    watched.page.get_by_text("The list of flipped items").click()
    watched.page.get_by_role("link", name="sums/test/6").first.click()
    watched.comes_to_show("Showing 1\u20131 of 1 (12 in all), only item sums/test/6")
    watched.page.close()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_formulas_are_set_and_money_is_not(browser: Any, pages: dict[str, Path], width: int, scheme: str) -> None:
    watched = Watched(browser, pages["formulas"], width, scheme)
    page = watched.page
    card = page.locator(".example").first
    sources = "nodes => nodes.map(n => n.title)"
    assert card.locator(".completion .maths").evaluate_all(sources) == [
        r"\(x^2 = \frac{1}{4}\)",
        r"$$y = \sqrt{2}$$",
        r"\frac{1}{2}",
    ]
    assert card.locator(".versus .maths").evaluate_all(sources) == [r"\frac{1}{2}", r"\frac{1}{2}"]
    assert "it costs $5 and $10, and" in card.locator(".completion").inner_text()
    assert page.evaluate("document.fonts.check('16px KaTeX_Main') && document.fonts.size") == 10
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(CONTRAST) == []
    page.keyboard.press("m")
    assert page.locator(".maths").count() == 0
    assert r"So \(x^2 = \frac{1}{4}\), it costs" in card.locator(".completion").inner_text()
    assert watched.complaints == []
    assert watched.requests == [pages["formulas"].as_uri()]
    page.close()


def test_what_katex_refuses_stands_as_it_was_written_and_nothing_runs(browser: Any, pages: dict[str, Path]) -> None:
    watched = Watched(browser, pages["formulas"])
    second = watched.page.locator(".example").nth(1)
    assert r"\(\frac{1}\)" in second.locator(".completion").inner_text()
    assert second.locator("a[href^=javascript]").count() == 0
    watched.page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'pwned = 1'}))"
    )
    assert watched.page.evaluate("window.pwned") is None  # the policy lets the page's own scripts run alone
    watched.page.close()


def test_names_are_no_formulas(browser: Any, tmp_path: Path) -> None:
    rows = [{"completion": completion(r"so \(x\)", key), "gold": key} for key in ("snake_case", "x_1")]
    verdicts, provenance = read_verdicts(write_run(tmp_path / "run", rows) / "verdicts.parquet")
    with open_verdicts(tmp_path / "both.parquet", provenance) as writer:
        writer.write(replace(one, second_verdict="correct", second_rule="math_verify") for one in verdicts)
    report([str(tmp_path / "both.parquet")], tmp_path / "report")
    watched = Watched(browser, tmp_path / "report" / "report.html")
    cards = watched.page.locator(".example")
    assert cards.nth(0).locator(".versus .maths, .facts .maths").count() == 0
    assert cards.nth(0).locator(".facts").get_by_text("math_verify", exact=True).count() == 1
    assert cards.nth(1).locator(".versus .maths").count() == 2
    watched.page.close()


def test_a_page_without_formulas_does_not_carry_katex(pages: dict[str, Path]) -> None:
    assert "katex-files" not in pages["report"].read_text(encoding="utf-8").split('<script type="module">')[0]
    sizes = [pages[name].stat().st_size for name in ("report", "formulas")]
    assert 200_000 < sizes[1] - sizes[0] < 400_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"\frac{1}{2}", True),
        (r"so \(x\)", True),
        ("$x_1 = 2$", True),
        ("it costs $5 and $10", False),
        ("a _ b ^ c", False),
    ],
)
def test_texts_that_look_like_latex(tmp_path: Path, text: str, expected: bool) -> None:
    runs = load_runs([str(write_run(tmp_path / "run", [{"completion": completion(text, "42")}]))])
    assert has_maths(single_examples(runs, [])) == expected
