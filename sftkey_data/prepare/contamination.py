"""Keeping evaluation questions out of the training data, and finding questions that stand twice.

A training row is contaminated when its question is one of an evaluation set (case, punctuation and white space aside),
or when its question or CoT shares a run of 13 words with one (Brown et al. 2020, "Language Models are Few-Shot
Learners", appendix C). A word is what white space and punctuation delimit, so in a script that is written without
spaces a run of 13 is long, and mostly the equality of questions counts.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from unicodedata import normalize

import numpy as np
import regex
from numpy.typing import NDArray

from sftkey_data.errors import SFTKeyError
from sftkey_data.extract.fields import has_field
from sftkey_data.extract.parts import Parts
from sftkey_data.prepare.chat_format import ChatFormat
from sftkey_data.prepare.prompts import plain_question
from sftkey_data.prepared.manifest import MANIFEST, read_manifest
from sftkey_data.prepared.prepared_folder import open_prepared
from sftkey_data.prepared.shards import open_shards
from sftkey_data.registry import Dataset
from sftkey_data.sources import source as sources
from sftkey_data.tokens.tokenizer import load_tokenizer

RUN_WORDS = 13
BLOCK_WORDS = (RUN_WORDS + 1) // 2
"""Words of a block: of the blocks that begin at every seventh word, each run of 13 words holds a whole one.

The tightest case: the run of words 1 to 13 holds the block of words 7 to 13.
"""

_WORD = regex.compile(r"\w+")  # `regex`: its words hold combining marks, without which Devanagari falls apart
# `regex` here too: `re` allows no look-behind of unknown length
_QUESTION = regex.compile(r"\w+|[-+*/^=<>](?=\s*\d)|(?<=\d\s*)[-+*/^=<>]")


def words(text: str) -> list[str]:
    """The words of a text, compatibility forms and case aside."""
    return _WORD.findall(_folded(text))


def normalized_question(text: str) -> str:
    """What makes two questions the same: their words, and the signs beside numbers, so that 3 + 4 is not 3 - 4."""
    return " ".join(_QUESTION.findall(_folded(text)))


def evaluation_hash(text: str) -> int:
    """64 bits of a normalised question, the same on every machine; 0 where it holds no word."""
    question = normalized_question(text)
    return _hash(question) if question else 0


class EvaluationSets:
    """The questions that must not be trained on.

    Runs of words are kept as 64-bit hashes; what they hit is compared as text, so that no row is dropped by a
    collision. About 200 bytes per word of the sets.
    """

    def __init__(self) -> None:
        self.num_added = 0
        self._questions: dict[str, str] = {}
        self._texts: list[tuple[str, str]] = []  # the words, each between spaces; where they stand
        self._blocks: set[int] = set()
        self._runs: dict[int, int] = {}  # to the first text that holds it

    def add(self, question: str, text: str, where: str) -> None:
        """Take in one evaluation item: its question, its other text (a solution), and where it stands."""
        if asked := normalized_question(question):
            self.num_added += 1
            self._questions.setdefault(asked, where)
        for run in (words(question), words(text)):
            if len(run) < RUN_WORDS:
                continue
            self._blocks.update(_hash(block) for block in _runs(run, BLOCK_WORDS))
            for shingle in _runs(run, RUN_WORDS):
                self._runs.setdefault(_hash(shingle), len(self._texts))
            self._texts.append((f" {' '.join(run)} ", where))

    def match(self, question: str, cot: str) -> str | None:
        """What a training row shares with an evaluation item, in words; None when it shares nothing."""
        if (where := self._questions.get(normalized_question(question))) is not None:
            return f"same question as {where}"
        for text in (question, cot):
            if (found := self._shared_run(words(text))) is not None:
                shingle, where = found
                return f"shares {RUN_WORDS} words with {where}: {shingle!r}"
        return None

    @property
    def digest(self) -> str:
        """SHA-256 over all questions and texts, whatever their order."""
        content = "\n".join([*sorted(self._questions), "", *sorted({text for text, _ in self._texts})])
        return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()

    def _shared_run(self, run: list[str]) -> tuple[str, str] | None:
        """The first run of `RUN_WORDS` words that an evaluation text holds, and where that text stands.

        Only every seventh block of words is looked up.
        """
        for start in range(0, len(run) - BLOCK_WORDS + 1, BLOCK_WORDS):
            if _hash(" ".join(run[start : start + BLOCK_WORDS])) not in self._blocks:
                continue
            # a run of 13 that holds these 7 words begins at most 6 before them
            for shingle in _runs(run[max(0, start - (RUN_WORDS - BLOCK_WORDS)) : start + RUN_WORDS], RUN_WORDS):
                if (text := self._runs.get(_hash(shingle))) is not None and f" {shingle} " in self._texts[text][0]:
                    return shingle, self._texts[text][1]
        return None


def load_evaluation_sets(paths: Sequence[str], dataset: Dataset, split: str | None = None) -> EvaluationSets:
    """Evaluation sets from prepared folders, or from any source that `--input` takes.

    A raw row goes through the dataset's own extractor where that takes it, else every text in it counts as a question.

    Args:
        paths: Folders, files, URLs or hub ids.
        dataset: Of the training data.
        split: Read from a hub id; `test` when None.

    Raises:
        SFTKeyError: A set that is missing, damaged, or holds no text.
    """
    found = EvaluationSets()
    for path in paths:
        before = found.num_added
        if (Path(path) / MANIFEST).is_file():
            _add_folder(found, Path(path))
        else:
            source = replace(sources.find_source(path, split or "test"), fields=dataset.fields)
            for record in sources.read_whole(source):
                for question, text in _texts(record.row, dataset):
                    found.add(question, text, record.where)
        if found.num_added == before:
            raise SFTKeyError(f"--decontaminate {path}: holds no questions")
    return found


def _add_folder(found: EvaluationSets, directory: Path) -> None:
    """A prepared folder's questions: the prompts, less what a chat template or a system prompt put around them."""
    manifest, chat = read_manifest(directory), None
    config = manifest.config
    if config.get("chat"):
        with open_prepared(directory).tokenizer_folder() as folder:
            tokenizer = load_tokenizer(str(folder))
        chat = ChatFormat(tokenizer, manifest.template, config.get("system"), config.get("chat_args"))
    for batch in open_shards(directory, ["id", "prompt", "completion", "cot_start", "cot_end"]).to_batches(1_000):
        for row in batch.to_pylist():
            cot = row["completion"][row["cot_start"] : row["cot_end"]]
            question = plain_question(row["prompt"]) if chat is None else chat.question(row["prompt"])
            found.add(question, cot, f"{directory}: {row['id']}")


