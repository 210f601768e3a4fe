"""Counting what a build wrote, in a form that adds up over units and survives an interruption."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, Field

from sftkey_data.arrays import Ints
from sftkey_data.schema import (
    STRADDLE_NAMES,
)
from sftkey_data.storage.arrow_columns import ints_of, text_column

PLAIN_NUMBER = r"^[-+−]?\s?\p{Sc}?\s?[-+−]?[\p{N}.,/:\s]*\p{N}[\p{N}.,/:\s]*(?:[eE][-+−]?\p{N}+)?\s?(?:%|\p{Sc})?$"
"""Signs, currency, separators, fractions, exponents and percent around numerals; no words. (RE2's syntax.)"""


_NUMBER = text_column(["number"])[0]
COUNTERS = ("reasons", "rows_by_source", "straddles", "left_out", "lengths", "completion_lengths", "key_lengths")
MAX_QUOTED = 80  # characters of a text in a message


class UnitTally(BaseModel):
    """Counts of one unit, or of a sum of units.

    The three `lengths` map a length to how many examples have it, so that quantiles over all units are exact. `files`
    are the hashes of what a resumption reads beside the shard, none in tallies of a version before. `reading` is the
    number of the unit's recipe.
    """

    file: str = ""
    sha256: str = ""
    bytes: int = 0
    files: dict[str, str] = Field(default_factory=dict)
    reading: int = 0
    read: int = 0
    written: int = 0
    rejected: int = 0
    shortened: int = 0
    reasons: Counter[str] = Field(default_factory=Counter)
    rows_by_source: Counter[str] = Field(default_factory=Counter)
    straddles: Counter[str] = Field(default_factory=Counter)
    odd_numbers: int = 0
    first_odd_number: str | None = None
    left_out: Counter[str] = Field(default_factory=Counter)
    first_left_out: dict[str, str] = Field(default_factory=dict)
    lengths: Counter[int] = Field(default_factory=Counter)
    completion_lengths: Counter[int] = Field(default_factory=Counter)
    key_lengths: Counter[int] = Field(default_factory=Counter)

    def add(
        self,
        table: pa.Table,
        lengths: Ints,
        *,
        sources: Sequence[str],
        reasons: Sequence[str],
        left_out: Sequence[dict[str, Any]],
        shortened: int,
    ) -> None:
        """Count a batch of records and what became of them.

        Args:
            table: The examples.
            lengths: Shape (num_rows, 3), as of `Unit`.
            sources: Of every record that was read.
            reasons: Of every record that was rejected.
            left_out: As of `Unit`.
            shortened: How many of the examples were.
        """
        self.read += len(sources)
        self.written += table.num_rows
        self.rejected += len(reasons)
        self.shortened += shortened
        self.reasons.update(reasons)
        self.rows_by_source.update(sources)
        for entry in left_out:
            texts = dict(reversed(entry["left_out"]))  # the first of each name
            self.left_out.update(texts.keys())
            for name, text in texts.items():
                self.first_left_out.setdefault(name, f"{entry['id']}: {text[:MAX_QUOTED]!r}")
        chunks = table["straddle"].chunks if "straddle" in table.column_names else []
        bits = np.concatenate([np.zeros(0, np.int8), *map(ints_of, chunks)])
        for bit, name in STRADDLE_NAMES.items():
            self.straddles[name] += int(np.count_nonzero(bits & bit))
        self._add_odd_numbers(table)
        for column, counted in enumerate((self.lengths, self.completion_lengths, self.key_lengths)):
            values, counts = np.unique(lengths[:, column], return_counts=True)
            for value, n in zip(values.tolist(), counts.tolist(), strict=True):
                counted[value] += n

    def _add_odd_numbers(self, table: pa.Table) -> None:
        """Keys of type number that are more than a number: most often a column taken whole, or a regex too wide."""
        is_number = pc.equal(table["answer_type"], _NUMBER)
        odd = table.filter(pc.and_not(is_number, pc.match_substring_regex(table["gold"], PLAIN_NUMBER)))
        if odd.num_rows:
            self.odd_numbers += odd.num_rows
            self.first_odd_number = self.first_odd_number or f"{odd['id'][0]}: {odd['gold'][0].as_py()[:MAX_QUOTED]!r}"

    @classmethod
    def sum(cls, tallies: Iterable["UnitTally"]) -> "UnitTally":
        """The tally of all units together."""
        total = cls()
        for tally in tallies:
            total.read += tally.read
            total.written += tally.written
            total.rejected += tally.rejected
            total.shortened += tally.shortened
            total.odd_numbers += tally.odd_numbers
            total.first_odd_number = total.first_odd_number or tally.first_odd_number
            total.first_left_out = {**tally.first_left_out, **total.first_left_out}
            for name in COUNTERS:
                getattr(total, name).update(getattr(tally, name))
        return total

    def statistics(self, unit: str) -> dict[str, Any]:
        """Length and Key-share statistics for the manifest; `unit` says what a length counts."""
        completion_total = _total(self.completion_lengths)
        return {
            "unit": unit,
            "example_length": _quantiles(self.lengths),
            "completion_length": _quantiles(self.completion_lengths),
            "key_length": _quantiles(self.key_lengths),
            "key_share": round(_total(self.key_lengths) / completion_total, 6) if completion_total else 0.0,
            "straddle": dict(self.straddles),
            "shortened": self.shortened,
            "odd_numbers": self.odd_numbers,
            "first_odd_number": self.first_odd_number,
            "left_out": dict(sorted(self.left_out.items())),
            "first_left_out": dict(sorted(self.first_left_out.items())),
        }


def _total(lengths: Counter[int]) -> int:
    return sum(length * n for length, n in lengths.items())


def _quantiles(lengths: Counter[int]) -> dict[str, float]:
    """Exact quantiles (the smallest length that at least this share of the examples does not exceed) and the mean."""
    n = lengths.total()
    if n == 0:
        return {}
    result: dict[str, float] = {"mean": round(_total(lengths) / n, 3)}
    wanted = {"min": 0.0, "p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
    seen = 0
    for length in sorted(lengths):
        seen += lengths[length]
        for name, share in wanted.items():
            # p50 of 5 lengths is the third: 3 >= 2.5; `max` lets the share 0 begin at the first
            if name not in result and seen >= max(1, share * n):
                result[name] = length
    return result
