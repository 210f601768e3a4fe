"""From borders to the weight of each token."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftkey_data.schema import REGIONS
from sftkey_train.batches.region_weights import NoTarget, RegionBorders, region_weights, token_regions
from sftkey_train.recipe import Weights

# prompt prompt | cot cot cot | tag | key key | tag | eos
BORDERS = RegionBorders(
    prompt_tokens=2, cot_token_end=5, key_token_start=6, key_token_end=8, answer_token_end=9, num_tokens=10
)


def test_every_token_is_in_the_region_of_the_schema() -> None:
    names = [REGIONS[region] for region in token_regions(BORDERS).tolist()]
    assert names == ["prompt", "prompt", "cot", "cot", "cot", "tag", "key", "key", "tag", "eos"]


def test_each_token_weighs_what_its_region_weighs() -> None:
    weights = Weights(prompt=0.5, cot=1, tag=2, key=10, eos=3)
    assert region_weights(BORDERS, weights).tolist() == [0, 0.5, 1, 1, 1, 2, 10, 10, 2, 3]


def test_the_first_token_has_no_weight_as_nothing_predicts_it() -> None:
    without_prompt = RegionBorders(0, 2, 2, 3, 3, 4)
    assert region_weights(without_prompt, Weights(cot=1, key=1)).tolist() == [0, 1, 1, 0]


def test_an_example_that_would_train_on_nothing_is_refused() -> None:
    without_tags = RegionBorders(1, 2, 2, 3, 3, 4)
    with pytest.raises(NoTarget, match="all weights are zero"):
        region_weights(without_tags, Weights(tag=1))


@given(st.lists(st.integers(0, 5), min_size=6, max_size=6))
def test_regions_have_the_lengths_that_the_borders_give(lengths: list[int]) -> None:
    ends = [sum(lengths[: i + 1]) for i in range(6)]
    regions = token_regions(RegionBorders(*ends)).tolist()
    prompt, cot, tag, key, other_tag, eos = lengths
    assert [regions.count(i) for i in range(5)] == [prompt, cot, tag + other_tag, key, eos]
