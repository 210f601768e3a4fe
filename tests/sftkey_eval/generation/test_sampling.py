"""Several samples per item: each its own, whatever surrounds it, and truly drawn from the model's distribution."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import chisquare

from sftkey_data.errors import SFTKeyError
from sftkey_eval.generation.decoding import SeededSampling
from sftkey_eval.generation.generate import generate
from sftkey_eval.generation.generate_options import GenerateOptions
from sftkey_eval.generation.sample_requests import sample_seed
from sftkey_eval.generation.sampling import Sampling
from sftkey_eval.records.journal import partial_path
from sftkey_eval.scoring.score import score_file

torch.set_num_threads(1)
ROOT = Path(__file__).resolve().parents[3]
SAMPLED = {"temperature": 1.0, "num_samples": 3, "seed": 3, "limit": 8}


def options(model: Path, data: Path, **changes: Any) -> GenerateOptions:
    values = {"batch_size": 4, "max_new_tokens": 12, "device": "cpu"} | SAMPLED | changes
    return GenerateOptions(model=str(model), data=data, **values)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def texts(path: Path) -> dict[tuple[str, int], str]:
    return {(row["item_id"], row["sample"]): row["completion"] for row in read(path)}


@pytest.fixture(scope="module")
def sampled(tiny_model: Path, prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three samples of eight items, without interruption, in batches of 4."""
    out = tmp_path_factory.mktemp("sampled") / "completions.jsonl"
    generate(options(tiny_model, prepared), out)
    return out


def test_samples_are_numbered_under_the_id_of_their_item(sampled: Path) -> None:
    rows = read(sampled)
    assert [(row["id"], row["item_id"], row["sample"]) for row in rows[:4]] == [
        ("arithmetic/test/0#0", "arithmetic/test/0", 0),
        ("arithmetic/test/0#1", "arithmetic/test/0", 1),
        ("arithmetic/test/0#2", "arithmetic/test/0", 2),
        ("arithmetic/test/1#0", "arithmetic/test/1", 0),
    ]
    assert len(set(texts(sampled).values())) > 20


def test_one_sample_has_the_id_of_its_item(sampled: Path, tiny_model: Path, prepared: Path, tmp_path: Path) -> None:
    generate(options(tiny_model, prepared, num_samples=1), tmp_path / "completions.jsonl")
    rows = read(tmp_path / "completions.jsonl")
    assert all((row["id"], row["sample"]) == (row["item_id"], 0) for row in rows)


