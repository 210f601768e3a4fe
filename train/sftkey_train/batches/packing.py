"""Which examples of a step share a forward pass: a number of them, or as many as a budget of tokens holds."""

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import torch

from sftkey_data.errors import SFTKeyError
from sftkey_train.batches.batch import Batch, Example, Examples, collate, micro_batches
from sftkey_train.recipe import Stage, Weights


def forward_passes(
    examples: Sequence[Example],
    weights: Weights,
    stage: Stage,
    pad_token_id: int,
    *,
    packed: bool,
    whole: bool = False,
) -> list[Batch]:
    """Split one global batch into forward passes; every example is in exactly one, whole.

    Args:
        examples: Of the batch; none is longer than the stage's `max_tokens`, see `check_budget`.
        weights: Weight per region; what has none needs no logits.
        stage: Its `micro_batch_size` or `max_tokens`.
        pad_token_id: What fills short rows.
        packed: Put examples end to end instead of padding them; only within `max_tokens`.
        whole: See `collate`.

    Raises:
        NoTarget: Names the example whose weights are all zero.
    """
    if not stage.max_tokens:
        return micro_batches(examples, weights, stage.micro_batch_size, pad_token_id, whole=whole)
    lengths = [len(example.input_ids) for example in examples]
    if packed:
        groups = best_fit(lengths, stage.max_tokens)
        return [pack([collate([examples[i]], weights, whole=whole) for i in group]) for group in groups]
    groups = padded_groups(lengths, stage.max_tokens)
    return [collate([examples[i] for i in group], weights, pad_token_id, whole=whole) for group in groups]


def best_fit(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Groups of indices whose lengths sum to at most `max_tokens`: the longest first, each where least room remains.

    Best fit decreasing needs at most 11/9 of the fewest possible groups, plus a constant (Johnson et al.,
    SIAM J. Comput. 3, 1974). Lengths (5, 4, 3, 3, 2) in a budget of 9 give (5, 4) and (3, 3, 2).
    """
    groups: list[list[int]] = []
    rooms: list[tuple[int, int]] = []  # room that remains and number of the group, ascending
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        place = bisect_left(rooms, (lengths[index], -1))  # -1 is before every number: the least room that suffices
        room, number = rooms.pop(place) if place < len(rooms) else (max_tokens, len(groups))
        if number == len(groups):
            groups.append([])
        groups[number].append(index)
        insort(rooms, (room - lengths[index], number))
    return groups


def padded_groups(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Groups of indices of similar length; number times greatest length, padding included, is at most `max_tokens`.

    Lengths (5, 4, 3, 3, 2) in a budget of 9 give (2, 3, 3), (4,) and (5,).
    """
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if not groups or (len(groups[-1]) + 1) * lengths[index] > max_tokens:
            groups.append([])
        groups[-1].append(index)
    return groups


def pack(batches: Sequence[Batch]) -> Batch:
    """One row (1, T) with the examples of several one-example batches end to end; `position_ids` begin at 0 in each.

    Nothing but these restarts keeps attention within an example: transformers derives a block mask from them, where it
    is given neither an attention mask nor a cache. Not every model does so, see `loss.parity.keeps_documents_apart`.
    FlashAttention is told by `starts`.
    """
    starts = [0]
    for batch in batches:
        starts.append(starts[-1] + batch.input_ids.shape[1])
    # Counted within one example until here. Behind an example of 3 tokens, row 0 is row 1 and position 2 is 5.
    shifts = {"rows": range(len(batches)), "positions": starts}
    joined: dict[str, Any] = {
        "ids": tuple(id_ for batch in batches for id_ in batch.ids),
        "input_ids": torch.cat([batch.input_ids for batch in batches], dim=1),
        "position_ids": torch.cat([torch.arange(batch.input_ids.shape[1]) for batch in batches])[None],
        "num_tokens": sum(batch.num_tokens for batch in batches),
        "starts": torch.tensor(starts, dtype=torch.int32),
        "longest": max(batch.input_ids.shape[1] for batch in batches),
    }
    for name in (f.name for f in fields(Batch) if f.name not in joined):  # one entry per target
        values = [getattr(batch, name) for batch in batches]
        shift = shifts.get(name, [0] * len(batches))
        # Not strict: `starts` has one more entry, where the last example ends.
        joined[name] = torch.cat([value + by for value, by in zip(values, shift, strict=False)])
    return replace(batches[0], **joined)


def check_budget(stage: Stage, examples: Examples) -> None:
    """Refuse, before the first step, a budget that an example does not fit in.

    Raises:
        SFTKeyError: Names the longest example and both numbers.
    """
    longest = int(examples.num_tokens.argmax())
    if stage.max_tokens and examples.num_tokens[longest] > stage.max_tokens:
        raise SFTKeyError(
            f"stage {stage.name!r}: max_tokens is {stage.max_tokens}, "
            f"but example {examples.id(longest)!r} has {examples.num_tokens[longest]} tokens"
        )
