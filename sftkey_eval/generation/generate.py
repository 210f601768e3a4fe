"""Completions of a model on prepared data: raw text, one line per item, resumable after a kill."""

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sftkey_data.command_line.option_file import config_record
from sftkey_data.console import say
from sftkey_data.errors import SFTKeyError
from sftkey_data.model_loading import refuse_unsafe
from sftkey_data.options import recorded
from sftkey_data.storage.own_output import own_file, refuse_no_file
from sftkey_eval.generation.backends import check_backend, open_backend
from sftkey_eval.generation.completion_cache import Cache
from sftkey_eval.generation.generate_options import DATA, MODEL, GenerateOptions, check_options
from sftkey_eval.generation.lm_eval_models import HF, Backend, is_server, published_arguments, read_arguments
from sftkey_eval.generation.model_files import ModelFiles, find_model, name_server_model
from sftkey_eval.generation.prompt_items import end_tokens, load_prompt_items, prompt_ids
from sftkey_eval.generation.sample_requests import Request, requests_for
from sftkey_eval.generation.sampling import SAMPLING
from sftkey_eval.records.journal import Journal, partial_path
from sftkey_eval.records.run_record import (
    RECORD_FILE,
    DataRecord,
    ModelRecord,
    RunRecord,
    read_record,
    refuse_other_completions,
    write_record,
)

if TYPE_CHECKING:
    from rich.progress import Progress
    from transformers import PreTrainedTokenizerBase

    from sftkey_data.prepared.manifest import Manifest


@dataclass(frozen=True, slots=True)
class GenerateResult:
    """A finished file of completions: `num_new` are of this call, of which the cache knew `num_cached`."""

    path: Path
    record: RunRecord
    num_items: int
    num_completions: int
    num_new: int
    num_cached: int
    finish_reasons: dict[str, int]
    tokens_per_second: float | None

    def to_json(self) -> str:
        """One line for stdout."""
        facts = asdict(self) | {"path": str(self.path), "record": str(self.path.parent / RECORD_FILE)}
        return json.dumps(facts)


def generate(options: GenerateOptions, out: Path) -> GenerateResult:
    """Complete every prompt of a prepared directory and write the completions in its order.

    Completions are appended to `OUT.partial` batch by batch, with `run.json` beside it, and a second call with the same
    options continues. Each sample of an item has a seed of its own, so that what it becomes does not depend on the
    batch size, on other samples or on interruptions.

    Args:
        options: Model, data and sampling.
        out: The JSON Lines file to write; `run.json` is written to the same folder.

    Raises:
        SFTKeyError: Something is not there or does not fit, or files of another run are at `out`.
    """
    _check(options)
    for path in (partial_path(out), out.parent / RECORD_FILE):
        refuse_no_file(path, "completions and their record")
    with own_file(out, "completions", beside=[RECORD_FILE]):
        return _generate(options, out)


def _generate(options: GenerateOptions, out: Path) -> GenerateResult:
    _quieten()
    from sftkey_data.prepared.manifest import file_sha256, read_manifest

    manifest = read_manifest(options.data)
    if manifest.config.get("chat") and is_server(options.backend) and "chat" in options.backend:
        raise SFTKeyError(
            f"{options.data}: its prompts are rendered by a chat template already (`build --chat`), and the back-end "
            f"{options.backend!r} would render them again: take local-completions, or a folder built without --chat"
        )
    items = load_prompt_items(options.data, manifest, split=options.split, limit=options.limit)
    files = _find_model(options)
    tokenizer = _find_tokenizer(options)
    encoded = prompt_ids(items, tokenizer, manifest, options.special_tokens) if tokenizer is not None else {}
    ends = end_tokens(tokenizer, manifest) if tokenizer is not None else []
    record = _record(options, out, files, tokenizer, manifest, len(items))
    _settle(options, out, record)
    num_new, num_cached, speed = 0, 0, None
    if not out.exists():
        requests = requests_for(items, options.num_samples, options.seed)
        with (
            Journal(out, [request.id for request in requests]) as journal,
            Cache(options.cache, record, encoded) as cache,
        ):
            num_new = len(journal.missing)
            num_cached = _recall(cache, requests, journal, record)
            if journal.missing:
                backend = open_backend(options, tokenizer, encoded, ends)
                speed = _complete(options, backend, requests, encoded, journal, cache, record)
            record = record.model_copy(update={"completions_sha256": journal.sha256()})
            write_record(record, out.parent / RECORD_FILE)  # first: no moment has completions without a digest
            journal.finish()
    elif (recorded := read_record(out.parent / RECORD_FILE).completions_sha256) is not None:
        refuse_other_completions(out, file_sha256(out), recorded)
    reasons = Counter(json.loads(line)["finish_reason"] or "unknown" for line in out.read_bytes().splitlines())
    return GenerateResult(
        out, record, record.data.num_items, reasons.total(), num_new, num_cached, dict(reasons), speed
    )


