"""The faults: each is tried on one verb, and says per trial what came of it."""

import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fault_bench import Bench, Whole, damageable
from forked_programs import Ended, Running
from verb_table import Verb

TEN_YEARS = 315_360_000
DISK_SHARES = (0.5, 0.0)
"""Largest size that a file may grow to, of the largest that the command writes."""


@dataclass(frozen=True)
class Trial:
    """What came of one fault: `same` results in the end, `refused` in one line, or why neither was so."""

    how: str
    outcome: str  # same, refused, failed
    failure: str = ""
    kills: int = 0
    kind: str = ""  # of the file, where one was damaged


Fault = Callable[[Bench, Verb, int, random.Random], Iterator[Trial]]


def kills(bench: Bench, verb: Verb, num: int, draw: random.Random) -> Iterator[Trial]:
    """SIGKILL at random moments, every fourth time also of the command that goes on; then the command once more."""
    whole = bench.whole(verb)
    killed = tries = 0
    while killed < num and tries < 3 * num:
        tries += 1
        bench.room.fresh()
        hits, moments, left = 0, [], list[str]()
        for _ in range(2 if draw.random() < 0.25 else 1):
            running = bench.start(verb)
            moments.append(_pause(bench, verb, running, draw))
            hits += running.kill()
            left += running.left_behind()
        if not hits:  # it was faster than its kill
            continue
        killed += hits
        end, how = bench.run(verb), f"killed {' and '.join(moments)}"
        failure = f"left processes: {left[0]}" if left else bench.problem(verb, end, whole)
        yield Trial(how, "failed" if failure else "same", failure, kills=hits)


def full_disk(bench: Bench, verb: Verb, num: int, draw: random.Random) -> Iterator[Trial]:
    """No file may grow beyond a size; then the command once more without that limit."""
    whole = bench.whole(verb)
    for share in DISK_SHARES[:num]:
        size = int(share * whole.largest_file)
        bench.room.fresh()
        end, failure = bench.run(verb, largest_file=size), ""
        if end.code != 0 and not end.is_one_line:
            failure = f"no one line but exit {end.code}: {end.said[-300:]}"
        elif partial := bench.room.half_written():
            failure = f"left {partial[0]}"
        failure = failure or bench.problem(verb, bench.run(verb), whole)
        yield Trial(f"files of at most {size} bytes", "failed" if failure else "same", failure)


def two_processes(bench: Bench, verb: Verb, num: int, draw: random.Random) -> Iterator[Trial]:
    """The same command a second time while the first is at work; each ends well or says in one line why not."""
    whole = bench.whole(verb)
    for _ in range(num if verb.outputs else 0):
        bench.room.fresh()
        first = bench.start(verb)
        seconds = draw.uniform(0, 0.9 * whole.seconds)
        time.sleep(seconds)
        ends = [bench.start(verb).wait(), first.wait()]
        odd = [end for end in ends if end.code != 0 and not end.is_one_line]
        if odd:
            failure = f"exit {odd[0].code}: {odd[0].said[-300:]}"
        elif all(end.code for end in ends):
            failure = f"neither ended well: {ends[0].last_line}; {ends[1].last_line}"
        else:
            failure = bench.problem(verb, Ended(0, ""), whole)
        refused = "refused" if any(end.code for end in ends) else "same"
        yield Trial(f"the second after {seconds:.2f} s", "failed" if failure else refused, failure)


def clock_jump(bench: Bench, verb: Verb, num: int, draw: random.Random) -> Iterator[Trial]:
    """Between a kill and going on, the clock goes ten years on or back, and files get times of any year."""
    whole = bench.whole(verb)
    for _ in range(num):
        bench.room.fresh()
        running = bench.start(verb)
        moment = _pause(bench, verb, running, draw)
        hits = running.kill()
        running.left_behind()
        for path in bench.room.path.rglob("*"):
            when = draw.randrange(0, int(time.time()) + TEN_YEARS)
            os.utime(path, (when, when))
        shift = draw.choice((-TEN_YEARS, TEN_YEARS))
        failure = bench.problem(verb, bench.run(verb, clock_shift=shift), whole)
        yield Trial(f"killed {moment}, clock {shift:+d} s", "failed" if failure else "same", failure, kills=int(hits))


def changed_input(bench: Bench, verb: Verb, num: int, draw: random.Random) -> Iterator[Trial]:
    """Between a kill and going on, an input changes: refused, or the result is that of the changed input alone."""
    for name in verb.changed:
        bench.room.fresh()
        bench.change(name)
        bench.run(verb)
        other = bench.room.made(verb.clocked)
        for _ in range(num):
            bench.room.fresh()
            running = bench.start(verb)
            moment = _pause(bench, verb, running, draw, after_first=True)
            hits = running.kill()
            running.left_behind()
            bench.change(name)
            end = bench.run(verb)
            failure = "" if end.is_one_line else bench.odd(end) or bench.difference(verb, other, kept=verb.kept)
            outcome = "failed" if failure else "refused" if end.code else "same"
            yield Trial(f"killed {moment}, {name} changed", outcome, failure, kills=int(hits))


@dataclass(frozen=True)
class Damage:
    """One kind of file that we write, and the command that reads it."""

    kind: str
    verb: str
    files: str  # a pattern below the room
    moment: str = "given"  # `finished`: it has ended before; `stopped`: it was killed once such a file was there
    without: str = ""  # an output that is gone when the command reads the file, which is kept as it is


def flipped_bit(bench: Bench, verb: Verb, damage: Damage, num: int, draw: random.Random) -> Iterator[Trial]:
    """One bit of a file that we wrote is another: refused in one line, or the result is the same all the same."""
    whole = bench.whole(verb)
    left = bench.left(verb, damage.files, damage.moment)
    for _ in range(num):
        room = bench.room.fresh(left)
        files = damageable(room, damage.files)
        if not files:
            yield Trial("no such file", "failed", f"no file {damage.files}", kind=damage.kind)
            return
        file = draw.choice(files)
        content = bytearray(file.read_bytes())
        bit = draw.randrange(8 * len(content))
        content[bit // 8] ^= 1 << bit % 8
        file.write_bytes(content)
        if damage.without:
            shutil.rmtree(room / damage.without)
        end = bench.run(verb)
        failure = "" if end.is_one_line else bench.other_result(verb, end, whole, kept=file if damage.without else None)
        outcome = "failed" if failure else "refused" if end.code else "same"
        yield Trial(f"bit {bit} of {file.relative_to(room)}", outcome, failure, kind=damage.kind)


def _pause(bench: Bench, verb: Verb, running: Running, draw: random.Random, *, after_first: bool = False) -> str:
    """Wait for the moment of a kill: anywhere in the command's time, or in what is left after its first output."""
    whole: Whole = bench.whole(verb)
    if verb.outputs and (after_first or draw.random() < 0.5):
        while running.is_running() and not bench.room.has_output():
            time.sleep(0.002)
        rest = max(whole.seconds - whole.first_output, 0.02)
        seconds = draw.uniform(0, rest * (0.5 if after_first else 1))
        time.sleep(seconds)
        return f"{seconds:.2f} s after its first output"
    seconds = draw.uniform(0, whole.seconds)
    time.sleep(seconds)
    return f"after {seconds:.2f} s"


KILLS = "kills"
FAULTS: dict[str, Fault] = {
    KILLS: kills,
    "disk full": full_disk,
    "two processes": two_processes,
    "clock jumps": clock_jump,
    "changed inputs": changed_input,
}
