"""Any back-end of lm-eval's that has no module of its own, through `generate_until`."""

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from lm_eval.api.instance import Instance

from sftkey_eval.generation.lm_eval_models import generation_arguments
from sftkey_eval.generation.sample_requests import Generated, Request
from sftkey_eval.generation.sampling import Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class PlainBackend:
    """A class of lm-eval's of which nothing is known but `generate_until`.

    The finish reason is `length` where the text has as many tokens as were allowed, else unknown.

    Args:
        lm: An instance of the class.
        batch_size: Requests of one call.
        tokenizer: Counts the tokens of a text; without one no number and no finish reason is known.
    """

    def __init__(self, lm: Any, batch_size: int, tokenizer: "PreTrainedTokenizerBase | None") -> None:
        self._lm = lm
        self._batch_size = batch_size
        self._tokenizer = tokenizer
        self.max_length: int | None = getattr(lm, "max_length", None)

    def complete_all(
        self, requests: Sequence[Request], missing: Collection[str], sampling: Sampling
    ) -> Iterator[list[tuple[Request, Generated]]]:
        """Completions in batches, in the order of the requests; a batch is made whole if one of it is missing."""
        for start in range(0, len(requests), self._batch_size):
            batch = requests[start : start + self._batch_size]
            if any(request.id in missing for request in batch):
                arguments = generation_arguments(sampling)
                # A copy of the arguments each: lm-eval takes out what it reads.
                instances = [
                    Instance("generate_until", {}, (request.item.prompt, dict(arguments)), 0) for request in batch
                ]
                texts = self._lm.generate_until(instances, disable_tqdm=True)
                yield [(r, self._generated(t, sampling)) for r, t in zip(batch, texts, strict=True)]

    def _generated(self, text: str, sampling: Sampling) -> Generated:
        num_tokens = len(self._tokenizer.encode(text, add_special_tokens=False)) if self._tokenizer else 0
        return Generated(text, "length" if num_tokens >= sampling.max_new_tokens else None, num_tokens)
