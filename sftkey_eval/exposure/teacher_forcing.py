"""The teacher-forced Key: its NLL and exact match given the gold CoT and given the model's own CoT.

Completions are those of a run; nothing is generated. One forward pass for each text, and logits for the Keys' tokens
alone: an own pre-hook of the output layer picks them, so any causal language model will do.
"""

import gc
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sftkey_data.console import progress
from sftkey_data.errors import SFTKeyError
from sftkey_data.guards.regular_file import read_json_file
from sftkey_data.model_loading import refuse_unsafe
from sftkey_data.prepared.manifest import MANIFEST, file_sha256, read_manifest
from sftkey_data.storage.appearing import write_json
from sftkey_data.tokens.tokenizer import load_tokenizer
from sftkey_eval.exposure.exposure_gap import FORCED_FILE, Exposure, KeyLine, read_key_lines, summarize_exposure
from sftkey_eval.exposure.forced_inputs import Forced, ForcedItem, Shown, in_batches, load_forced, within
from sftkey_eval.generation.hf import load_generator
from sftkey_eval.generation.model_files import find_model
from sftkey_eval.records.completion_fields import Fields
from sftkey_eval.records.completion_rows import survey_completions
from sftkey_eval.records.journal import Journal, partial_path

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SUMMARY_FILE = "teacher_forced.json"
OPEN_FILE = "teacher_forced.open.json"
"""What an unfinished measurement is of; its summary holds that when it is done."""

BATCH_TOKENS = 2**14  # of a forward pass, padding included
FORCED_ROWS = 2**10  # of logits; at 151,936 in bf16, 300 MiB
FP32_ROWS = 2**8  # of them made fp32 at once, 148 MiB
UNLIMITED = 10**12  # what transformers states for a tokenizer without a limit is larger
CONTEXT_NAMES = ("max_position_embeddings", "n_positions", "n_ctx")


@dataclass(frozen=True, slots=True)
class KeyScore:
    """NLL of a Key in nats, summed over its tokens, and whether each of them is the likeliest."""

    nll: float
    exact: bool


def teacher_force(
    model: str, data: Path, completions: Path, *, device: str | None = None, dtype: str = "auto"
) -> Exposure:
    """Measure the Keys of a run's items and write `teacher_forced.jsonl` and `.json` beside its completions.

    Items are appended batch by batch; called again after an interruption it goes on, to the same bytes. What lies
    there of another model, other data or other completions is replaced.

    Args:
        model: Model folder or hub name, loaded by transformers whatever made the completions.
        data: Folder written by `sftkey-data build`, from which the completions were made.
        completions: The run's completions.
        device: As of `load_model`.
        dtype: As of `load_model`.

    Raises:
        SFTKeyError: What `load_forced` and `load_model` refuse, or an NLL that is no number.
    """
    manifest = read_manifest(data)
    refuse_unsafe(model)  # before its files are hashed and its tokenizer is asked
    of_what = {
        "model": find_model(model).fingerprint,
        "data": file_sha256(data / MANIFEST),
        "completions": survey_completions(completions, Fields()).sha256,
        "dtype": dtype,
        "batch_tokens": BATCH_TOKENS,
        "batch_rows": FORCED_ROWS,
    }
    out = completions.parent
    _settle(out, of_what)
    if not (out / FORCED_FILE).exists():
        tokenizer = load_tokenizer(model)
        items = load_forced(data, manifest, completions, tokenizer)
        gc.collect()  # of a model that has just generated, as two may not fit
        loaded = load_generator(model, device=device, dtype=dtype)
        context = context_length(loaded, tokenizer)
        items = [within(item, context) for item in items]
        with Journal(out / FORCED_FILE, [sample.id for item in items for sample in item.samples]) as journal:
            _measure(loaded, items, journal, of_what)
            journal.finish()
    exposure = summarize_exposure(read_key_lines(out / FORCED_FILE))
    write_json(out / SUMMARY_FILE, {**asdict(exposure), "of": of_what})
    (out / OPEN_FILE).unlink(missing_ok=True)
    return exposure


