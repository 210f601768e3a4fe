"""Of many completions a page holds a sample, and says so; the numbers are of all of them."""

import json
from collections import Counter
from pathlib import Path

import pytest
from eval_samples import AFTER, RIGHT, SLIP, write_run

from sftkey_eval.report import example_browser
from sftkey_eval.report.compare import compare
from sftkey_eval.report.embed import unpacked
from sftkey_eval.report.report import report

TEXTS = [AFTER] * 3 + [SLIP] * 10 + [RIGHT] * 37
"""Of 20 on a page: all three of the smallest class, then as many of either other."""


def shown(page: str) -> list[tuple[str, str]]:
    """Id and class of each card."""
    data = unpacked(page.split('id="example-data"', 1)[1].split(">", 1)[1].split("<", 1)[0].strip())
    return [(data["items"][entry["item"]]["id"], entry["outcomes"][-1]["class"]) for entry in data["entries"]]


@pytest.fixture
def small_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example_browser, "MOST_SHOWN", 20)


@pytest.mark.usefixtures("small_page")
def test_a_page_holds_as_many_of_each_class_as_there_is_room_for(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [{"completion": text} for text in TEXTS])
    report([str(run)], tmp_path / "report")
    page = (tmp_path / "report" / "report.html").read_text()
    cards = shown(page)
    assert Counter(class_ for _, class_ in cards) == {"correct": 9, "slip": 8, "format": 3}
    assert "30 completions are not among them" in page
    assert json.loads((tmp_path / "report" / "report.json").read_text())["runs"][0]["num_items"] == 50
    numbers = [int(id_.rsplit("/", 1)[1]) for id_, _ in cards]
    assert numbers == sorted(numbers)  # in the order of the file
    assert numbers[-9:] != list(range(13, 22))  # and not the first of it


@pytest.mark.usefixtures("small_page")
def test_a_comparison_shows_every_flipped_item_before_those_that_did_not_change(tmp_path: Path) -> None:
    before = write_run(tmp_path / "before", [{"completion": text} for text in [SLIP] * 2 + [RIGHT] * 28])
    now = write_run(tmp_path / "now", [{"completion": RIGHT}] * 30)
    compare(str(before), str(now), tmp_path / "compare")
    page = (tmp_path / "compare" / "compare.html").read_text()
    cards = shown(page)
    assert len(cards) == 10
    assert [id_.rsplit("/", 1)[1] for id_, _ in cards[:2]] == ["0", "1"]
    assert "40 completions are not among them" in page


@pytest.mark.slow
@pytest.mark.usefixtures("small_page")
def test_two_runs_show_the_same_items_where_their_classes_are_alike(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, [{"completion": text} for text in TEXTS]) for name in ("one", "other")]
    report([str(run) for run in runs], tmp_path / "report")
    cards = shown((tmp_path / "report" / "report.html").read_text())
    assert len(cards) == 20
    assert cards[:10] == cards[10:]


def test_a_page_with_room_for_all_says_nothing_of_a_sample(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [{"completion": text} for text in TEXTS])
    report([str(run)], tmp_path / "report")
    page = (tmp_path / "report" / "report.html").read_text()
    assert len(shown(page)) == 50
    assert "are not among them" not in page
