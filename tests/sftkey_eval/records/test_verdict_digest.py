"""A flipped bit in `verdicts.parquet` is refused, or changes nothing that is read."""

import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from sftkey_data.errors import SFTKeyError
from sftkey_eval.records.verdict_reader import read_verdicts
from sftkey_eval.records.verdicts import Verdict, open_verdicts

NUM_FLIPS = 150


def verdict(number: int) -> Verdict:
    right = number % 3 > 0
    return Verdict(
        id=f"sums/{number}",
        item_id=f"sums/{number}",
        sample=0,
        dataset="sums",
        split="test",
        answer_type="number",
        gold="4",
        format_valid=right,
        format_error=None if right else "empty_key",
        format_tolerant=True,
        format_present=True,
        predicted="4" if right else None,
        rule="exact",
        verdict="correct" if right else "wrong",
        correct=right,
        lenient_predicted="4",
        lucky=False,
        lenient_verdict="correct",
        lenient_correct=True,
        lenient_source="key",
        cot_value=str(number),
        error_class="correct" if right else "format",
        prompt=f"What is {number}?",
        finish_reason="stop",
        completion=f"It is {number}.",
        choices=("a", "b") if right else None,
    )


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "verdicts.parquet"
    with open_verdicts(path, {"policy": {"percent": "both"}, "template": "sftkey"}) as writer:
        writer.write([verdict(number) for number in range(20)])
        writer.write([verdict(number) for number in range(20, 30)])
    return path


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 20))])
def test_no_flipped_bit_gives_other_verdicts(written: Path, seed: int) -> None:
    expected, content = read_verdicts(written), written.read_bytes()
    outcomes = {"refused": 0, "harmless": 0, "other": 0}
    for bit in random.Random(seed).sample(range(8 * len(content)), NUM_FLIPS):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        written.write_bytes(flipped)
        try:
            outcomes["harmless" if read_verdicts(written) == expected else "other"] += 1
        except SFTKeyError as error:
            outcomes["refused" if str(error).startswith(str(written)) else "other"] += 1
    assert outcomes["other"] == 0
    assert outcomes["refused"] > NUM_FLIPS / 3


def test_a_file_made_elsewhere_has_no_digest_and_is_read_as_it_is(written: Path) -> None:
    expected = read_verdicts(written)
    pq.write_table(pq.read_table(written), written)
    assert read_verdicts(written) == expected


def test_the_same_verdicts_give_the_same_bytes(written: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.parquet"
    with open_verdicts(again, read_verdicts(written)[1]) as writer:
        writer.write([verdict(number) for number in range(20)])
        writer.write([verdict(number) for number in range(20, 30)])
    assert again.read_bytes() == written.read_bytes()
