"""The examples of a prepared folder as one HTML file: nothing is loaded, so it can be sent and opened anywhere.

The data is JSON in a script tag, a list per column. Positions are UTF-16 code units, which is how a browser counts.
"""

import base64
import hashlib
import html
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

import sftkey_data
from sftkey_data.errors import Interrupted, SFTKeyError
from sftkey_data.prepared.left_out import left_out_of
from sftkey_data.prepared.manifest import REJECTS, Manifest
from sftkey_data.prepared.prepared_folder import Prepared, open_prepared
from sftkey_data.schema import CHARACTER_SPANS, STRADDLE_NAMES, TOKEN_BORDERS
from sftkey_data.storage.appearing import write_bytes
from sftkey_data.storage.own_output import own_file, refuse_no_file
from sftkey_data.tokens.tokenizer import Encoder
from sftkey_data.view.show import token_ends

MAX_TEXT_BYTES = 200 * 2**20  # a browser refuses strings of 2**29 characters; tokens and spans come on top
MAX_REJECT_CHARACTERS = 20_000
PAGE_ROWS = 1000


@dataclass(frozen=True, slots=True)
class Written:
    """What a page holds."""

    examples: int
    rejects: int
    bytes: int


def write_page(directory: Path | str, file: Path, num: int | None = None) -> Written:
    """Write the page of a prepared folder.

    Args:
        directory: Prepared folder, local or a URL.
        file: What to write; an older one is replaced.
        num: At most so many examples, and so many rejects; all when None.

    Raises:
        SFTKeyError: Not a prepared folder, too much text for a browser, or ids that are not those of the text.
    """
    refuse_no_file(file, "a page")
    data = page_data(directory, num)
    content = _render(data).encode("utf-8", "backslashreplace")  # a lone surrogate of a reject becomes its JSON escape
    try:
        with own_file(file, "a page", makes_folder=False):
            write_bytes(file, content)
    except Interrupted as error:
        raise SFTKeyError(f"--html {error}") from None
    return Written(len(data["examples"]["id"]), len(data["rejects"]), len(content))


def page_data(directory: Path | str, num: int | None) -> dict[str, Any]:
    """What the page is told, see `page.js`."""
    prepared = open_prepared(directory)
    manifest, encoder = prepared.manifest, prepared.encoder()
    examples = _columns(_bounded(prepared, num), encoder)
    left_out = left_out_of(prepared, examples["id"])
    return {
        "examples": examples,
        "left_out": {i: [(name, text[:MAX_REJECT_CHARACTERS]) for name, text in left_out[i]] for i in left_out},
        "rejects": _rejects(prepared, num),
        "written": manifest.counts.written,
        "rejected": manifest.counts.rejected,
        "unit": manifest.statistics["unit"],
        "straddles": {bit: name.replace("_", " ") for bit, name in STRADDLE_NAMES.items()},
        "prefix": [encoder.decode([token]) for token in encoder.prefix] if encoder else [],
        "eos": encoder.decode([encoder.eos_token_id]) if encoder else "",
        "facts": _facts(manifest),
    }


def _facts(manifest: Manifest) -> dict[str, str]:
    counts = manifest.counts
    left_out = manifest.statistics.get("left_out")
    return {
        "dataset": f"{manifest.dataset} ({manifest.split})",
        "rows": f"{counts.rows_read:,} read, {counts.written:,} written, {counts.rejected:,} rejected"
        + f", {manifest.held_out:,} held out" * (manifest.held_out > 0),
        "tokenizer": Path(manifest.tokenizer.name).name if manifest.tokenizer else "none, text only",
        "template": manifest.template.name,
        "Key share": f"{manifest.statistics['key_share']:.2%} of the completions' {manifest.statistics['unit']}",
        **({"sources": "; ".join(f"{one}: {n:,}" for one, n in manifest.by_source.items())} if manifest.mix else {}),
        **({"left out": ", ".join(f"{name} in {n:,}" for name, n in left_out.items())} if left_out else {}),
    }


