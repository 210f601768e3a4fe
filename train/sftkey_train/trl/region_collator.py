"""Rows of a prepared folder as a batch that carries, beside the tokens, the region of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sftkey_data.errors import SFTKeyError
from sftkey_data.prepared.labels import IGNORED
from sftkey_data.schema import TOKEN_BORDERS
from sftkey_train.batches.region_weights import PROMPT, RegionBorders, token_regions

REGIONS_KEY = "regions"
"""Of a batch: int64 (B, T), each token's index into `sftkey_data.schema.REGIONS`, `NO_REGION` for padding."""

NO_REGION = -1
COLUMNS = ("id", "input_ids", *TOKEN_BORDERS)
"""What a row must have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionCollator:
    """Makes a batch of rows of `sftkey_data.load(FOLDER)`, padded on the right.

    The batch has `input_ids`, `attention_mask`, `labels` (the completion's tokens, -100 elsewhere) and `regions`, all
    of shape (B, T). A trainer of `with_region_weights` makes weights of the regions; no model takes them.

    Args:
        pad_token_id: What fills a row on the right; no real token attends to it.
    """

    pad_token_id: int = 0

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """The batch of these rows, in this order."""
        ids = [torch.as_tensor(row["input_ids"], dtype=torch.int64) for row in map(_checked, rows)]
        regions = _padded([token_regions(borders_of(row)) for row in rows], NO_REGION)
        input_ids = _padded(ids, self.pad_token_id)
        return {
            "input_ids": input_ids,
            "attention_mask": (regions != NO_REGION).long(),
            "labels": input_ids.masked_fill(regions <= PROMPT, IGNORED),
            REGIONS_KEY: regions,
        }


def borders_of(row: Mapping[str, Any]) -> RegionBorders:
    """Where the regions of a row lie."""
    return RegionBorders(**{name: int(row[name]) for name in TOKEN_BORDERS}, num_tokens=len(row["input_ids"]))


def refuse_columns(names: Sequence[str], where: str) -> None:
    """Refuse rows without what a batch is made of.

    Raises:
        SFTKeyError: Names the first column that is missing.
    """
    for name in COLUMNS:
        if name not in names:
            built = "sftkey_data.load(FOLDER) of a folder that was built with a tokenizer"
            raise SFTKeyError(f"{where}: no column {name!r}, expected the examples of {built}")


def _checked(row: Mapping[str, Any]) -> Mapping[str, Any]:
    refuse_columns([*row], "a batch")
    if row["answer_token_end"] >= len(row["input_ids"]):  # the end token stands behind the answer
        raise SFTKeyError(
            f"example {row['id']!r} was cut to {len(row['input_ids'])} tokens, and its answer ends at token "
            f"{row['answer_token_end']}: expected whole examples"
        )
    return row


def _padded(rows: Sequence[Tensor], fill: int) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=fill)
