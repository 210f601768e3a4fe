"""Reports: every number with its counts, nothing dropped, and no text of a model taken for markup."""

import html
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eval_samples import AFTER, CUT, EMPTY, LUCKY, RIGHT, SLIP, WRONG, completion, outcomes_of, write_run
from statsmodels.stats.proportion import proportion_confint

from sftkey_data.console import visible
from sftkey_data.errors import SFTKeyError
from sftkey_data.format.template import BUILTIN
from sftkey_eval.analysis.loaded_runs import load_runs
from sftkey_eval.analysis.summary import rate, summarize
from sftkey_eval.records.verdict_reader import read_verdicts
from sftkey_eval.records.verdicts import Verdict
from sftkey_eval.report.embed import unpacked
from sftkey_eval.report.example_browser import segments
from sftkey_eval.report.printed import cell, percent, points
from sftkey_eval.report.report import make_report, report
from sftkey_eval.report.terminal import aligned, headline_text

FIRST = [RIGHT, RIGHT, RIGHT, LUCKY, SLIP, SLIP, WRONG, AFTER, CUT, EMPTY]
SECOND = [RIGHT, RIGHT, SLIP, RIGHT, RIGHT, RIGHT, WRONG, RIGHT, RIGHT, WRONG]
HOSTILE = (
    "</script><script>window.pwned=1</script><!--<img src=x onerror=alert(1)>\x00\x07\u202e\u2028'\"&amp; {{7777*7777}}"
)


def rows(completions: list[str]) -> list[dict[str, Any]]:
    return [{"completion": text, "finish_reason": "length" if text == CUT else "stop"} for text in completions]


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    return [write_run(folder / "a", rows(FIRST), name="first"), write_run(folder / "b", rows(SECOND), name="second")]


