"""The index of all runs below a folder: each run once, none missing without a word, in a page that sorts."""

import csv
import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from eval_samples import CUT, RIGHT, SLIP, WRONG, call, write_run
from opened_page import CONTRAST, OpenedPage

HOSTILE = "<img src=x onerror=window.pwned=1> 'a\"b & 50%#?"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("index") / "runs"
    write_run(folder / "first", [{"completion": c} for c in [RIGHT] * 6 + [SLIP] * 4], name="first")
    write_run(folder / "deep" / HOSTILE, [{"completion": c} for c in [RIGHT] * 9 + [CUT]], name="second")
    write_run(folder / "other", [{"completion": c, "dataset": "products"} for c in [WRONG] * 3])
    (folder / "other" / "verdicts.parquet").rename(folder / "other" / "mine.parquet")
    write_run(folder / "damaged", [{"completion": RIGHT}])
    (folder / "damaged" / "verdicts.parquet").write_bytes(b"PAR1 and no more")
    (folder / "theirs.parquet").write_bytes(b"nothing of ours")
    write_run(folder / ".hidden" / "run", [{"completion": RIGHT}])
    (folder / "first" / "report").mkdir()
    (folder / "first" / "report" / "report.html").write_text("a report", encoding="utf-8")
    (folder / "compare.html").write_text("a comparison", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def out(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "index"
    done = call("index", folder, "--out", out)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout.splitlines()[0]) == {
        "index": str(out / "index.html"),
        "num_runs": 3,
        "num_unreadable": 1,
    }
    return out


def test_every_run_is_in_the_json_with_its_numbers(folder: Path, out: Path) -> None:
    made = json.loads((out / "index.json").read_text(encoding="utf-8"))
    shown = {run["name"]: (run["model"], run["seed"], run["data"], run["template"]) for run in made["runs"]}
    assert shown == {
        f"deep/{HOSTILE}": ("m", 7, "sums", "sftkey"),
        "first": ("m", 7, "sums", "sftkey"),
        "other/mine.parquet": ("", None, "products", "sftkey"),
    }
    rates = {run["name"]: (run["format"]["k"], run["strict"]["k"], run["strict"]["n"]) for run in made["runs"]}
    assert rates == {f"deep/{HOSTILE}": (9, 9, 10), "first": (10, 6, 10), "other/mine.parquet": (3, 0, 3)}
    assert [run["report"] for run in made["runs"]] == [None, str(folder / "first" / "report" / "report.html"), None]
    assert made["pages"] == [str(folder / "compare.html")]


def test_what_cannot_be_read_is_named_and_files_of_others_are_not(out: Path) -> None:
    made = json.loads((out / "index.json").read_text(encoding="utf-8"))
    (each,) = made["unreadable"]
    assert each["name"] == "damaged"
    assert "damaged/verdicts.parquet: not a readable parquet file" in each["fault"]
    assert "damaged/verdicts.parquet: not a readable parquet file" in (out / "index.html").read_text(encoding="utf-8")


def test_the_csv_has_the_same_runs(out: Path) -> None:
    with (out / "index.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    made = json.loads((out / "index.json").read_text(encoding="utf-8"))
    assert [row["run"] for row in rows] == [run["name"] for run in made["runs"]]
    assert [float(row["strict_accuracy"]) for row in rows] == [run["strict"]["value"] for run in made["runs"]]
    assert [row["seed"] for row in rows] == ["7", "7", ""]


def test_the_index_lies_in_the_folder_and_is_written_again(folder: Path) -> None:
    for _ in range(2):
        assert call("index", folder).exit_code == 0
    made = json.loads((folder / "index" / "index.json").read_text(encoding="utf-8"))
    assert len(made["runs"]) == 3
    assert made["pages"] == [str(folder / "compare.html")]


@pytest.mark.parametrize(
    ("name", "message"),
    [("none", "none: no such folder, expected one with scored runs below it"), ("empty", "no verdicts.parquet below")],
)
def test_a_folder_without_runs_is_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    done = call("index", tmp_path / name, "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert message in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_a_folder_of_somebody_else_is_not_written_into(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    done = call("index", folder, "--out", tmp_path)
    assert done.exit_code == 1
    assert "is not empty and not written by sftkey" in str(done.exception)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_page_sorts_searches_and_asks_for_nothing(
    browser: Any, folder: Path, out: Path, width: int, scheme: str
) -> None:
    opened = OpenedPage(browser, out / "index.html", width, scheme, ready="output:text('3 runs')")
    page = opened.page
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate("[...document.querySelectorAll('.scroll')].every(e => e.scrollWidth <= e.clientWidth)")
    assert page.evaluate(CONTRAST) == []
    names = "nodes => nodes.map(n => n.textContent.trim())"
    rows = page.locator("tbody th[scope=row]")
    if width > 1000:
        page.get_by_role("button", name="Strict accuracy").click()
        assert rows.evaluate_all(names) == [f"deep/{HOSTILE}", "first", "other/mine.parquet"]
        page.get_by_role("button", name="Strict accuracy").click()
        assert rows.evaluate_all(names) == ["other/mine.parquet", "first", f"deep/{HOSTILE}"]
        assert page.locator("th[aria-sort=ascending]").inner_text().startswith("Strict accuracy")
    page.keyboard.press("/")
    page.keyboard.type("PRODUCTS")
    assert page.locator("#runs output").inner_text() == "1 of 3 runs"
    assert [text.inner_text() for text in rows.all() if text.is_visible()] == ["other/mine.parquet"]
    target = page.locator("td a[href*='deep']").get_attribute("href")
    assert (out / unquote(target)).resolve() == (folder / "deep" / HOSTILE / "verdicts.parquet").resolve()
    assert page.evaluate("window.pwned") is None
    assert opened.complaints == []
    assert opened.requests == [(out / "index.html").as_uri()]
    page.close()
