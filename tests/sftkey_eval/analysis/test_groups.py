"""Groups by the length of the CoT are cut as the standard library cuts, whatever the lengths are."""

from array import array
from dataclasses import replace
from pathlib import Path
from statistics import quantiles

import pytest
from eval_samples import RIGHT, SLIP, write_run
from hypothesis import given
from hypothesis import strategies as st

from sftkey_eval.analysis.groups import MAX_BINS, by_cot_length
from sftkey_eval.analysis.loaded_runs import Run, load_runs

NUM = 12
LENGTHS = st.lists(st.integers(0, 12) | st.integers(0, 3_000), min_size=NUM, max_size=NUM)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Two runs of which every third completion is right."""
    folder = tmp_path_factory.mktemp("runs")
    rows = [{"completion": SLIP if i % 3 else RIGHT} for i in range(NUM)]
    return load_runs([str(write_run(folder / name, rows)) for name in ("a", "b")])


@given(LENGTHS, LENGTHS)
def test_groups_are_those_of_the_quantiles_over_all_runs(runs: list[Run], first: list[int], second: list[int]) -> None:
    measured = [replace(run, cot_words=array("L", found)) for run, found in zip(runs, (first, second), strict=True)]
    breakdown = by_cot_length(measured)
    pooled = [*first, *second]
    cuts = sorted({round(cut) for cut in quantiles(pooled, n=MAX_BINS, method="inclusive")})
    cuts = [cut for cut in cuts if min(pooled) <= cut < max(pooled)]
    assert len(breakdown.groups) == len(cuts) + 1
    for run, lengths, placed in zip(measured, (first, second), breakdown.placed, strict=True):
        groups = [sum(length > cut for cut in cuts) for length in lengths]
        assert placed.tolist() == groups
        for group, rate in enumerate(breakdown.rates[run.label]):
            assert rate.n == groups.count(group)
            assert rate.k == sum(at == group and row % 3 == 0 for row, at in enumerate(groups))


def test_one_completion_is_one_group(tmp_path: Path) -> None:
    (run,) = load_runs([str(write_run(tmp_path / "run", [{"completion": RIGHT}]))])
    assert by_cot_length([run]).groups == ("5",)
