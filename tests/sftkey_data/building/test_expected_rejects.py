"""Rejects by design do not fail a build; files that options name belong to the plan."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.building.plan import make_plan
from sftkey_data.errors import SFTKeyError
from sftkey_data.prepared.manifest import read_manifest
from sftkey_data.prepared.shards import open_shards

FIXTURE = Path(__file__).parents[1] / "fixtures" / "scienceqa.jsonl"


def science(folder: Path, **changes: Any) -> BuildConfig:
    """A build over three good rows and five with `changes`."""
    good = [json.loads(line) for line in FIXTURE.read_text(encoding="utf-8").splitlines()[:3]]
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*good, *[good[0] | changes] * 5]))
    return BuildConfig(source="scienceqa", inputs=(str(path),))


def test_rejects_by_design_are_counted_and_do_not_fail_a_build(tmp_path: Path) -> None:
    manifest = build(science(tmp_path, image={"path": "a.png"}), tmp_path / "out")
    assert (manifest.counts.rows_read, manifest.counts.written, manifest.rejects) == (8, 3, {"has_image": 5})


def test_other_rejects_of_the_same_dataset_still_do(tmp_path: Path) -> None:
    with pytest.raises(SFTKeyError, match=r"5 of 8 rows rejected.*raise --max-reject-rate"):
        build(science(tmp_path, answer="1"), tmp_path / "out")


def test_nothing_but_rejects_by_design_is_no_dataset(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(json.loads(FIXTURE.read_text().splitlines()[0]) | {"image": {"path": "a.png"}}) + "\n")
    config = BuildConfig(source="scienceqa", inputs=(str(path),), max_reject_rate=1.0)
    with pytest.raises(SFTKeyError, match=r"1 of 1 rows rejected .*, so no example is left: mend the input") as raised:
        build(config, tmp_path / "out")
    assert "--max-reject-rate" not in str(raised.value)


def test_a_limit_below_one_percent_is_named_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(SFTKeyError, match=r"at most 0\.4% allowed: mend the input or raise --max-reject-rate"):
        build(replace(science(tmp_path, answer="1"), max_reject_rate=0.004), tmp_path / "out")


def test_a_template_file_named_by_an_option_belongs_to_the_plan(tmp_path: Path) -> None:
    own, rows = tmp_path / "own.toml", tmp_path / "rows.jsonl"
    own.write_text('before_key = "= "\nto_end = true\n')
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "1 + 1 = 2 ~ 3"}]
    rows.write_text(json.dumps({"messages": turns}) + "\n")
    config = BuildConfig(source="chat", inputs=(str(rows),), options={"template": str(own)})
    before = make_plan(config).fingerprint
    build(config, tmp_path / "out")
    assert read_manifest(tmp_path / "out").fingerprint == before
    (tmp_path / "out").rename(tmp_path / "out.partial")  # as if only the publishing was interrupted
    own.write_text('before_key = "~ "\nto_end = true\n')
    assert make_plan(config).fingerprint != before
    build(config, tmp_path / "out")
    assert open_shards(tmp_path / "out").column("gold").to_pylist() == ["3"]
