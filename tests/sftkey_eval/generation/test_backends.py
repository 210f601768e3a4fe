"""lm-eval's back-ends by name: what is found, what is refused, and what is known of a completion."""

import json
from pathlib import Path
from typing import Any

import pytest

from sftkey_data.errors import SFTKeyError
from sftkey_data.prepared.manifest import read_manifest
from sftkey_eval.generation.generate import generate
from sftkey_eval.generation.generate_options import GenerateOptions
from sftkey_eval.generation.lm_eval_models import generation_arguments, published_arguments, read_arguments
from sftkey_eval.generation.prompt_items import load_prompt_items
from sftkey_eval.generation.sample_requests import requests_for
from sftkey_eval.generation.sampling import Sampling


def options(model: Path, data: Path, **changes: Any) -> GenerateOptions:
    return GenerateOptions(**({"model": str(model), "data": data, "max_new_tokens": 8, "limit": 3} | changes))


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


@pytest.mark.parametrize(("max_new_tokens", "reason"), [(8, None), (3, "length")], ids=["shorter", "as long"])
def test_of_a_plain_back_end_only_the_limit_is_known(
    tiny_model: Path, prepared: Path, tmp_path: Path, max_new_tokens: int, reason: str | None
) -> None:
    asked = options(tiny_model, prepared, backend="dummy", max_new_tokens=max_new_tokens)
    result = generate(asked, tmp_path / "completions.jsonl")
    rows = read(result.path)
    assert [(row["completion"], row["finish_reason"]) for row in rows] == [("lol", reason)] * 3  # what `dummy` says
    assert result.finish_reasons == {reason or "unknown": 3}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backend": "vlm"}, r"not one of lm-eval's \(did you mean 'vllm'\?\)"),
        ({"backend": "vllm"}, r'^back-end \'vllm\' needs vllm, not installed: pip install "lm-eval\[vllm\]"$'),
        ({"backend": "sglang"}, r'^back-end \'sglang\' needs sglang, not installed: pip install "sglang"$'),
        ({"backend_args": "dtype=float32"}, "back-end 'hf' takes no --backend-args, found 'dtype'"),
        ({"backend": "dummy", "backend_args": "abc"}, "--backend-args: found 'abc', expected key=value"),
        ({"backend": "dummy", "backend_args": "think_end_token=</think>"}, "think_end_token would change the raw text"),
        ({"backend": "dummy", "device": "cpu"}, "--device is for the back-end hf"),
        ({"backend": "local-completions"}, "needs --backend-args base_url=http"),
        (
            {"backend": "local-completions", "backend_args": "base_url=http://x,max_length=9"},
            "exceed the model's context of 9",
        ),
        (
            {"backend": "local-completions", "backend_args": "base_url=http://x,nonsense", "limit": 1},
            "found 'nonsense'",
        ),
        (
            {
                "backend": "local-completions",
                "backend_args": "base_url=http://x,tokenizer_backend=none,tokenized_requests=True",
            },
            "needs a tokenizer to make ids with",
        ),
        ({"concurrency": 0}, "concurrency is 0, expected at least 1"),
    ],
)
def test_a_back_end_that_cannot_work_is_one_line_and_leaves_nothing(
    tiny_model: Path, prepared: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(SFTKeyError, match=message) as caught:
        generate(options(tiny_model, prepared, **changes), tmp_path / "completions.jsonl")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_secret_is_not_in_the_run_record(tiny_model: Path, prepared: Path, tmp_path: Path) -> None:
    given = "auth_token=sesame,write_out=False"
    generate(options(tiny_model, prepared, backend="dummy", backend_args=given), tmp_path / "completions.jsonl")
    record = (tmp_path / "run.json").read_text()
    assert "sesame" not in record
    assert json.loads(record)["sampling"]["backend_args"] == {"write_out": "False"}
    assert published_arguments(given) == {"write_out": "False"}


def test_another_address_is_another_run(tiny_model: Path, prepared: Path, tmp_path: Path) -> None:
    first = options(tiny_model, prepared, backend="dummy", backend_args="base_url=http://a")
    generate(first, tmp_path / "completions.jsonl")
    with pytest.raises(SFTKeyError, match=r"backend_args is .*http://a.*, expected .*http://b"):
        generate(
            options(tiny_model, prepared, backend="dummy", backend_args="base_url=http://b"),
            tmp_path / "completions.jsonl",
        )


def test_no_text_ends_a_completion_and_what_cuts_nothing_is_not_sent() -> None:
    greedy = generation_arguments(Sampling(max_new_tokens=9))
    assert greedy == {"until": [], "max_gen_toks": 9, "temperature": 0.0, "do_sample": False}
    cut = generation_arguments(Sampling(max_new_tokens=9, temperature=0.7, top_p=0.9, top_k=20))
    assert {"do_sample": True, "top_p": 0.9, "top_k": 20}.items() <= cut.items()


SERVERS = [
    *("local-completions", "local-chat-completions", "openai-completions", "openai-chat-completions"),
    *("anthropic-chat", "sglang-generate"),
]


@pytest.mark.parametrize("backend", SERVERS)
def test_a_server_is_sent_what_was_asked_and_no_stop_string(
    recorder: tuple[str, list[Any]],
    backend: str,
    tiny_model: Path,
    prepared: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address, sent = recorder
    for key in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(key, "none")
    given = f"base_url={address}" + ("" if "chat" in backend else ",tokenized_requests=False")
    model = tmp_path / "tiny-5"  # a name whose temperature lm-eval would change
    model.symlink_to(tiny_model)
    asked = options(model, prepared, backend=backend, backend_args=given, limit=1, temperature=0.7)
    with pytest.raises(SFTKeyError, match=rf"^{address}: status 418: no tea$"):
        generate(asked, tmp_path / "completions.jsonl")
    (payload,) = sent  # what the server refuses is not tried again
    (item,) = load_prompt_items(prepared, read_manifest(prepared), limit=1)
    (request,) = requests_for([item], 1, 0)
    assert "stop" not in json.dumps(payload)
    assert {item.prompt, 8, 0.7} <= {*flat(payload)}
    assert (request.seed in flat(payload)) == (backend not in ("anthropic-chat", "sglang-generate"))


def flat(payload: Any) -> list[Any]:
    if isinstance(payload, dict):
        return [leaf for value in payload.values() for leaf in flat(value)]
    return [payload] if not isinstance(payload, list) else [leaf for value in payload for leaf in flat(value)]


def test_a_key_that_is_not_set_is_one_line(
    tiny_model: Path, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(SFTKeyError, match=r"^back-end 'openai-completions': API key not found\."):
        generate(options(tiny_model, prepared, backend="openai-completions"), tmp_path / "completions.jsonl")


def test_arguments_are_read_as_lm_eval_reads_them() -> None:
    found = read_arguments("base_url=http://h/v1?a=b,timeout=5,verify_certificate=False")
    assert found == {"base_url": "http://h/v1?a=b", "timeout": 5, "verify_certificate": False}
