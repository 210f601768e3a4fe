"""Golds that stand in another file than the completions, as those of a server's log do, by their ids."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sftkey_data.errors import SFTKeyError
from sftkey_data.extract.cells import cell_text
from sftkey_data.extract.parts import Reject
from sftkey_data.prepared.manifest import MANIFEST
from sftkey_data.prepared.shards import open_shards
from sftkey_eval.records.completion_fields import CHOICES, ID, Fields
from sftkey_eval.records.row_files import MISSING, lookup, missing_field, read_row_file

_BESIDE = ("answer_type", "prompt", "question")  # taken along, as the options are, where a completion's row has none


@dataclass(frozen=True, slots=True)
class Golds:
    """By id, the gold and what else is known of it, under the names that the completions' rows have for it."""

    path: Path
    gold_field: str
    by_id: Mapping[str, Mapping[str, Any]]
    record: Mapping[str, str]

    def joined(self, row: Mapping[str, Any], ids: tuple[str, ...], where: str) -> dict[str, Any]:
        """A completion's row with the gold of the first of its ids that has one; a gold of its own is not looked at.

        Raises:
            SFTKeyError: None of them has one.
        """
        known = next((self.by_id[id_] for id_ in ids if id_ in self.by_id), None)
        if known is None:
            raise SFTKeyError(f"{where}: id {ids[0]!r} is not among the {len(self.by_id):,} of {self.path}")
        return {**known, **row, self.gold_field: known[self.gold_field]}


def read_golds(path: Path, fields: Fields) -> Golds:
    """The golds of a file as `read_row_file` reads it, or of a prepared folder.

    Args:
        path: A file has the columns that `fields` names for id and gold; the id may also be called `id` there.
        fields: Of the completions.

    Raises:
        SFTKeyError: No such file or folder, a missing column, an id that is null or stands there twice.
    """
    by_id: dict[str, Mapping[str, Any]] = {}
    for where, id_, known in _prepared(path, fields) if path.is_dir() else _of_file(path, fields):
        if id_ in by_id:
            raise SFTKeyError(f"{where}: id {id_!r} stands there twice; ids of golds must be unique")
        by_id[id_] = known
    if not by_id:
        raise SFTKeyError(f"{path}: no rows, expected golds by their ids")
    with (path / MANIFEST if path.is_dir() else path).open("rb") as file:
        record = {"source": path.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
    return Golds(path, fields.gold, by_id, record)


def _prepared(folder: Path, fields: Fields) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    options = fields.choices or CHOICES
    for row in open_shards(folder, columns=[ID, "gold", "answer_type", CHOICES, "prompt"]).to_pylist():
        beside = {name: row[name] for name in _BESIDE if row.get(name) is not None}
        yield str(folder), row[ID], {**beside, options: row[CHOICES], fields.gold: row["gold"]}


def _of_file(path: Path, fields: Fields) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    taken = (*_BESIDE, fields.choices or CHOICES)
    for where, row in read_row_file(path, "golds"):
        name = next((one for one in (fields.id, ID) if one is not None and lookup(row, one) is not MISSING), None)
        if name is None:
            raise SFTKeyError(f"{where}: {missing_field(row, fields.id or ID)}; --id-field names another")
        if (gold := lookup(row, fields.gold)) is MISSING:
            raise SFTKeyError(f"{where}: {missing_field(row, fields.gold)}; --gold-field names another")
        try:
            id_ = cell_text(lookup(row, name), name)
        except Reject as reject:
            raise SFTKeyError(f"{where}: {reject.detail}") from None
        yield where, id_, {**{one: row[one] for one in taken if row.get(one) is not None}, fields.gold: gold}
