"""The page of `show --html` in a real browser, with 10,000 examples and with text that is hard to show."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opened_page import CONTRAST, OpenedPage
from page_samples import HOSTILE, prepared_folder
from some_slow import some_slow

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.view.examples_page import write_page

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    gpt2 = str(shared_data / "tokenizers" / "gpt2")
    options = {"kind": "mixed", "num": "10000"}
    build(BuildConfig(source="arithmetic", options=options, tokenizer=gpt2, template="plain"), folder / "many")
    write_page(folder / "many", folder / "many.html")
    hard = prepared_folder(folder, gpt2)
    write_page(hard, folder / "hard.html")
    write_page(hard, folder / "cut.html", num=2)
    (folder / "text").mkdir()
    write_page(prepared_folder(folder / "text", None), folder / "text.html")
    return {name: folder / f"{name}.html" for name in ("many", "hard", "cut", "text")}


class Watched(OpenedPage):
    """The examples of a prepared folder."""

    def shown(self) -> str:
        return str(self.page.locator("#status").inner_text())

    def ids(self) -> list[str]:
        return list(self.page.locator(".example h2").all_inner_texts())

    def choose(self, name: str, value: str) -> None:
        self.page.locator(f"[data-filter={name}]").select_option(value)

    def search(self, words: str, expected: str) -> None:
        self.page.locator("#search").fill(words)
        playwright.expect(self.page.locator("#status")).to_have_text(expected)


@pytest.fixture
def many(browser: Any, pages: dict[str, Path]) -> Iterator[Watched]:
    watched = Watched(browser, pages["many"])
    yield watched
    assert watched.complaints == []
    watched.page.close()


@pytest.fixture
def hard(browser: Any, pages: dict[str, Path]) -> Iterator[Watched]:
    watched = Watched(browser, pages["hard"])
    yield watched
    assert watched.complaints == []
    watched.page.close()


@pytest.mark.parametrize("name", some_slow(["many", "hard", "cut", "text"], quick=["hard", "text"]))
@pytest.mark.parametrize(
    ("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")], ids=lambda value: str(value)
)
def test_a_page_opens_without_errors_requests_or_sideways_scrolling(
    browser: Any, pages: dict[str, Path], name: str, width: int, scheme: str
) -> None:
    watched = Watched(browser, pages[name], width, scheme)
    assert watched.complaints == []
    assert watched.requests == [pages[name].as_uri()]
    assert watched.page.evaluate("document.documentElement.scrollWidth") == width
    watched.page.close()


@pytest.mark.slow
def test_ten_thousand_examples_are_paged_by_keyboard(many: Watched) -> None:
    keyboard = many.page.keyboard
    assert many.shown() == "Showing 1–10 of 10,000"
    assert many.page.locator(".example").count() == 10
    keyboard.press("ArrowRight")
    assert many.ids()[0] == "arithmetic/train/10"
    keyboard.press("End")
    assert many.shown() == "Showing 9,991–10,000 of 10,000"
    keyboard.press("ArrowRight")
    keyboard.press("ArrowLeft")
    assert many.shown() == "Showing 9,981–9,990 of 10,000"
    keyboard.press("Home")
    assert many.ids() == [f"arithmetic/train/{i}" for i in range(10)]


def test_buttons_page_and_end_at_the_ends(many: Watched) -> None:
    pager = many.page.locator(".pager").first
    assert pager.get_by_role("button", name="Previous").is_disabled()
    pager.get_by_role("button", name="Last").click()
    assert pager.get_by_role("button", name="Next").is_disabled()
    many.page.locator(".pager").last.get_by_role("button", name="Previous").click()
    assert many.shown() == "Showing 9,981–9,990 of 10,000"


def test_search_finds_words_in_the_region_that_is_asked_for(many: Watched) -> None:
    many.search("arithmetic/train/9999", "Showing 1–1 of 1 (10,000 in all)")
    many.choose("in", "prompt")
    assert many.shown() == "Showing 0 (10,000 in all)"
    many.page.get_by_role("button", name="Clear them").click()
    assert many.shown() == "Showing 1–10 of 10,000"
    many.page.locator("#search").fill("101")
    many.choose("in", "key")
    playwright.expect(many.page.locator("#status")).to_contain_text("in all")
    assert many.ids()
    for card in many.page.locator(".example").all():
        assert "Key: 101" in card.inner_text()


def test_slash_goes_to_the_search_and_escape_clears_it(many: Watched) -> None:
    many.page.keyboard.press("/")
    many.page.keyboard.type("no such words t")
    playwright.expect(many.page.locator("#status")).to_have_text("Showing 0 (10,000 in all)")
    many.page.keyboard.press("Escape")
    assert many.shown() == "Showing 1–10 of 10,000"
    many.page.keyboard.press("ArrowRight")
    assert many.shown() == "Showing 11–20 of 10,000"


def test_straddles_are_counted_filtered_and_marked(many: Watched) -> None:
    label = many.page.locator("#straddle option[value='1']").inner_text()
    assert label == "key start (10,000)"  # ` 72` is one token of gpt2
    many.choose("straddle", "1")
    assert many.shown() == "Showing 1–10 of 10,000"
    assert many.page.locator(".example").first.locator(".tok.crosses").count() == 1
    assert many.page.locator(".chip.alarm").first.inner_text() == "straddles: key start"
    many.choose("straddle", "none")
    assert many.shown() == "Showing 0 (10,000 in all)"


def test_long_examples_are_found_and_sorted(many: Watched) -> None:
    value = many.page.locator("#length option", has_text="longest 1 %").get_attribute("value")
    many.choose("length", value)
    many.choose("sort", "short")
    size = "node => Number(node.querySelectorAll('.chip')[2].textContent.split(' ')[0])"
    assert many.page.locator(".example").first.evaluate(size) >= int(value.rstrip("-"))
    many.choose("length", "")
    many.choose("sort", "long")
    sizes = [card.evaluate(size) for card in many.page.locator(".example").all()]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] >= int(value.rstrip("-"))


def test_tokens_tile_the_text_by_region_with_borders(hard: Watched) -> None:
    tokens = hard.page.locator(".example").first.locator(".tok")
    found = tokens.evaluate_all("nodes => nodes.map(n => [n.dataset.region, n.textContent])")
    assert "".join(text for region, text in found if region == "key") == "5"
    assert "".join(text for region, text in found if region == "prompt") == "What is 2 + 3?"
    assert found[-1] == ["eos", "<|endoftext|>"]
    style = "node => getComputedStyle(node).borderLeftStyle + getComputedStyle(node).borderLeftWidth"
    assert tokens.nth(1).evaluate(style) == "solid1px"


def test_a_character_of_several_tokens_is_shown_once(hard: Watched) -> None:
    tokens = hard.page.locator(".example").nth(1).locator(".tok")
    key = tokens.evaluate_all("nodes => nodes.filter(n => n.dataset.region === 'key').map(n => n.textContent)")
    assert "".join(key).replace("·", "") == "naïve 👍🏽"
    assert key.count("·") > 2


def test_text_shows_the_regions_without_tokens(hard: Watched) -> None:
    hard.page.keyboard.press("t")
    assert hard.page.locator(".tok").count() == 0
    spans = hard.page.locator(".example").first.locator("[data-region]")
    found = spans.evaluate_all("nodes => nodes.map(n => [n.dataset.region, n.textContent])")
    assert found == [
        ["prompt", "What is 2 + 3?\n"],
        ["tag", "<Thinking>"],
        ["cot", "2 + 3 = 5"],
        ["tag", "</Thinking><Answer>"],
        ["key", "5"],
        ["tag", "</Answer>"],
    ]
    hard.page.get_by_role("button", name="tokens", exact=True).click()
    assert hard.page.locator(".tok").count() > 0


def test_text_of_the_data_never_runs(hard: Watched) -> None:
    hard.page.keyboard.press("t")
    hard.search("gnp", "Showing 1–3 of 3 (8 in all)")
    assert hard.page.evaluate("window.pwned") is None
    assert hard.page.locator("img").count() == 0
    shown = hard.page.locator(".example").first.inner_text()
    assert HOSTILE.replace("\u202e", "⟨U+202E⟩") in shown


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"rows": "rejects"}, "Showing 1–3 of 3 (8 in all)"),
        ({"rows": "examples"}, "Showing 1–5 of 5 (8 in all)"),
        ({"reason": "tag_in_cot"}, "Showing 1–2 of 2 (8 in all)"),
        ({"type": "choice"}, "Showing 1–1 of 1 (8 in all)"),
        ({"type": "choice", "rows": "rejects"}, "Showing 0 (8 in all)"),
    ],
    ids=["rejects", "examples", "reason", "type", "none"],
)
def test_filters_change_the_list(hard: Watched, filters: dict[str, str], expected: str) -> None:
    for name, value in filters.items():
        hard.choose(name, value)
    assert hard.shown() == expected


def test_a_reject_shows_its_reason_and_its_row(hard: Watched) -> None:
    hard.choose("reason", "empty_key")
    card = hard.page.locator(".example").inner_text()
    assert "rows.jsonl:6" in card
    assert "rejected: empty_key" in card
    assert '"k": ""' in card


def test_the_middle_of_a_long_example_unfolds_and_its_key_is_seen_before(hard: Watched) -> None:
    hard.choose("length", hard.page.locator("#length option").nth(1).get_attribute("value"))
    before = hard.page.locator(".tok").count()
    assert hard.page.locator(".tok.r-key").inner_text() == "7"
    hard.page.get_by_role("button", name="tokens more").click()
    assert hard.page.locator(".tok").count() > 2000 > before


def test_a_cut_page_says_so(browser: Any, pages: dict[str, Path]) -> None:
    cut = Watched(browser, pages["cut"])
    expected = "Cut: this page holds the first 2 of 5 examples and the first 2 of 3 rejects."
    assert cut.page.locator("#cut").inner_text() == expected
    cut.page.close()
    whole = Watched(browser, pages["hard"])
    assert whole.page.locator("#cut").is_hidden()
    whole.page.close()


def test_without_a_tokenizer_regions_are_text(browser: Any, pages: dict[str, Path]) -> None:
    text = Watched(browser, pages["text"])
    assert text.page.locator(".tok").count() == 0
    assert text.page.locator("#modes").is_hidden()
    assert text.page.locator(".example").nth(1).locator("[data-region=key]").inner_text() == "naïve 👍🏽"
    assert "characters" in text.page.locator(".chip").nth(2).inner_text()
    text.page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_contrast(browser: Any, pages: dict[str, Path], scheme: str) -> None:
    watched = Watched(browser, pages["hard"], scheme=scheme)
    assert watched.page.evaluate(CONTRAST) == []
    watched.page.close()


def test_controls_have_labels(hard: Watched) -> None:
    unlabelled = "nodes => nodes.filter(n => !n.labels || n.labels.length === 0).length"
    assert hard.page.locator("input, select").evaluate_all(unlabelled) == 0


def test_what_was_left_out_of_a_row_is_shown_and_found(browser: Any, tmp_path: Path) -> None:
    rows = [{"prompt": "q", "completion": "So \\boxed{4} seats."}, {"prompt": "r", "completion": "So \\boxed{5}"}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    build(BuildConfig(source="chat", inputs=(str(tmp_path / "rows.jsonl"),)), tmp_path / "out")
    write_page(tmp_path / "out", tmp_path / "page.html")
    watched = Watched(browser, tmp_path / "page.html")
    assert watched.page.locator(".left-out").all_inner_texts() == ["Left out of the row, text_after_key: seats."]
    assert "text_after_key in 1" in watched.page.locator("body").inner_text()
    watched.page.locator("#search").fill("seats.")
    playwright.expect(watched.page.locator(".example")).to_have_count(1)
    assert watched.complaints == []
    watched.page.close()
