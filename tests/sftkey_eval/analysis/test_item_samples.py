"""Several samples per item: counted by item, never as if they were independent."""

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from eval_samples import AFTER, RIGHT, WRONG, completion, write_run
from scipy.stats import t as scipy_t
from scipy.stats import ttest_1samp

from sftkey_data.errors import SFTKeyError
from sftkey_eval.analysis.arms import compare_arms
from sftkey_eval.analysis.item_samples import by_item, majority_is_correct, pass_at_k
from sftkey_eval.analysis.loaded_runs import load_runs
from sftkey_eval.analysis.paired_comparison import compare_runs
from sftkey_eval.analysis.summary import summarize, summary_json
from sftkey_eval.kinds.grade import grade
from sftkey_eval.report.report import report
from sftkey_eval.statistics.resampling import bootstrap, items_by_seeds, mean_of_items


def sampled(folder: Path, items: list[list[str]]) -> str:
    rows = [
        {"id": f"q{i}#{k}", "item_id": f"q{i}", "sample": k, "completion": text}
        for i, samples in enumerate(items)
        for k, text in enumerate(samples)
    ]
    return str(write_run(folder, rows))


def test_pass_at_k_is_the_share_of_draws_without_replacement_that_hold_a_right_sample() -> None:
    for n, correct, k in [(5, 2, 3), (6, 0, 2), (6, 6, 1), (4, 1, 4), (7, 3, 2)]:
        draws = [any(index < correct for index in draw) for draw in combinations(range(n), k)]
        assert pass_at_k(n, correct, k) == pytest.approx(np.mean(draws))
    for n, correct, k in [(4, 1, 5), (4, 1, 0), (4, 5, 1)]:
        with pytest.raises(SFTKeyError, match="expected 1 <= k <= n"):
            pass_at_k(n, correct, k)


def test_a_run_of_several_samples_is_summed_up_by_item(tmp_path: Path) -> None:
    items = [[RIGHT, RIGHT, WRONG, AFTER], [WRONG] * 4, [RIGHT] * 4]
    (run,) = load_runs([sampled(tmp_path / "run", items)])
    samples = summarize(run.verdicts, run.policy).samples
    assert samples is not None
    assert (samples.num_items, samples.num_samples) == (3, 4)
    assert {k: mean.value for k, mean in samples.pass_at.items()} == pytest.approx(
        {1: 1.5 / 3, 2: (5 / 6 + 0 + 1) / 3, 4: 2 / 3}
    )
    assert samples.majority.value == pytest.approx(2 / 3)
    assert json.loads(json.dumps(summary_json(summarize(run.verdicts))))["samples"]["num_items"] == 3


def test_samples_of_one_item_do_not_narrow_an_interval(tmp_path: Path) -> None:
    items = [[RIGHT] * 8] * 6 + [[WRONG] * 8] * 3 + [[AFTER] * 8]
    (run,) = load_runs([sampled(tmp_path / "run", items)])
    (alone,) = load_runs([sampled(tmp_path / "alone", [samples[:1] for samples in items])])
    strict, once = summarize(run.verdicts).strict, summarize(alone.verdicts).strict
    assert (strict.k, strict.n, strict.value, once.value) == (48, 80, 0.6, 0.6)
    assert strict.low is not None
    assert strict.high is not None
    assert once.low is not None
    assert once.high is not None
    assert strict.high - strict.low > 0.8 * (once.high - once.low)
    given = summarize(run.verdicts).given_format
    assert (given.k, given.n) == (48, 72)


def test_one_sample_per_item_has_no_numbers_over_samples(tmp_path: Path) -> None:
    (run,) = load_runs([str(write_run(tmp_path / "run", [{"completion": RIGHT}] * 3))])
    assert summarize(run.verdicts).samples is None
    assert [(verdict.item_id, verdict.sample) for verdict in run.verdicts] == [(v.id, 0) for v in run.verdicts]


def test_equal_keys_vote_together_malformed_ones_do_not_and_the_first_wins_a_tie(tmp_path: Path) -> None:
    half, decimal, third = completion("so", "1/2"), completion("so", "0.5"), completion("so", "3")
    items = [[third, half, decimal], [third, half], [half, third], [AFTER, AFTER, third], [AFTER, AFTER]]
    (run,) = load_runs([sampled(tmp_path / "run", items)])
    keys = [by_item(run.verdicts)[f"q{i}"] for i in range(5)]
    wins = {"1/2": [0, 2], "3": [1, 3]}
    for gold, won in wins.items():
        judged = [
            [replace(v, correct=v.format_valid and _same(v.predicted, gold)) for v in samples] for samples in keys
        ]
        assert [i for i, samples in enumerate(judged) if majority_is_correct(samples)] == won


def _same(predicted: str | None, gold: str) -> bool:
    return grade(gold, predicted, "number").verdict == "correct"


def test_samples_of_an_item_are_one_piece_of_evidence_in_a_comparison(tmp_path: Path) -> None:
    before = sampled(tmp_path / "a", [[WRONG] * 8] * 2 + [[RIGHT] * 8] * 6)
    now = sampled(tmp_path / "b", [[RIGHT] * 8] * 8)
    strict = compare_runs(*load_runs([before, now])).rates["strict"]
    assert strict.test == "item_means"
    assert strict.difference == pytest.approx(0.25)
    expected = ttest_1samp([1, 1, 0, 0, 0, 0, 0, 0], 0.0)
    interval = expected.confidence_interval(0.95)
    assert (strict.low, strict.high) == pytest.approx((interval.low, interval.high))
    assert strict.p_mid == pytest.approx(expected.pvalue)
    assert strict.low < 0
    assert not strict.shown
    assert (strict.both, strict.gained) == (48, 16)
    same = compare_runs(*load_runs([f"a={before}", f"b={before}"])).rates["strict"]
    assert (same.p_mid, same.p_non_inferior, same.detectable) == (1.0, 1.0, 1.0)  # no spread, so nothing is known


