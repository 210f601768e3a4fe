"""The statistics that the shards alone decide, from whole columns; the build's come from its tallies."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sftkey_data.arrays import Ints
from sftkey_data.schema import STRADDLE_NAMES, TOKEN_BORDERS

QUANTILES = {"min": 0.0, "p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}


@dataclass(frozen=True, slots=True)
class MeasuredShard:
    """One shard's rows, an entry per row; lengths in tokens, or code points where there are none (nor straddles)."""

    example: Ints
    completion: Ints
    key: Ints
    straddle: Ints


def measure_shard(table: pa.Table) -> MeasuredShard:
    """The lengths of a shard's rows; nothing of it points into the shard's memory."""
    if "input_ids" in table.column_names:
        example = pc.list_value_length(table["input_ids"]).to_numpy()
        prompt, _, key_start, key_end, _ = (table[name].to_numpy() for name in TOKEN_BORDERS)
        return MeasuredShard(example, example - prompt, key_end - key_start, np.array(table["straddle"].to_numpy()))
    prompt, completion, gold = (pc.utf8_length(table[name]).to_numpy() for name in ("prompt", "completion", "gold"))
    return MeasuredShard(prompt + completion, completion, gold, np.empty(0, np.int8))


def shard_statistics(shards: Sequence[MeasuredShard], unit: str) -> dict[str, Any]:
    """The part of the manifest's `statistics` that the rows decide; `unit` says what a length counts."""
    example, completion, key, straddle = (
        np.concatenate([np.empty(0, np.int8), *(getattr(shard, name) for shard in shards)])
        for name in ("example", "completion", "key", "straddle")
    )
    return {
        "unit": unit,
        "example_length": _quantiles(example),
        "completion_length": _quantiles(completion),
        "key_length": _quantiles(key),
        "key_share": round(_sum(key) / _sum(completion), 6) if len(completion) else 0.0,
        "straddle": {name: int(((straddle & bit) != 0).sum()) for bit, name in STRADDLE_NAMES.items()},
    }


def _quantiles(lengths: Ints) -> dict[str, float]:
    if not len(lengths):
        return {}
    # `inverted_cdf`: a length that occurs, the smallest that at least this share does not exceed
    found = np.quantile(lengths, list(QUANTILES.values()), method="inverted_cdf")
    return {"mean": round(_sum(lengths) / len(lengths), 3), **dict(zip(QUANTILES, found.tolist(), strict=True))}


def _sum(lengths: Ints) -> int:
    return int(lengths.sum(dtype=np.int64))
