"""The hash of an input is the tree hash that others compute too."""

import hashlib
import io
from pathlib import Path

import pytest

from sftkey_data.sources.source import Source
from sftkey_data.sources.survey import start_surveys, survey_threads
from sftkey_data.sources.tree_hash import LEAF_BYTES, file_tree_hash

SIZES = [0, 1, LEAF_BYTES - 1, LEAF_BYTES, LEAF_BYTES + 1, 2 * LEAF_BYTES, 5 * LEAF_BYTES, 41 * LEAF_BYTES + 7]


@pytest.fixture(params=SIZES)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file of the size."""
    (tmp_path / "rows.csv").write_bytes((b"0123456789\n" * (request.param // 11 + 1))[: request.param])
    return tmp_path / "rows.csv"


def test_it_is_the_tree_hash_of_glacier(path: Path) -> None:
    botocore = pytest.importorskip("botocore.utils", reason="the extra `s3` is not installed")
    assert file_tree_hash(path) == botocore.calculate_tree_hash(io.BytesIO(path.read_bytes()))


def test_up_to_a_leaf_it_is_the_plain_hash(path: Path) -> None:
    is_plain = file_tree_hash(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert is_plain == (path.stat().st_size <= LEAF_BYTES)


@pytest.mark.parametrize("workers", [1, 3])
def test_whoever_hashes_the_leaves_finds_the_same(path: Path, workers: int) -> None:
    with survey_threads(workers) as run:
        survey = next(start_surveys([Source(str(path), "file", "train")], run))
    assert survey.digest == file_tree_hash(path)


def test_every_flipped_bit_gives_another_hash(tmp_path: Path) -> None:
    content = bytearray(b"x" * (2 * LEAF_BYTES + 9))
    found = set()
    for at in (0, LEAF_BYTES - 1, LEAF_BYTES, 2 * LEAF_BYTES - 1, 2 * LEAF_BYTES, len(content) - 1):
        content[at] ^= 1
        (tmp_path / "rows.csv").write_bytes(content)
        found.add(file_tree_hash(tmp_path / "rows.csv"))
    assert len(found) == 6