def test_the_bootstrap_is_the_same_for_the_same_seed_and_refuses_nothing_to_resample() -> None:
    values = np.array([[1.0], [0.0], [1.0]])
    once, again = (bootstrap(values, lambda means: means) for _ in range(2))
    assert once == again
    with pytest.raises(SFTKeyError, match="no items"):
        bootstrap(values[:0], lambda means: means)
    with pytest.raises(SFTKeyError, match="no items"):
        mean_of_items(np.array([]))
    with pytest.raises(SFTKeyError, match=r"same items under each seed, found \(3, 2\) and \(4, 2\)"):
        items_by_seeds(np.ones((3, 2)), np.ones((4, 2)))


def test_items_are_resampled_as_often_as_drawing_them_one_by_one_would() -> None:
    values = np.random.default_rng(3).integers(0, 2, size=(40, 2)).astype(float)
    (found,) = bootstrap(values, lambda means: means[:, :1] - means[:, 1:], resamples=20_000)
    rng = np.random.default_rng(4)
    drawn = values[rng.integers(40, size=(20_000, 40))].mean(axis=1) @ [1.0, -1.0]
    assert (found.low, found.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.026)  # steps of 1/40


def test_the_interval_of_item_means_is_students() -> None:
    mean = mean_of_items(np.array([0.0, 1.0, 0.5]))
    expected = scipy_t.interval(0.95, 2, loc=0.5, scale=np.std([0.0, 1.0, 0.5], ddof=1) / np.sqrt(3))
    assert (mean.low, mean.high) == pytest.approx(expected)
    ended = mean_of_items(np.array([0.0, 1.0, 0.5]), bounds=(0.0, 1.0))  # of a share
    assert mean.low is not None
    assert mean.low < 0.0
    assert (ended.low, ended.high) == (0.0, 1.0)
    alone = mean_of_items(np.array([0.5]))
    assert (alone.value, alone.low, alone.high) == (0.5, None, None)


def test_seeds_are_drawn_apart_and_spread_as_an_unbiased_variance_says() -> None:
    first, second = np.zeros((5, 2)), np.array([[1.0, 3.0]] * 5)
    found = items_by_seeds(first, second)
    # Means of two draws from {1, 3} are 1, 2 and 3; stretched by sqrt 2 from 2.
    assert (found.value, found.low, found.high) == pytest.approx((2.0, 2 - 2**0.5, 2 + 2**0.5))
    single = items_by_seeds(first[:, :1], second)
    assert (single.value, single.low, single.high) == (2.0, None, None)


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


def test_ratios_and_the_composite_have_resampled_intervals(tmp_path: Path) -> None:
    before = str(write_run(tmp_path / "a", [{"completion": c} for c in [WRONG] * 30 + [AFTER] * 10 + [RIGHT] * 20]))
    now = str(write_run(tmp_path / "b", [{"completion": c} for c in [WRONG] * 10 + [RIGHT] * 50]))
    found = compare_runs(*load_runs([before, now]))
    assert found.given_format.difference == pytest.approx(50 / 60 - 20 / 50)
    assert found.given_format.low is not None
    assert found.given_format.low > 0
    assert found.composite.difference == pytest.approx(0.7 * 30 / 60 + 0.3 * 10 / 60)
    assert found.composite_curve[0.0].difference == pytest.approx(10 / 60)
    assert found.composite_curve[1.0].difference == pytest.approx(30 / 60)
    nothing = str(write_run(tmp_path / "c", [{"completion": AFTER}] * 60))
    undefined = compare_runs(*load_runs([before, nothing])).given_format
    assert (undefined.difference, undefined.low, undefined.high) == (None, None, None)
    point = summarize(load_runs([now])[0].verdicts).composite_curve[7]
    assert (point.weight, point.value) == (0.7, pytest.approx(0.7 * 50 / 60 + 0.3))
    assert point.low < point.value < point.high


def test_a_report_shows_samples_and_seeds_in_every_form(tmp_path: Path) -> None:
    arms = {"a": [[[RIGHT, WRONG]] * 5, [[WRONG, WRONG]] * 5], "b": [[[RIGHT, RIGHT]] * 5, [[RIGHT, AFTER]] * 5]}
    specs = [
        f"{arm}={sampled(tmp_path / f'{arm}{i}', items)}" for arm, runs in arms.items() for i, items in enumerate(runs)
    ]
    made = report(specs, tmp_path / "report")
    assert [arm.rates["strict"].difference for arm in made.arms] == [pytest.approx(0.75 - 0.25)]
    written = json.loads((tmp_path / "report" / "report.json").read_text())
    assert written["arms"][0]["num_seeds"] == [2, 2]
    assert written["runs"][0]["samples"]["pass_at"] == {
        "1": {"value": 0.5, "low": 0.5, "high": 0.5},
        "2": {"value": 1.0, "low": 1.0, "high": 1.0},
    }
    for name in ("report.html", "report.md"):
        text = (tmp_path / "report" / name).read_text()
        for words in ("Several samples per item", "pass@2", "Arms over their seeds", "b - a", "2 and 2", "b (2)"):
            assert words in text, (name, words)
    assert "each counts once, by the mean of its samples" in (tmp_path / "report" / "report.html").read_text()
    rows = (tmp_path / "report" / "tables" / "arms.csv").read_text().splitlines()
    assert rows[0].startswith("pair,items,seeds,format,format_low,format_high,strict_accuracy")
    assert len(rows) == 2
