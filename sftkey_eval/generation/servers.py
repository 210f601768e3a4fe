"""lm-eval's back-ends for servers (`local-completions`, `local-chat-completions`, …): one request per completion.

`generate_until` by itself forgets the finish reason, adds an EOS text as a stop string, runs only requests of equal
sampling arguments at once (here each sample has its own seed), and returns when all are done.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import requests as http
from lm_eval.models.api_models import JsonChatStr
from lm_eval.models.openai_completions import LocalChatCompletion

from sftkey_data.errors import SFTKeyError
from sftkey_eval.generation.generate_options import GenerateOptions
from sftkey_eval.generation.lm_eval_models import generation_arguments, make
from sftkey_eval.generation.sample_requests import Generated, Request
from sftkey_eval.generation.sampling import Sampling
from sftkey_eval.server_faults import patiently, said_of

REASONS = {"eos": "stop", "stop_sequence": "stop", "end_turn": "stop", "max_tokens": "length"}
"""Finish reasons in others' words."""


class ServerBackend:
    """A model behind an address; what may pass (no answer, a fault of the server) is tried again.

    Args:
        found: lm-eval's class.
        options: The model's name there, and how many requests may be under way at once.
        arguments: Of the class: `base_url`, `tokenized_requests`, `max_retries`, `timeout`, …
        encoded: Ids of every prompt; empty where no tokenizer is known.
        ends: Ids that end a completion beside the EOS the server knows; sent as `stop_token_ids`.

    Raises:
        SFTKeyError: An argument or a key is missing, or ids are asked for that there are none of.
    """

    def __init__(
        self,
        found: Any,
        options: GenerateOptions,
        arguments: Mapping[str, Any],
        encoded: Mapping[str, list[int]],
        ends: Sequence[int],
    ) -> None:
        if "base_url" not in arguments and found.__name__.startswith("Local"):
            raise SFTKeyError(f"back-end {options.backend!r} needs --backend-args base_url=http://…/v1/completions")
        chat = "chat" in options.backend or issubclass(found, LocalChatCompletion)
        tokenized = bool(arguments.get("tokenized_requests", not chat and bool(encoded)))
        if tokenized and (chat or not encoded):
            needs = "messages" if chat else "a tokenizer to make ids with"
            raise SFTKeyError(f"--backend-args tokenized_requests=True: the back-end {options.backend!r} needs {needs}")
        given = {"model": options.model, "tokenizer_backend": "none", "batch_size": 1, **arguments}
        given |= {"tokenizer": None, "tokenizer_backend": "none"}  # ids are ours; its EOS text would be a stop string
        self._lm = make(_as_asked(found), options, given)
        self._lm.tokenized_requests = tokenized
        self._chat = chat
        self._openai_chat = issubclass(found, LocalChatCompletion)
        self._seeded = "anthropic" not in options.backend and not options.backend.startswith("sglang")
        try:
            _ = self._lm.header  # made from the key, which the environment may lack
        except ValueError as error:
            raise SFTKeyError(f"back-end {options.backend!r}: {error}") from None
        self._address = str(self._lm.base_url)
        self._encoded = encoded
        self._stops = {"stop_token_ids": list(ends)} if ends else {}
        self._concurrency = options.concurrency
        self.max_length: int | None = int(arguments["max_length"]) if "max_length" in arguments else None

    def complete_all(
        self, requests: Sequence[Request], missing: Collection[str], sampling: Sampling
    ) -> Iterator[list[tuple[Request, Generated]]]:
        """Completions of the missing requests, each as it is ready.

        Raises:
            SFTKeyError: No answer, one that is no completion, or a server that saw another prompt.
        """
        pool = ThreadPoolExecutor(self._concurrency)
        try:
            open_ = [request for request in requests if request.id in missing]
            futures = {pool.submit(self._complete, request, sampling): request for request in open_}
            for future in as_completed(futures):
                yield [(futures[future], future.result())]
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _complete(self, request: Request, sampling: Sampling) -> Generated:
        arguments = generation_arguments(sampling) | self._stops | ({"seed": request.seed} if self._seeded else {})
        try:
            answer = patiently(self._lm.max_retries)(
                self._lm.model_call, [self._message(request)], generate=True, gen_kwargs=arguments
            )
        except http.RequestException as error:
            raise SFTKeyError(f"{self._address}: {said_of(error)}") from None
        return self._generated(request, answer)

    def _message(self, request: Request) -> Any:
        if self._chat:
            return JsonChatStr(json.dumps([{"role": "user", "content": request.item.prompt}]))
        return self._encoded[request.item.prompt] if self._lm.tokenized_requests else request.item.prompt

    def _generated(self, request: Request, answer: Any) -> Generated:
        try:
            if self._openai_chat:
                _ = answer["choices"][0]["message"]["content"]  # its class reads what it does not know as ""
            (text,) = self._lm.parse_generations(answer, contexts=[request.item.prompt])
        except (KeyError, TypeError, ValueError, IndexError):
            found = json.dumps(answer)[:200]
            raise SFTKeyError(f"{self._address}: expected one completion in the answer, found {found}") from None
        usage, reason = _usage(answer), _finish_reason(answer)
        self._refuse_other_prompt(request, usage.get("prompt_tokens"))
        return Generated(text or "", REASONS.get(reason or "", reason), int(usage.get("completion_tokens") or 0))

    def _refuse_other_prompt(self, request: Request, num_seen: int | None) -> None:
        """A server that encodes the text itself may add BOS or have another tokenizer."""
        expected = self._encoded.get(request.item.prompt)
        if self._chat or expected is None or not num_seen or num_seen == len(expected):
            return
        raise SFTKeyError(
            f"{request.item.id}: the server at {self._address} saw {num_seen} prompt tokens, expected {len(expected)}: "
            "BOS or the tokenizer differs; send ids (--backend-args tokenized_requests=True) if the server takes them, "
            "or name its tokenizer (--backend-args tokenizer=…)"
        )


def _as_asked(found: Any) -> Any:
    """The class, sending what was asked.

    By itself it adds stop strings, which would cut the raw text, and another temperature for any model with a 5 in its
    name.
    """

    class Raw(found):  # type: ignore[misc]
        def _create_payload(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
            temperature = kwargs["gen_kwargs"]["temperature"]
            payload: dict[str, Any] = super()._create_payload(*args, **kwargs)
            for place in (payload, payload.get("sampling_params", {})):
                for name in ("stop", "stop_sequences"):
                    place.pop(name, None)
                if "temperature" in place:
                    place["temperature"] = temperature
            return payload

    Raw.__name__ = found.__name__
    return Raw


def _finish_reason(answer: Any) -> str | None:
    """Of OpenAI's schema, of Anthropic's, or of SGLang's own."""
    first = answer[0] if isinstance(answer, list) else answer
    if choices := first.get("choices"):
        reason = choices[0].get("finish_reason")
    else:
        reason = first.get("stop_reason") or first.get("meta_info", {}).get("finish_reason")
    named = reason.get("type") if isinstance(reason, dict) else reason
    return None if named is None else str(named)


def _usage(answer: Any) -> Mapping[str, Any]:
    first = answer[0] if isinstance(answer, list) else answer
    return first.get("usage") or first.get("meta_info") or {}