def _check(options: GenerateOptions) -> None:
    check_options(options)
    check_backend(options)
    if options.cache is not None and options.backend not in HF:
        raise SFTKeyError(
            f"--cache is for the back-end hf, found {options.backend!r}: there the model's files, which the cache goes "
            "by, are those that run; what a server or an engine has under a name can change unseen"
        )


def _find_model(options: GenerateOptions) -> ModelFiles:
    """The model's files; for a server that holds them elsewhere, its address and name stand for them."""
    if options.backend in HF or not is_server(options.backend):
        refuse_unsafe(options.model)  # before its files are hashed and its tokenizer is asked
    if options.backend in HF or Path(options.model).is_dir() or not is_server(options.backend):
        return find_model(options.model)
    return name_server_model(options.model, str(read_arguments(options.backend_args).get("base_url", options.backend)))


def _find_tokenizer(options: GenerateOptions) -> "PreTrainedTokenizerBase | None":
    from sftkey_data.tokens.tokenizer import load_tokenizer

    arguments = {} if options.backend in HF else read_arguments(options.backend_args)
    named = arguments.get("tokenizer")
    unnamed = named is None and arguments.get("tokenizer_backend", "") in (None, "none")
    if unnamed and is_server(options.backend):
        return None  # the server keeps it to itself
    return load_tokenizer(str(named or options.model))


def _quieten() -> None:
    """Only our own lines and progress on stderr."""
    import logging

    from transformers.utils.logging import disable_progress_bar

    for library in ("lm_eval", "transformers", "huggingface_hub"):
        logging.getLogger(library).setLevel(logging.ERROR)
    disable_progress_bar()


def _record(
    options: GenerateOptions,
    out: Path,
    files: ModelFiles,
    tokenizer: "PreTrainedTokenizerBase | None",
    manifest: "Manifest",
    num_items: int,
) -> RunRecord:
    from sftkey_data.prepared.manifest import MANIFEST, file_sha256
    from sftkey_data.tokens.tokenizer import tokenizer_fingerprint

    recipe, parts = files.recipe, _recorded_options(options)
    return RunRecord(
        name=options.name or files.short_name,
        completions=out.name,
        model=ModelRecord(
            path=options.model,
            fingerprint=files.fingerprint,
            tokenizer_fingerprint=tokenizer_fingerprint(tokenizer) if tokenizer is not None else None,
            end_token_ids=end_tokens(tokenizer, manifest) if tokenizer is not None else None,
            recipe=recipe.get("name"),
            seed=recipe.get("seed"),
            **parts[MODEL],
        ),
        data=DataRecord(
            path=str(options.data),
            manifest_sha256=file_sha256(options.data / MANIFEST),
            num_items=num_items,
            **parts[DATA],
        ),
        template=asdict(manifest.template),
        sampling=parts[SAMPLING],
        versions={name: version(name) for name in ("sftkey", "lm_eval", "torch", "transformers")},
        config=config_record(options.config),
    )


def _recorded_options(options: GenerateOptions) -> dict[str, dict[str, Any]]:
    """The options that a record holds, by its part."""
    parts = {part: recorded(options, part) for part in (MODEL, DATA, SAMPLING)}
    parts[SAMPLING]["backend_args"] = published_arguments(options.backend_args)
    return parts


def _older_values(options: GenerateOptions) -> dict[str, Any]:
    """What a run did whose record is older than an option: what the option does by default."""
    parts = _recorded_options(type(options)(model=options.model, data=options.data))
    return {name: value for part in parts.values() for name, value in part.items()}


