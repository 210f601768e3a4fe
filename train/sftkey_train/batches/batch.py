"""From prepared shards to batches: which examples each optimizer step sees, and the tensors of each forward pass."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor

from sftkey_data.errors import SFTKeyError
from sftkey_data.schema import REGIONS, TOKEN_BORDERS
from sftkey_train.batches.region_weights import NoTarget, RegionBorders, region_weights, token_regions
from sftkey_train.recipe import Weights


@dataclass(frozen=True, slots=True)
class Example:
    """One training unit: `input_ids` int64 of shape (T,) and where its regions lie.

    `roles` int64 of shape (T,) say whose region's weight each token carries, where that is not its own: see `placebo`.
    """

    id: str
    input_ids: Tensor
    borders: RegionBorders
    roles: Tensor | None = None

    @property
    def token_roles(self) -> Tensor:
        """The region whose weight each token carries, int64 of shape (T,)."""
        return token_regions(self.borders) if self.roles is None else self.roles


class Examples:
    """The tokenised examples of a prepared directory, read from the memory-mapped shards one by one.

    An item raises SFTKeyError where a shard has changed since, so that an example has another number of tokens.

    Args:
        table: The columns `id`, `input_ids` and the token borders of schema version 1.
    """

    def __init__(self, table: pa.Table) -> None:
        self._ids, self._input_ids = table["id"], table["input_ids"]
        self.num_tokens: NDArray[np.int64] = pc.list_value_length(self._input_ids).to_numpy().astype(np.int64)
        # (examples, 6): in the order of `RegionBorders`, which ends with the number of tokens.
        self._borders = np.stack([table[name].to_numpy() for name in TOKEN_BORDERS] + [self.num_tokens], axis=1)

    @property
    def num_prompt_tokens(self) -> NDArray[np.int64]:
        """Of each example, shape (examples,)."""
        return self._borders[:, 0]

    def __len__(self) -> int:
        return len(self._borders)

    def __getitem__(self, index: int) -> Example:
        # A copy: the shards hold int32 in memory that cannot be written, torch looks up int64.
        ids = np.array(self._input_ids[index].values, dtype=np.int64)
        if len(ids) != self.num_tokens[index]:
            found = f"{len(ids)} tokens where there were {self.num_tokens[index]} when it was opened"
            raise SFTKeyError(f"example {self.id(index)!r}: its shard has changed: {found}")
        return Example(self.id(index), torch.from_numpy(ids), RegionBorders(*self._borders[index].tolist()))

    def id(self, index: int) -> str:
        """The id of one example."""
        return str(self._ids[index])

    def first(self, num: int) -> list[Example]:
        """The first `num` examples, or all where there are fewer."""
        return [self[i] for i in range(min(num, len(self)))]

    def region_tokens(self) -> NDArray[np.int64]:
        """How many tokens of each region can be predicted, shape (examples, regions); the first token never can."""
        # Nothing predicts the first token, so no region counts it: a border at 0 is moved behind it.
        ends = np.maximum(self._borders, 1)
        prompt, cot, key_start, key_end, answer_end, num_tokens = ends.T.astype(np.int64)
        tags = (key_start - cot) + (answer_end - key_end)
        return np.stack([prompt - 1, cot - prompt, tags, key_end - key_start, num_tokens - answer_end], axis=1)

    def check(self, weights: Weights, where: str) -> None:
        """Refuse, before the first step, borders out of order and examples that would train on nothing.

        Args:
            weights: Those of the stage.
            where: The stage, for the message.

        Raises:
            SFTKeyError: Names such examples.
        """
        disordered = (np.diff(self._borders, axis=1, prepend=0) < 0).any(axis=1)
        if disordered.any():
            first = int(disordered.argmax())
            borders = self._borders[first].tolist()
            raise SFTKeyError(f"example {self.id(first)!r}: token borders {borders} are not in order")
        by_region = np.array([getattr(weights, region) for region in REGIONS])
        targets = (self.region_tokens() > 0) @ by_region
        if (targets == 0).any():
            ids = [self.id(int(i)) for i in np.flatnonzero(targets == 0)]
            raise NoTarget(f"{where}: {len(ids)} of {len(self)} examples have no token with a weight: {shown_ids(ids)}")


@dataclass(frozen=True, slots=True)
class Batch:
    """One forward pass: B examples padded on the right to T tokens, with N tokens to predict.

    `input_ids` ends before the last token that carries weight, as nothing after it is needed, unless whole examples are
    asked for. For each of the N tokens, `positions` indexes the flattened (B * T) hidden states and points at the token
    *before* it.
    """

    ids: tuple[str, ...]
    input_ids: Tensor  # int64 (B, T)
    rows: Tensor  # int64 (N,), which of the B examples
    positions: Tensor  # int64 (N,), into B * T
    labels: Tensor  # int64 (N,)
    weights: Tensor  # fp32 (N,)
    anchor: Tensor  # fp32 (N,), weight of the KL to the stage's first model; above zero only for anchored tokens
    regions: Tensor  # int64 (N,), into REGIONS
    roles: Tensor  # int64 (N,), into REGIONS: the region whose weight the token carries
    lengths: Tensor  # int64 (examples,), tokens of `input_ids` that each has, padding aside
    num_tokens: int  # tokens of the whole examples, padding aside
    position_ids: Tensor | None = None  # int64 (1, T) where examples are packed in one row, from 0 in each
    starts: Tensor | None = None  # int32 (examples + 1,), where packed examples begin in the row and the last ends
    longest: int = 0  # tokens of the longest packed example, known without asking the device

    @property
    def inputs(self) -> dict[str, Any]:
        """Arguments of a model's forward pass over all of it.

        No attention mask is passed: padding is to the right of every real token, so causal attention never reaches it.
        """
        inputs = {"input_ids": self.input_ids, "use_cache": False}
        return inputs if self.position_ids is None else inputs | {"position_ids": self.position_ids}

    @property
    def segments(self) -> dict[str, Any]:
        """Where packed examples begin and end, as arguments that transformers hands on to kernels for such rows."""
        if self.starts is None:
            return {}
        ends = {"cu_seq_lens_q": self.starts, "cu_seq_lens_k": self.starts}
        return ends | {"max_length_q": self.longest, "max_length_k": self.longest}

    @property
    def is_real(self) -> Tensor:
        """Which of the flattened (B * T) inputs are no padding, bool."""
        if self.position_ids is not None:  # packed: there is none
            return torch.ones(self.input_ids.numel(), dtype=torch.bool, device=self.input_ids.device)
        columns = torch.arange(self.input_ids.shape[1], device=self.input_ids.device)
        return (columns < self.lengths[:, None]).flatten()

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device; the host does not wait for the copy."""
        return self.pinned_for(device)._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned_for(self, device: torch.device) -> "Batch":
        """The same batch in memory of the host that a GPU reads by itself; as it is, where `device` is none."""
        if device.type != "cuda":
            return self
        return self._each(lambda tensor: tensor if tensor.is_cuda else tensor.pin_memory())

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        tensors = {f.name: value for f in fields(self) if isinstance(value := getattr(self, f.name), Tensor)}
        changed: dict[str, Any] = {name: change(value) for name, value in tensors.items()}
        return replace(self, **changed)


