"""One value changed in every column, with the hashes made to fit: what a check finds, and what nothing can find."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from page_samples import prepared_folder
from shard_edits import edit_manifest, write_rows

from sftkey_data.errors import SFTKeyError
from sftkey_data.prepared.manifest import file_sha256
from sftkey_data.prepared.shards import open_shard
from sftkey_data.schema import shard_schema
from sftkey_data.verify.check import check

SHARD, ROW = "data-00000.arrow", 4
Row = dict[str, Any]


def setting(**values: Any) -> Callable[[Row], None]:
    return lambda row: row.update(values)


def adding(name: str, by: int) -> Callable[[Row], None]:
    return lambda row: row.update({name: row[name] + by})


def token(position: int, value: int | None) -> Callable[[Row], None]:
    return lambda row: row["input_ids"].__setitem__(position, value)


def another_cot(row: Row) -> None:
    row["completion"] = row["completion"].replace("blue", "blua")


def another_key(row: Row) -> None:
    row.update(completion=row["completion"].replace("B", "C"), gold="C")


SPANS = ("cot_start", "cot_end", "key_start", "key_end")
TEXT_CHANGES: dict[str, Callable[[Row], None]] = {
    "id": setting(id="mixed/train/05"),
    "id of a row that was never read": setting(id="mixed/train/8"),
    "id of an earlier row": setting(id="mixed/train/1"),
    "dataset": setting(dataset="other"),
    "split": setting(split="test"),
    "gold": setting(gold="C"),
    "answer_type": setting(answer_type="letter"),
    "choices": setting(choices=[None, "b"]),
    "no gold": setting(gold=None),
    **{f"{name} {by:+}": adding(name, by) for name in SPANS for by in (1, -1)},
}
BORDERS = ("prompt_tokens", "cot_token_end", "key_token_start", "key_token_end", "answer_token_end")
TOKEN_CHANGES: dict[str, Callable[[Row], None]] = {
    "prompt": lambda row: row.update(prompt="V" + row["prompt"][1:]),
    "completion": another_cot,
    "completion and gold": another_key,
    "first id": token(0, 5),
    "last id": token(-1, 0),
    "an id below zero": token(3, -5),
    "an id beyond the vocabulary": token(3, 10**9),
    "an id that is null": token(3, None),
    "one EOS more": lambda row: row["input_ids"].append(row["input_ids"][-1]),
    **{f"{name} {by:+}": adding(name, by) for name in BORDERS for by in (1, -1)},
    **{f"straddle {bit}": adding("straddle", bit) for bit in (1, 2, 4, 8)},
}
UNKNOWABLE: dict[str, Callable[[Row], None]] = {
    "id of a reject": setting(id="mixed/train/5"),
    "another answer_type": setting(answer_type="text"),
    "other choices": setting(choices=["a", "b"]),
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> dict[str, Path]:
    names = {"gpt2": "gpt2", "phi-3-mini": "phi-3-mini", "text": None}
    return {
        name: prepared_folder(
            tmp_path_factory.mktemp(name), str(shared_data / "tokenizers" / tokenizer) if tokenizer else None
        )
        for name, tokenizer in names.items()
    }


def changed(folder: Path, out: Path, change: Callable[[Row], None], *, digest: bool = True) -> Path:
    shutil.copytree(folder, out)
    schema = open_shard(out / SHARD).schema
    rows = open_shard(out / SHARD).to_pylist()
    change(rows[ROW])
    loose = pa.schema([field.with_nullable(True) for field in schema])
    table = pa.Table.from_arrays(pa.Table.from_pylist(rows, schema=loose).columns, schema=schema)
    with pa.OSFile(str(out / SHARD), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        writer.write_table(table)
    sha256 = file_sha256(out / SHARD)
    edit_manifest(out, lambda manifest: manifest["shards"][0].update(sha256=sha256), digest=digest)
    return out


QUICK = [*(("text", change) for change in TEXT_CHANGES), *(("gpt2", change) for change in TOKEN_CHANGES)]
SLOW = [
    *(("gpt2", change) for change in TEXT_CHANGES),
    *(("phi-3-mini", change) for change in (*TEXT_CHANGES, *TOKEN_CHANGES)),
]


@pytest.mark.parametrize(("name", "change"), [*QUICK, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)])
def test_a_changed_value_is_found_although_every_hash_fits(
    prepared: dict[str, Path], tmp_path: Path, name: str, change: str
) -> None:
    folder = changed(prepared[name], tmp_path / "copy", (TEXT_CHANGES | TOKEN_CHANGES)[change])
    with pytest.raises(SFTKeyError, match=rf"{SHARD}|statistics\."):
        check(folder)
    with pytest.raises(SFTKeyError, match=rf"{SHARD}( row {ROW}|: one of the input_ids is null)"):
        check(folder, full=True)


@pytest.mark.parametrize("change", UNKNOWABLE)
def test_what_the_rows_cannot_tell_is_found_by_the_digest_alone(
    prepared: dict[str, Path], tmp_path: Path, change: str
) -> None:
    assert check(changed(prepared["gpt2"], tmp_path / "made to fit", UNKNOWABLE[change]), full=True)
    with pytest.raises(SFTKeyError, match=r"manifest\.json: changed since the build"):
        check(changed(prepared["gpt2"], tmp_path / "copy", UNKNOWABLE[change], digest=False))


def test_the_schema_is_that_of_the_changes(prepared: dict[str, Path]) -> None:
    columns = {change.split()[0] for change in (*TEXT_CHANGES, *TOKEN_CHANGES)} | {"input_ids"}
    assert set(shard_schema(tokenized=True).names) <= columns


@pytest.mark.parametrize("name", ["gpt2", "phi-3-mini"])
def test_rows_proven_by_arithmetic_are_those_that_the_reference_finds_in_order(
    prepared: dict[str, Path], name: str
) -> None:
    from sftkey_data.prepared.prepared_folder import open_prepared
    from sftkey_data.verify.batch_proof import proven_rows
    from sftkey_data.verify.token_bytes import checked_bytes

    folder = open_prepared(prepared[name])
    encoder = folder.encoder()
    assert encoder is not None
    for table in folder.tables():
        for batch in table.to_batches():
            for full in (False, True):
                proven = proven_rows(batch, folder.manifest.template, encoder, checked_bytes(encoder), full=full)
                assert proven.all()


def test_an_empty_shard_is_found(prepared: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(prepared["gpt2"], tmp_path / "copy"))
    write_rows(folder / "data-00001.arrow", [], shard_schema(tokenized=True))
    added = {"file": "data-00001.arrow", "rows": 0, "sha256": file_sha256(folder / "data-00001.arrow")}
    edit_manifest(folder, lambda manifest: manifest["shards"].append(added))
    with pytest.raises(SFTKeyError, match=r"data-00001\.arrow: holds no rows"):
        check(folder)
