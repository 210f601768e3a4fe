"""Examples in colour, region by region: as tokens with their borders, or as text."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
from rich.text import Text

from sftkey_data.building.build_config import BuildConfig
from sftkey_data.building.plan import make_plan
from sftkey_data.building.preview import preview
from sftkey_data.console import visible
from sftkey_data.errors import SFTKeyError, nearest
from sftkey_data.prepared.left_out import left_out_of
from sftkey_data.prepared.manifest import REJECTS
from sftkey_data.prepared.prepared_folder import Prepared, open_prepared
from sftkey_data.schema import CHARACTER_SPANS, STRADDLE_NAMES, TOKEN_BORDERS
from sftkey_data.tokens.special_text import encode_as_stated
from sftkey_data.tokens.tokenizer import Encoder

REGION_STYLES = {"prompt": "dim", "cot": "cyan", "tag": "magenta", "key": "bold black on green", "eos": "red"}
TOKEN_BORDER, LINE_BREAK = "·", "↵"
MAX_SHOWN_PART = 20_000  # characters of a part; a terminal takes minutes for millions


def show_folder(directory: Path | str, num: int, wanted: str | None) -> Iterator[Text]:
    """Examples of a prepared folder (local or a URL), as tokens where it has them.

    Raises:
        SFTKeyError: No such id, or that of a row that was rejected, with its place and reason.
    """
    prepared = open_prepared(directory)
    rows = _first(prepared, num) if wanted is None else [_with_id(prepared, wanted)]
    encoder = prepared.encoder()
    left_out = left_out_of(prepared, [row["id"] for row in rows])
    for row in rows:
        yield _example(row, encoder).append_text(_besides(left_out.get(row["id"], [])))


def show_source(config: BuildConfig, num: int) -> Iterator[Text]:
    """The first rows of a source, or of each of a mix, as the build would write them; a reject shows its reason."""
    plan = make_plan(config)
    # weights aside: the first rows of a source may be none that are drawn
    plan = replace(plan, recipes=tuple(replace(recipe, drawn=None) for recipe in plan.recipes))
    for unit in preview(plan, num):
        left_out = {entry["id"]: entry["left_out"] for entry in unit.left_out}
        for row in unit.table.to_pylist():
            yield _example(row, plan.recipe.encoder).append_text(_besides(left_out.get(row["id"], [])))
        for reject in unit.rejects:
            place = f"{reject['source']}:{reject['position']}"
            yield Text(f"{place}: rejected: {reject['reason']}: {_short(reject['detail'])}\n", style="red")


def legend() -> Text:
    """The regions in their colours."""
    return Text(" ").join(Text(region, style=style) for region, style in REGION_STYLES.items()) + "\n"


def token_ends(rows: Sequence[dict[str, Any]], encoder: Encoder) -> list[list[int]]:
    """Where each token of each row ends, in code points of prompt + completion; the final EOS ends with the text.

    The tokens tile the text: each begins where the one before ends. Where several tokens hold parts of one character,
    the first of them shows it and the others show nothing, as a BOS does.

    Raises:
        SFTKeyError: A row holds other ids than its text encodes to.
    """
    texts = [row["prompt"] + row["completion"] for row in rows]
    ends = []
    for row, text, encoded in zip(rows, texts, encoder.encode_batch(texts), strict=True):
        if encoder.special_text:
            encoded = encode_as_stated(text, row["input_ids"][:-1], encoder)
        if [*encoded.ids, encoder.eos_token_id] != row["input_ids"]:
            raise SFTKeyError(
                f"{row['id']}: its text encodes to other ids than it holds: see `sftkey-data check --full`"
            )
        reached, tiled = 0, []
        for end in encoded.ends:
            reached = max(reached, end)
            tiled.append(reached)
        ends.append([*tiled, len(text)])
    return ends


def region_of(row: dict[str, Any], position: int) -> str:
    """The region of the token at `position`, from the borders of its row."""
    prompt, cot_end, key_start, key_end, answer_end = (row[name] for name in TOKEN_BORDERS)
    if key_start <= position < key_end:
        return "key"
    for border, region in ((prompt, "prompt"), (cot_end, "cot"), (answer_end, "tag")):
        if position < border:
            return region
    return "eos"


def _first(prepared: Prepared, num: int) -> list[dict[str, Any]]:
    return [row for table in prepared.tables(num) for row in table.to_pylist()]


def _with_id(prepared: Prepared, wanted: str) -> dict[str, Any]:
    known: list[str] = []
    for table in prepared.tables():
        if (index := pc.index(table.column("id"), wanted).as_py()) >= 0:
            row: dict[str, Any] = table.slice(index, 1).to_pylist()[0]
            return row
        known = known or table.column("id").slice(0, 1000).to_pylist()
    if (reject := _reject_with_id(prepared, wanted)) is not None:
        place, why = f"{reject['source']}:{reject['position']}", f"{reject['reason']}: {_short(reject['detail'])}"
        raise SFTKeyError(f"{prepared.name}: {wanted} was rejected ({place}): {why}")
    raise SFTKeyError(f"{prepared.name}: no example with id {wanted!r}{nearest(wanted, known)}")


def _reject_with_id(prepared: Prepared, wanted: str) -> dict[str, Any] | None:
    if not prepared.manifest.counts.rejected or not prepared.has(REJECTS):
        return None
    with prepared.on_disk(REJECTS) as path, path.open("rb") as file:
        for line in file:
            reject: dict[str, Any] = json.loads(line)
            if reject.get("id") == wanted:
                return reject
    return None


def _example(row: dict[str, Any], encoder: Encoder | None) -> Text:
    long = len(row["prompt"]) + len(row["completion"]) > MAX_SHOWN_PART
    return heading(row) + (_as_text(row) if encoder is None or long else tokens_in_colour(row, encoder))


def _besides(left_out: Sequence[Sequence[str]]) -> Text:
    """A line for each thing that the row holds and the example does not."""
    text = Text()
    for name, found in left_out:
        text.append(f"left out: {name}: {visible(repr(_short(found)))}\n", "yellow")
    return text


def heading(row: dict[str, Any]) -> Text:
    """One line of facts about a row."""
    facts = f"{row['id']}  {row['answer_type']}  key: {_short(row['gold'])!r}"
    if row["choices"]:
        facts += f"  options: {', '.join(map(repr, row['choices']))}"
    if bits := row.get("straddle"):
        crossed = ", ".join(name for bit, name in STRADDLE_NAMES.items() if bits & bit)
        facts += f"  straddle bits {bits} ({crossed})"
    return Text().append(f"── {visible(facts)}\n", "bold")  # a style of the whole would reach what is added


def _as_text(row: dict[str, Any]) -> Text:
    completion, (cot_start, cot_end, start, end) = row["completion"], (row[name] for name in CHARACTER_SPANS)
    text = Text()
    for region, part in (
        ("prompt", row["prompt"]),
        ("tag", completion[:cot_start]),
        ("cot", completion[cot_start:cot_end]),
        ("tag", completion[cot_end:start]),
        ("key", completion[start:end]),
        ("tag", f"{completion[end:]}\n"),
    ):
        text.append(visible(_short(part)), REGION_STYLES[region])
    return text


def _short(text: str) -> str:
    """The text, its middle left out where it is very long."""
    if len(text) <= MAX_SHOWN_PART:
        return text
    half = MAX_SHOWN_PART // 2
    return f"{text[:half]}\n… {len(text) - 2 * half:,} characters not shown …\n{text[-half:]}"


def tokens_in_colour(row: dict[str, Any], encoder: Encoder, styles: Sequence[str] | None = None) -> Text:
    """The tokens of a row with their borders, each in its style; in that of its region when None."""
    text, whole, start = Text(), row["prompt"] + row["completion"], 0
    styles = styles or [REGION_STYLES[region_of(row, position)] for position in range(len(row["input_ids"]))]
    for position, end in enumerate(token_ends([row], encoder)[0]):
        special = start == end and (position < len(encoder.prefix) or position >= row["answer_token_end"])
        piece = encoder.decode([row["input_ids"][position]]) if special else whole[start:end]
        shown = visible(piece).replace("\n", f"{LINE_BREAK}\n")
        body = shown.rstrip("\n")
        # The border stands before the line break, else each line would begin with the one of the line before.
        text.append(body, styles[position]).append(TOKEN_BORDER, "dim").append(shown[len(body) :])
        start = end
    return text.append("\n")
