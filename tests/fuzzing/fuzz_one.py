"""Fuzz one target in this process until its time is over: `python fuzz_one.py TARGET FOLDER [options of libFuzzer]`.

A failure is kept below FOLDER/failures, once for each place that it comes from, and the fuzzing goes on.
"""

import hashlib
import resource
import sys
import time
import traceback
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["sftkey_data", "sftkey_eval", "sftkey_train"]):
    from fuzz_files import FILE_TARGETS
    from fuzz_texts import TEXT_TARGETS, Target

TARGETS = {target.name: target for target in (*TEXT_TARGETS, *FILE_TARGETS)}
MAX_SECONDS = 5.0
"""Processor time of one input."""
MAX_BYTES = 2**30
"""Memory that one input may take."""
ADDRESS_BYTES = 16 * 2**30
"""Of the whole process, so that an input that takes all there is does not end the machine."""


class TooMuchError(Exception):
    """An input that took too long, or too much memory."""


def watched(target: Target, data: bytes) -> None:
    """The target's check, and what it may take.

    Raises:
        TooMuchError: It took more.
    """
    before, began = _peak_bytes(), time.process_time()
    target.check(data)
    seconds, grown = time.process_time() - began, _peak_bytes() - before
    if seconds > MAX_SECONDS:
        raise TooMuchError(f"{target.name}: {seconds:.1f} s of processor time")
    if grown > MAX_BYTES:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        raise TooMuchError(f"{target.name}: {grown:,} bytes of memory")


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def keep(folder: Path, target: Target, data: bytes, error: BaseException) -> None:
    """Keep an input that fails, under the place that it fails at; the first of a place is enough."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/sftkey" in frame.filename or "/tests/fuzzing" in frame.filename]
    last = ours[-1]
    place = f"{type(error).__name__} {Path(last.filename).name} {last.name} {last.line}"
    failures = folder / "failures"
    failures.mkdir(parents=True, exist_ok=True)
    path = failures / f"{target.name}-{hashlib.sha256(place.encode()).hexdigest()[:12]}"
    if not path.exists():
        path.write_bytes(data)
        said = "".join(traceback.format_exception(error))
        path.with_suffix(".txt").write_text(said, encoding="utf-8", errors="replace")


def main() -> None:
    """Console script."""
    target, folder = TARGETS[sys.argv[1]], Path(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_DATA, (ADDRESS_BYTES, ADDRESS_BYTES))

    def one(data: bytes) -> None:
        try:
            watched(target, data)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what was looked for
            keep(folder, target, data, error)

    atheris.Setup([sys.argv[0], *sys.argv[3:]], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
