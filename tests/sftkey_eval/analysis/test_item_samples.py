"""Several samples per item: counted by item, never as if they were independent."""

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from eval_samples import AFTER, RIGHT, WRONG, completion, sampled, write_run

from sftkey_data.errors import SFTKeyError
from sftkey_eval.analysis.disagreements import opinions
from sftkey_eval.analysis.groups import by_cot_length
from sftkey_eval.analysis.item_samples import by_item, majority_is_correct, pass_at_k
from sftkey_eval.analysis.loaded_runs import load_runs
from sftkey_eval.analysis.summary import summarize, summary_json
from sftkey_eval.kinds.grade import grade
from sftkey_eval.records.verdict_reader import read_verdicts
from sftkey_eval.records.verdicts import open_verdicts
from sftkey_eval.statistics.proportions import wilson


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
    keys = list(by_item(run.verdicts))
    assert [[sample.id for sample in samples] for samples in keys] == [
        [f"q{i}#{k}" for k in range(len(samples))] for i, samples in enumerate(items)
    ]
    wins = {"1/2": [0, 2], "3": [1, 3]}
    for gold, won in wins.items():
        judged = [
            [replace(v, correct=v.format_valid and _same(v.predicted, gold)) for v in samples] for samples in keys
        ]
        assert [i for i, samples in enumerate(judged) if majority_is_correct(samples)] == won


def _same(predicted: str | None, gold: str) -> bool:
    return grade(gold, predicted, "number").verdict == "correct"


def test_samples_of_one_item_do_not_narrow_a_group_or_a_second_opinion(tmp_path: Path) -> None:
    long = completion("20 + 22 = 42 " * 30, "42")
    items = [[RIGHT] * 8] * 4 + [[WRONG] * 8] * 2 + [[long] * 8] * 6
    (several,) = load_runs([sampled(tmp_path / "a", items)])
    (once,) = load_runs([sampled(tmp_path / "b", [samples[:1] for samples in items])])
    found, expected = by_cot_length([several]).rates["a"], by_cot_length([once]).rates["b"]
    for rate, alone in zip(found, expected, strict=True):
        assert (rate.low, rate.high) == pytest.approx((alone.low, alone.high))
    verdicts, provenance = read_verdicts(several.path)
    with open_verdicts(tmp_path / "asked.parquet", provenance) as writer:
        writer.write(
            replace(v, second_rule="other", second_verdict="wrong" if v.correct else "correct") for v in verdicts[:48]
        )
    asked = opinions(load_runs([str(tmp_path / "asked.parquet")]))["asked"]
    assert asked.disagreement.low == pytest.approx(wilson(6, 6).low)
    assert asked.differing == tuple(v.id for v in verdicts[:48])
