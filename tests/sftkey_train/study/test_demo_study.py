"""The study of `make demo`: what it shows does not hang on a seed or on the rounding of a machine."""

import tomllib
from pathlib import Path

import pytest
from studies import ROOT, figures, finished, write

DEMO = ROOT / "train" / "recipes" / "studies" / "small.toml"
ORDER = ["annealed", "continued", "sftkey"]


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_the_arms_of_the_demo_come_in_the_same_order_with_every_seed(threads: int, tmp_path: Path) -> None:
    study = tomllib.loads(DEMO.read_text())
    study |= {"out": str(tmp_path / "out"), "seeds": {"claim": [0, 1, 2, 3, 4]}, "threads": threads}
    study["keep_models"] = False
    finished(write(tmp_path / "study.toml", study), workers=3 - threads)
    correct = {
        seed: {
            run["arm"]: run["scores"]["test"]["correct"]
            for run in figures(tmp_path / "out")["runs"]
            if run["seed"] == seed
        }
        for seed in range(5)
    }
    for of_arms in correct.values():
        assert sorted(ORDER, key=lambda arm: -of_arms[arm]) == ORDER, correct
