"""lm-eval's `hf` back-end, held to the raw completion: exact prompt ids in, untouched text and finish reason out.

What `HFLM.generate_until` does by itself and must not do here (lm-eval 0.4.13): cut the text at the first EOS *text*,
skip special tokens when decoding, decide about BOS from the first prompt of a batch, cut long prompts from the left
with no more than a warning, and forget which rows reached EOS.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from sftkey_data.errors import SFTKeyError, nearest
from sftkey_data.model_loading import load_causal_model, own_end_tokens
from sftkey_eval.generation.decoding import SeededSampling, can_shrink, decode
from sftkey_eval.generation.sample_requests import Generated, Request
from sftkey_eval.generation.sampling import Sampling


def load_generator(name: str, *, device: str | None = None, dtype: str = "auto") -> PreTrainedModel:
    """The causal language model, complete and on its device.

    Args:
        name: Local directory or hub name.
        device: `cuda`, `cuda:1`, `cpu`, `mps`; by default an accelerator where there is one.
        dtype: `auto` (as stored), `float32`, `bfloat16` or `float16`.

    Raises:
        SFTKeyError: No such device, or what `load_causal_model` refuses.
    """
    place = find_device(device)
    model: Any = load_causal_model(name, dtype=dtype)  # Any: transformers' decorator hides self of `to`
    fields = model.config.get_text_config()
    if getattr(fields, "output_router_logits", False):  # for a loss in training, that fails on padded prompts
        fields.output_router_logits = False
    placed: PreTrainedModel = model.to(place).eval()
    return placed


def find_device(name: str | None) -> torch.device:
    """The device of that name; for None `cuda` or `mps` where there is one, else `cpu`.

    Raises:
        SFTKeyError: Not the name of a device, or of one that is not there.
    """
    counts = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available()), "cpu": 1}
    if name is None:
        return torch.device(next(kind for kind, count in counts.items() if count))
    there = [kind for kind, count in counts.items() if count]
    try:
        device = torch.device(name)
    except RuntimeError:
        raise SFTKeyError(f"device {name!r} is no device{nearest(name, counts)}; there: {', '.join(there)}") from None
    if (device.index or 0) >= counts.get(device.type, 0):
        raise SFTKeyError(f"device {name!r} is not there; there: {', '.join(there)}")
    return device


class RawHFLM(HFLM):  # type: ignore[misc]  # lm_eval has no type information
    """`HFLM` that feeds given prompt ids and keeps the generated ids.

    Args:
        model: The loaded model.
        tokenizer: Its tokenizer.
        prompt_ids: Token ids of every prompt that will be asked for.
        batch_size: Prompts per forward pass.
        ends: Ids that end a completion, besides those that the model's own configuration names.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        prompt_ids: dict[str, list[int]],
        batch_size: int,
        ends: Sequence[int],
    ) -> None:
        super().__init__(pretrained=model, tokenizer=tokenizer, backend="causal", batch_size=batch_size)
        self.prompt_ids = prompt_ids
        self.eos_token_ids = [*dict.fromkeys([*ends, *own_end_tokens(model)])]
        self.generated: list[list[int]] = []
        self._sampler: SeededSampling | None = None
        self._shrinks = can_shrink(model)
        # A model's own generation_config may hold a repetition penalty or top_k: nothing but ours may shape the text.
        model.generation_config = GenerationConfig(
            eos_token_id=self.eos_token_ids, pad_token_id=self.tokenizer.pad_token_id
        )

    def complete_all(
        self, requests: Sequence[Request], missing: Collection[str], sampling: Sampling
    ) -> Iterator[list[tuple[Request, Generated]]]:
        """Complete the batches that hold a missing request, batch by batch.

        The division into batches never depends on what is missing: padding changes logits in their last bits, so only
        then an interruption changes nothing.
        """
        ordered = sorted(requests, key=lambda request: self.batch_order(request.item.prompt))
        for start in range(0, len(ordered), self.batch_size):
            batch = ordered[start : start + self.batch_size]
            if any(request.id in missing for request in batch):
                yield list(zip(batch, self.complete(batch, sampling), strict=True))

    def complete(self, requests: Sequence[Request], sampling: Sampling) -> list[Generated]:
        """Complete one batch, at most `batch_size` of them, sorted by `batch_order` of their prompts.

        Raises:
            RuntimeError: The back-end returned other text than the ids it generated.
        """
        prompts = [request.item.prompt for request in requests]
        self._sampler = None
        if sampling.temperature > 0:
            self._sampler = SeededSampling([request.seed for request in requests], sampling)
        arguments = {"until": [], "max_gen_toks": sampling.max_new_tokens, "do_sample": False}
        instances = [
            Instance(request_type="generate_until", doc={}, arguments=(prompt, dict(arguments)), idx=0)
            for prompt in prompts
        ]
        texts = self.generate_until(instances, disable_tqdm=True)
        if texts != [self.tok_decode(ids) for ids in self.generated]:
            raise RuntimeError("lm-eval returned other completions than were generated, or in another order")
        return [
            self._result(prompt, ids, sampling.max_new_tokens)
            for prompt, ids in zip(prompts, self.generated, strict=True)
        ]

    def batch_order(self, prompt: str) -> tuple[int, str]:
        """The key `generate_until` sorts by: batches sorted by it keep their order inside."""
        return -len(self.prompt_ids[prompt]), prompt

    def tok_encode(self, string: str, *_: Any, **__: Any) -> list[int]:
        """The ids this prompt was given at the start."""
        return self.prompt_ids[string]

    def tok_batch_encode(self, strings: Sequence[str], *_: Any, **__: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and attention mask, both (B, T), padded on the left."""
        rows = [self.prompt_ids[string] for string in strings]
        width = max(map(len, rows))
        ids = [[self.tokenizer.pad_token_id] * (width - len(row)) + row for row in rows]
        mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
        return torch.tensor(ids), torch.tensor(mask)

    def tok_decode(self, tokens: int | list[int], **_: Any) -> str:
        """Text of the tokens before EOS, special tokens included.

        Of a single id, which `generate_until` asks for to learn the EOS text, it is empty: no text ends a completion.
        """
        return raw_text(self.tokenizer, self._before_eos(tokens)) if isinstance(tokens, list) else ""

    def _model_generate(self, context: torch.Tensor, max_length: int, stop: list[str], **kwargs: Any) -> torch.Tensor:
        del stop  # EOS by its id ends a completion, no text does
        width = context.shape[1]
        if self._shrinks:
            self.generated = decode(
                self.model,
                context,
                kwargs["attention_mask"],
                ends=self.eos_token_ids,
                max_new_tokens=max_length - width,
                sampler=self._sampler,
            )
            return torch.cat([context, self._padded(self.generated).to(context)], dim=1)
        if self._sampler is not None:
            kwargs["logits_processor"] = [self._sampler]
        output: torch.Tensor = super()._model_generate(context, max_length, stop=[], **kwargs)
        self.generated = output[:, width:].tolist()
        return output

    def _padded(self, rows: list[list[int]]) -> torch.Tensor:
        longest = max(map(len, rows))
        return torch.tensor([row + [self.tokenizer.pad_token_id] * (longest - len(row)) for row in rows])

    def _result(self, prompt: str, ids: list[int], max_new_tokens: int) -> Generated:
        written = self._before_eos(ids)
        stopped = len(written) < len(ids)
        if not stopped and len(ids) != max_new_tokens:
            raise RuntimeError(f"a completion has {len(ids)} tokens and no EOS, expected {max_new_tokens}")
        text = text_after(self.tokenizer, self.prompt_ids[prompt], written)
        return Generated(text, "stop" if stopped else "length", len(written) + stopped)

    def _before_eos(self, ids: list[int]) -> list[int]:
        return ids[: next((i for i, token in enumerate(ids) if token in self.eos_token_ids), len(ids))]


def text_after(tokenizer: PreTrainedTokenizerBase, prompt: list[int], completion: list[int]) -> str:
    """The raw text of a completion's tokens behind its prompt, special tokens included.

    Behind the prompt, as tokenizers of the SentencePiece kind drop the space before the first word of a text.
    """
    before, both = raw_text(tokenizer, prompt), raw_text(tokenizer, prompt + completion)
    return both[len(before) :] if both.startswith(before) else raw_text(tokenizer, completion)


def raw_text(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    """The text of some tokens, special tokens included and no space tidied away."""
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))
