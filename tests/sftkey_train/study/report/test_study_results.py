"""Reading a study's record: what was written comes back, compressed too, and a wrong file is one clear line."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from study_records import FakeArm, fake_record, written

from sftkey_data.errors import SFTKeyError
from sftkey_train.study.report.study_results import read_results

ARMS = {
    "stage1": FakeArm(correct=0.3),
    "continued": FakeArm(correct=0.4, table={"lr": 3e-4}),
    "key9": FakeArm(correct=0.5, slip=0.1, valid=0.9, table={"like": "weighted"}),
    "key_tag": FakeArm(correct=0.1),
}


def test_marks_are_rows_of_seeds_and_columns_of_items(tmp_path: Path) -> None:
    record = fake_record(ARMS, claim=[3, 1], tuning=[9], num_items=21)
    found = read_results(written(record, tmp_path / "study.json")).datasets[0].arms
    assert list(found) == ["stage1", "continued", "key9", "key_tag"]
    assert set(found["key9"].parts) == {("validation", "claim"), ("test", "claim"), ("validation", "tuning")}
    test = found["key9"].parts["test", "claim"]
    assert (test.seeds, test.num_items) == ((1, 3), 21)
    (run,) = [run for run in record["runs"] if (run["seed"], run["arm"]) == (3, "key9")]
    packed = run["scores"]["test"]["items"]["slip"]
    bits = "".join(f"{byte:08b}" for byte in bytes.fromhex(packed))[:21]
    assert "".join(str(int(bit)) for bit in test.marks["slip"][1]) == bits


def test_an_arm_knows_what_it_is_like_and_its_learning_rate(tmp_path: Path) -> None:
    record = fake_record(ARMS)
    record["study"]["stage2"] = {"lr": 5e-5}
    found = read_results(written(record, tmp_path / "study.json")).datasets[0].arms
    assert [arm.like for arm in found.values()] == ["stage1", "continued", "weighted", "key_tag"]
    assert [arm.lr for arm in found.values()] == [1e-3, 3e-4, 5e-5, 1e-3]  # key_tag is under stage 1 alone


def test_a_dataset_has_the_arms_that_are_trained_on_it(tmp_path: Path) -> None:
    record = fake_record(ARMS, datasets=["all", "two"])
    record["study"]["datasets"]["two"] = {"arms": ["key9", "continued"], "template": "sftkey"}
    record["runs"] = [run for run in record["runs"] if run["dataset"] == "all" or run["arm"] != "key_tag"]
    found = read_results(written(record, tmp_path / "study.json"))
    assert found.arms == tuple(ARMS)
    assert [list(dataset.arms) for dataset in found.datasets] == [list(ARMS), ["stage1", "continued", "key9"]]


def test_a_compressed_record_is_the_same(tmp_path: Path) -> None:
    record = fake_record(ARMS)
    plain, packed = (read_results(written(record, tmp_path / name)) for name in ("study.json", "study.json.gz"))
    assert np.array_equal(
        *(s.datasets[0].arms["key9"].parts["test", "claim"].marks["correct"] for s in (plain, packed))
    )
    assert packed.num_finished == 12


def test_keys_that_the_report_does_not_need_may_be_there(tmp_path: Path) -> None:
    record = fake_record(ARMS) | {"new": 1}
    record["study"]["stage2"] = {"a_key_of_later": 7}
    assert read_results(written(record, tmp_path / "study.json")).name == "fake"


def broken(change: str) -> dict[str, Any]:
    record = fake_record(ARMS, num_items=20)
    scores = record["runs"][0]["scores"]["test"]
    match change:
        case "no study":
            del record["study"]
        case "earlier":
            del scores["items"]["slip"]
        case "short":
            scores["items"]["slip"] = "00"
        case "no hexadecimal":
            scores["items"]["slip"] = "zz"
        case "other number":
            record["runs"][4]["scores"]["test"]["n"] = 19
    return record


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("no study", "key 'study' is missing"),
        ("earlier", "sums seed 0 stage1: test: items.slip: expected a hexadecimal bit per item"),
        ("short", "items.slip: expected 3 bytes for 20 items, found 1"),
        ("no hexadecimal", "items.slip: expected a hexadecimal bit per item"),
        ("other number", "sums seed 1 stage1: test: expected the 20 items of seed 0, found 19"),
    ],
)
def test_a_wrong_record_is_one_line(tmp_path: Path, change: str, said: str) -> None:
    path = written(broken(change), tmp_path / "study.json")
    with pytest.raises(SFTKeyError) as refused:
        read_results(path)
    assert said in str(refused.value)
    assert str(path) in str(refused.value)


def test_a_file_that_is_no_record_is_one_line(tmp_path: Path) -> None:
    for content in (b"", b"[1]", b"\x1f\x8bno gzip", gzip.compress(b"{")[:-4], json.dumps({}).encode()):
        path = tmp_path / "study.json.gz"
        path.write_bytes(content)
        with pytest.raises(SFTKeyError, match=r"study\.json\.gz"):
            read_results(path)
    with pytest.raises(SFTKeyError, match="not there"):
        read_results(tmp_path / "none.json")
