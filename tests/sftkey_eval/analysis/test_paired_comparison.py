"""Two runs in pairs: items with several samples, and data that leave no spread."""

import json
from pathlib import Path
from typing import Any

import pytest
from eval_samples import AFTER, RIGHT, WRONG, call, sampled, write_run
from some_slow import some_slow

from sftkey_eval.analysis.loaded_runs import load_runs
from sftkey_eval.analysis.paired_comparison import compare_runs
from sftkey_eval.analysis.summary import summarize
from sftkey_eval.statistics.proportions import newcombe_paired, wilson


def test_samples_of_an_item_that_agree_count_as_one_sample_of_it(tmp_path: Path) -> None:
    before, now = [[WRONG] * 8] * 2 + [[RIGHT] * 8] * 6, [[RIGHT] * 8] * 8
    several = compare_runs(*load_runs([sampled(tmp_path / "a", before), sampled(tmp_path / "b", now)]))
    firsts = [[samples[:1] for samples in items] for items in (before, now)]
    once = compare_runs(*load_runs([sampled(tmp_path / "c", firsts[0]), sampled(tmp_path / "d", firsts[1])]))
    strict, alone = several.rates["strict"], once.rates["strict"]
    assert (strict.test, alone.test) == ("item_means", "mcnemar")
    for field in ("difference", "low", "high", "p_exact", "p_mid", "p_non_inferior"):
        assert getattr(strict, field) == pytest.approx(getattr(alone, field)), field
    assert not strict.shown
    assert (strict.both, strict.gained) == (48, 16)


def test_means_of_samples_are_tested_by_the_items_and_their_interval_is_that_of_the_items(tmp_path: Path) -> None:
    before, now = [[RIGHT, WRONG, WRONG, WRONG]] * 12 + [[RIGHT] * 4] * 8, [[RIGHT, RIGHT, RIGHT, WRONG]] * 12
    specs = [sampled(tmp_path / "a", before), sampled(tmp_path / "b", now + [[RIGHT] * 4] * 8)]
    strict = compare_runs(*load_runs(specs)).rates["strict"]
    assert strict.difference == pytest.approx(0.3)
    assert (strict.p_exact, strict.p_mid) == pytest.approx((2.0**-11, 2.0**-12))
    assert 0 < strict.low < 0.3 < strict.high
    assert strict.p_non_inferior < 0.01


def test_the_conformance_samples_show_their_difference(shared_conformance: Path, tmp_path: Path) -> None:
    for name in ("base", "tuned"):
        done = call("score", shared_conformance / f"samples_{name}.jsonl", "--out", tmp_path / f"{name}.parquet")
        assert done.exit_code == 0, done.output
    assert call("compare", tmp_path / "base.parquet", tmp_path / "tuned.parquet", "--out", tmp_path).exit_code == 0
    found = json.loads((tmp_path / "compare.json").read_text())
    for name in ("format", "strict"):
        rate = found["rates"][name]
        assert rate["difference"] == 1.0
        assert max(rate["p_exact"], rate["p_mid"]) < 1e-15
        assert (rate["low"], rate["high"]) == pytest.approx((newcombe_paired(0, 0, 60, 0).low, 1.0))
        assert rate["shown"]
    assert found["format_p_non_inferior"] < 0.001
    assert found["format_non_inferior"]
    assert found["rates"]["lenient"]["low"] < 0 < found["rates"]["lenient"]["high"]
    assert found["runs"][0]["format"]["high"] == pytest.approx(wilson(0, 60).high)
    assert widths_of_intervals(found) > 0


def widths_of_intervals(value: Any) -> float:
    """The smallest width of any interval in a report's JSON."""
    if isinstance(value, list):
        return min(map(widths_of_intervals, value), default=2.0)
    if not isinstance(value, dict):
        return 2.0
    low, high = value.get("low"), value.get("high")
    own = high - low if low is not None and high is not None else 2.0
    return min([own, *map(widths_of_intervals, value.values())])


DEGENERATE = {
    "one item": ([[RIGHT, WRONG]], [[RIGHT, RIGHT]]),
    "one item, one sample": ([[RIGHT]], [[WRONG]]),
    "all right": ([[RIGHT, RIGHT]] * 9, [[RIGHT, RIGHT]] * 9),
    "all wrong": ([[WRONG]] * 9, [[WRONG]] * 9),
    "all malformed": ([[AFTER, AFTER]] * 9, [[AFTER, AFTER]] * 9),
    "half of each item": ([[WRONG, RIGHT]] * 9, [[RIGHT, WRONG]] * 9),
    "the same runs": ([[RIGHT], [WRONG], [AFTER]] * 4, [[RIGHT], [WRONG], [AFTER]] * 4),
    "none against all": ([[AFTER, AFTER]] * 9, [[RIGHT, RIGHT]] * 9),
    "one valid in each": ([[AFTER]] * 8 + [[RIGHT]], [[RIGHT]] + [[AFTER]] * 8),
}


@pytest.mark.parametrize("name", some_slow(list(DEGENERATE), quick=["half of each item"]))
def test_no_interval_of_a_report_has_zero_width(tmp_path: Path, name: str) -> None:
    before, now = DEGENERATE[name]
    specs = [
        *(f"a={sampled(tmp_path / f'a{seed}', before)}" for seed in (1, 2)),
        *(f"b={sampled(tmp_path / f'b{seed}', now)}" for seed in (1, 2)),
    ]
    assert call("report", *specs, "--out", tmp_path / "report").exit_code == 0
    found = json.loads((tmp_path / "report" / "report.json").read_text())
    assert widths_of_intervals(found) > 0.01
    for pair in found["paired"]:
        for rate in pair["rates"].values():
            assert rate["difference"] != 0 or rate["p_mid"] == pytest.approx(1.0)
            assert 0 < rate["p_non_inferior"] < 1.0 or rate["difference"] == 1.0
            assert rate["detectable"] < 1.0 or len(before) < 9
    assert {rate["low"] is None for arm in found["arms"] for rate in arm["rates"].values()} == {False}


def test_ratios_and_the_composite_have_intervals(tmp_path: Path) -> None:
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
