"""The suite itself: it sees what it is there to see, on a program as small as one can be."""

from pathlib import Path

import pytest
from fault_kinds import Trial
from fault_table import entry, page
from trial_room import Room, first_difference


@pytest.fixture
def room(tmp_path: Path) -> Room:
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "rows.jsonl").write_text('{"a": 1}\n')
    room = Room(tmp_path / "room", tmp_path / "given")
    room.fresh()
    return room


def test_a_fresh_room_holds_the_inputs_and_nothing_strange(room: Room) -> None:
    assert (room.made(), room.strangers(["out"]), room.has_output()) == ({}, [], False)


@pytest.mark.parametrize(
    "name", ["given/rows.jsonl", "given/new", ".out.sftkey-lock", "other", "out/.a.12-0123abcd.partial"]
)
def test_what_should_not_be_there_is_seen(room: Room, name: str) -> None:
    (room.path / name).parent.mkdir(exist_ok=True)
    (room.path / name).write_text("changed")
    assert room.strangers(["out"]) == [name]


def test_of_outputs_all_but_measured_times_is_compared(room: Room) -> None:
    file = room.path / "out.json"
    file.write_text('{"loss": 1, "sampling_seconds": 2}')
    expected = room.made()
    file.write_text('{"loss": 1, "sampling_seconds": 3, "sftkey_digest": "of these seconds"}')
    assert first_difference(expected, room.made()) is None
    file.write_text('{"loss": 2, "sampling_seconds": 2}')
    assert first_difference(expected, room.made()) == "out.json differs"
    file.unlink()
    assert first_difference(expected, room.made()) == "out.json is missing"


def test_a_failure_stands_in_the_table_and_by_itself() -> None:
    kills = [
        Trial("killed after 1.00 s", "same", kills=1),
        Trial("killed after 2.00 s", "failed", "out/a differs", kills=2),
    ]
    flips = [Trial("bit 1 of a", "refused", kind="shards")]
    about = {"commit": "c", "date": "2026-11-29", "seed": 1, "seconds": 60, "machine": "m"}
    found = {"data build": entry(kills, about)}
    text = page({"kills": found, "flipped bits": {"data check": entry(flips, about)}})
    assert "| data build | 2 / 1 / 1 |  |" in text
    assert "3 trials, failed: 1. 3 processes were killed." in text
    assert "| shards | data check | 1 | 0 | 0 |" in text
    assert "- data build, kills: killed after 2.00 s: out/a differs" in text
