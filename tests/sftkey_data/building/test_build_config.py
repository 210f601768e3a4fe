"""What a build is asked for: refused at once where it cannot be, recorded as it is."""

import json
from pathlib import Path
from typing import Any

import pytest

from sftkey_data.building.build_config import BuildConfig, checked, config_json
from sftkey_data.building.plan import make_plan
from sftkey_data.errors import SFTKeyError


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"straddle": "covr"}, "sftkey-data: straddle: Input should be 'cover' or 'strict', found 'covr'"),
        ({"dedup": "perhaps"}, "sftkey-data: dedup: Input should be a valid boolean"),
        ({"limit": 0}, "limit is 0, expected at least 1"),
        ({"max_tokens": 7}, "max_tokens is 7, expected at least 8"),
        ({"shard_rows": 0}, "shard_rows is 0, expected at least 1"),
        ({"shard_bytes": 0}, "shard_bytes is 0, expected at least 1"),
        ({"max_reject_rate": 1.5}, "max_reject_rate is 1.5, expected at least 0.0 and at most 1.0"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_value_that_cannot_be_is_refused_before_anything_is_read(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SFTKeyError) as caught:
        make_plan(BuildConfig(source="no_such_dataset", **changes))
    assert str(caught.value).startswith(message)


def test_the_record_of_a_configuration_is_json_and_names_every_field() -> None:
    config = checked(BuildConfig(source="gsm8k", inputs=("a", "b"), options={"path": Path("x")}))
    record = config_json(config)
    assert json.loads(json.dumps(record)) == record
    assert record.keys() == vars(config).keys()
    assert (record["inputs"], record["decontaminate"], record["options"]) == (["a", "b"], [], {"path": "x"})
