"""JSON with a digest of itself: no flipped bit is read as something else, and what has none is read as it is."""

import json
from pathlib import Path
from typing import Any

import pytest
from flipped_bits import flipped

from sftkey_data.errors import SFTKeyError
from sftkey_data.storage.sealed_json import (
    DIGEST,
    read_sealed,
    read_sealed_lines,
    sealed,
    sealed_file,
    sealed_line,
    unsealed_line,
    write_sealed,
)

VALUE = {"name": "größe", "n": 3, "share": 0.1, "parts": [{"a": None}, True], "empty": {}, "text": '"x"\n'}
MEND = "write it again"


def lines_of(path: Path) -> list[dict[str, Any]]:
    return list(read_sealed_lines(path, MEND))


def test_a_value_comes_back_and_its_digest_is_the_last_field(tmp_path: Path) -> None:
    write_sealed(tmp_path / "a.json", VALUE)
    assert read_sealed(tmp_path / "a.json", MEND) == VALUE
    assert list(json.loads((tmp_path / "a.json").read_bytes())) == [*VALUE, DIGEST]


def test_every_bit_of_a_file() -> None:
    for bit, content in flipped(sealed_file(VALUE)):
        with pytest.raises(SFTKeyError, match=r"a\.json.*; write it again"):
            assert read_sealed(Path("a.json"), MEND, content) == bit


def test_every_bit_of_lines() -> None:
    for bit, content in flipped(b"".join(map(sealed_line, (VALUE, {"id": "b"}, {"id": "c"})))):
        with pytest.raises(SFTKeyError, match=r"a\.jsonl line [123].*; write it again"):
            assert list(read_sealed_lines(Path("a.jsonl"), MEND, content)) == [bit]


@pytest.mark.parametrize("content", [b'{"a": 1}', b'{"a": 1, "digest": "mine"}', b"[1, 2]", b'"text"', b"{}"])
def test_what_was_made_elsewhere_is_read_as_it_is(content: bytes, tmp_path: Path) -> None:
    (path := tmp_path / "a.json").write_bytes(content)
    assert read_sealed(path, MEND) == json.loads(content)


def test_the_layout_and_the_order_of_the_fields_are_free(tmp_path: Path) -> None:
    value = sealed(VALUE)
    (path := tmp_path / "a.json").write_text(json.dumps({name: value[name] for name in reversed(value)}, indent=7))
    assert read_sealed(path, MEND) == VALUE


def test_a_changed_value_is_one_line_with_the_file_and_what_to_do(tmp_path: Path) -> None:
    (path := tmp_path / "a.json").write_text(json.dumps(sealed(VALUE) | {"n": 4}))
    with pytest.raises(SFTKeyError) as raised:
        read_sealed(path, MEND)
    assert str(raised.value) == f"{path} is not as it was written, its digest differs; {MEND}"


def test_a_line_that_a_kill_has_cut_is_no_line(tmp_path: Path) -> None:
    whole = sealed_line(VALUE)
    for length in range(len(whole)):
        content = sealed_line({"id": "a"}) + whole[:length]
        assert list(read_sealed_lines(tmp_path / "a.jsonl", MEND, content)) == [{"id": "a"}]


@pytest.mark.parametrize("value", [{"t": "\ud800"}, {"x": float("inf")}, {"x": (1, 2)}, {"x": 0.1 + 0.2, "y": 10**30}])
def test_values_that_json_says_in_its_own_way(value: dict[str, Any], tmp_path: Path) -> None:
    (path := tmp_path / "a.jsonl").write_bytes(sealed_line(value))
    assert lines_of(path) == [json.loads(json.dumps(value))]
    assert json.loads(unsealed_line(path.read_bytes())) == json.loads(json.dumps(value))


def test_sealing_again_is_the_same() -> None:
    assert sealed(sealed(VALUE)) == sealed(VALUE)
