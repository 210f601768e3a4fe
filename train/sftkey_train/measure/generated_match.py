"""What the model writes by itself during training: is the format valid, and is the Key the gold's text.

A quick look at the course of a stage, greedy and by exact text; `sftkey-eval` has the equivalence and the intervals.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from sftkey_data.errors import SFTKeyError
from sftkey_data.format.template import Template
from sftkey_data.prepared.manifest import read_manifest
from sftkey_data.prepared.shards import open_shards
from sftkey_train import ranks
from sftkey_train.batches.training_set import TrainingSet
from sftkey_train.model.model import completion_ends

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PROMPTS_AT_ONCE = 16  # bounds the cache of keys and values, however many are generated


@dataclass(frozen=True, slots=True)
class Prompts:
    """Prompts of held-out examples with their golds, and how completions are read."""

    input_ids: Sequence[Tensor]  # int64 (T,) each
    golds: Sequence[str]
    template: Template
    tokenizer: "PreTrainedTokenizerBase"
    max_new_tokens: int


def read_prompts(heldout: TrainingSet, num: int, max_new_tokens: int, context: int | None) -> Prompts:
    """The prompts of the first `num` examples.

    Args:
        heldout: Where they are from.
        num: How many, or all where there are fewer.
        max_new_tokens: Longest completion in tokens; 0: twice the longest gold one, as far as the context allows.
        context: Tokens that the model can hold; None where it has no limit.

    Raises:
        SFTKeyError: Prompt and completion together would not fit into the model's context.
    """
    examples = heldout.examples.first(num)
    prompts = [example.input_ids[: example.borders.prompt_tokens] for example in examples]
    longest = max(len(prompt) for prompt in prompts)
    gold = max(len(e.input_ids) - e.borders.prompt_tokens for e in examples)
    limit = max_new_tokens or (2 * gold if context is None else min(2 * gold, context - longest))
    if context is not None and longest + limit > context:
        raise SFTKeyError(
            f"generate_max_new_tokens is {limit}, but the longest prompt of {heldout.path} has {longest} tokens "
            f"and the model's context is {context}"
        )
    golds = open_shards(heldout.path, columns=["gold"]).slice(0, len(examples))["gold"].to_pylist()
    return Prompts(prompts, golds, read_manifest(heldout.path).template, heldout.tokenizer, limit)


@torch.no_grad()
def generate_and_read(model: "PreTrainedModel", prompts: Prompts) -> dict[str, Any]:
    """Rates over the prompts, which the ranks divide among themselves.

    Returns:
        `format_valid`, `key_exact_text` (format valid, and the Key equals the gold but for white space around it),
        `examples`, and `malformed`: how many completions have each format error.
    """
    was_training = model.training
    model.eval()
    counts: Counter[str] = Counter()
    mine = ranks.share(range(len(prompts.input_ids)))
    for start in range(0, len(mine), PROMPTS_AT_ONCE):
        some = mine[start : start + PROMPTS_AT_ONCE]
        completions = _complete(model, prompts, [prompts.input_ids[i] for i in some])
        counts.update(_outcome(prompts, prompts.golds[i], *c) for i, c in zip(some, completions, strict=True))
    model.train(was_training)
    counts = sum(ranks.gather(counts), Counter())
    num, right, wrong = counts.total(), counts.pop("right", 0), counts.pop("wrong", 0)
    valid, by_code = right + wrong, dict(sorted(counts.items()))
    return {"format_valid": valid / num, "key_exact_text": right / num, "examples": num, "malformed": by_code}


def _outcome(prompts: Prompts, gold: str, completion: str, finish_reason: str) -> str:
    reading = prompts.template.read(completion, finish_reason)
    if reading.spans is None:
        return str(reading.strict)
    return "right" if completion[reading.spans.key_start : reading.spans.key_end] == gold.strip() else "wrong"


def _complete(model: "PreTrainedModel", prompts: Prompts, some: Sequence[Tensor]) -> list[tuple[str, str]]:
    """Greedy completions without their EOS, each with `stop` or `length`."""
    ends = completion_ends(model, prompts.tokenizer)
    longest = max(len(prompt) for prompt in some)
    inputs = torch.full((len(some), longest), ends[0])  # any id would do as padding: `seen` hides it
    seen = torch.zeros_like(inputs)
    for row, prompt in enumerate(some):  # on the left, so that all go on at the same place
        inputs[row, longest - len(prompt) :], seen[row, longest - len(prompt) :] = prompt, 1
    generate: Any = model.generate  # inherited, which the model's own attributes hide from the type checker
    written = generate(
        inputs.to(model.device),
        attention_mask=seen.to(model.device),
        generation_config=_greedy(ends, prompts.max_new_tokens),
    )[:, longest:].tolist()
    completions = []
    for ids in written:
        end = next((place for place, token in enumerate(ids) if token in ends), len(ids))
        # Untouched, as the format is read from the raw text.
        text = prompts.tokenizer.decode(ids[:end], skip_special_tokens=False, clean_up_tokenization_spaces=False)
        completions.append((str(text), "stop" if end < len(ids) else "length"))
    return completions


def _greedy(ends: list[int], max_new_tokens: int) -> GenerationConfig:
    """All that could make it less than greedy is set, as what is not is taken from the model's own settings."""
    return GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        eos_token_id=ends,
        pad_token_id=ends[0],
    )
