"""Logs of other programs as their own code writes them, in small: lm-eval 0.4.13's samples, Inspect 0.3's logs."""

import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ZSTD = 93


def lm_eval_sample(doc_id: int, texts: Sequence[str], **fields: Any) -> dict[str, Any]:
    """One line of `samples_TASK_DATE.jsonl`, cut by a filter as lm-eval's gsm8k task does."""
    return {
        "doc_id": doc_id,
        "doc": {"question": "What is 20 + 22?", "answer": "20 + 22 = <<20+22=42>>42\n#### 42"},
        "target": "20 + 22 = <<20+22=42>>42\n#### 42",
        "arguments": {"gen_args_0": {"arg_0": "Question: What is 20 + 22?\nAnswer:", "arg_1": {"until": ["\n\n"]}}},
        "resps": [list(texts)],
        "filtered_resps": ["42"],
        "filter": "strict-match",
        "metrics": ["exact_match"],
        "exact_match": 1.0,
    } | fields


def write_samples(folder: Path, rows: Sequence[Mapping[str, Any]], task: str = "gsm8k") -> Path:
    """The file under the name that lm-eval gives it."""
    path = folder / f"samples_{task}_2026-11-25T07-46-11.494235.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def inspect_sample(
    id_: str | int, content: Any, *, epoch: int = 1, stop: str = "stop", **fields: Any
) -> dict[str, Any]:
    """One sample of a log; with content None one whose model call failed."""
    question = {"id": "q", "content": "What is 20 + 22?", "source": "input", "role": "user"}
    message = {"id": "m", "content": content, "source": "generate", "role": "assistant", "model": "mockllm/model"}
    answered = content is not None
    return {
        "id": id_,
        "epoch": epoch,
        "input": "What is 20 + 22?",
        "target": "42",
        "messages": [question, message] if answered else [question],
        "output": {
            "model": "mockllm/model",
            "choices": [{"message": message, "stop_reason": stop}] if answered else [],
            "completion": "",
        },
        "scores": {"match": {"value": "I", "answer": "cut"}},
        "metadata": {},
        "attachments": {},
    } | fields


def inspect_header(ids: Sequence[str | int], epochs: int, task: str = "sums") -> dict[str, Any]:
    """What a log says of its run."""
    facts = {"task": task, "dataset": {"sample_ids": list(ids)}, "model": "mockllm/model", "config": {"epochs": epochs}}
    return {"version": 2, "status": "success", "eval": facts}


def write_json_log(path: Path, header: Mapping[str, Any], samples: Sequence[Mapping[str, Any]]) -> Path:
    """A log in Inspect's format `json`, over many lines."""
    path.write_text(json.dumps({**header, "samples": samples}, indent=2), encoding="utf-8")
    return path


def write_eval_log(path: Path, header: Mapping[str, Any], samples: Sequence[Mapping[str, Any]]) -> Path:
    """A log in Inspect's format `eval`: a zip whose entries are packed by zstd, which Python 3.11 cannot write."""
    import pyarrow as pa

    entries = {f"samples/{sample['id']}_epoch_{sample['epoch']}.json": sample for sample in samples}
    entries["header.json"] = dict(header)
    body, directory = b"", b""
    for name, value in entries.items():
        content = json.dumps(value).encode()
        packed = pa.compress(content, codec="zstd", asbytes=True)
        sizes = (zlib.crc32(content), len(packed), len(content), len(name.encode()))
        common = struct.pack("<HHHHHIIIHH", 20, 0, ZSTD, 0, 33, *sizes, 0)
        directory += b"PK\x01\x02\x14\x00" + common + struct.pack("<HHHII", 0, 0, 0, 0, len(body)) + name.encode()
        body += b"PK\x03\x04" + common + name.encode() + packed
    end = struct.pack("<HHHHIIH", 0, 0, len(entries), len(entries), len(directory), len(body), 0)
    path.write_bytes(body + directory + b"PK\x05\x06" + end)
    return path
