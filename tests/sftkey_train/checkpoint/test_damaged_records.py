"""A flipped bit in what a run says of itself is refused by whoever reads it, or gives what the whole file gives."""

import json
from pathlib import Path

import pytest
from flipped_bits import refused_or_same

from sftkey_data.errors import SFTKeyError
from sftkey_data.storage.sealed_json import write_sealed
from sftkey_train.checkpoint.earlier_run import refuse_other_run
from sftkey_train.checkpoint.origin import Origin, model_hash, read_origin, write_origin
from sftkey_train.measure.metrics_log import MetricsLog

NUM = 120
RECORD = {"recipe": {"out": "out", "stage": [{"name": "full", "lr": 1e-3}]}, "data_sha256": "a" * 64}
ROWS = [{"stage": "full", "kind": "train", "step": n, "loss": 0.1 * n, "seconds": 0.25} for n in range(1, 5)]


@pytest.fixture
def log(tmp_path: Path) -> MetricsLog:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    for row in ROWS:
        log.append(row)
    return log


def test_the_record_of_a_run(tmp_path: Path) -> None:
    write_sealed(tmp_path / "run.json", RECORD)
    for overwrite in (False, True):  # with it the record says what is deleted
        found = refused_or_same(
            tmp_path / "run.json", lambda o=overwrite: refuse_other_run(tmp_path, RECORD, [], overwrite=o), NUM
        )
        assert found == NUM
    (tmp_path / "run.json").write_text(json.dumps(RECORD))  # as a version before wrote it
    refuse_other_run(tmp_path, RECORD, [], overwrite=False)


def test_the_origin_of_a_model(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    write_origin(tmp_path, Origin("r" * 64, "full"))
    assert refused_or_same(tmp_path / "origin.json", lambda: read_origin(tmp_path, "mend"), NUM) == NUM
    assert refused_or_same(tmp_path / "origin.json", lambda: model_hash(tmp_path), NUM) == NUM


def test_what_a_run_has_logged(log: MetricsLog) -> None:
    assert log.rows() == ROWS
    assert refused_or_same(log.path, log.rows, NUM) == NUM


def test_the_end_of_the_last_row(log: MetricsLog) -> None:
    """A kill cuts a line before its end; another byte there is damage, and the row is not forgotten."""
    log.path.write_bytes(log.path.read_bytes()[:-1] + b"\x0b")
    with pytest.raises(SFTKeyError, match=r"metrics\.jsonl line 4 is not as it was written, its end differs; delete "):
        log.rows()


def test_rows_that_a_version_before_has_logged(log: MetricsLog) -> None:
    log.path.write_text("".join(json.dumps(row) + "\n" for row in ROWS[:2]))
    log.append(ROWS[2])
    assert log.rows() == ROWS[:3]
    log.rewind([], "full", 1)
    assert log.rows() == ROWS[:1]
    assert log.path.read_bytes().count(b"sftkey_digest") == 1
