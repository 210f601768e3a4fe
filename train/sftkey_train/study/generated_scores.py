"""What a trained model writes for a whole prepared set, scored as `sftkey-eval` does, in this process."""

import gzip
import hashlib
import json
import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc

from sftkey_data.console import progress
from sftkey_data.errors import SFTKeyError
from sftkey_data.prepared.manifest import Manifest, read_manifest
from sftkey_data.prepared.shards import open_shards
from sftkey_data.storage.appearing import write_bytes
from sftkey_data.tokens.tokenizer import load_tokenizer
from sftkey_eval.generation.hf import RawHFLM, load_generator
from sftkey_eval.generation.prompt_items import end_tokens, load_prompt_items, prompt_ids
from sftkey_eval.generation.sample_requests import requests_for
from sftkey_eval.generation.sampling import Sampling
from sftkey_eval.records.completion_rows import Completion
from sftkey_eval.records.verdicts import Verdict
from sftkey_eval.scoring.score import score_completion
from sftkey_train.measure.generated_match import usual_new_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Writer:
    """A trained model with its tokenizer, ready to generate."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"


@dataclass(frozen=True, slots=True)
class Scores:
    """Counts over the completions of one set, the file that holds them, and how long it took."""

    counts: dict[str, Any]
    sha256: str
    generation_seconds: float
    scoring_seconds: float
    num_tokens: int


def load_writer(final: Path, device: str) -> Writer:
    """The model of a finished run.

    Raises:
        SFTKeyError: It cannot be loaded.
    """
    for library in ("lm_eval", "transformers"):
        logging.getLogger(library).setLevel(logging.ERROR)
    model = load_generator(str(final), device=None if device == "auto" else device)
    return Writer(model, load_tokenizer(str(final)))


def write_and_score(
    writer: Writer, data: Path, out: Path, *, batch_size: int, max_new_tokens: int, limit: int, label: str
) -> Scores:
    """Complete the prompts of a set greedily, keep what was written as gzipped JSON Lines, and score it.

    Args:
        writer: The model.
        data: The prepared set.
        out: The file, which `sftkey-eval score` reads too; the same completions give the same bytes.
        batch_size: Prompts at once.
        max_new_tokens: Of a completion; 0: twice the longest gold one, as far as the model's context allows.
        limit: Only the first so many examples; 0: all.
        label: For the progress bar.

    Raises:
        SFTKeyError: The prompts do not fit the model.
    """
    started = time.perf_counter()
    manifest = read_manifest(data)
    items = load_prompt_items(data, manifest, limit=limit or None)
    encoded = prompt_ids(items, writer.tokenizer, manifest)
    room = max_new_tokens_for(writer.model.config, data, max(map(len, encoded.values())), max_new_tokens)
    backend = RawHFLM(writer.model, writer.tokenizer, encoded, batch_size, end_tokens(writer.tokenizer, manifest))
    requests = requests_for(items, 1, 0)
    rows: dict[str, dict[str, Any]] = {}
    num_tokens = 0
    with progress(f"{label}: generating", len(requests)) as bar:
        for batch in backend.complete_all(requests, [r.id for r in requests], Sampling(max_new_tokens=room)):
            for request, generated in batch:
                rows[request.id] = request.row(generated)
                num_tokens += generated.num_tokens
            bar.advance(bar.task_ids[0], len(batch))
    generated_at = time.perf_counter()
    lines, verdicts = [], []
    for request in requests:
        verdict = _verdict(rows[request.id], manifest)
        verdicts.append(verdict)
        read = {name: getattr(verdict, name) for name in ("format_valid", "predicted", "correct", "error_class")}
        lines.append(json.dumps({**rows[request.id], **read}, ensure_ascii=False))
    content = gzip.compress(("\n".join(lines) + "\n").encode("utf-8", "replace"), mtime=0)
    write_bytes(out, content)
    return Scores(
        _counts(verdicts) | {"template_digest": manifest.template.digest, "max_new_tokens": room},
        hashlib.sha256(content).hexdigest(),
        generated_at - started,
        time.perf_counter() - generated_at,
        num_tokens,
    )


def max_new_tokens_for(config: "PreTrainedConfig", data: Path, longest: int, asked: int) -> int:
    """How many tokens a completion may have: those asked for, or twice the longest gold one where the context allows.

    Args:
        config: The model's.
        data: The prepared set.
        longest: Tokens of its longest prompt.
        asked: 0: see above.

    Raises:
        SFTKeyError: Prompt and completion do not fit the model's context.
    """
    context = getattr(config.get_text_config(), "max_position_embeddings", None)
    if context is not None and longest + asked >= context:
        raise SFTKeyError(
            f"max_new_tokens is {asked}, but the longest prompt of {data} has {longest} tokens "
            f"and the model's context is {context}"
        )
    if asked:
        return asked
    table = open_shards(data, columns=["input_ids", "prompt_tokens"])
    gold = int(pc.max(pc.subtract(pc.list_value_length(table["input_ids"]), table["prompt_tokens"])).as_py())
    wanted = usual_new_tokens(gold)
    return wanted if context is None else min(wanted, context - longest)


def _verdict(row: dict[str, Any], manifest: Manifest) -> Verdict:
    choices = row["choices"]
    named = ("id", "item_id", "sample", "dataset", "split", "prompt", "completion", "gold", "answer_type")
    completion = Completion(
        **{name: row[name] for name in named},
        choices=None if choices is None else tuple(choices),
        finish_reason=row["finish_reason"],
    )
    return score_completion(completion, manifest.template)


def _counts(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    classes = Counter(verdict.error_class for verdict in verdicts)
    errors = Counter(verdict.format_error for verdict in verdicts if verdict.format_error)
    found = {
        "format_valid": [verdict.format_valid for verdict in verdicts],
        "correct": [verdict.correct for verdict in verdicts],
        "lenient_correct": [verdict.lenient_correct for verdict in verdicts],
        "slip": [verdict.error_class == "slip" for verdict in verdicts],
    }
    return {
        "n": len(verdicts),
        **{name: sum(of_items) for name, of_items in found.items() if name != "slip"},
        "error_classes": dict(sorted(classes.items())),
        "format_errors": dict(sorted(errors.items())),
        "items": {name: _packed(of_items) for name, of_items in found.items()},
    }


def _packed(of_items: Sequence[bool]) -> str:
    """A bit per item in the order of the set, as hexadecimal digits; the last byte is filled with zeros."""
    return np.packbits(np.array(of_items, dtype=bool)).tobytes().hex()
