"""Rows leave a batch as they end: the same ids as by transformers' `generate`, for each family of models."""

from collections.abc import Sequence

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedModel

from sftkey_eval.generation.decoding import SeededSampling, can_shrink, decode
from sftkey_eval.generation.sampling import Sampling

torch.set_num_threads(1)
VOCABULARY, PAD, NEW_TOKENS = 64, 0, 12
SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
FAMILIES = {
    "llama": SIZES,
    "qwen2": SIZES | {"num_key_value_heads": 2},
    "qwen3": SIZES | {"num_key_value_heads": 2, "head_dim": 8},
    "smollm3": SIZES | {"num_key_value_heads": 2, "pad_token_id": PAD},
    "mistral": SIZES | {"num_key_value_heads": 2, "sliding_window": 5},
    "gemma2": SIZES | {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 5},
    "gpt_neox": SIZES,
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4},
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},
}
QUICK = ("llama", "mistral", "gpt2", "bloom")  # rotary, a sliding window, learned positions, positions of the mask
SLOW = [name for name in FAMILIES if name not in QUICK]
PROMPT_LENGTHS = (7, 7, 6, 4, 3, 1)


def tiny(family: str) -> PreTrainedModel:
    """Random weights, large enough that a model does not write one token for ever."""
    torch.manual_seed(3)
    special = {"bos_token_id": None, "eos_token_id": None, "initializer_range": 0.5}
    config = AutoConfig.for_model(family, vocab_size=VOCABULARY, **special | FAMILIES[family])
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config).eval()
    return model


def padded(rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, rows))
    ids = torch.tensor([[PAD] * (width - len(row)) + list(row) for row in rows])
    return ids, torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])


def prompts() -> list[list[int]]:
    draw = torch.Generator().manual_seed(11)
    return [torch.randint(1, VOCABULARY, (length,), generator=draw).tolist() for length in PROMPT_LENGTHS]


def generated(model: PreTrainedModel, rows: Sequence[Sequence[int]], ends: Sequence[int]) -> list[list[int]]:
    """By transformers, up to the first end, which is among them."""
    ids, mask = padded(rows)
    config = GenerationConfig(eos_token_id=list(ends) or None, pad_token_id=PAD, max_new_tokens=NEW_TOKENS)
    output = model.generate(ids, attention_mask=mask, generation_config=config, do_sample=False)
    return [cut(row, ends) for row in output[:, ids.shape[1] :].tolist()]


def cut(ids: Sequence[int], ends: Sequence[int]) -> list[int]:
    return list(ids[: next((i + 1 for i, token in enumerate(ids) if token in ends), len(ids))])


def decoded(model: PreTrainedModel, rows: Sequence[Sequence[int]], ends: Sequence[int]) -> list[list[int]]:
    return decode(model, *padded(rows), ends=ends, max_new_tokens=NEW_TOKENS)


@pytest.mark.parametrize("family", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_rows_that_leave_at_different_steps_are_those_of_generate_together_and_alone(family: str) -> None:
    model = tiny(family)
    assert can_shrink(model)
    endless = generated(model, prompts(), [])
    ends = [endless[1][2], endless[3][5]]  # the second ends at its third token at the latest, the fourth at its sixth
    written = decoded(model, prompts(), ends)
    assert len({len(row) for row in written}) > 1
    assert written == generated(model, prompts(), ends)
    assert written == [generated(model, [row], ends)[0] for row in prompts()]


def test_the_forward_passes_get_no_row_that_has_ended() -> None:
    model, sizes = tiny("llama"), []
    endless = generated(model, prompts(), [])
    ends = [endless[1][2], endless[3][5]]
    model.register_forward_pre_hook(lambda _, args, given: sizes.append(len(given["input_ids"])), with_kwargs=True)
    written = decoded(model, prompts(), ends)
    assert sizes == [sum(len(row) > step for row in written) for step in range(max(map(len, written)))]


def test_a_batch_in_which_all_end_at_once_is_over_then() -> None:
    model = tiny("llama")
    first = [prompts()[0]] * 3
    end = generated(model, first, [])[0][4]
    written = decoded(model, first, [end])
    assert written == generated(model, first, [end])
    assert len(written[0]) <= 5


def test_one_row_and_no_end_go_to_the_limit() -> None:
    model = tiny("llama")
    for rows in (prompts()[:1], prompts()):
        written = decoded(model, rows, [])
        assert written == generated(model, rows, [])
        assert {len(row) for row in written} == {NEW_TOKENS}


def test_what_is_drawn_for_a_row_does_not_depend_on_those_that_leave() -> None:
    model, sampling, seeds = tiny("llama"), Sampling(temperature=1.0, top_k=20), range(6)

    def drawn(rows: Sequence[int], ends: Sequence[int]) -> list[list[int]]:
        chosen = SeededSampling([seeds[row] for row in rows], sampling)
        given = padded([prompts()[row] for row in rows])
        return decode(model, *given, ends=ends, max_new_tokens=NEW_TOKENS, sampler=chosen)

    endless = drawn(range(6), [])
    ends = [endless[0][1], endless[4][6]]
    written = drawn(range(6), ends)
    assert written == [cut(row, ends) for row in endless]
    assert written == [drawn([row], ends)[0] for row in range(6)]


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("phi3", SIZES | {"pad_token_id": PAD}),
        ("lfm2", SIZES | {"layer_types": ["conv", "full_attention"]}),
        ("mamba", {"hidden_size": 32, "num_hidden_layers": 2}),
    ],
    ids=["inputs of its own", "a state that is no keys and values", "no keys and values at all"],
)
def test_families_that_keep_something_else_are_left_to_generate(family: str, changes: dict[str, object]) -> None:
    config = AutoConfig.for_model(family, vocab_size=VOCABULARY, **changes)
    assert not can_shrink(AutoModelForCausalLM.from_config(config))
