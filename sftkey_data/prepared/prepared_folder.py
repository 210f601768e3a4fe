"""A prepared folder to read, local or by URL: of a remote one, one shard at a time is copied to this machine's disk."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pyarrow as pa

from sftkey_data.errors import SFTKeyError
from sftkey_data.prepared.manifest import (
    MANIFEST,
    TOKENIZER_FOLDER,
    Manifest,
    ShardInfo,
    check_hash,
    in_folder,
    manifest_bytes,
    parse_manifest,
)
from sftkey_data.prepared.shards import open_shard, open_shards, refuse_no_text, select_columns
from sftkey_data.storage.file_bytes import COPY_BYTES, exists, open_read
from sftkey_data.storage.filesystems import is_url
from sftkey_data.storage.output_folder import Folder
from sftkey_data.tokens.tokenizer import Encoder, load_tokenizer, tokenizer_fingerprint


def local_folder(name: str) -> Path | None:
    """A folder's name as a path, also a `file://` URL; None where it is remote."""
    return None if is_url(name) and not name.startswith("file://") else Path(name.removeprefix("file://"))


@dataclass(frozen=True, slots=True)
class Prepared:
    """A folder whose manifest was read; `raw` are the manifest's bytes, `scratch` is where copies are put."""

    name: str
    manifest: Manifest
    raw: bytes
    scratch: str | None = None

    @property
    def local(self) -> Path | None:
        """The folder as a path; None where it is remote."""
        return local_folder(self.name)

    @property
    def title(self) -> str:
        """The last part of its name."""
        return self.name.rstrip("/").rpartition("/")[2] or self.name

    def at(self, name: str) -> str:
        """A file in it, as messages call it."""
        return in_folder(self.name, name)

    def has(self, name: str) -> bool:
        """Whether a file is there."""
        return exists(self.at(name))

    def names(self) -> list[str]:
        """All files in it and below, sorted."""
        return Folder(self.name).names()

    @contextlib.contextmanager
    def on_disk(self, name: str) -> Iterator[Path]:
        """A file on this machine's disk, as the manifest knows it; the copy of a remote one is removed afterwards.

        Raises:
            SFTKeyError: It is missing or has other bytes than it was written with, a server fails, the disk is full.
        """
        if (local := self.local) is not None:
            self._check(local / name, name)
            yield local / name
            return
        if not self.has(name):
            raise SFTKeyError(f"{self.at(name)} is missing")
        with tempfile.TemporaryDirectory(prefix="sftkey-", dir=self.scratch, ignore_cleanup_errors=True) as folder:
            copy = Path(folder) / Path(name).name
            with open_read(self.at(name)) as source:
                _copy(source, copy, self.at(name))
            self._check(copy, name)
            yield copy

    @contextlib.contextmanager
    def shard(self, shard: ShardInfo) -> Iterator[pa.Table]:
        """One of the manifest's shards as a memory-mapped table, of the length and hash that the manifest says.

        Raises:
            SFTKeyError: It is missing, damaged or of another length.
        """
        name = self.at(shard.file)
        with self.on_disk(shard.file) as path:
            check_hash(path, shard.sha256, name)  # first: what is damaged comes before no library
            table = open_shard(path, name)
            refuse_no_text(table, name)
            if table.num_rows != shard.rows:
                raise SFTKeyError(f"{name}: holds {table.num_rows} rows, the manifest says {shard.rows}")
            yield table

    def tables(self, num: int | None = None) -> Iterator[pa.Table]:
        """The shards in order, up to `num` rows together; each is good until the next one is asked for."""
        left = self.manifest.counts.written if num is None else num
        for shard in self.manifest.shards:
            if left <= 0:
                return
            with self.shard(shard) as table:
                yield table.slice(0, left)
            left -= shard.rows

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows as one table: of a local folder memory-mapped, of a remote one read into memory.

        Raises:
            SFTKeyError: A shard is missing, damaged or changed, or a column does not exist.
        """
        if (local := self.local) is not None:
            return open_shards(local, columns, verify=True)
        return pa.concat_tables(_in_memory(select_columns(table, columns, self.name)) for table in self.tables())

    @contextlib.contextmanager
    def tokenizer_folder(self) -> Iterator[Path]:
        """The folder of the tokenizer's copy, on this machine's disk, with the files that the build wrote.

        Raises:
            SFTKeyError: One of them is missing or has other bytes, or a server fails.
        """
        if (local := self.local) is not None:
            self._check_tokenizer(local / TOKENIZER_FOLDER)
            yield local / TOKENIZER_FOLDER
            return
        source = Folder(self.at(TOKENIZER_FOLDER))
        if not source.exists():
            raise SFTKeyError(f"{source.url} is missing")
        with tempfile.TemporaryDirectory(prefix="sftkey-", dir=self.scratch) as folder:
            source.fetch(Path(folder))
            self._check_tokenizer(Path(folder))
            yield Path(folder)

    def _check_tokenizer(self, folder: Path) -> None:
        for name in self.manifest.files:
            if name.startswith(f"{TOKENIZER_FOLDER}/"):
                self._check(folder / name.removeprefix(f"{TOKENIZER_FOLDER}/"), name)

    def _check(self, path: Path, name: str) -> None:
        if (sha256 := self.manifest.files.get(name)) is not None:
            check_hash(path, sha256, self.at(name))

    def encoder(self) -> Encoder | None:
        """The reference encoder, from the copy of the tokenizer in the folder; None where it has text only.

        Raises:
            SFTKeyError: The copy is missing, does not load, or is not the tokenizer that the manifest names.
        """
        if (info := self.manifest.tokenizer) is None:
            return None
        where = self.at(TOKENIZER_FOLDER)
        with self.tokenizer_folder() as folder:
            try:
                tokenizer = load_tokenizer(str(folder))
            except SFTKeyError as error:
                raise SFTKeyError(str(error).replace(str(folder), where)) from None
        if tokenizer_fingerprint(tokenizer) != info.fingerprint:
            raise SFTKeyError(f"{where}: not the tokenizer that the manifest names")
        if tokenizer.eos_token_id != info.eos_token_id:
            found = tokenizer.eos_token
            raise SFTKeyError(f"{where}: the EOS is {found!r}, the manifest's end token {info.end_token!r}")
        return Encoder(
            tokenizer,
            add_special_tokens=info.adds_special_tokens,
            eos_token_id=info.eos_token_id,
            special_text=self.manifest.config.get("special_tokens") == "text",
        )


def open_prepared(directory: Path | str, scratch: str | None = None) -> Prepared:
    """Open a prepared folder, local or by URL.

    Args:
        directory: Folder or URL.
        scratch: Where copies of remote files are put; the system's folder for temporary files when None.

    Raises:
        SFTKeyError: It has no manifest, a broken one, or a server fails.
    """
    raw = manifest_bytes(directory)
    return Prepared(str(directory), parse_manifest(raw, in_folder(directory, MANIFEST)), raw, scratch)


def _in_memory(table: pa.Table) -> pa.Table:
    """A copy that outlives the file whose pages the table is made of."""
    written = pa.BufferOutputStream()
    with pa.ipc.new_stream(written, table.schema) as stream:
        stream.write_table(table)
    return pa.ipc.open_stream(written.getvalue()).read_all()


def _copy(source: IO[bytes], copy: Path, name: str) -> None:
    try:
        with copy.open("wb") as target:
            shutil.copyfileobj(source, target, COPY_BYTES)
    except OSError as error:
        raise SFTKeyError(f"{name} cannot be copied to {copy.parent.parent}: {error.strerror or error}") from None
