"""The files of a report: made from the record alone, the same from a compressed one, good in a real browser."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from opened_page import CONTRAST, OpenedPage
from study_records import FakeArm, fake_record, written
from typer.testing import CliRunner

from sftkey_data.errors import SFTKeyError
from sftkey_eval.report.report_plots import write_plots
from sftkey_train.cli import app
from sftkey_train.study.report.study_numbers import study_numbers
from sftkey_train.study.report.study_plots import study_figures
from sftkey_train.study.report.study_report import report_study, study_line, study_text
from sftkey_train.study.report.study_results import read_results

ARMS = {
    "stage1": FakeArm(correct=0.3, slip=0.6, valid=0.95),
    "continued": FakeArm(correct=0.4, slip=0.5, spread=0.02, curve=(0.3, 0.4)),
    "sftkey": FakeArm(correct=0.35, slip=0.4, valid=0.9, spread=0.02, curve=(0.3, 0.5)),
    "weighted": FakeArm(correct=0.6, slip=0.3, spread=0.02, curve=(0.3, 0.95)),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    report_study(written(fake_record(ARMS, datasets=["steps", "copies"], num_items=80), folder / "study.json"), folder)
    return folder


def test_a_report_has_a_page_markdown_numbers_tables_and_plots_in_three_formats(made: Path) -> None:
    plots = {"steps_gains", "steps_curves", "copies_gains", "copies_curves"}
    drawn = {path.name for path in (made / "plots").iterdir()}
    assert drawn == {f"{name}.{kind}" for name in plots | {"gain_by_slips"} for kind in ("png", "svg", "pdf")}
    first = study_text(study_numbers(read_results(made / "study.json"))).splitlines()[0]
    assert first.startswith("The stage 2 that validation chose is shown to beat plain training on 1 of 2")
    text = (made / "study.md").read_text(encoding="utf-8")
    assert text.splitlines()[2] == f"**{first}**"
    assert all(f"](plots/{name}.png)" in text for name in plots | {"gain_by_slips"})
    numbers = json.loads((made / "report.json").read_text(encoding="utf-8"))
    assert numbers["in_short"] == [first]
    assert numbers["found"][0].startswith("On `steps`, `weighted` gives +")
    assert numbers["datasets"][0]["claims"][0]["finding"] == "fails"


def test_tables_have_the_numbers_of_the_json(made: Path) -> None:
    numbers = json.loads((made / "report.json").read_text(encoding="utf-8"))
    with (made / "tables" / "copies_arms.csv").open(encoding="utf-8") as lines:
        rows = {row["arm"]: row for row in csv.DictReader(lines)}
    (weighted,) = [arm for arm in numbers["datasets"][1]["arms"] if arm["name"] == "weighted"]
    assert float(rows["weighted"]["accuracy"]) == weighted["correct"]["value"]
    assert float(rows["weighted"]["slips_high"]) == weighted["slip"]["high"]
    with (made / "tables" / "copies_gains.csv").open(encoding="utf-8") as lines:
        kept = {
            (row["arm"], row["against"], row["rate"]): row["less_than_1_point_worse"] for row in csv.DictReader(lines)
        }
    assert kept["sftkey", "continued", "Format"] == "fails"
    assert kept["sftkey", "continued", "Accuracy"] == "–"


@pytest.mark.slow
def test_the_command_makes_the_same_files_of_the_compressed_record_alone(made: Path, tmp_path: Path) -> None:
    packed = tmp_path / "alone" / "study.json.gz"
    packed.parent.mkdir()
    written(json.loads((made / "study.json").read_text(encoding="utf-8")), packed)
    out = tmp_path / "out"
    done = CliRunner().invoke(app, ["study", "--report", str(packed), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert done.stderr.startswith("The stage 2 that validation chose is shown to beat plain training on 1 of 2")
    assert json.loads(done.stdout)["report"] == str(out / "study.html")
    files = [path for path in made.rglob("*") if path.is_file() and path.name != "study.json"]
    assert len(files) > 25
    for path in files:
        assert (out / path.relative_to(made)).read_bytes() == path.read_bytes(), path


def test_the_command_wants_a_folder_for_a_report_and_no_study(tmp_path: Path) -> None:
    out = ["--out", str(tmp_path)]
    for wrong in (["--report", "a.json"], [], ["x.toml", *out], ["x.toml", "--report", "a.json", *out]):
        assert CliRunner().invoke(app, ["study", *wrong]).exit_code == 2


def test_settings_of_one_arm_are_a_table_and_a_plot(tmp_path: Path) -> None:
    arms = {name: ARMS[name] for name in ("stage1", "continued")} | {
        "low": FakeArm(correct=0.2, table={"like": "sftkey", "lr": 1e-4}),
        "high": FakeArm(correct=0.4, table={"like": "sftkey", "lr": 1e-2}),
    }
    record = written(fake_record(arms, claim=[0], tuning=[4]), tmp_path / "study.json")
    figures = study_figures(study_numbers(read_results(record)))
    assert set(write_plots({"x": figures["sums_settings"]}, tmp_path, ("svg",))) == {"x"}
    assert "sftkey, 100 steps" in (tmp_path / "x.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize("num_finished", [0, 1])
def test_half_a_study_has_a_report(tmp_path: Path, num_finished: int) -> None:
    arms = {name: ARMS[name] for name in ("stage1", "continued", "weighted")}
    record = fake_record(arms, claim=[0], num_items=10, finished=num_finished, datasets=["a", "b"])
    numbers = report_study(written(record, tmp_path / "study.json"), tmp_path / "out")
    text = (tmp_path / "out" / "study.md").read_text(encoding="utf-8")
    assert "No run on it is finished." in text
    assert study_line(numbers, tmp_path).count("finished")


def test_a_file_that_is_no_record_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(SFTKeyError, match="key 'study' is missing"):
        report_study(written({"runs": []}, tmp_path / "study.json"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), pytest.param(380, "dark", marks=pytest.mark.slow)])
def test_the_page_is_whole_in_a_real_browser(made: Path, browser: Any, width: int, scheme: str) -> None:
    opened = OpenedPage(browser, made / "study.html", width, scheme, ready=".findings")
    assert opened.complaints == []
    assert [url for url in opened.requests if not url.startswith(("file:", "data:"))] == []
    page = opened.page
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator(".findings li").count() == 2
    assert page.locator(".findings code").first.inner_text() == "steps"
    assert page.locator(".panel").count() == 2 + 2 * 3
    page.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")
    assert page.evaluate(CONTRAST) == []
    page.close()