def _bounded(prepared: Prepared, num: int | None) -> Iterator[pa.Table]:
    """The tables of the examples wanted, as long as a browser can hold their text."""
    size = rows = 0
    for table in prepared.tables(num):
        size += table.select(["prompt", "completion"]).nbytes
        rows += table.num_rows
        if size > MAX_TEXT_BYTES:
            raise SFTKeyError(
                f"{prepared.name}: the first {rows:,} examples hold {size / 2**20:.0f} MB of text, a page at most "
                f"{MAX_TEXT_BYTES / 2**20:.0f} MB: say how many with --num"
            )
        yield table


def _columns(tables: Iterator[pa.Table], encoder: Encoder | None) -> dict[str, list[Any]]:
    names = ["id", "prompt", "completion", "answer_type", "choices", "spans"]
    names += ["widths", "borders", "straddle"] if encoder is not None else []
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for table in tables:
        for start in range(0, table.num_rows, PAGE_ROWS):
            _add_rows(columns, table.slice(start, PAGE_ROWS).to_pylist(), encoder)
    return columns


def _add_rows(columns: dict[str, list[Any]], rows: list[dict[str, Any]], encoder: Encoder | None) -> None:
    for name in ("id", "prompt", "completion", "answer_type", "choices"):
        columns[name] += [row[name] for row in rows]
    columns["spans"] += [_spans(row) for row in rows]
    if encoder is None:
        return
    for row, ends in zip(rows, token_ends(rows, encoder), strict=True):
        columns["widths"].append(_widths(row["prompt"] + row["completion"], ends))
        columns["borders"].append([row[name] for name in TOKEN_BORDERS])
        columns["straddle"].append(row["straddle"])


def _spans(row: dict[str, Any]) -> list[int]:
    positions = [row[name] for name in CHARACTER_SPANS]
    completion = row["completion"]
    return positions if completion.isascii() else [int(n) for n in _utf16_positions(completion)[positions]]


def _widths(text: str, ends: list[int]) -> list[int]:
    """UTF-16 units of each token."""
    reached = np.array(ends) if text.isascii() else _utf16_positions(text)[ends]
    widths: list[int] = np.diff(reached, prepend=0).tolist()
    return widths


def _utf16_positions(text: str) -> NDArray[np.int64]:
    """Position in UTF-16 units of every code point of a text, and of its end; shape (len(text) + 1,).

    A code point above U+FFFF takes two units: `a😀b` gives 0, 1, 3, 4.
    """
    astral = np.frombuffer(text.encode("utf-32-le"), np.uint32) > 0xFFFF
    return np.concatenate(([0], np.cumsum(astral + np.int64(1))))


def _rejects(prepared: Prepared, num: int | None) -> list[dict[str, str]]:
    if not prepared.has(REJECTS):
        return []
    with prepared.on_disk(REJECTS) as path, path.open("rb") as file:
        return [_reject(json.loads(line)) for line in islice(file, num)]


def _reject(reject: dict[str, Any]) -> dict[str, str]:
    row = reject["row"]
    shown = row if isinstance(row, str) else json.dumps(row, ensure_ascii=False, indent=1, default=str)
    if len(shown) > MAX_REJECT_CHARACTERS:
        shown = f"{shown[:MAX_REJECT_CHARACTERS]}\n… cut here, {len(shown):,} characters in all"
    return {
        "id": f"{reject['source']}:{reject['position']}",
        "reason": reject["reason"],
        "detail": reject["detail"],
        "row": shown,
    }


def _render(data: dict[str, Any]) -> str:
    """The page, with every text inside the JSON, where `<` is escaped so that none can end the script tag."""
    script, style, page = (_template(name) for name in ("page.js", "page.css", "page.html"))
    content = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    # the page's Content-Security-Policy lets the script with this hash run, and nothing else
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return Template(page).substitute(
        title=html.escape(f"{data['facts']['dataset']}: prepared examples"),
        version=sftkey_data.__version__,
        digest=digest,
        style=style,
        script=script,
        data=content,
    )


def _template(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
