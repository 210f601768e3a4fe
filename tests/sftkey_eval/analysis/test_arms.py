"""Arms over their seeds: compared by items and seeds, and first in every form of a report."""

import json
from pathlib import Path

import pytest
from eval_samples import AFTER, RIGHT, WRONG, call, sampled, write_run

from sftkey_data.errors import SFTKeyError
from sftkey_eval.analysis.arms import compare_arms
from sftkey_eval.analysis.loaded_runs import load_runs
from sftkey_eval.report.report import report
from sftkey_eval.statistics.proportions import wilson


def test_runs_under_one_label_are_the_seeds_of_an_arm(tmp_path: Path) -> None:
    texts = [[RIGHT] * 6, [RIGHT] * 4 + [WRONG] * 2, [WRONG] * 3 + [RIGHT] * 3, [WRONG] * 6]
    folders = [write_run(tmp_path / str(i), [{"completion": c} for c in t]) for i, t in enumerate(texts)]
    runs = load_runs([f"a={folders[2]}", f"a={folders[3]}", f"b={folders[0]}", f"b={folders[1]}"])
    assert [run.label for run in runs] == ["a (1)", "a (2)", "b (1)", "b (2)"]
    (comparison,) = compare_arms(runs)
    assert (comparison.first, comparison.second, comparison.num_items, comparison.num_seeds) == ("a", "b", 6, (2, 2))
    assert comparison.rates["strict"].difference == pytest.approx(10 / 12 - 3 / 12)
    assert compare_arms(load_runs([str(folders[0]), str(folders[1])])) == []
    with pytest.raises(SFTKeyError, match="'a' has one run several times"):
        load_runs([f"a={folders[0]}", f"a={folders[0]}"])


def test_a_report_shows_samples_and_seeds_in_every_form(tmp_path: Path) -> None:
    arms = {"a": [[[RIGHT, WRONG]] * 5, [[WRONG, WRONG]] * 5], "b": [[[RIGHT, RIGHT]] * 5, [[RIGHT, AFTER]] * 5]}
    specs = [
        f"{arm}={sampled(tmp_path / f'{arm}{i}', items)}" for arm, runs in arms.items() for i, items in enumerate(runs)
    ]
    made = report(specs, tmp_path / "report")
    assert [arm.rates["strict"].difference for arm in made.arms] == [pytest.approx(0.75 - 0.25)]
    written = json.loads((tmp_path / "report" / "report.json").read_text())
    assert written["arms"][0]["num_seeds"] == [2, 2]
    found = written["runs"][0]["samples"]["pass_at"]
    assert [found[k]["value"] for k in ("1", "2")] == [0.5, 1.0]
    assert (found["2"]["low"], found["2"]["high"]) == pytest.approx((wilson(5, 5).low, 1.0))
    for name in ("report.html", "report.md"):
        text = (tmp_path / "report" / name).read_text()
        for words in ("Several samples per item", "pass@2", "Arms over their seeds", "b (2)", "80 % power begins at"):
            assert words in text, (name, words)
        assert text.index("Arms over their seeds") < text.index("eed by seed") < text.index("b (2)")
    assert "each counts once, by the mean of its samples" in (tmp_path / "report" / "report.html").read_text()
    rows = (tmp_path / "report" / "tables" / "arm_pairs.csv").read_text().splitlines()
    assert rows[0] == "pair,rate,items,seeds,difference,difference_low,difference_high,shown_from_points,finding"
    assert len(rows) == 4
    assert (tmp_path / "report" / "tables" / "arms.csv").read_text().count("\n") == 3


def test_a_report_of_several_seeds_prints_the_arms_first(tmp_path: Path) -> None:
    arms = {"a": [[WRONG], [AFTER]] * 20, "b": [[RIGHT], [RIGHT]] * 20, "c": [[RIGHT], [AFTER]] * 20}
    specs = [f"{arm}={sampled(tmp_path / f'{arm}{i}', items)}" for arm, items in arms.items() for i in range(2)]
    done = call("report", *specs, "--out", tmp_path / "report")
    printed = json.loads(done.stdout)
    assert list(printed) == ["report", "found", "arms", "arm_rates", "runs"]
    strict = {arm["second"]: arm["rates"]["strict"] for arm in printed["arms"]}
    assert (strict["b"]["finding"], strict["b"]["shown"], strict["c"]["finding"]) == ("higher", True, "higher")
    assert all(0 < rate["detectable"] < 1 for arm in printed["arms"] for rate in arm["rates"].values())
    assert printed["arms"][1]["rates"]["format"]["finding"].startswith("no difference shown; 80 % power begins at")
    found, *lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert found == printed["found"]
    assert [line.split()[0] for line in lines[:9]] == ["arm", "a", "b", "c", "arms", "b", "b", "c", "c"]
    assert lines[4].split("  ")[-1] == "finding"
    assert "shown from" in lines[4]
    assert "100.0 – 100.0" not in done.stderr
    assert lines.index("seed by seed") == 9
    assert lines[11].startswith("a (1)")


@pytest.mark.slow
def test_an_arm_with_one_seed_says_that_nothing_can_be_shown(tmp_path: Path) -> None:
    specs = [f"a={sampled(tmp_path / f'a{i}', [[WRONG]] * 9)}" for i in range(2)]
    specs.append(f"b={sampled(tmp_path / 'b', [[RIGHT]] * 9)}")
    done = call("report", *specs, "--out", tmp_path / "report")
    rate = json.loads(done.stdout)["arms"][0]["rates"]["strict"]
    assert (rate["difference"], rate["low"], rate["detectable"], rate["shown"]) == (1.0, None, None, False)
    assert rate["finding"].startswith("nothing can be shown: an arm with one seed")
    alone = call("report", *specs[:2], "--out", tmp_path / "alone")
    assert list(json.loads(alone.stdout)) == ["report", "found", "arms", "arm_rates", "runs"]
    assert [line for line in alone.stderr.splitlines() if line.strip()][2].startswith("a    2")


def test_what_cannot_be_paired_is_said_on_the_terminal(tmp_path: Path) -> None:
    specs = [sampled(tmp_path / "a", [[RIGHT]] * 4), sampled(tmp_path / "b", [[RIGHT]] * 3)]
    done = call("report", *specs, "--out", tmp_path / "report")
    assert "Not paired: 'a' has 1 ids that 'b' has not" in done.stderr
