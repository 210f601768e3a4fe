"""lm-eval's back-ends by name: what is found, what is refused, and what is known of a completion."""

import json
from pathlib import Path
from typing import Any

import pytest

from sftkey_data.errors import SFTKeyError
from sftkey_eval.backends import generation_arguments, published_arguments, read_arguments
from sftkey_eval.generate import GenerateOptions, generate
from sftkey_eval.sampling import Sampling


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


def test_arguments_are_read_as_lm_eval_reads_them() -> None:
    found = read_arguments("base_url=http://h/v1?a=b,timeout=5,verify_certificate=False")
    assert found == {"base_url": "http://h/v1?a=b", "timeout": 5, "verify_certificate": False}
