"""Rows as a padded batch with the region of each token."""

import pytest
import torch

import sftkey_data
from sftkey_data.errors import SFTKeyError
from sftkey_train.batches.region_weights import COT, EOS, KEY, PROMPT, TAG
from sftkey_train.batches.training_set import TrainingSet
from sftkey_train.trl import RegionCollator
from sftkey_train.trl.padded_targets import padded_targets, spread_weights

BORDERS = {"prompt_tokens": 2, "cot_token_end": 4, "key_token_start": 5, "key_token_end": 6, "answer_token_end": 7}
A = {"id": "a", "input_ids": [11, 12, 13, 14, 15, 16, 17, 18], **BORDERS}
SHORT = {"prompt_tokens": 1, "cot_token_end": 2, "key_token_start": 2, "key_token_end": 3, "answer_token_end": 3}
B = {"id": "b", "input_ids": [21, 22, 23, 24], **SHORT}


def test_a_batch_has_tokens_mask_labels_and_regions_padded_on_the_right() -> None:
    batch = RegionCollator(pad_token_id=9)([A, B])
    assert batch["input_ids"].tolist() == [A["input_ids"], [21, 22, 23, 24, 9, 9, 9, 9]]
    assert batch["attention_mask"].tolist() == [[1] * 8, [1, 1, 1, 1, 0, 0, 0, 0]]
    assert batch["labels"].tolist() == [[-100, -100, 13, 14, 15, 16, 17, 18], [-100, 22, 23, 24, *[-100] * 4]]
    regions = [[PROMPT, PROMPT, COT, COT, TAG, KEY, TAG, EOS], [PROMPT, COT, KEY, EOS, -1, -1, -1, -1]]
    assert batch["regions"].tolist() == regions


def test_targets_are_the_tokens_of_their_regions_and_factors_go_back_to_them() -> None:
    targets = padded_targets(RegionCollator()([A, B]), ("key", "eos"))
    assert targets.labels.tolist() == [16, 18, 23, 24]
    assert targets.rows.tolist() == [0, 0, 1, 1]
    assert targets.roles.tolist() == [KEY, EOS, KEY, EOS]
    spread = spread_weights(targets, torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert spread.tolist() == [[0, 0, 0, 0, 0, 1, 0, 2], [0, 0, 3, 4, 0, 0, 0, 0]]


def test_the_first_token_is_never_a_target() -> None:
    none = {**B, "prompt_tokens": 0, "cot_token_end": 1}
    assert padded_targets(RegionCollator()([none]), ("cot", "key")).labels.tolist() == [23]


def test_an_example_that_was_cut_is_refused() -> None:
    with pytest.raises(SFTKeyError, match=r"example 'a' was cut to 7 tokens, and its answer ends at token 7"):
        RegionCollator()([{**A, "input_ids": A["input_ids"][:7]}])


def test_rows_without_borders_are_refused() -> None:
    with pytest.raises(SFTKeyError, match=r"a batch: no column 'prompt_tokens', expected the examples of"):
        RegionCollator()([{"id": "a", "input_ids": [1, 2]}])


def test_rows_of_a_prepared_folder_have_the_regions_of_our_loop(prepared: TrainingSet) -> None:
    batch = RegionCollator()(sftkey_data.load(prepared.path).select(range(5)).to_list())
    for row in range(5):
        example = prepared.examples[row]
        num = len(example.input_ids)
        assert torch.equal(batch["regions"][row, :num], example.token_roles)
        assert torch.equal(batch["input_ids"][row, :num], example.input_ids)