def _texts(row: object, dataset: Dataset) -> Iterator[tuple[str, str]]:
    """The questions of a raw row, each with its other text."""
    if isinstance(row, dict) and dataset.columns and all(has_field(row, column) for column in dataset.columns):
        try:
            parts: Parts = dataset.extract(row)
        except Exception:  # noqa: BLE001 - rejected, or not the row it was written for: its texts count all the same
            pass
        else:
            yield parts.prompt, parts.cot
            return
    yield from ((text, "") for text in _strings(row))


def _strings(value: object) -> Iterator[str]:
    """Every string in a row, in lists (of messages, of choices) too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _strings(inner)


def _folded(text: str) -> str:
    return (text if text.isascii() else normalize("NFKC", text)).casefold()


def _runs(run: list[str], size: int) -> Iterator[str]:
    return (" ".join(run[start : start + size]) for start in range(len(run) - size + 1))


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def duplicates(hashes: Iterable[NDArray[np.uint64]]) -> tuple[int, list[NDArray[np.int64]]]:
    """Which rows repeat an earlier question.

    Args:
        hashes: Per piece, the hash of every row's question in order; 0 for a row that does not count.

    Returns:
        How many repeat one, and per piece the indices (within the piece) of those; the first of each is kept.
    """
    pieces = list(hashes)
    joined = np.concatenate(pieces) if pieces else np.empty(0, np.uint64)
    _, first = np.unique(joined, return_index=True)
    repeats = joined != 0
    repeats[first] = False
    bounds = np.cumsum([len(piece) for piece in pieces])[:-1]
    return int(repeats.sum()), [np.flatnonzero(part) for part in np.split(repeats, bounds)] if pieces else []
