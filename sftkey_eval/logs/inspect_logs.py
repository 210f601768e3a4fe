"""Inspect's logs as completions, read as they lie on disk: `.json`, and `.eval`, which is a zip of one JSON per sample.

The raw text is that of the first choice's message. Inspect takes a model's `<think>…</think>` out of it and logs it as
a part of its own: here it is put back, in front.
"""

import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from sftkey_data.config import validate
from sftkey_data.errors import SFTKeyError
from sftkey_data.guards.memory_bound import bounded_memory
from sftkey_data.guards.regular_file import parse_json
from sftkey_eval.logs.logged_sample import ImportCount, LoggedLine, sample_id

FINISH_REASONS = {"max_tokens": "length", "model_length": "length", "unknown": None}
"""Inspect's names where they are not ours."""

ZSTD = 93
"""The zip format's number of a method that Python's zipfile cannot undo before 3.14."""

MAX_ENTRY_BYTES = 128 * 2**20
"""Of one unpacked entry of the zip: one sample. Parsed it takes several times as much."""

ZIP_FAULTS = (zipfile.BadZipFile, struct.error, zlib.error, EOFError, OSError, RuntimeError, ValueError)
"""What Python says of a zip that it cannot take apart: damaged, encrypted, packed otherwise, names that are no text."""

ATTACHMENT = "attachment://"


class _Config(BaseModel):
    epochs: int | None = Field(default=None, ge=1)


class _Dataset(BaseModel):
    sample_ids: list[Any] | None = None


class _Run(BaseModel):
    """What a log says of its run, as far as it matters here."""

    task: str | None = None
    config: _Config = _Config()
    dataset: _Dataset = _Dataset()


def read_json_log(path: Path, log: Mapping[str, Any], count: ImportCount) -> Iterator[LoggedLine]:
    """One line per sample and epoch of a log in one JSON object.

    Raises:
        SFTKeyError: Not a log of Inspect's, or a sample of another shape.
    """
    samples = log.get("samples")
    if not isinstance(log.get("eval"), dict) or not isinstance(samples, list):
        found = ", ".join(log)
        raise SFTKeyError(f"{path}: expected Inspect's 'eval' and 'samples', or lm-eval's sample lines; found: {found}")
    yield from _lines(path, log["eval"], enumerate(samples, start=1), count)