@pytest.mark.parametrize(
    "changes",
    [{"batch_size": 1}, {"batch_size": 24}, {"limit": 5}, {"num_samples": 2}, {"num_samples": 1}],
    ids=["batches of one", "one batch", "fewer items", "fewer samples", "one sample"],
)
def test_a_sample_does_not_depend_on_what_is_asked_beside_it(
    sampled: Path, tiny_model: Path, prepared: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    generate(options(tiny_model, prepared, **changes), tmp_path / "completions.jsonl")
    found, expected = texts(tmp_path / "completions.jsonl"), texts(sampled)
    assert found == {key: expected[key] for key in found}


def test_another_seed_gives_other_samples(sampled: Path, tiny_model: Path, prepared: Path, tmp_path: Path) -> None:
    generate(options(tiny_model, prepared, seed=4), tmp_path / "completions.jsonl")
    found, before = texts(tmp_path / "completions.jsonl"), texts(sampled)
    assert sum(found[key] == before[key] for key in found) < 6


@pytest.mark.slow
def test_samples_of_a_killed_program_resume_to_the_same_bytes(
    sampled: Path, tiny_model: Path, prepared: Path, tmp_path: Path
) -> None:
    out = tmp_path / "completions.jsonl"
    command = [sys.executable, "-m", "sftkey_eval.cli", "generate", "--model", str(tiny_model), "--data", str(prepared)]
    command += ["--out", str(out), "--batch-size", "4", "--max-new-tokens", "12", "--device", "cpu", "--limit", "8"]
    command += ["--temperature", "1", "--num-samples", "3", "--seed", "3"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    program = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    partial, deadline = partial_path(out), time.monotonic() + 120
    while not (partial.exists() and b"\n" in partial.read_bytes()) and time.monotonic() < deadline:
        time.sleep(0.001)
    program.send_signal(signal.SIGKILL)
    program.wait()
    assert not out.exists()
    assert 0 < generate(options(tiny_model, prepared), out).num_new < 24
    assert out.read_bytes() == sampled.read_bytes()


def test_the_scorer_knows_which_samples_belong_together(sampled: Path, tmp_path: Path) -> None:
    score_file(sampled, tmp_path / "verdicts.parquet")
    from sftkey_eval.records.verdict_reader import read_verdicts

    verdicts, _ = read_verdicts(tmp_path / "verdicts.parquet")
    assert Counter(verdict.item_id for verdict in verdicts) == {f"arithmetic/test/{i}": 3 for i in range(8)}
    assert [verdict.sample for verdict in verdicts[:4]] == [0, 1, 2, 0]


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(max_new_tokens=1, temperature=1.0), [0.4, 0.3, 0.2, 0.1]),
        (Sampling(max_new_tokens=1, temperature=1.0, top_k=2), [4 / 7, 3 / 7, 0, 0]),
        (Sampling(max_new_tokens=1, temperature=1.0, top_p=0.75), [4 / 9, 3 / 9, 2 / 9, 0]),
        (Sampling(max_new_tokens=1, temperature=0.5), [16 / 30, 9 / 30, 4 / 30, 1 / 30]),
    ],
    ids=["whole", "top-k", "top-p", "temperature"],
)
def test_tokens_are_drawn_from_the_models_distribution(sampling: Sampling, expected: list[float]) -> None:
    num = 4000
    scores = torch.tensor([0.4, 0.3, 0.2, 0.1]).log().expand(num, 4).contiguous()
    seeds = [sample_seed(0, f"item {i}", 0) for i in range(num)]
    chosen = SeededSampling(seeds, sampling)(torch.zeros(num, 1, dtype=torch.long), scores).argmax(dim=1)
    counts = torch.bincount(chosen, minlength=4).tolist()
    possible = [i for i, share in enumerate(expected) if share]
    assert sum(counts) == sum(counts[i] for i in possible)
    assert chisquare([counts[i] for i in possible], [num * expected[i] for i in possible]).pvalue > 0.001


def test_every_token_of_a_sample_gets_noise_of_its_own() -> None:
    sampler = SeededSampling([1, 2], Sampling(max_new_tokens=2, temperature=1.0))
    first, second = (sampler(torch.zeros(2, 1, dtype=torch.long), torch.zeros(2, 50)) for _ in range(2))
    assert not torch.equal(first, second)
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": 0.0}, "^num_samples means nothing at temperature 0"),
        ({"temperature": 0.0, "num_samples": 1, "top_p": 0.9}, "^top_p means nothing at temperature 0"),
        ({"temperature": 0.0, "num_samples": 1, "top_k": 5}, "^top_k means nothing at temperature 0"),
        ({"temperature": -1.0}, "temperature is -1.0, expected at least 0"),
        ({"temperature": float("nan")}, "temperature is nan, expected at least 0"),
        ({"top_p": 0.0}, "top_p is 0.0, expected more than 0 and at most 1"),
        ({"top_p": 1.5}, "top_p is 1.5, expected more than 0 and at most 1"),
        ({"top_k": -1}, "top_k is -1, expected at least 0"),
        ({"num_samples": 0}, "num_samples is 0, expected at least 1"),
    ],
)
def test_sampling_that_means_nothing_is_refused(
    tiny_model: Path, prepared: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(SFTKeyError, match=message):
        generate(options(tiny_model, prepared, **changes), tmp_path / "completions.jsonl")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"num_samples": 2}, "num_samples is 3, expected 2"), ({"top_p": 0.5}, "top_p is 1.0, expected 0.5")],
    ids=["samples", "top-p"],
)
def test_samples_of_other_sampling_are_refused(
    sampled: Path, tiny_model: Path, prepared: Path, changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(SFTKeyError, match=named):
        generate(options(tiny_model, prepared, **changes), sampled)
