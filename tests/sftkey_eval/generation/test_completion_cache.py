"""The cache: the same model, prompt and sampling is generated once; anything else never finds it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from eval_samples import write_model

from sftkey_data.errors import SFTKeyError
from sftkey_eval.generation.completion_cache import CACHE_FILE, Cache
from sftkey_eval.generation.generate import generate
from sftkey_eval.generation.generate_options import GenerateOptions
from sftkey_eval.records.journal import Journal


def options(model: Path, data: Path, cache: Path | None, **changes: Any) -> GenerateOptions:
    values = {"batch_size": 4, "max_new_tokens": 12, "device": "cpu", "limit": 6, "cache": cache} | changes
    return GenerateOptions(model=str(model), data=data, **values)


def test_another_run_of_the_same_model_generates_nothing_and_writes_the_same_file(
    tiny_model: Path, prepared: Path, tmp_path: Path
) -> None:
    first = generate(options(tiny_model, prepared, tmp_path / "cache"), tmp_path / "a" / "c.jsonl")
    moved = shutil.copytree(tiny_model, tmp_path / "moved")
    again = generate(options(moved, prepared, tmp_path / "cache", batch_size=1), tmp_path / "b" / "c.jsonl")
    more = generate(options(moved, prepared, tmp_path / "cache", limit=8), tmp_path / "d" / "c.jsonl")
    alone = generate(options(tiny_model, prepared, None, limit=8), tmp_path / "e" / "c.jsonl")
    found = [(result.num_new, result.num_cached) for result in (first, again, more, alone)]
    assert found == [(6, 0), (6, 6), (8, 6), (8, 0)]
    assert again.tokens_per_second is None
    assert again.path.read_bytes() == first.path.read_bytes()
    assert more.path.read_bytes() == alone.path.read_bytes()


@pytest.mark.parametrize(("kind", "step"), [(Cache, "keep"), (Journal, "append")], ids=["cache", "journal"])
def test_what_a_killed_run_has_generated_is_known_to_the_next(
    kind: type, step: str, tiny_model: Path, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> int:
        raise KeyboardInterrupt

    cached = options(tiny_model, prepared, tmp_path / "cache")
    with monkeypatch.context() as patched:
        patched.setattr(kind, step, killed)
        with pytest.raises(KeyboardInterrupt):
            generate(cached, tmp_path / "a" / "c.jsonl")
    generate(cached, tmp_path / "a" / "c.jsonl")
    assert generate(cached, tmp_path / "b" / "c.jsonl").num_cached == 6


@pytest.mark.parametrize(
    "changes",
    [
        {"max_new_tokens": 11},
        {"temperature": 1.0},
        {"temperature": 1.0, "seed": 1},
        {"temperature": 1.0, "top_k": 5},
        {"dtype": "bfloat16"},
    ],
    ids=str,
)
def test_another_sampling_is_not_found(
    changes: dict[str, Any], tiny_model: Path, prepared: Path, tmp_path: Path
) -> None:
    for name, before in (("greedy", {}), ("sampled", {"temperature": 1.0})):
        if before != changes:
            generate(options(tiny_model, prepared, tmp_path / "cache", **before), tmp_path / name / "c.jsonl")
    result = generate(options(tiny_model, prepared, tmp_path / "cache", **changes), tmp_path / "other" / "c.jsonl")
    assert result.num_cached == 0
    alone = generate(options(tiny_model, prepared, None, **changes), tmp_path / "alone" / "c.jsonl")
    assert result.path.read_bytes() == alone.path.read_bytes()


def test_another_model_never_gets_the_completions_of_the_first(
    tiny_model: Path, prepared: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(tiny_model, tmp_path / "other")
    write_model(other, seed=5)
    first = generate(options(tiny_model, prepared, tmp_path / "cache"), tmp_path / "a" / "c.jsonl")
    second = generate(options(other, prepared, tmp_path / "cache"), tmp_path / "b" / "c.jsonl")
    assert second.num_cached == 0
    assert second.path.read_bytes() != first.path.read_bytes()


def test_samples_are_told_apart(tiny_model: Path, prepared: Path, tmp_path: Path) -> None:
    sampled = {"temperature": 1.0, "num_samples": 2}
    first = generate(options(tiny_model, prepared, tmp_path / "cache", **sampled), tmp_path / "a" / "c.jsonl")
    again = generate(options(tiny_model, prepared, tmp_path / "cache", **sampled), tmp_path / "b" / "c.jsonl")
    assert (first.num_completions, again.num_cached) == (12, 12)
    assert again.path.read_bytes() == first.path.read_bytes()
    texts = [json.loads(line)["completion"] for line in first.path.read_text().splitlines()]
    assert any(texts[i] != texts[i + 1] for i in range(0, 12, 2))


def test_what_is_no_cache_is_one_line(tiny_model: Path, prepared: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / CACHE_FILE).write_bytes(b"something else entirely, and longer than a header" * 30)
    with pytest.raises(SFTKeyError, match=r"completions\.sqlite cannot be used: file is not a database$"):
        generate(options(tiny_model, prepared, tmp_path / "cache"), tmp_path / "a" / "c.jsonl")


@pytest.mark.parametrize("backend", ["local-completions", "gguf", "textsynth"])
def test_only_a_model_that_runs_here_has_a_cache(backend: str, prepared: Path, tmp_path: Path) -> None:
    changes = {"backend": backend, "backend_args": "base_url=http://127.0.0.1:9/v1/completions"}
    with pytest.raises(SFTKeyError, match=r"^--cache is for the back-end hf, found "):
        generate(options(Path("m"), prepared, tmp_path / "c", device=None, **changes), tmp_path / "a" / "c.jsonl")