def _settle(options: GenerateOptions, out: Path, record: RunRecord) -> None:
    """Make sure that what lies at `out` is this run's own, or nothing."""
    record_path = out.parent / RECORD_FILE
    ours = [path for path in (out, partial_path(out)) if path.exists() and path.stat().st_size]
    if options.overwrite:
        _refuse_anothers(record_path, record)
        if ours and not _is_of(record_path, out):
            raise SFTKeyError(f"{out} is there without its {RECORD_FILE}, so it may not be ours: name another --out")
        for path in (*ours, record_path):
            path.unlink(missing_ok=True)
        ours = []
    if record_path.exists() and (ours or read_record(record_path).completions != out.name):
        if differences := record.differences(read_record(record_path), _older_values(options)):
            raise SFTKeyError(f"{record_path} belongs to another run: {differences[0]}; another --out, or --overwrite")
    elif ours:
        raise SFTKeyError(f"{out} is there without its {RECORD_FILE}: name another --out")


def _is_of(record_path: Path, out: Path) -> bool:
    """Whether a run of ours has written, or begun, these completions."""
    try:
        return read_record(record_path).completions == out.name
    except SFTKeyError:
        return False


def _refuse_anothers(record_path: Path, record: RunRecord) -> None:
    """A folder has one run record: never take it from completions of another name that are still there."""
    try:
        others = record_path.with_name(read_record(record_path).completions)
    except SFTKeyError:  # none, or none that can be read
        return
    if others.name != record.completions and (others.exists() or partial_path(others).exists()):
        raise SFTKeyError(f"{record_path} is the record of {others}; write to another folder")


def _recall(cache: Cache, requests: Sequence[Request], journal: Journal, record: RunRecord) -> int:
    """Write what the cache knows of what the journal lacks; returns how many."""
    missing = set(journal.missing)
    known = cache.find(request for request in requests if request.id in missing)
    if cache.num_damaged:
        say(f"cache: {cache.num_damaged} entries are not as they were written; they are generated again")
    if known:
        _write_record(record, journal)
        journal.append(request.row(generated) for request, generated in known)
    return len(known)


def _write_record(record: RunRecord, journal: Journal) -> None:
    path = journal.path.parent / RECORD_FILE
    _refuse_anothers(path, record)  # begun at the same time in the same folder
    write_record(record, path)


def _complete(
    options: GenerateOptions,
    backend: Backend,
    requests: Sequence[Request],
    encoded: dict[str, list[int]],
    journal: Journal,
    cache: Cache,
    record: RunRecord,
) -> float:
    """Generate what the journal lacks; returns generated tokens per second."""
    from sftkey_data.console import progress

    _refuse_long(requests, encoded, backend, options.max_new_tokens)
    _write_record(record, journal)
    num_tokens, num_done, started = 0, 0, time.perf_counter()
    with progress("generate", total=len(requests)) as bar:
        bar.advance(bar.task_ids[0], len(requests) - len(journal.missing))
        for batch in backend.complete_all(requests, set(journal.missing), options):
            cache.keep(batch)  # first: what the journal has is not generated again, so nothing else would keep it
            num_new = journal.append(request.row(generated) for request, generated in batch)
            num_tokens += sum(generated.num_tokens for _, generated in batch)
            num_done += len(batch)
            _show(bar, num_new, num_done, num_tokens, time.perf_counter() - started)
    return num_tokens / (time.perf_counter() - started)


def _refuse_long(
    requests: Sequence[Request], encoded: dict[str, list[int]], backend: "Backend", max_new_tokens: int
) -> None:
    if backend.max_length is None or not encoded:
        return
    longest = max((request.item for request in requests), key=lambda item: len(encoded[item.prompt]))
    prompt_tokens = len(encoded[longest.prompt])
    if prompt_tokens + max_new_tokens > backend.max_length:
        raise SFTKeyError(
            f"{longest.id}: {prompt_tokens} prompt tokens and max_new_tokens {max_new_tokens} exceed the model's "
            f"context of {backend.max_length}; expected max_new_tokens of at most {backend.max_length - prompt_tokens}"
        )


def _show(bar: "Progress", num_new: int, num_done: int, num_tokens: int, seconds: float) -> None:
    speed = f"generate ({num_done / seconds:,.1f} items/s, {num_tokens / seconds:,.0f} tokens/s)"
    bar.update(bar.task_ids[0], advance=num_new, description=speed)
