"""What the model writes by itself, on the way and at the end of a stage: a valid format, and the gold's text as Key.

A quick look, greedy and by exact text; `sftkey-eval` has the equivalence and the intervals.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

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
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

PROMPTS_AT_ONCE = 16  # bounds the cache of keys and values, however many are generated
TWICE_UP_TO = 2048  # new tokens: a short completion may take twice as long as the gold one, a long one costs enough
SampleOf = Literal["heldout", "train"]
SOURCES: Mapping[SampleOf, str] = {"heldout": "held-out", "train": "training"}


@dataclass(frozen=True, slots=True)
class Prompts:
    """Prompts of some examples with their golds, and how completions are read."""

    input_ids: Sequence[Tensor]  # int64 (T,) each
    golds: Sequence[str]
    template: Template
    tokenizer: "PreTrainedTokenizerBase"
    max_new_tokens: int
    context: int | None  # tokens that the model can hold
    of: SampleOf


def read_prompts(
    source: TrainingSet, num: int, max_new_tokens: int, context: int | None, of: SampleOf = "heldout"
) -> Prompts:
    """The prompts of the first `num` examples.

    Args:
        source: Where they are from.
        num: How many, or all where there are fewer.
        max_new_tokens: Longest completion in tokens; 0: twice the longest gold one up to `TWICE_UP_TO`, never less than
            that one; of each prompt as far as the context allows.
        context: Tokens that the model can hold; None where it has no limit.
        of: What the examples are to the model.

    Raises:
        SFTKeyError: Prompt and `max_new_tokens` together would not fit into the model's context.
    """
    examples = source.examples.first(num)
    prompts = [example.input_ids[: example.borders.prompt_tokens] for example in examples]
    longest = max(len(prompt) for prompt in prompts)
    gold = max(len(e.input_ids) - e.borders.prompt_tokens for e in examples)
    if context is not None and longest + max_new_tokens > context:
        raise SFTKeyError(
            f"generate_max_new_tokens is {max_new_tokens}, but the longest prompt of {source.path} has {longest} "
            f"tokens and the model's context is {context}"
        )
    limit = max_new_tokens or usual_new_tokens(gold)
    golds = open_shards(source.path, columns=["gold"]).slice(0, len(examples))["gold"].to_pylist()
    return Prompts(prompts, golds, read_manifest(source.path).template, source.tokenizer, limit, context, of)


def usual_new_tokens(longest_gold: int) -> int:
    """Of a completion, where nobody says: twice the longest gold one's up to `TWICE_UP_TO`, never less than its own."""
    return max(longest_gold, min(2 * longest_gold, TWICE_UP_TO))


def room_for_completions(source: TrainingSet, config: "PreTrainedConfig") -> int:
    """The same for all examples of a set, as far as the model's context allows behind the longest prompt."""
    prompts = source.examples.num_prompt_tokens
    wanted = usual_new_tokens(int((source.examples.num_tokens - prompts).max()))
    context = getattr(config.get_text_config(), "max_position_embeddings", None)
    return wanted if context is None else min(wanted, context - int(prompts.max()))


def generate_and_read(model: "PreTrainedModel", prompts: Prompts) -> dict[str, Any]:
    """Rates over the prompts, which the ranks divide among themselves; weights and random generators stay as they are.

    Returns:
        `of` which data, `format_valid`, `key_exact_text` (format valid, and the Key equals the gold but for white space
        around it), `examples`, and `malformed`: how many completions have each format error.
    """
    return _rates(prompts, ranks.gather(_outcomes(model, prompts)))


def generate_if_possible(model: "PreTrainedModel", prompts: Prompts, advance: Callable[[int], None]) -> dict[str, Any]:
    """As `generate_and_read`; where that fails on any rank, the `reason` alone.

    Args:
        model: What has been trained; it is not lost because transformers cannot generate with it, or memory is short.
        prompts: What it is to complete.
        advance: Told how many this rank has completed, batch by batch.
    """
    counts, fault = Counter[str](), ""
    try:
        counts = _outcomes(model, prompts, advance)
    except Exception as error:  # noqa: BLE001 - of whatever kind it is, the weights are not to be lost for it
        fault = " ".join([f"{type(error).__name__}:", *str(error).splitlines()[:1]])
    gathered = ranks.gather((counts, fault))
    if faults := [fault for _, fault in gathered if fault]:
        return {"reason": faults[0]}
    return _rates(prompts, [counts for counts, _ in gathered])


@torch.no_grad()
def _outcomes(model: "PreTrainedModel", prompts: Prompts, advance: Callable[[int], None] | None = None) -> Counter[str]:
    """How often each outcome is among this rank's share."""
    was_training = model.training
    model.eval()
    counts: Counter[str] = Counter()
    # Prompts of similar length together: no batch is padded much, and a long prompt takes room from its like alone.
    by_length = sorted(range(len(prompts.input_ids)), key=lambda i: len(prompts.input_ids[i]))
    mine = ranks.share(by_length)
    try:
        for start in range(0, len(mine), PROMPTS_AT_ONCE):
            some = mine[start : start + PROMPTS_AT_ONCE]
            completions = _complete(model, prompts, [prompts.input_ids[i] for i in some])
            counts.update(_outcome(prompts, prompts.golds[i], *c) for i, c in zip(some, completions, strict=True))
            if advance is not None:
                advance(len(some))
    finally:
        model.train(was_training)
    return counts


def _rates(prompts: Prompts, by_rank: Sequence[Counter[str]]) -> dict[str, Any]:
    counts = sum(by_rank, Counter())
    num, right, wrong = counts.total(), counts.pop("right", 0), counts.pop("wrong", 0)
    valid, by_code = right + wrong, dict(sorted(counts.items()))
    rates = {"format_valid": valid / num, "key_exact_text": right / num}
    return {"of": prompts.of, **rates, "examples": num, "malformed": by_code}


def _outcome(prompts: Prompts, gold: str, completion: str, finish_reason: str) -> str:
    reading = prompts.template.read(completion, finish_reason)
    if reading.spans is None:
        return str(reading.strict)
    return "right" if completion[reading.spans.key_start : reading.spans.key_end] == gold.strip() else "wrong"


def _complete(model: "PreTrainedModel", prompts: Prompts, some: Sequence[Tensor]) -> list[tuple[str, str]]:
    """Greedy completions without their EOS, each with `stop` or `length`."""
    ends = completion_ends(model, prompts.tokenizer)
    longest = max(len(prompt) for prompt in some)
    room = prompts.max_new_tokens if prompts.context is None else prompts.context - longest
    inputs = torch.full((len(some), longest), ends[0])  # any id would do as padding: `seen` hides it
    seen = torch.zeros_like(inputs)
    for row, prompt in enumerate(some):  # on the left, so that all go on at the same place
        inputs[row, longest - len(prompt) :], seen[row, longest - len(prompt) :] = prompt, 1
    # Of which transformers would make a loss, by the mask of all tokens so far and the routers' logits of the last.
    asks = getattr(model.config.get_text_config(), "output_router_logits", False)
    without_routers = {"output_router_logits": False} if asks else {}
    generate: Any = model.generate  # inherited, which the model's own attributes hide from the type checker
    with torch.compiler.set_stance("force_eager"):  # layers compiled for training would be so again for every length
        written = generate(
            inputs.to(model.device),
            attention_mask=seen.to(model.device),
            generation_config=_greedy(ends, min(room, prompts.max_new_tokens)),
            **without_routers,
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
