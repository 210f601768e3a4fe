"""Opening prepared shards, memory-mapped, in the manifest's order."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from sftkey_data.errors import SFTKeyError, nearest
from sftkey_data.guards.memory_bound import bounded_memory
from sftkey_data.guards.proven_columns import refuse_unproven
from sftkey_data.guards.regular_file import regular
from sftkey_data.prepared.manifest import check_hash, read_manifest
from sftkey_data.schema import shard_schema


def open_shards(directory: Path, columns: Sequence[str] | None = None, *, verify: bool = False) -> pa.Table:
    """All rows of a prepared folder as one memory-mapped table.

    Args:
        directory: Folder with a manifest.
        columns: Only these columns; all when None.
        verify: Also compare every shard's bytes with the manifest's hash.

    Raises:
        SFTKeyError: A shard is missing, damaged or of another length; a column does not exist.
    """
    tables = []
    for shard in read_manifest(directory).shards:
        if verify:
            check_hash(directory / shard.file, shard.sha256, str(directory / shard.file))
        table = open_shard(directory / shard.file)
        if table.num_rows != shard.rows:
            raise SFTKeyError(f"{directory / shard.file}: holds {table.num_rows} rows, the manifest says {shard.rows}")
        tables.append(select_columns(table, columns, directory))
        refuse_no_text(tables[-1], str(directory / shard.file))
    return pa.concat_tables(tables)


def open_shard(path: Path, name: str | None = None) -> pa.Table:
    """One shard as a memory-mapped table; `name` is what messages call it, where it is a copy.

    Raises:
        SFTKeyError: It is missing, or damaged, or its columns are not of the schema's types.
    """
    name = name or str(path)
    try:
        with bounded_memory(f"shard {name}", path.stat().st_size), pa.memory_map(str(regular(path))) as source:
            table = pa.ipc.open_file(source).read_all()
        _refuse_other_types(table, name)  # first: a column of another type can unpack to anything when it is proven
        refuse_unproven(table)
    except FileNotFoundError:
        raise SFTKeyError(f"shard {name} is missing") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        raise SFTKeyError(f"shard {name} is damaged: {' '.join(str(error).split())[:200]}") from None
    return table


def refuse_no_text(table: pa.Table, name: str) -> None:
    """Refuse a shard with text that is not UTF-8.

    Raises:
        SFTKeyError: It has some.
    """
    try:
        table.validate(full=True)
    except pa.ArrowInvalid as error:
        raise SFTKeyError(f"shard {name} is damaged: {' '.join(str(error).split())[:200]}") from None


def _refuse_other_types(table: pa.Table, name: str) -> None:
    known = shard_schema(tokenized=True)
    for field in table.schema:
        if field.name not in known.names or field.type != known.field(field.name).type:
            raise SFTKeyError(f"{name}: its columns are not those of the schema: {field.name!r} is of {field.type}")


def select_columns(table: pa.Table, columns: Sequence[str] | None, directory: Path | str) -> pa.Table:
    """Only these columns, or all for None; one that is not there is refused by the nearest name."""
    if columns is None:
        return table
    for column in columns:
        if column not in table.column_names:
            why = " (built without --tokenizer?)" if column == "input_ids" else nearest(column, table.column_names)
            raise SFTKeyError(f"{directory}: the shards have no column {column!r}{why}")
    return table.select(list(columns))
