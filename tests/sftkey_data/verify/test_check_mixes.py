"""A check knows which source each example of a mix is from, and how many there are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mix_samples import write_mix
from shard_edits import edit_manifest, write_rows

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.errors import SFTKeyError
from sftkey_data.prepared.manifest import file_sha256, read_manifest
from sftkey_data.prepared.shards import open_shards
from sftkey_data.schema import shard_schema
from sftkey_data.verify.check import check


def edited(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        rows = open_shards(folder).to_pylist()
        own = [one for one in rows if one["dataset"] == "hard"]
        number = read_manifest(folder).shards[-1]
        change(own[-1])
        write_rows(folder / number.file, own, shard_schema(tokenized=False))
        digest = file_sha256(folder / number.file)
        edit_manifest(folder, lambda values: values["shards"][-1].update(sha256=digest, rows=len(own)))

    return edit


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (edited(lambda one: one.update(dataset="easy")), "expected the id easy/train/N"),
        (edited(lambda one: one.update(dataset="easy", id="easy/train/7")), "id out of order or twice"),
        (edited(lambda one: one.update(dataset="other")), "dataset is 'other', expected 'easy' or 'hard'"),
        (edited(lambda one: one.update(split="test")), "split is 'test', expected 'train'"),
        (edited(lambda one: one.update(id="hard/train/200")), "number is 200, but only 200 rows were read"),
        (
            lambda folder: edit_manifest(folder, lambda values: values["mix"][0].update(rows=160)),
            "but only 160 rows were read",
        ),
        (
            lambda folder: edit_manifest(folder, lambda values: values["mix"][0]["counts"].update(written=3)),
            "the counts do not add up: examples of the sources",
        ),
        (
            lambda folder: edit_manifest(
                folder,
                lambda values: [
                    values["mix"][n]["counts"].update(written=values["mix"][n]["counts"]["written"] + by)
                    for n, by in ((0, 1), (1, -1))
                ],
            ),
            r"mix: easy/train: \d+ written, the shards hold \d+",
        ),
    ],
    ids=[
        "another source",
        "an id of another",
        "none of them",
        "another split",
        "beyond",
        "too few rows",
        "sums",
        "shares",
    ],
)
def test_a_check_finds_what_is_not_as_the_mix_says(tmp_path: Path, damage: Callable[[Path], None], says: str) -> None:
    build(BuildConfig(source=str(write_mix(tmp_path))), tmp_path / "out")
    damage(tmp_path / "out")
    with pytest.raises(SFTKeyError, match=says):
        check(tmp_path / "out")