def collate(examples: Sequence[Example], weights: Weights, pad_token_id: int = 0, *, whole: bool = False) -> Batch:
    """Tensors of one forward pass over `examples`; a token with weight 0 is no target.

    Args:
        examples: One row each, in this order.
        weights: Weight per region.
        pad_token_id: What fills a row on the right; no real token attends to it.
        whole: Have all tokens of each example as inputs, also those from which nothing is predicted.

    Raises:
        NoTarget: Names the example whose weights are all zero.
    """
    by_example = [_targets(example, weights) for example in examples]
    # The last target, token t, is predicted from tokens 0 to t - 1: t inputs.
    num_inputs = [len(e.input_ids) if whole else int(t[-1]) for e, (t, _) in zip(examples, by_example, strict=True)]
    inputs = torch.full((len(examples), max(num_inputs)), pad_token_id)
    for row, (example, num) in enumerate(zip(examples, num_inputs, strict=True)):
        inputs[row, :num] = example.input_ids[:num]
    rows = torch.from_numpy(np.repeat(np.arange(len(examples)), [len(targets) for targets, _ in by_example]))
    targets = torch.cat([targets for targets, _ in by_example])
    return Batch(
        ids=tuple(example.id for example in examples),
        input_ids=inputs,
        rows=rows,
        # Token 3 of row 1 at width 5 is predicted at position 1 * 5 + 3 - 1 = 7.
        positions=rows * inputs.shape[1] + targets - 1,
        labels=torch.cat([e.input_ids[t] for e, (t, _) in zip(examples, by_example, strict=True)]),
        weights=torch.cat([w for _, w in by_example]),
        anchor=torch.zeros(len(targets)),
        regions=torch.cat([token_regions(e.borders)[t] for e, (t, _) in zip(examples, by_example, strict=True)]),
        roles=torch.cat([e.token_roles[t] for e, (t, _) in zip(examples, by_example, strict=True)]),
        lengths=torch.tensor(num_inputs),
        num_tokens=sum(len(example.input_ids) for example in examples),
    )