@pytest.fixture(scope="module")
def written(two_runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report")
    report([str(path) for path in two_runs], out)
    return out


@pytest.fixture(scope="module")
def verdicts(two_runs: list[Path]) -> list[Verdict]:
    return read_verdicts(two_runs[0] / "verdicts.parquet")[0]


def example_data(page: str) -> Any:
    (content,) = re.findall(
        r'<script type="application/gzip\+base64" id="example-data">(.*?)</script>', page, re.DOTALL
    )
    return unpacked(content)


def test_every_rate_counts_every_item(verdicts: list[Verdict]) -> None:
    summary = summarize(outcomes_of(verdicts))
    counted = {name: (r.k, r.n) for name, r in summary.headline.items()}
    assert counted == {"format": (7, 10), "strict": (4, 10), "lenient": (5, 10), "given_format": (4, 7)}
    assert {name: r.k for name, r in summary.error_classes.items() if r.k} == {
        "correct": 4,
        "format": 1,
        "slip": 2,
        "wrong_cot": 1,
        "no_answer": 2,
    }
    assert sum(r.k for r in summary.error_classes.values()) == summary.num_items
    assert summary.format_errors == {"empty": 1, "text_after_key": 1, "truncated": 1}
    assert (summary.lucky.k, summary.lucky.n) == (1, 4)
    assert summary.finish_reasons == {"length": 1, "stop": 9}


@pytest.mark.parametrize(("k", "n"), [(0, 7), (7, 7), (3, 10), (146, 400)])
def test_intervals_are_wilsons(k: int, n: int) -> None:
    found = rate(k, n)
    assert (found.low, found.high) == pytest.approx(proportion_confint(k, n, method="wilson"), abs=1e-9)
    assert found.value == k / n


def test_a_rate_over_nothing_has_no_value(verdicts: list[Verdict]) -> None:
    malformed = [v for v in verdicts if not v.format_valid]
    given = summarize(outcomes_of(malformed)).given_format
    assert (given.k, given.n, given.value, given.low) == (0, 0, None, None)
    with pytest.raises(SFTKeyError, match="no verdicts"):
        summarize(outcomes_of([]))


def test_undecided_and_unscored_stay_in_the_denominator_and_bound_the_accuracy(verdicts: list[Verdict]) -> None:
    changed = [
        *verdicts[:6],
        replace(verdicts[6], verdict="undecided", error_class="undecided"),
        replace(verdicts[4], id="x", verdict="unscored", error_class="unscored"),
        replace(verdicts[8], verdict="undecided"),  # malformed: undecided or not, it cannot count as correct
    ]
    summary = summarize(outcomes_of(changed))
    assert (summary.strict.k, summary.strict.n) == (4, 9)
    assert (summary.undecided, summary.unscored) == (1, 1)
    assert (summary.strict_if_wrong, summary.strict_if_right) == (4 / 9, 5 / 9)


def test_the_composite_runs_from_the_format_rate_to_the_accuracy(verdicts: list[Verdict]) -> None:
    summary = summarize(outcomes_of(verdicts))
    assert summary.composite_at(0.0) == summary.format.value == 0.7
    assert summary.composite_at(1.0) == summary.strict.value == 0.4
    assert summary.composite == pytest.approx(summary.composite_at(0.7)) == pytest.approx(0.7 * 0.4 + 0.3 * 0.7)


def test_a_report_is_a_page_markdown_json_tables_and_plots(written: Path) -> None:
    assert {path.name for path in written.iterdir()} == {"report.html", "report.md", "report.json", "tables", "plots"}
    made = json.loads((written / "report.json").read_text())
    assert [(run["label"], run["strict"]["k"], run["strict"]["n"]) for run in made["runs"]] == [
        ("first", 4, 10),
        ("second", 7, 10),
    ]
    strict = made["paired"][0]["rates"]["strict"]
    assert (strict["lost"], strict["gained"], strict["both"], strict["neither"]) == (1, 4, 3, 2)
    assert "| first | 70.0\u202f% (39.7 – 89.2; 7/10) | 40.0\u202f%" in (written / "report.md").read_text()


def test_the_page_names_policy_template_model_seed_and_data(written: Path, two_runs: list[Path]) -> None:
    page = html.unescape((written / "report.html").read_text())
    _, provenance = read_verdicts(two_runs[0] / "verdicts.parquet")
    for name in ("template_digest", "policy_digest", "sha256"):
        assert provenance[name][:12] in page
    assert "How to read this" in page
    assert "7 (recipe unnamed)" in page


def test_the_page_needs_nothing_outside_itself(written: Path) -> None:
    page = (written / "report.html").read_text()
    assert re.findall(r"(?:src|href|action)=\"(?!#|data:)", page) == []
    assert "http:" not in page
    assert "https:" not in page
    assert "@import" not in page


def test_writing_a_report_twice_gives_the_same_bytes(written: Path, two_runs: list[Path], tmp_path: Path) -> None:
    report([str(path) for path in two_runs], tmp_path)
    written_files = [path for path in written.rglob("*") if path.is_file()]
    assert len(written_files) > 20
    for path in written_files:
        assert (tmp_path / path.relative_to(written)).read_bytes() == path.read_bytes(), path.name


def test_hostile_text_is_data_and_never_markup(tmp_path: Path) -> None:
    answers = [{"completion": completion(HOSTILE, HOSTILE), "prompt": HOSTILE, "gold": HOSTILE, "answer_type": "text"}]
    folder = write_run(tmp_path / "run", [*answers, {"completion": HOSTILE, "id": HOSTILE}])
    label = HOSTILE.replace("=", "")  # a label ends at the first `=`
    report([f"{label}={folder}"], tmp_path / "report")
    page = (tmp_path / "report" / "report.html").read_text()
    assert page.count("<script") == 3
    assert page.count("</script") == 3
    assert "<img" not in page
    assert "60481729" not in re.sub(
        r"<style>.*?</style>", "", page.split("<body>")[1].split("<script")[0], flags=re.DOTALL
    )
    assert not set(page) & {"\x00", "\x07", "\u202e", "\u2028"}
    data = example_data(page)
    assert "".join(text for _, text in data["entries"][1]["outcomes"][0]["segments"]) == HOSTILE
    assert data["items"][0]["prompt"] == HOSTILE
    assert HOSTILE not in (tmp_path / "report" / "report.md").read_text()


@pytest.mark.parametrize("name", list(BUILTIN))
def test_segments_join_to_the_completion_and_name_its_parts(name: str) -> None:
    template = BUILTIN[name]
    text, spans = template.render("20 + 22 = 42 😀", "42")
    cut = segments(template, text, "stop")
    assert "".join(part for _, part in cut) == text
    assert [part for region, part in cut if region == "key"] == ["42"]
    assert [part for region, part in cut if region == "cot"] == [text[spans.cot_start : spans.cot_end]]
    broken = f"{text}\n{text}"
    assert "".join(part for _, part in segments(template, broken, "stop")) == broken


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x00b", "a⟨U+0000⟩b"),
        ("\u202egnp", "⟨U+202E⟩gnp"),
        ("tab\tand\nline", "tab\tand\nline"),
        ("नमस्ते 👩\u200d🔬", "नमस्ते 👩\u200d🔬"),
    ],
    ids=["nul", "direction", "space", "joiner"],
)
def test_invisible_characters_are_shown(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.parametrize("name", ["boxed"])
def test_free_text_around_the_key_is_no_tag(name: str) -> None:
    template = BUILTIN[name]
    text, _ = template.render("20 + 22 = 42", "42")
    cut = segments(template, f"{text} and that is all", "stop")
    assert "".join(part for _, part in cut) == f"{text} and that is all"
    assert cut[-2:] == [("tag", "}"), ("text", " and that is all")]
    assert [part for region, part in cut if region == "key"] == ["42"]


def test_numbers_are_written_for_people() -> None:
    assert [points(v) for v in (0.0325, -0.004, 0.0, -0.0001)] == ["+3.2", "\u22120.4", "0.0", "0.0"]
    assert percent(None) == "–"
    assert cell("a|b\n<c>*") == r"a\|b \<c\>\*"


def test_runs_take_their_label_from_the_command_the_record_or_the_folder(two_runs: list[Path], tmp_path: Path) -> None:
    plain = write_run(tmp_path / "x=y", rows(FIRST))
    labels = [run.label for run in load_runs([str(two_runs[0]), f"mine={two_runs[1]}", str(plain)])]
    assert labels == ["first", "mine", "x=y"]
    assert load_runs([str(plain / "verdicts.parquet")])[0].label == "x=y"


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        (["{a}", "{a}"], r"2 runs are called 'first' .*; name them apart: LABEL=PATH"),
        (["{a}/nothing"], "run not found: .*expected a run directory or a verdicts file"),
        (["{empty}"], "the folder holds no verdicts.parquet"),
        ([], "no runs given"),
    ],
    ids=["labels", "missing", "unscored", "none"],
)
def test_runs_that_cannot_be_loaded_are_one_line(
    two_runs: list[Path], tmp_path: Path, specs: list[str], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    named = [spec.format(a=two_runs[0], empty=tmp_path / "empty") for spec in specs]
    with pytest.raises(SFTKeyError, match=message):
        report(named, tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_runs_that_do_not_pair_are_reported_apart_with_the_reason(two_runs: list[Path], tmp_path: Path) -> None:
    fewer = write_run(tmp_path / "fewer", rows(FIRST[:9]))
    made = make_report(load_runs([str(two_runs[0]), str(fewer), str(two_runs[1])]))
    assert [comparison.second.label for comparison in made.comparisons] == ["second"]
    assert made.not_paired == [
        "'first' has 1 ids that 'fewer' has not, the first is 'sums/test/9'; expected the same items"
    ]
    assert list(made.summaries) == ["first", "fewer", "second"]


def test_the_terminal_table_aligns_its_columns(two_runs: list[Path]) -> None:
    made = make_report(load_runs([str(path) for path in two_runs]))
    lines = headline_text(made.summaries).splitlines()
    starts = {line.index("40.0") if "40.0" in line else line.index("70.0", 30) for line in lines[1:]}
    assert len(starts) == 1
    assert lines[0].index("Strict accuracy") in starts


def test_many_truncated_completions_are_a_warning(written: Path) -> None:
    assert "first: 1 of 10 completions hit the token limit" in (written / "report.html").read_text()


def test_a_label_on_the_terminal_is_one_line_that_steers_nothing() -> None:
    table = aligned([["run", "Format"], ["a\x1b[2J\nb", "1"]])
    assert table == "run" + 13 * " " + "Format\na⟨U+001B⟩[2J b  1"
