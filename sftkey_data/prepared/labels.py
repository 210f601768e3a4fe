"""From region borders to labels, the form in which other trainers take the choice of what to train on."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sftkey_data.errors import SFTKeyError, nearest
from sftkey_data.schema import REGIONS, TOKEN_BORDERS

IGNORED = -100
"""The label that PyTorch's cross entropy skips."""

LOSS_ON_REGIONS: Mapping[str, tuple[str, ...]] = {
    "completion": ("cot", "tag", "key", "eos"),
    "answer": ("tag", "key", "eos"),
}
"""Words for several regions at once; the name of a region stands for itself."""

SEGMENTS = ("prompt", "cot", "tag", "key", "tag", "eos")
"""The regions in the order of an example's tokens; the borders between them are `TOKEN_BORDERS`."""


def parse_loss_on(text: str) -> tuple[str, ...]:
    """The regions that a comma list of words names, in the order of `REGIONS`.

    Raises:
        SFTKeyError: An unknown word, or none.
    """
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if word not in LOSS_ON_REGIONS and word not in REGIONS:
            known = (*LOSS_ON_REGIONS, *REGIONS)
            raise SFTKeyError(f"--loss-on {text!r}: unknown word {word!r}{nearest(word, known)}; {', '.join(known)}")
    chosen = {region for word in words for region in LOSS_ON_REGIONS.get(word, (word,))}
    return tuple(region for region in REGIONS if region in chosen)


def label_column(batch: pa.RecordBatch, regions: tuple[str, ...]) -> pa.ListArray:
    """Labels of every example of a batch, aligned with `input_ids`: the trainer does the shift.

    Args:
        batch: Rows with `id`, `input_ids` and `TOKEN_BORDERS`.
        regions: The regions that carry loss.

    Returns:
        list<int32> of the same lengths: the token's id in the chosen regions, `IGNORED` elsewhere. Of ids [7, 8, 9, 2]
        with the last two chosen: [-100, -100, 9, 2].

    Raises:
        SFTKeyError: Names an example whose borders are out of order, or with no token to learn. An example's first
            token does not count: nothing precedes it, so no trainer predicts it.
    """
    column = batch.column("input_ids")
    # `flatten`, unlike `values`, gives the ids of a slice alone
    ids = column.flatten().to_numpy()
    offsets = column.offsets.to_numpy() - column.offsets[0].as_py()  # those of a slice do not begin at 0
    lengths = _segment_lengths(batch, np.diff(offsets))
    chosen = np.tile([segment in regions for segment in SEGMENTS], len(lengths))
    mask = np.repeat(chosen, lengths.ravel())
    _refuse_untrained(batch, mask, offsets, regions)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(np.where(mask, ids, np.int32(IGNORED))))


def _segment_lengths(batch: pa.RecordBatch, num_tokens: NDArray[np.int32]) -> NDArray[np.int32]:
    """Tokens of each of the six `SEGMENTS`, shape (rows, 6)."""
    borders = [batch.column(name).to_numpy() for name in TOKEN_BORDERS]
    lengths = np.diff(np.stack([np.zeros_like(num_tokens), *borders, num_tokens], axis=1), axis=1)
    if (wrong := (lengths < 0).any(axis=1)).any():
        row = int(wrong.argmax())
        found = [0, *(int(border[row]) for border in borders), int(num_tokens[row])]
        raise SFTKeyError(f"example {batch.column('id')[row]}: token borders out of order: {found}")
    return lengths


def _refuse_untrained(
    batch: pa.RecordBatch, mask: NDArray[np.bool_], offsets: NDArray[np.int32], regions: tuple[str, ...]
) -> None:
    # Entry t counts the chosen tokens before t. An example is counted from its second token on, see `label_column`.
    chosen_before = np.concatenate([[0], np.cumsum(mask)])
    seconds = np.minimum(offsets[:-1] + 1, offsets[1:])
    untrained = chosen_before[offsets[1:]] == chosen_before[seconds]
    if untrained.any():
        example = batch.column("id")[int(untrained.argmax())]
        raise SFTKeyError(
            f"example {example}: none of its tokens is in {', '.join(regions)}, it would train on nothing"
        )
