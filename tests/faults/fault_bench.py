"""The bench that faults are tried on: the programs, the room, and what every command makes when nothing disturbs it."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from forked_programs import ENVIRONMENT, PATIENCE_SECONDS, Ended, Programs, Running
from trial_room import Room, first_difference
from verb_table import Verb

from sftkey_data.storage.appearing import is_own_partial
from sftkey_data.storage.own_output import OUR_MARKER

STOPS = 5
CHANGES = {".jsonl": (b"apples", b"grapes"), ".toml": (b"lr = 5e-3", b"lr = 4e-3")}


@dataclass(frozen=True)
class Whole:
    """A command that nobody disturbed."""

    made: Mapping[str, bytes]
    said: str
    seconds: float
    first_output: float  # seconds until anything of its outputs was there
    largest_file: int
    kept: Path  # the room as it was left


def damageable(room: Path, files: str) -> list[Path]:
    """Files of a pattern that hold something which is read again: no markers, nothing half-written."""
    found = sorted(path for path in room.glob(files) if path.is_file() and OUR_MARKER not in path.name)
    return [path for path in found if not is_own_partial(path.name) and path.stat().st_size]


class Bench:
    """Programs and a room below one folder; a command's undisturbed result is made when it is first asked for."""

    def __init__(self, programs: Programs, inputs: Path, folder: Path) -> None:
        self.room = Room(folder / "room", inputs / "given")
        self._programs, self._folder = programs, folder
        self._wholes: dict[str, Whole] = {}
        self._left: dict[tuple[str, str], Path] = {}

    def start(self, verb: Verb, *, largest_file: int | None = None, clock_shift: int = 0) -> Running:
        order = verb.order(self.room.path, largest_file=largest_file, clock_shift=clock_shift)
        return self._programs.start(order)

    def run(self, verb: Verb, *, largest_file: int | None = None, clock_shift: int = 0) -> Ended:
        return self.start(verb, largest_file=largest_file, clock_shift=clock_shift).wait()

    def whole(self, verb: Verb) -> Whole:
        """What the command makes: once as a plain process, once forked; the two must agree."""
        if verb.name not in self._wholes:
            self._wholes[verb.name] = self._undisturbed(verb)
        return self._wholes[verb.name]

    def problem(self, verb: Verb, end: Ended, whole: Whole) -> str:
        """Why a command has not ended as an undisturbed one; empty where it has."""
        if end.is_one_line and "--overwrite" in end.said:  # it was whole when it was killed: then that is the answer
            end = Ended(0, "")
        if end.code == 0 and (strangers := self.room.strangers(verb.outputs)):
            return f"{strangers[0]} is there or changed"
        return self.other_result(verb, end, whole)

    def other_result(self, verb: Verb, end: Ended, whole: Whole, kept: Path | None = None) -> str:
        """Why the result is not an undisturbed one's, whatever inputs and a `kept` file are; empty where it is."""
        if end.code != 0:
            return self.odd(end)
        if not verb.outputs and end.said != whole.said:
            return f"said something else: {end.said[-200:]}"
        name = kept.relative_to(self.room.path).as_posix() if kept is not None else ""
        found = {
            path: whole.made[name] if path == name else content
            for path, content in self.room.made(verb.clocked).items()
        }
        return first_difference(whole.made, found) or ""

    def odd(self, end: Ended) -> str:
        """Why an end is not a good one."""
        return "" if end.code == 0 else f"exit {end.code}: {end.said[-300:]}"

    def difference(self, verb: Verb, expected: Mapping[str, bytes], kept: str = "") -> str:
        """Where outputs are others than expected, but for more files of a `kept` pattern; empty where they are not."""
        found = self.room.made(verb.clocked)
        found = {name: content for name, content in found.items() if name in expected or not fnmatch(name, kept)}
        return first_difference(expected, found) or ""

    def change(self, name: str) -> None:
        """Another value of an input, such as a user may give it."""
        path = self.room.path / name
        if path.is_dir():
            shutil.rmtree(path)
            shutil.copytree(self.room.pristine.parent / "others" / path.name, path)
        else:
            old, new = CHANGES[path.suffix]
            path.write_bytes(path.read_bytes().replace(old, new))

    def left(self, verb: Verb, files: str, moment: str) -> Path | None:
        """A room as the command leaves it: not begun, finished, or killed as soon as a file of a pattern was there."""
        if moment == "given":
            return None
        if moment == "finished":
            return self.whole(verb).kept
        if (verb.name, files) not in self._left:
            for _ in range(STOPS):  # until it has not been faster than its kill, nor the file gone again
                room = self.room.fresh()
                running = self.start(verb)
                while running.is_running() and not damageable(room, files):
                    time.sleep(0.001)
                killed = running.kill()
                running.left_behind()
                if killed and damageable(room, files):
                    break
            self._left[verb.name, files] = self._keep(f"left-{len(self._left)}")
        return self._left[verb.name, files]

    def _undisturbed(self, verb: Verb) -> Whole:
        self.room.fresh()
        plain = self._plain(verb) if verb.ranks == 1 else self.run(verb)
        assert plain.code == 0, (verb.name, plain.said)
        first = self.room.made(verb.clocked)
        self.room.fresh()
        began, first_output = time.monotonic(), None
        running = self.start(verb)
        while running.is_running():
            if first_output is None and self.room.has_output():
                first_output = time.monotonic() - began
            time.sleep(0.002)
        seconds = time.monotonic() - began
        end = running.wait()
        made = self.room.made(verb.clocked)
        assert end.code == 0, (verb.name, end.said)
        assert (different := first_difference(first, made)) is None, (verb.name, different)
        sizes = [path.stat().st_size for path in self.room.path.rglob("*") if path.is_file() and not self._given(path)]
        kept = self._keep(f"whole-{len(self._wholes)}")
        return Whole(made, end.said, seconds, first_output or seconds, max(sizes, default=0), kept)

    def _plain(self, verb: Verb) -> Ended:
        command = [sys.executable, "-m", f"sftkey_{verb.program}.cli", *verb.argv]
        done = subprocess.run(
            command,
            cwd=self.room.path,
            env=os.environ | ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE_SECONDS * 3,
            check=False,
        )
        return Ended(done.returncode, done.stdout)

    def _given(self, path: Path) -> bool:
        return path.is_relative_to(self.room.path / "given")

    def _keep(self, name: str) -> Path:
        kept = self._folder / name
        shutil.copytree(self.room.path, kept, symlinks=True)
        return kept
