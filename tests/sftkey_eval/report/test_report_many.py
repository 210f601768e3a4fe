"""The report's page with 20,000 examples, by keyboard, in both themes and on a phone."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eval_samples import AFTER, RIGHT, SLIP, write_run
from report_pages import Watched

from sftkey_eval.records.verdict_reader import read_verdicts
from sftkey_eval.records.verdicts import open_verdicts
from sftkey_eval.report.report import report

MANY = 20_000


def report_on(folder: Path, num: int) -> Path:
    """The page of so many items: every fourth a slip, every tenth malformed, half of them from another dataset."""
    three = write_run(folder / "three", [{"completion": text} for text in (RIGHT, SLIP, AFTER)])
    (right, slip, after), provenance = read_verdicts(three / "verdicts.parquet")
    words = " ".join(f"word{i}" for i in range(120))
    with open_verdicts(folder / "many.parquet", provenance) as writer:
        writer.write(
            replace(
                after if i % 10 == 9 else slip if i % 4 == 0 else right,
                id=f"item/{i}",
                dataset="odd" if i % 2 else "even",
                answer_type="number" if i % 5 else "text",
                prompt=f"Question {i}: {words} {i * i}?",
            )
            for i in range(num)
        )
    report([str(folder / "many.parquet")], folder / "report")
    return folder / "report" / "report.html"


@pytest.fixture(scope="module")
def some(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough examples for many pages of them."""
    return report_on(tmp_path_factory.mktemp("some"), 1_000)


@pytest.fixture
def opened(browser: Any, some: Path) -> Iterator[Watched]:
    watched = Watched(browser, some)
    yield watched
    assert watched.complaints == []
    assert watched.requests == [some.as_uri()]
    watched.page.close()


@pytest.mark.slow
def test_twenty_thousand_examples_are_filtered_and_searched(browser: Any, tmp_path: Path) -> None:
    many = report_on(tmp_path, MANY)
    opened = Watched(browser, many)
    assert opened.shown() == "Showing 1–20 of 20,000 (20,000 in all)"
    opened.choose("dataset", "odd")
    assert opened.shown() == "Showing 1–20 of 10,000 (20,000 in all)"
    opened.choose("class", "format")
    assert opened.shown() == "Showing 1–20 of 2,000 (20,000 in all)"
    opened.choose("type", "text")
    assert opened.shown() == "Showing 0 (20,000 in all)"
    opened.page.get_by_role("button", name="Clear filters").click()
    opened.search("Question 19999: WORD0", "Showing 1–1 of 1 (20,000 in all)")
    assert opened.page.locator(".example h3").inner_text() == "item/19999"
    assert opened.page.locator(".example").count() == 1
    assert many.stat().st_size < 5_000_000
    assert "The examples take " in opened.page.locator("footer").inner_text()
    assert opened.complaints == []
    assert opened.requests == [many.as_uri()]
    opened.page.close()


def test_only_the_shown_examples_are_in_the_page(opened: Watched) -> None:
    assert opened.page.locator(".example").count() == 20
    assert opened.page.evaluate("document.querySelectorAll('*').length") < 3000


def focused(opened: Watched) -> str:
    return str(opened.page.evaluate("document.activeElement.querySelector('h3')?.textContent || ''"))


def test_examples_are_walked_by_keyboard_over_the_border_of_a_page(opened: Watched) -> None:
    keyboard = opened.page.keyboard
    keyboard.press("j")
    assert focused(opened) == "item/0"
    keyboard.press("ArrowRight")
    assert focused(opened) == "item/1"
    keyboard.press("k")
    keyboard.press("ArrowLeft")  # there is none before the first
    assert focused(opened) == "item/0"
    for _ in range(20):
        keyboard.press("j")
    assert focused(opened) == "item/20"
    assert opened.shown().startswith("Showing 21–40")
    box = opened.page.locator(".example:focus").bounding_box()
    assert 0 <= box["y"] < 450
    keyboard.press("k")
    assert focused(opened) == "item/19"
    keyboard.press("n")
    assert opened.shown().startswith("Showing 21–40")
    keyboard.press("p")
    assert opened.shown().startswith("Showing 1–20")