def _settle(out: Path, of_what: Mapping[str, Any]) -> None:
    """Keep what lies there of this very measurement, drop any other."""
    done, open_ = out / SUMMARY_FILE, out / OPEN_FILE
    if (_read(open_) or (_read(done) or {}).get("of")) == of_what:
        return
    for path in (out / FORCED_FILE, partial_path(out / FORCED_FILE), done, open_):
        path.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = read_json_file(path)
    except (FileNotFoundError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def context_length(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> int | None:
    """Most tokens the model reads, by its configuration, else by its tokenizer; None where neither has a limit."""
    config = model.config.get_text_config()
    stated = [getattr(config, name, None) for name in CONTEXT_NAMES] + [tokenizer.model_max_length]
    return next((length for length in stated if isinstance(length, int) and 0 < length < UNLIMITED), None)


def _measure(
    model: "PreTrainedModel", items: Sequence[ForcedItem], journal: Journal, of_what: Mapping[str, Any]
) -> None:
    missing = set(journal.missing)
    with progress("teacher-forced Keys", total=len(items)) as bar:
        for batch in in_batches(items, BATCH_TOKENS, FORCED_ROWS):
            if any(sample.id in missing for item in batch for sample in item.samples):
                texts = list(dict.fromkeys(shown for item in batch for shown in item.shown))
                scores = dict(zip(texts, key_scores(model, texts), strict=True))
                lines = [asdict(line) for item in batch for line in _lines(item, scores)]
                write_json(journal.path.parent / OPEN_FILE, of_what)  # before the first line that it is about
                journal.append(lines)
            bar.advance(bar.task_ids[0], len(batch))


def _lines(item: ForcedItem, scores: dict[Forced, KeyScore]) -> Iterator[KeyLine]:
    for sample in item.samples:
        gold, own = (scores[shown] if isinstance(shown, Forced) else None for shown in (item.gold, sample.own))
        if any(score is not None and not math.isfinite(score.nll) for score in (gold, own)):
            raise SFTKeyError(
                f"{sample.id}: the NLL of its Key is no finite number; are the weights, or --dtype, right?"
            )
        yield KeyLine(
            id=sample.id,
            item_id=item.id,
            sample=sample.sample,
            key_tokens=_tokens(item.gold),
            nll_gold_cot=gold.nll if gold else None,
            exact_gold_cot=gold.exact if gold else None,
            gold_cot_fault=_fault(item.gold),
            own_key_tokens=_tokens(sample.own),
            nll_own_cot=own.nll if own else None,
            exact_own_cot=own.exact if own else None,
            own_cot_fault=_fault(sample.own),
        )


def _tokens(shown: Shown) -> int | None:
    return shown.key_tokens if isinstance(shown, Forced) else None


def _fault(shown: Shown) -> str | None:
    return shown if isinstance(shown, str) else None


@torch.inference_mode()
def key_scores(model: "PreTrainedModel", texts: Sequence[Forced]) -> list[KeyScore]:
    """How the model predicts the Key of each text, all in one forward pass.

    Args:
        model: In evaluation mode.
        texts: Any number; padded on the right, which a causal model does not see.

    Returns:
        In the order of `texts`; the log-softmax is taken in fp32.
    """
    if not texts:
        return []
    width = max(len(text.ids) for text in texts) - 1  # the last token is predicted, not read
    inputs = torch.zeros(len(texts), width, dtype=torch.long)
    mask = torch.zeros_like(inputs)
    for row, text in enumerate(texts):
        inputs[row, : len(text.ids) - 1] = torch.tensor(text.ids[:-1])
        mask[row, : len(text.ids) - 1] = 1
    # The logits at position t predict token t + 1: in row 1 of width 9, token 7 is predicted at 1 * 9 + 7 - 1 = 15.
    positions = [row * width + t - 1 for row, text in enumerate(texts) for t in range(text.key_start, len(text.ids))]
    labels = torch.tensor([token for text in texts for token in text.ids[text.key_start :]], device=model.device)
    with _head_sees(model, torch.tensor(positions, device=model.device)):
        arguments = {"input_ids": inputs.to(model.device), "attention_mask": mask.to(model.device)}
        logits = model(**arguments, use_cache=False).logits[0]  # (N, V), N the tokens of all Keys
    nll, likeliest = _nll(logits, labels)
    counts = [text.key_tokens for text in texts]
    parts = zip(nll.split(counts), likeliest.split(counts), strict=True)
    return [KeyScore(math.fsum(each.tolist()), bool(hit.all())) for each, hit in parts]


def _nll(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """NLL in fp32 and whether the label is the likeliest, each (N,), of logits (N, V)."""
    parts = []
    for rows, wanted in zip(logits.split(FP32_ROWS), labels.split(FP32_ROWS), strict=True):
        parts.append(nn.functional.cross_entropy(rows.float(), wanted, reduction="none"))
    return torch.cat(parts), logits.argmax(-1) == labels


@contextmanager
def _head_sees(model: "PreTrainedModel", positions: Tensor) -> Iterator[None]:
    """While open, the output layer gets hidden states (1, N, H) instead of (B, T, H); `positions` index B * T."""
    head = model.get_output_embeddings()
    if not isinstance(head, nn.Module):
        raise SFTKeyError(f"model {type(model).__name__} names no output layer, expected a causal language model")

    def select(_head: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (args[0].flatten(0, 1)[positions].unsqueeze(0), *args[1:])

    handle = head.register_forward_pre_hook(select)
    try:
        yield
    finally:
        handle.remove()
