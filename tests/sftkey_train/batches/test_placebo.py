"""The random-mask placebo: as many tokens as the Key has, and the same weight, somewhere else."""

from collections import Counter

import pytest
import torch

from sftkey_train.batches.batch import Example, collate
from sftkey_train.batches.placebo import with_placebo
from sftkey_train.batches.region_weights import COT, EOS, KEY, PROMPT, RegionBorders, token_regions
from sftkey_train.batches.training_set import TrainingSet
from sftkey_train.recipe import Weights

# prompt prompt | cot cot cot | tag | key key | tag | eos
EXAMPLE = Example("x", torch.arange(10), RegionBorders(2, 5, 6, 8, 9, 10))


def _drawn(example: Example, seed: int = 0, depth: int = 1) -> list[int]:
    return (with_placebo(example, seed, depth).token_roles == KEY).nonzero().flatten().tolist()


def test_as_many_tokens_as_the_key_has_are_drawn_from_the_rest_of_the_completion(prepared: TrainingSet) -> None:
    for example in prepared.examples.first(40):
        borders, drawn = example.borders, _drawn(example)
        assert len(drawn) == borders.key_token_end - borders.key_token_start
        assert min(drawn) >= borders.prompt_tokens
        assert not set(drawn) & set(range(borders.key_token_start, borders.key_token_end))


@pytest.mark.parametrize("weights", [Weights(key=1), Weights(tag=1, key=1, eos=1), Weights(cot=1, tag=0.5, key=40)])
def test_the_weights_of_an_example_have_the_same_sum_as_with_the_key(weights: Weights, prepared: TrainingSet) -> None:
    for example in prepared.examples.first(20):
        changed = with_placebo(example, 0, 1)
        assert Counter(changed.token_roles.tolist()) == Counter(token_regions(example.borders).tolist())
        assert collate([changed], weights).weights.sum() == collate([example], weights).weights.sum()


def test_a_worked_example() -> None:
    roles = with_placebo(EXAMPLE, 0, 1).token_roles
    first, second = drawn = _drawn(EXAMPLE)
    own = token_regions(EXAMPLE.borders)
    assert sorted(roles[6:8].tolist()) == sorted([int(own[first]), int(own[second])])  # the Key has their roles
    untouched = [t for t in range(10) if t not in (*drawn, 6, 7)]
    assert roles[untouched].tolist() == own[untouched].tolist()
    batch = collate([with_placebo(EXAMPLE, 0, 1)], Weights(key=5))
    assert batch.labels.tolist() == drawn
    assert batch.weights.tolist() == [5, 5]
    assert batch.roles.tolist() == [KEY, KEY]
    assert batch.regions.tolist() == own[drawn].tolist()  # metrics keep the regions apart as they are


def test_the_draw_follows_from_seed_depth_and_id_alone() -> None:
    assert _drawn(EXAMPLE) == _drawn(EXAMPLE)
    others = [(seed, depth, f"example {i}") for seed in range(4) for depth in range(4) for i in range(4)]
    for varied in range(3):
        draws = set()
        for other in others:
            if all(other[i] == others[0][i] for i in range(3) if i != varied):
                seed, depth, id_ = other
                draws.add(tuple(_drawn(Example(id_, EXAMPLE.input_ids, EXAMPLE.borders), seed, depth)))
        assert len(draws) > 1, f"argument {varied} makes no difference"


def test_every_token_outside_the_key_is_drawn_about_as_often() -> None:
    counts = Counter(token for seed in range(1200) for token in _drawn(EXAMPLE, seed))
    assert set(counts) == {2, 3, 4, 5, 8, 9}
    assert all(320 < count < 480 for count in counts.values())  # expected 400


def test_a_key_longer_than_the_rest_of_the_completion_keeps_its_number() -> None:
    example = Example("y", torch.arange(7), RegionBorders(1, 2, 2, 6, 6, 7))  # prompt, cot, four of the Key, eos
    roles = with_placebo(example, 0, 0).token_roles.tolist()
    assert (roles[0], roles[1], roles[6]) == (PROMPT, KEY, KEY)
    assert sorted(roles[2:6]) == [COT, KEY, KEY, EOS]


def test_the_first_token_is_not_drawn_as_nothing_predicts_it() -> None:
    example = Example("z", torch.arange(4), RegionBorders(0, 1, 1, 3, 3, 4))  # cot, two of the Key, eos
    for seed in range(10):
        roles = with_placebo(example, seed, 0).token_roles.tolist()
        assert roles[0] == COT
        assert roles[3] == KEY
        assert sorted(roles[1:3]) == [KEY, EOS]