def test_letters_typed_into_the_search_are_no_commands(opened: Watched) -> None:
    opened.page.keyboard.press("/")
    opened.page.keyboard.type("jnkpt?/")
    assert opened.page.locator("[data-filter=search]").input_value() == "jnkpt?/"
    assert opened.page.locator("dialog").is_hidden()
    assert opened.page.locator("#theme").inner_text() == "Theme: system"


def test_the_keys_are_documented_in_the_page(opened: Watched) -> None:
    opened.page.keyboard.press("?")
    dialog = opened.page.get_by_role("dialog", name="Keyboard")
    assert dialog.is_visible()
    assert {"/", "j", "k", "n", "p", "t", "?"} <= set(dialog.locator("kbd").all_inner_texts())
    opened.page.keyboard.press("Escape")
    assert dialog.is_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_theme_follows_the_system_until_it_is_chosen(browser: Any, some: Path, scheme: str) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    dark, light = "rgb(20, 22, 26)", "rgb(252, 251, 249)"
    watched = Watched(browser, some, scheme=scheme)
    seen = [watched.page.evaluate(ground)]
    for _ in range(3):
        watched.page.locator("#theme").click()
        seen.append(watched.page.evaluate(ground))
    system = dark if scheme == "dark" else light
    assert seen == [system, light, dark, system]
    watched.page.keyboard.press("t")
    watched.page.keyboard.press("t")
    watched.page.reload()
    watched.page.wait_for_selector(".example")
    assert watched.page.evaluate(ground) == dark  # the choice is kept
    assert watched.complaints == []
    watched.page.close()


def test_a_phone_shows_everything_without_scrolling_sideways(browser: Any, some: Path) -> None:
    watched = Watched(browser, some, width=375)
    for theme in ("system", "light", "dark"):
        assert watched.page.locator("#theme").inner_text() == f"Theme: {theme}"
        assert watched.page.evaluate("document.documentElement.scrollWidth") == 375
        watched.page.locator("#theme").click()
    inside = "nodes => nodes.every(n => n.getBoundingClientRect().right <= 375 && n.getBoundingClientRect().left >= 0)"
    assert watched.page.locator("figure .plot, .controls *, .example, .versus > div").evaluate_all(inside)
    watched.page.close()


def test_plots_have_a_text_and_marks_inside_them(opened: Watched) -> None:
    plots = opened.page.locator("figure svg[role=img]")
    assert plots.count() == 4  # scatter, composite, by CoT length, by answer type
    for plot in plots.all():
        assert len(plot.get_attribute("aria-label")) > 30
        box = plot.bounding_box()
        for mark in plot.locator(".dot").all():
            at = mark.bounding_box()
            assert box["x"] - 10 <= at["x"] <= box["x"] + box["width"]
            assert box["y"] - 10 <= at["y"] <= box["y"] + box["height"]


def test_a_second_graders_disagreements_are_counted_and_listed(browser: Any, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [{"completion": text} for text in (RIGHT, SLIP, RIGHT, AFTER)])
    verdicts, provenance = read_verdicts(run / "verdicts.parquet")
    opinions = ["correct", "correct", "undecided", None]
    with open_verdicts(tmp_path / "both.parquet", provenance) as writer:
        writer.write(
            replace(verdict, second_verdict=opinion, second_rule=opinion and "their rule")
            for verdict, opinion in zip(verdicts, opinions, strict=True)
        )
    report([str(tmp_path / "both.parquet")], tmp_path / "report")
    made = json.loads((tmp_path / "report" / "report.json").read_text())["second_grader"]["both"]
    assert (made["k"], made["n"], made["ids"]) == (2, 3, ["sums/test/1", "sums/test/2"])
    watched = Watched(browser, tmp_path / "report" / "report.html")
    watched.page.get_by_role("button", name="Show 2 disagreements of both").click()
    assert watched.shown() == "Showing 1–2 of 2 (4 in all)"
    assert watched.page.locator(".example").first.get_by_text("their rule").count() == 1
    assert watched.complaints == []
    watched.page.close()
