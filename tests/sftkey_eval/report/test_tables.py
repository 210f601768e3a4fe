"""The tables of a report as CSV and LaTeX: the same numbers, and no text taken for a command."""

import csv
import io
import json
from pathlib import Path

import pytest
from eval_samples import AFTER, CUT, RIGHT, SLIP, WRONG, completion, write_run

from sftkey_eval.analysis.summary import rate
from sftkey_eval.report import report_tables
from sftkey_eval.report.compare import compare
from sftkey_eval.report.embed import LONGEST, SHORTEST, abridge, packed, segment_limit, unpacked
from sftkey_eval.report.further_tables import RunNumbers
from sftkey_eval.report.paper.latex_table import latex
from sftkey_eval.report.report import report
from sftkey_eval.report.tables import Table, csv_text, markdown_table

HOSTILE = "</script><img src=x onerror=1>\x00\u202e\ud800 & 50% $x_1$ #~^\\{}|`"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    first = [RIGHT] * 4 + [SLIP, WRONG, AFTER, CUT, completion("so", "forty-two"), ""]
    second = [RIGHT] * 6 + [SLIP, WRONG, AFTER, CUT]
    types = ["number"] * 7 + ["text"] * 3
    runs = [
        write_run(folder / name, [{"completion": c, "answer_type": t} for c, t in zip(texts, types, strict=True)])
        for name, texts in (("first", first), ("second", second))
    ]
    report([str(path) for path in runs], folder / "report")
    return folder / "report"


def read(written: Path, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((written / "tables" / f"{name}.csv").read_text(encoding="utf-8"))))


def test_every_table_is_there_as_csv_and_as_latex(written: Path) -> None:
    names = ["headline", "format_levels", "paired", "ratios", "error_classes", "format_errors", "composite"]
    names += ["headroom"]
    names += ["by_cot_length", "by_answer_type"]
    assert {p.name for p in (written / "tables").iterdir()} == {f"{n}.{e}" for n in names for e in ("csv", "tex")}


def median_words(numbers: RunNumbers) -> Table:
    rows = tuple((run.label, sorted(run.cot_words)[5]) for run in numbers.runs)
    return Table(name="median_words", caption="Words of a CoT.", columns=("Run", "Median <words>"), rows=rows)


@pytest.mark.slow
def test_a_new_table_is_one_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_tables, "RUN_TABLES", (*report_tables.RUN_TABLES, median_words))
    runs = [
        str(write_run(tmp_path / name, [{"completion": c} for c in (RIGHT, WRONG) * 5])) for name in ("first", "second")
    ]
    report(runs, tmp_path / "report")
    compare(*runs, tmp_path / "compare")
    for folder, name in ((tmp_path / "report", "report"), (tmp_path / "compare", "compare")):
        assert [row["run"] for row in read(folder, "median_words")] == ["first", "second"]
        assert "\\begin{tabular}" in (folder / "tables" / "median_words.tex").read_text()
        assert "## Median words\n\nWords of a CoT." in (folder / f"{name}.md").read_text()
        page = (folder / f"{name}.html").read_text()
        assert "Further tables" in page
        assert "Median &lt;words&gt;" in page


def test_what_has_a_section_is_not_shown_again(written: Path) -> None:
    assert "Further tables" not in (written / "report.html").read_text()


def test_the_csv_holds_the_numbers_of_the_json(written: Path) -> None:
    made = json.loads((written / "report.json").read_text())
    for row, run in zip(read(written, "headline"), made["runs"], strict=True):
        assert row["run"] == run["label"]
        for name, key in (("format_rate", "format"), ("strict_accuracy", "strict"), ("lenient_accuracy", "lenient")):
            assert (int(row[f"{name}_k"]), int(row[f"{name}_n"])) == (run[key]["k"], run[key]["n"])
            found = [float(row[name]), float(row[f"{name}_low"]), float(row[f"{name}_high"])]
            assert found == [run[key]["value"], run[key]["low"], run[key]["high"]]
        assert float(row["composite_0_7_0_3"]) == run["composite"]
    strict = made["paired"][0]["rates"]["strict"]
    paired = {row["rate"]: row for row in read(written, "paired")}
    assert list(paired) == ["Format", "Strict accuracy", "Lenient accuracy"]
    assert float(paired["Strict accuracy"]["difference"]) == strict["difference"]
    assert float(paired["Strict accuracy"]["mid_p"]) == strict["p_mid"]
    codes = {row["code"]: int(row["first"]) for row in read(written, "format_errors")}
    assert codes == made["runs"][0]["format_errors"] | {
        c: 0 for c in codes if c not in made["runs"][0]["format_errors"]
    }