def _targets(example: Example, weights: Weights) -> tuple[Tensor, Tensor]:
    """Positions of the tokens to predict, ascending, and the weight of each."""
    try:
        by_token = region_weights(example.borders, weights, example.roles)
    except NoTarget as error:
        raise NoTarget(f"example {example.id!r}: {error}") from None
    targets = by_token.nonzero().squeeze(1)
    return targets, by_token[targets]


def micro_batches(
    examples: Sequence[Example], weights: Weights, size: int, pad_token_id: int = 0, *, whole: bool = False
) -> list[Batch]:
    """Split a batch into forward passes of `size` examples (0: one pass), of similar length to pad little.

    Raises:
        NoTarget: Names the example whose weights are all zero.
    """
    by_length = sorted(examples, key=lambda example: len(example.input_ids))
    step = size or max(1, len(by_length))
    starts = range(0, len(by_length), step)
    return [collate(by_length[i : i + step], weights, pad_token_id, whole=whole) for i in starts]


@dataclass(frozen=True, slots=True)
class ExampleOrder:
    """Which examples each optimizer step sees: a pure function of seed, depth of the stage, and epoch.

    The epochs follow one another as one stream that is cut into batches, so every example comes exactly once per epoch
    and only the last batch of a stage can be short. Arms forked from one stage have the same depth, so the same order.
    """

    seed: int
    depth: int
    num_examples: int
    batch_size: int
    num_seen: int  # examples over the whole stage, repetitions counted

    @property
    def num_steps(self) -> int:
        """Optimizer steps of the stage."""
        return math.ceil(self.num_seen / self.batch_size)

    def batch(self, step: int) -> list[int]:
        """Indices of the examples of one step; `step` is 1 for the first."""
        seen = range((step - 1) * self.batch_size, min(step * self.batch_size, self.num_seen))
        return [int(self._epoch(i // self.num_examples)[i % self.num_examples]) for i in seen]

    def _epoch(self, epoch: int) -> NDArray[np.int64]:
        return _permutation(self.seed, self.depth, epoch, self.num_examples)


@lru_cache(maxsize=2)  # a batch can reach over the end of an epoch into the next
def _permutation(seed: int, depth: int, epoch: int, num: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, depth, epoch]).permutation(num)


def shown_ids(ids: Sequence[str], most: int = 5) -> str:
    """Some ids for a message, and how many more there are."""
    more = f" and {len(ids) - most} more" if len(ids) > most else ""
    return ", ".join(ids[:most]) + more