def read_eval_log(path: Path, count: ImportCount) -> Iterator[LoggedLine]:
    """The same of a `.eval` file, sample by sample.

    Raises:
        SFTKeyError: As `read_json_log`, or the zip is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {entry.filename: entry for entry in archive.infolist()}
            # A run that was cut has no header, but says at its start what it is.
            header = entries.get("header.json") or entries.get("_journal/start.json")
            if header is None:
                raise SFTKeyError(f"{path}: a zip without header.json, expected a .eval log of Inspect's")
            log = _entry(path, archive, header)
            names = sorted(name for name in entries if name.startswith("samples/"))
            samples = ((name, _entry(path, archive, entries[name])) for name in names)
            if not isinstance(log.get("eval"), dict):
                raise SFTKeyError(f"{path}: {header.filename}: no 'eval', expected a .eval log of Inspect's")
            yield from _lines(path, log["eval"], samples, count)
    except ZIP_FAULTS as error:
        raise SFTKeyError(f"{path}: not a readable .eval log: {error}") from None


def _entry(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> dict[str, Any]:
    try:
        with bounded_memory(f"{path}: {entry.filename}"):
            value = parse_json(_unpacked(path, archive, entry))
    except ValueError as error:
        raise SFTKeyError(f"{path}: {entry.filename}: broken JSON: {error}") from None
    if not isinstance(value, dict):
        raise SFTKeyError(f"{path}: {entry.filename}: expected a JSON object")
    return value


def _unpacked(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    if entry.file_size > MAX_ENTRY_BYTES:
        limit = f"{MAX_ENTRY_BYTES // 2**20} MiB"
        raise SFTKeyError(f"{path}: {entry.filename} unpacks to {entry.file_size:,} bytes, expected at most {limit}")
    if entry.compress_type != ZSTD:
        return archive.read(entry)  # of no more bytes than the zip says
    import pyarrow as pa  # here, as it is for its zstd alone

    with path.open("rb") as file:
        file.seek(entry.header_offset)
        head = file.read(30)  # the local header, which ends with the lengths of name and extra field, 2 bytes each
        file.seek(int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little"), 1)
        packed = file.read(entry.compress_size)
    stream = pa.CompressedInputStream(pa.BufferReader(packed), "zstd")
    content = bytes(stream.read(entry.file_size + 1))  # a frame may hold more than the zip says
    if zlib.crc32(content) != entry.CRC:
        raise zipfile.BadZipFile(f"{entry.filename} is damaged")
    return content


def _lines(path: Path, facts: Mapping[str, Any], samples: Any, count: ImportCount) -> Iterator[LoggedLine]:
    run = validate(facts, _Run, where=f"{path}: eval")
    task, epochs = run.task or path.stem, run.config.epochs or 1
    found = 0
    for place, sample in samples:
        found += 1
        count.records += 1
        yield _line(sample, task, epochs, count, f"{path} sample {place}")
    if run.dataset.sample_ids is not None:
        count.missing += max(0, len(run.dataset.sample_ids) * epochs - found)


def _line(sample: Any, task: str, epochs: int, count: ImportCount, where: str) -> LoggedLine:
    try:
        item, epoch, output = f"{task}/{sample['id']}", int(sample["epoch"]), sample["output"]
        targets = sample["target"] if isinstance(sample["target"], list) else [sample["target"]]
        choice = output["choices"][0] if output["choices"] else None
        completion = None if choice is None else _text(choice["message"]["content"], sample)
        prompt = _prompt(sample)
        reason = "unknown" if choice is None else choice.get("stop_reason", "unknown")
        finish_reason = FINISH_REASONS.get(reason, reason)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SFTKeyError(f"{where}: not a sample as Inspect logs it: {type(error).__name__}: {error}") from None
    count.without_output += choice is None
    count.several_targets += len(targets) > 1
    options = sample.get("choices") or None
    return {
        "id": sample_id(item, epoch - 1, max(epochs, epoch)),
        "item_id": item,
        "sample": epoch - 1,
        "dataset": task,
        "prompt": prompt,
        "completion": completion,
        "gold": targets[0] if targets else None,
        "targets": targets if len(targets) > 1 else None,
        "answer_type": "choice" if options else None,
        "choices": options,
        "finish_reason": finish_reason,
    }


def _prompt(sample: Mapping[str, Any]) -> str:
    """What stood before the model's last turn: one question as it is, more turns each under its role."""
    turns = [(message["role"], _text(message["content"], sample)) for message in sample["messages"]]
    roles = [role for role, _ in turns]
    before = turns[: len(roles) - 1 - roles[::-1].index("assistant")] if "assistant" in roles else turns
    if len(before) == 1:
        return before[0][1]
    return "\n\n".join(f"{role.capitalize()}: {text}" for role, text in before)


def _text(content: Any, sample: Mapping[str, Any]) -> str:
    """A message's content as one text; reasoning is put where the model wrote it, an image is named."""
    if isinstance(content, str):
        return _attached(content, sample)
    return "".join(_part(part, sample) for part in content)


def _part(part: Mapping[str, Any], sample: Mapping[str, Any]) -> str:
    if part["type"] == "reasoning":  # a redacted one is unreadable; some providers give its summary
        shown = part.get("summary") if part.get("redacted") else part["reasoning"]
        return f"<think>{_attached(shown or '', sample)}</think>"
    return _attached(part["text"], sample) if part["type"] == "text" else f"[{part['type']}]"


def _attached(text: str, sample: Mapping[str, Any]) -> str:
    """A long text may be kept once, among the sample's attachments."""
    key = text.removeprefix(ATTACHMENT)
    return text if key == text else str(sample["attachments"][key])