def test_groups_in_the_csv_add_up_to_all_items(written: Path) -> None:
    strict = json.loads((written / "report.json").read_text())["runs"][0]["strict"]
    for name in ("by_cot_length", "by_answer_type"):
        found = read(written, name)
        assert sum(int(row["first_n"]) for row in found) == strict["n"]
        assert sum(int(row["first_k"]) for row in found) == strict["k"]
    assert [row["answer_type"] for row in read(written, "by_answer_type")] == ["number", "text"]


def test_latex_is_a_booktabs_tabular_with_a_cell_per_column(written: Path) -> None:
    lines = (written / "tables" / "headline.tex").read_text().splitlines()
    assert lines[3] == r"\begin{tabular}{@{}lrr@{}}"
    assert [line for line in lines if line.startswith(("\\top", "\\mid", "\\bottom"))] == [
        r"\toprule",
        r"\midrule",
        r"\bottomrule",
    ]
    rows = lines[lines.index(r"\toprule") : lines.index(r"\bottomrule")]
    assert {line.count(" & ") for line in rows if r"\\" in line} == {2}
    assert rows[3:5] == [
        r"Format rate & 70.0 & 80.0 \\[-1.5pt]",
        r" & {\scriptsize 39.7--89.2} & {\scriptsize 49.0--94.3} \\",
    ]


def hostile() -> Table:
    return Table(name="t", caption=f"Of\n{HOSTILE}", columns=("A b", HOSTILE), rows=((HOSTILE, rate(1, 2)),))


def test_text_in_latex_is_no_command() -> None:
    text = latex(hostile())
    assert "onerror" in text.replace("\\\\[-1.5pt]\n", "")
    caption, note, *lines = text.splitlines()
    assert caption.startswith("% Of </script>")  # its line break does not end its comment
    assert note.startswith("% Percent")
    bare = "\n".join(lines)
    for mark in ("%", "&", "$", "_", "#"):
        bare = bare.replace(f"\\{mark}", "")
    body = bare[bare.index("midrule") : bare.index("bottomrule")]
    assert "%" not in body
    assert {line.count("&") for line in body.splitlines()[1:-1]} == {1}
    assert body.count("$") == 12  # three invisible characters, their codes between two angle brackets each
    assert not set(text) & {"\x00", "\u202e"}


def test_text_in_markdown_is_no_markup() -> None:
    body = markdown_table(hostile()).splitlines()[2]
    assert body.count("|") - body.count("\\|") == 3
    assert r"\<img" in body


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(1)"])
def test_no_cell_of_a_csv_is_a_formula(text: str) -> None:
    table = Table(name="t", caption="", columns=("A",), rows=((text,), ("-42",)))
    assert [row[0] for row in csv.reader(io.StringIO(csv_text(table)))] == ["a", f"'{text}", "-42"]


def test_half_a_surrogate_pair_does_not_stop_a_report(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [{"completion": RIGHT, "id": "a\ud800b"}])
    report([f"x\udcff={folder}"], tmp_path / "report")  # a byte of the command line that is no UTF-8
    assert read(tmp_path / "report", "headline")[0]["run"] == "x?"
    assert unpacked(packed({"a": HOSTILE})) == {"a": HOSTILE}


def test_columns_of_a_csv_have_names_of_their_own() -> None:
    table = Table(name="t", caption="", columns=("Run", "a b", "a-b", "***"), rows=(("x", 1, 2, 3),))
    assert csv_text(table).splitlines() == ["run,a_b,a_b_2,column", "x,1,2,3"]


def test_long_regions_keep_their_beginning_and_end_and_say_what_is_missing() -> None:
    text = "".join(chr(97 + i % 26) for i in range(1000))
    (cot, head), (cut, note), (region, tail), key = abridge([("cot", text), ("key", "42")], 300)
    assert (cot, cut, region, key) == ("cot", "cut", "cot", ("key", "42"))
    assert text.startswith(head)
    assert text.endswith(tail)
    assert note == f"{1000 - len(head) - len(tail)} characters left out"
    assert len(head) + len(tail) == 300
    assert abridge([("cot", text)], 1000) == [("cot", text)]


def test_a_page_of_many_completions_holds_less_of_each() -> None:
    assert segment_limit(10) == LONGEST
    assert SHORTEST < segment_limit(20_000) < LONGEST
    assert segment_limit(10**9) == SHORTEST
