"""What is known of an input before its first row is read: its hash and, of a file of lines, how many rows lie where.

A file is read in blocks, each by whoever is free, since a block needs nothing of those before it; what they give is
joined in order, so that it is the same for any number of workers.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from sftkey_data.arrays import Int64s
from sftkey_data.process_pool import check_workers
from sftkey_data.sources import source as sources
from sftkey_data.sources.arrow_rows import end_of
from sftkey_data.sources.line_index import LeafCounts, LineIndex, count_lines, index_lines
from sftkey_data.sources.source import Source
from sftkey_data.sources.tree_hash import LEAF_BYTES, tree_root
from sftkey_data.storage.file_bytes import read_range

READ_LEAVES = 8  # in one request: an object store answers large ones only a little later
BLOCK_LEAVES = 32


class Block(NamedTuple):
    """Some leaves of a file: the bytes [start, stop), from the begin of a leaf to the end of one."""

    source: Source
    start: int
    stop: int


class BlockFacts(NamedTuple):
    """SHA-256 of each leaf, and its `LeafCounts`, shape (leaves, 5); no counts of what is no text of lines."""

    digests: list[bytes]
    counts: Int64s


SurveyRun = Callable[[Callable[[Block], BlockFacts], Iterable[Block]], Iterator[BlockFacts]]
"""What a task gives for each block, in order; as `map`."""


@dataclass(frozen=True, slots=True)
class InputSurvey:
    """Of one input.

    Args:
        digest: SHA-256 tree hash of a file's bytes; SHA-256 over those of the files of a set; of any other set, the
            fingerprint that `datasets` gives it.
        num_rows: For a progress bar, so that a header may count; None where counting would cost more.
        lines: Where its rows are, of a file that can be read from any byte on.
    """

    digest: str
    num_rows: int | None
    lines: LineIndex | None = None


@contextmanager
def survey_threads(workers: int = 1) -> Iterator[SurveyRun]:
    """Threads that begin when they are asked to: hashing and counting leave the interpreter to the others."""
    check_workers(workers)
    pool = ThreadPoolExecutor(workers)
    try:
        yield pool.map
    finally:
        pool.shutdown(cancel_futures=True)


def start_surveys(
    inputs: Iterable[Source], run: SurveyRun = map, leaf_bytes: int = LEAF_BYTES
) -> Iterator[InputSurvey]:
    """Have inputs surveyed; what comes back waits for it, in order.

    Args:
        inputs: Files and sets.
        run: Who reads the blocks.
        leaf_bytes: Other than usual, the hash is no tree hash of anybody else's.
    """
    begun = [(source, _start_files(source, run, leaf_bytes)) for source in inputs]
    return (_joined(source, [survey() for survey in files]) for source, files in begun)


def _start_files(source: Source, run: SurveyRun, leaf_bytes: int) -> list[Callable[[], InputSurvey]]:
    files = [source] if source.kind == "file" else sources.set_files(source) or []
    return [_start_file(file, run, leaf_bytes) for file in files]


def _start_file(source: Source, run: SurveyRun, leaf_bytes: int) -> Callable[[], InputSurvey]:
    with sources.open_raw(source) as file:
        size = end_of(file)
    step = BLOCK_LEAVES * leaf_bytes
    blocks = (Block(source, start, min(start + step, size)) for start in range(0, size, step))
    return partial(_file_survey, source, size, leaf_bytes, run(partial(survey_block, leaf_bytes=leaf_bytes), blocks))


def _file_survey(source: Source, size: int, leaf_bytes: int, found: Iterable[BlockFacts]) -> InputSurvey:
    digests, counts = list[bytes](), [np.empty((0, len(LeafCounts._fields)), np.int64)]
    for facts in found:
        digests += facts.digests
        counts.append(facts.counts)
    digest, joined = tree_root(digests), np.concatenate(counts)
    if sources.is_plain_lines(source):
        lines = index_lines(source.name, size, leaf_bytes, joined)
        return InputSurvey(digest, lines.num_rows, lines)
    return InputSurvey(digest, int(joined[:, 0].sum()) if sources.has_counted_lines(source) else None)


def _joined(source: Source, files: Sequence[InputSurvey]) -> InputSurvey:
    if source.kind == "file":
        return files[0]
    if not files:
        return InputSurvey(*sources.set_fingerprint(source))
    counts = [file.num_rows for file in files if file.num_rows is not None]
    digest = hashlib.sha256("".join(file.digest for file in files).encode()).hexdigest()
    return InputSurvey(digest, sum(counts) if len(counts) == len(files) else None)


def survey_block(block: Block, leaf_bytes: int = LEAF_BYTES) -> BlockFacts:
    """Read and hash a block, and count its lines."""
    digests, counts = list[bytes](), list[LeafCounts]()
    for leaf in _leaves(block, leaf_bytes):
        digests.append(hashlib.sha256(leaf).digest())
        if sources.has_counted_lines(block.source):
            counts.append(count_lines(leaf))
    return BlockFacts(digests, np.array(counts, np.int64).reshape(-1, len(LeafCounts._fields)))


def _leaves(block: Block, leaf_bytes: int) -> Iterator[bytes]:
    step = READ_LEAVES * leaf_bytes
    for start in range(block.start, block.stop, step):
        content = read_range(block.source.name, start, min(start + step, block.stop))
        yield from (content[at : at + leaf_bytes] for at in range(0, len(content), leaf_bytes))
