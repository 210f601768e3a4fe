"""Data order, and the tensors of a forward pass."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
import torch

from sftkey_data.errors import SFTKeyError
from sftkey_data.schema import TOKEN_BORDERS
from sftkey_train.batches.batch import Example, ExampleOrder, Examples, collate, micro_batches
from sftkey_train.batches.region_weights import KEY, NoTarget, RegionBorders
from sftkey_train.batches.training_set import TrainingSet
from sftkey_train.recipe import LOSS_ON_WEIGHTS, Weights

# ids 10 11 | 12 13 14 | 15 | 16 17 | 18 | 19, and a shorter one
LONG = Example("long", torch.arange(10, 20), RegionBorders(2, 5, 6, 8, 9, 10))
SHORT = Example("short", torch.arange(30, 35), RegionBorders(1, 2, 2, 3, 4, 5))


def _order(num: int, batch: int, seen: int, depth: int = 0, seed: int = 0) -> ExampleOrder:
    return ExampleOrder(seed=seed, depth=depth, num_examples=num, batch_size=batch, num_seen=seen)


@pytest.mark.parametrize(("num", "batch"), [(10, 3), (10, 5), (3, 8), (7, 1), (1, 4)])
def test_every_example_comes_exactly_once_per_epoch(num: int, batch: int) -> None:
    order = _order(num, batch, seen=4 * num)
    stream = [index for step in range(1, order.num_steps + 1) for index in order.batch(step)]
    epochs = [stream[i : i + num] for i in range(0, len(stream), num)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(num))] * 4


def test_only_the_last_batch_is_short_and_nothing_is_dropped() -> None:
    order = _order(10, 4, seen=10)
    assert [len(order.batch(step)) for step in range(1, order.num_steps + 1)] == [4, 4, 2]


def test_a_batch_depends_on_the_step_and_not_on_the_batches_before() -> None:
    order = _order(50, 8, seen=400)
    forwards = [order.batch(step) for step in range(1, 51)]
    backwards = [order.batch(step) for step in range(50, 0, -1)][::-1]
    assert forwards == backwards


def test_epochs_seeds_and_depths_are_shuffled_differently_and_forks_alike() -> None:
    first, second = (tuple(_order(50, 50, seen=100).batch(step)) for step in (1, 2))
    deeper = tuple(_order(50, 50, seen=100, depth=1).batch(1))
    other_seed = tuple(_order(50, 50, seen=100, seed=1).batch(1))
    assert len({first, second, deeper, other_seed, tuple(range(50))}) == 5
    assert tuple(_order(50, 50, seen=500, depth=1).batch(1)) == deeper


def test_inputs_end_before_the_last_weighted_token_and_are_padded_on_the_right() -> None:
    batch = collate([SHORT, LONG], LOSS_ON_WEIGHTS["key"], pad_token_id=7)
    assert batch.input_ids.tolist() == [[30, 31, 7, 7, 7, 7, 7], [10, 11, 12, 13, 14, 15, 16]]


def test_each_position_is_that_of_the_token_before_the_label() -> None:
    batch = collate([SHORT, LONG], LOSS_ON_WEIGHTS["completion"])
    before = batch.input_ids.flatten()[batch.positions]
    assert batch.labels.tolist() == [31, 32, 33, 34, 12, 13, 14, 15, 16, 17, 18, 19]
    assert before.tolist() == [30, 31, 32, 33, 11, 12, 13, 14, 15, 16, 17, 18]
    assert batch.rows.tolist() == [0] * 4 + [1] * 8


def test_weights_and_regions_belong_to_the_labels() -> None:
    batch = collate([LONG], Weights(tag=2, key=10, eos=0.5))
    assert batch.labels.tolist() == [15, 16, 17, 18, 19]
    assert batch.weights.tolist() == [2, 10, 10, 2, 0.5]
    assert batch.regions.tolist() == [2, 3, 3, 2, 4]


def test_key_labels_decode_to_the_key(prepared: TrainingSet) -> None:
    import pyarrow.ipc

    with pa.memory_map(str(prepared.path / "data-00000.arrow")) as source:
        golds = pyarrow.ipc.open_file(source).read_all()["gold"].to_pylist()
    for example, gold in zip(prepared.examples.first(20), golds, strict=False):
        labels = collate([example], LOSS_ON_WEIGHTS["key"]).labels
        assert prepared.tokenizer.decode(labels.tolist()).strip() == gold


def test_micro_batches_hold_every_example_once_and_pad_little() -> None:
    examples = [Example(str(n), torch.arange(n), RegionBorders(1, 2, 2, n - 1, n - 1, n)) for n in (9, 4, 8, 5, 7)]
    batches = micro_batches(examples, LOSS_ON_WEIGHTS["completion"], size=2)
    assert [batch.ids for batch in batches] == [("4", "5"), ("7", "8"), ("9",)]
    assert [batch.num_tokens for batch in batches] == [9, 15, 9]
    assert len(micro_batches(examples, LOSS_ON_WEIGHTS["completion"], size=0)) == 1


def test_an_example_without_a_target_is_named() -> None:
    untagged = Example("gsm8k/train/5", torch.arange(4), RegionBorders(1, 2, 2, 3, 3, 4))
    with pytest.raises(NoTarget, match="example 'gsm8k/train/5': all weights are zero"):
        collate([LONG, untagged], Weights(tag=1))


def _examples(borders: list[tuple[int, ...]], num_tokens: int) -> Examples:
    columns = {name: [b[i] for b in borders] for i, name in enumerate(TOKEN_BORDERS)}
    ids = {"id": [f"d/train/{i}" for i in range(len(borders))]}
    tokens = {"input_ids": pa.array([list(range(num_tokens))] * len(borders), pa.list_(pa.int32()))}
    return Examples(pa.table({**ids, **tokens, **columns}))


def test_examples_without_a_target_are_refused_before_the_first_step() -> None:
    examples = _examples([(1, 2, 3, 4, 4), (1, 2, 2, 3, 3)], num_tokens=5)
    with pytest.raises(NoTarget, match=r"stage 'a': 1 of 2 examples have no token with a weight: d/train/1$"):
        examples.check(Weights(tag=1), "stage 'a'")
    examples.check(Weights(tag=1, key=1), "stage 'a'")


@pytest.mark.parametrize(("borders", "weights"), [((1, 2, 3, 4, 4), {"prompt": 1}), ((0, 1, 2, 3, 4), {"cot": 1})])
def test_the_unpredictable_first_token_is_no_target(borders: tuple[int, ...], weights: dict[str, float]) -> None:
    with pytest.raises(NoTarget):
        _examples([borders], num_tokens=5).check(Weights(**weights), "stage 'a'")


def test_borders_out_of_order_are_refused_with_the_example() -> None:
    examples = _examples([(1, 2, 3, 4, 4), (1, 4, 3, 4, 4)], num_tokens=5)
    with pytest.raises(SFTKeyError, match=r"example 'd/train/1': token borders .* are not in order"):
        examples.check(LOSS_ON_WEIGHTS["key"], "stage 'a'")


def test_counted_region_tokens_are_those_that_are_trained_on(prepared: TrainingSet) -> None:
    everything = Weights(prompt=1, cot=1, tag=1, key=1, eos=1)
    counted = prepared.examples.region_tokens()
    for index in range(10):
        regions = Counter(collate([prepared.examples[index]], everything).regions.tolist())
        assert counted[index].tolist() == [regions[i] for i in range(5)]
    assert np.all(counted[:, KEY] > 0)
