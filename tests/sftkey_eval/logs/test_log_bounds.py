"""Logs whose entries unpack to more than a sample can hold are refused before they fill the memory."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from log_samples import inspect_header, inspect_sample, write_eval_log

from sftkey_data.errors import SFTKeyError
from sftkey_eval.logs import inspect_logs
from sftkey_eval.logs.import_logs import import_logs


def bomb(path: Path, num_bytes: int) -> Path:
    """A log with one more sample, of spaces and an empty object; it packs to a thousandth."""
    write_eval_log(path, inspect_header(["1"], 1), [inspect_sample("1", "4")])
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("samples/2_epoch_1.json", b" " * num_bytes + b"{}")
    return path


def no_text(content: bytes) -> bytes:
    """A name that is said to be UTF-8 and is not."""
    return content.replace("samples/é_epoch_1.json".encode(), "samples/é".encode() + b"\xff" * 13)


def encrypted(content: bytes) -> bytes:
    """A flag of every entry, in both of its headers."""
    local, central = b"PK\x03\x04\x14\x00", b"PK\x01\x02\x14\x03\x14\x00"
    flags = {head + b"\x00": head + b"\x01" for head in (local, central)}
    for plain, flagged in flags.items():
        content = content.replace(plain, flagged)
    return content


@pytest.mark.parametrize("damage", [no_text, encrypted])
def test_a_zip_that_python_cannot_take_apart_is_one_line(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "log.eval"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("header.json", "{}")
        archive.writestr("samples/é_epoch_1.json", "{}")
    assert damage(path.read_bytes()) != path.read_bytes()
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(SFTKeyError, match=r"log\.eval: not a readable \.eval log: "):
        import_logs([path], tmp_path / "out.jsonl")


def test_an_entry_that_unpacks_to_very_much_is_refused_by_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspect_logs, "MAX_ENTRY_BYTES", 2**20)
    path = bomb(tmp_path / "log.eval", 2**20)
    with pytest.raises(SFTKeyError) as caught:
        import_logs([path], tmp_path / "out.jsonl")
    assert str(caught.value) == f"{path}: samples/2_epoch_1.json unpacks to 1,048,578 bytes, expected at most 1 MiB"
    assert [file.name for file in tmp_path.iterdir()] == ["log.eval"]


def test_a_zip_that_hides_the_size_of_an_entry_is_read_no_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspect_logs, "MAX_ENTRY_BYTES", 2**20)
    path = bomb(tmp_path / "log.eval", 2**20)
    said = (2**20 + 2).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(said, (9).to_bytes(4, "little")))
    with pytest.raises(SFTKeyError, match=r"not a readable .eval log: Bad CRC-32 for file 'samples/2_epoch_1.json'"):
        import_logs([path], tmp_path / "out.jsonl")
