"""Every fault on every verb: the results are those of an undisturbed command, or one line says why there are none."""

import os
from collections.abc import Iterator

import pytest
from fault_bench import Bench
from fault_table import FAULT_NAMES, write
from forked_programs import Programs
from given_files import make_given
from run_faults import VERB_NAMES, trials, tried_entry
from verb_table import VERBS, Verb

SEED = 15
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("faults")
    with Programs({"TMPDIR": str(folder)}) as programs:
        make_given(programs, folder / "inputs")
        yield Bench(programs, folder / "inputs", folder / "bench")


@pytest.mark.parametrize("verb", VERBS, ids=VERB_NAMES)
@pytest.mark.parametrize("fault", FAULT_NAMES)
def test_a_fault_costs_time_and_nothing_else(
    bench: Bench, verb: Verb, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with capsys.disabled():  # the seed and moment of each
        found = tried_entry(trials(bench, SEED, verb, fault), SEED)
    if os.environ.get("RECORD_FAULTS") and found["counts"]:
        write(fault, verb.name, found)
    assert found["failures"] == []
