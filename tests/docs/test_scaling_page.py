"""What grows with the rows of a build is told by its measurements, to the last figure."""

import json
from pathlib import Path
from types import ModuleType

import pytest
from benchmark_scripts import benchmark_script

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def scaling_page() -> ModuleType:
    return benchmark_script("scaling_page")


def reports(start: float, row_us: float) -> list[dict[str, object]]:
    """As `bench_build.py --rows` appends them, the largest first."""
    return [
        {"rows": rows, "results": {"sftkey": {"seconds": start + rows * row_us / 1e6, "peak_mib": 500 + rows // 10**6}}}
        for rows in (10**7, 10**6, 10**5, 10**4)
    ]


def test_the_line_is_that_which_the_times_lie_on(scaling_page: ModuleType) -> None:
    sizes = scaling_page.sizes_of(reports(1.5, 14.0))["sftkey"]
    line = scaling_page.fit(sizes)
    assert (line.start_seconds, line.row_us) == (pytest.approx(1.5), pytest.approx(14.0))
    said = scaling_page.sentence("text and ids", sizes)
    assert said.startswith("- text and ids: 1.5 s and 14.0 µs a row; from 1,000,000 to 10,000,000 rows the time grows ")
    assert said.endswith(" with the power 0.96 of the rows, memory by +9 MiB.")


def test_one_size_makes_no_line(scaling_page: ModuleType) -> None:
    with pytest.raises(SystemExit, match="two sizes"):
        scaling_page.fit(scaling_page.sizes_of(reports(1.0, 2.0)[:1])["sftkey"])


def test_the_page_holds_a_row_for_each_size(scaling_page: ModuleType) -> None:
    text = "before\n<!-- growth: none -->\nNot measured yet.\n<!-- end -->\nafter"
    page = scaling_page.page(text, "a.jsonl", scaling_page.sizes_of(reports(1.5, 14.0)))
    assert "| rows | text and ids, seconds | text and ids, MiB |\n|---:|---:|---:|\n| 10,000 | 1.64 | 500 |" in page
    assert "| 100,000 | 2.90 | 500 |\n| 1,000,000 | 15.50 | 501 |" in page
    assert page.startswith("before\n<!-- growth: a.jsonl -->\n")
    assert page.endswith("\n<!-- end -->\nafter")


def test_the_committed_page_says_what_its_file_does(scaling_page: ModuleType) -> None:
    text = scaling_page.PAGE.read_text(encoding="utf-8")
    found = scaling_page.GROWTH.search(text)
    assert found is not None
    if found[1] != "none":
        lines = (ROOT / "benchmarks" / "results" / found[1]).read_text(encoding="utf-8").splitlines()
        assert scaling_page.page(text, found[1], scaling_page.sizes_of(list(map(json.loads, lines)))) == text


def test_memory_is_told_from_a_file_of_its_own(scaling_page: ModuleType) -> None:
    peaks = {"sftkey": {"peak_mib": 1700}, "sftkey text": {"peak_mib": 160}}
    page = scaling_page.with_memory(
        "a\n<!-- memory: x -->\nold\n<!-- end -->\nb", "m", [{"rows": 10**6, "results": peaks}]
    )
    assert page == (
        "a\n<!-- memory: m -->\n| rows | text and ids, MiB | text alone, MiB |\n|---:|---:|---:|\n"
        "| 1,000,000 | 1,700 | 160 |\n<!-- end -->\nb"
    )
    text = scaling_page.PAGE.read_text(encoding="utf-8")
    found = scaling_page.MEMORY.search(text)
    assert found is not None
    lines = (ROOT / "benchmarks" / "results" / found[1]).read_text(encoding="utf-8").splitlines()
    assert scaling_page.with_memory(text, found[1], list(map(json.loads, lines))) == text


def test_the_picture_is_the_same_for_the_same_times(scaling_page: ModuleType, tmp_path: Path) -> None:
    sizes = scaling_page.sizes_of(reports(1.5, 14.0))
    for name in ("one.svg", "two.svg"):
        scaling_page.draw(sizes, tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
