"""lm-eval's `vllm` and `sglang` back-ends, held to the raw completion: our prompt ids in, untouched text out.

`generate_until` by itself cuts the text at the EOS *text* and forgets the finish reason; both are still in what the
engine returned, so that is kept.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from lm_eval.api.instance import Instance

from sftkey_eval.generation.generate_options import GenerateOptions
from sftkey_eval.generation.lm_eval_models import CODE_ARGUMENT, generation_arguments, make
from sftkey_eval.generation.sample_requests import Generated, Request
from sftkey_eval.generation.sampling import Sampling


class EngineBackend:
    """An engine in this process that batches by itself; vLLM takes a seed per completion, SGLang one per engine."""

    def __init__(
        self,
        found: Any,
        options: GenerateOptions,
        arguments: Mapping[str, Any],
        encoded: Mapping[str, list[int]],
        ends: Sequence[int],
    ) -> None:
        # lm-eval's SGLang trusts code of a model unless told otherwise.
        safe = {CODE_ARGUMENT: False}
        given: dict[str, Any] = {"dtype": options.dtype, "seed": options.seed, **arguments, **safe}
        if options.backend == "sglang":
            given["random_seed"] = given.pop("seed")  # its word for it
        self._lm = make(_capturing(found, encoded), options, given)
        self._encoded = encoded
        self._stops = {"stop_token_ids": list(ends)} if ends else {}
        self._batch_size = options.batch_size
        self._seeded = options.backend == "vllm"
        self.max_length: int | None = self._lm.max_length

    def complete_all(
        self, requests: Sequence[Request], missing: Collection[str], sampling: Sampling
    ) -> Iterator[list[tuple[Request, Generated]]]:
        """Completions of the missing requests, batch by batch."""
        open_ = [request for request in requests if request.id in missing]
        ordered = sorted(open_, key=self._order)
        for start in range(0, len(ordered), self._batch_size):
            batch = ordered[start : start + self._batch_size]
            yield list(zip(batch, self._complete(batch, sampling), strict=True))

    def _order(self, request: Request) -> tuple[int, str]:
        """The key `generate_until` sorts by: a batch sorted by it keeps its order inside."""
        return -len(self._encoded[request.item.prompt]), request.item.prompt

    def _complete(self, batch: Sequence[Request], sampling: Sampling) -> list[Generated]:
        self._lm.captured.clear()
        instances = [
            Instance("generate_until", {}, (request.item.prompt, self._arguments(request, sampling)), 0)
            for request in batch
        ]
        texts = self._lm.generate_until(instances, disable_tqdm=True)
        generated = list(self._lm.captured)
        # lm-eval may have cut the end of a text, never its beginning.
        if any(not made.text.startswith(text) for made, text in zip(generated, texts, strict=True)):
            raise RuntimeError("lm-eval returned other completions than were generated, or in another order")
        return generated

    def _arguments(self, request: Request, sampling: Sampling) -> dict[str, Any]:
        return generation_arguments(sampling) | self._stops | ({"seed": request.seed} if self._seeded else {})


def _capturing(found: Any, encoded: Mapping[str, list[int]]) -> Any:
    class Capturing(found):  # type: ignore[misc]
        def __init__(self, **kwargs: Any) -> None:
            self.captured: list[Generated] = []
            super().__init__(**kwargs)

        def tok_encode(self, string: Any, *_: Any, **__: Any) -> Any:
            return encoded[string] if isinstance(string, str) else [encoded[text] for text in string]

        @staticmethod
        def modify_gen_kwargs(gen_kwargs: dict[str, Any], eos: Any = None, **others: Any) -> Any:
            del eos  # EOS by its id ends a completion, its text does not: vLLM takes its stop strings from here
            return found.modify_gen_kwargs(gen_kwargs, **others)

        def _model_generate(self, *args: Any, **kwargs: Any) -> Any:
            for sampling in kwargs.get("sampling_params") or ():
                if isinstance(sampling, dict):
                    sampling["stop"] = []  # SGLang's
            outputs = super()._model_generate(*args, **kwargs)
            self.captured.extend(map(_generated, outputs))
            return outputs

    return Capturing


def _generated(output: Any) -> Generated:
    """Of vLLM's `RequestOutput`, or of the mapping that SGLang returns."""
    if isinstance(output, Mapping):
        facts = output["meta_info"]
        return Generated(output["text"], facts["finish_reason"]["type"], facts["completion_tokens"])
    made = output.outputs[0]
    return Generated(made.text, made.finish_reason, len(made.token_ids))
