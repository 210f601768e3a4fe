"""The code blocks of the documentation, taken out by Sybil, and what the comment before each says of it.

<!-- file: mine.toml -->            the block is that file
<!-- output -->                     the block is what the block before it prints
<!-- slow: trains -->               it runs in `make test-docs` only
<!-- not run: needs a server -->    it cannot run here, and why
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sybil import Document, Region, Sybil
from sybil.parsers.markdown.lexers import DirectiveInHTMLCommentLexer, RawFencedCodeBlockLexer

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "train/recipes/*.md", "benchmarks/*.md")
    for path in ROOT.glob(pattern)
)
REMARKS = ("file", "output", "slow", "not run")

_fences = RawFencedCodeBlockLexer(re.compile(r"(?P<language>[^\n]*)\n"))
_remarks = DirectiveInHTMLCommentLexer("|".join(REMARKS))


@dataclass(frozen=True, kw_only=True)
class Block:
    """One fenced block: where it is, its language, its text, and the remarks before it with what they say."""

    where: str
    language: str
    source: str
    remarks: Mapping[str, str]


def blocks_of(document: str) -> list[Block]:
    """The blocks of a document in order; a remark that stands before no block is an error."""
    found: list[Block] = []
    remarks: dict[str, str] = {}
    parsed = Sybil([_parse]).parse(ROOT / document)
    end = 0
    for example in parsed.examples():
        lexemes, where = example.region.lexemes, f"{document}:{example.line}"
        between = parsed.text[end : example.start].removeprefix("-->").strip()
        assert not (remarks and between), f"{where}: the remark {remarks} stands before {between!r}"
        end = example.end
        if "directive" in lexemes:
            remarks[lexemes["directive"]] = lexemes["arguments"].strip()
            continue
        found.append(
            Block(where=where, language=lexemes["language"].strip(), source=lexemes["source"], remarks=remarks)
        )
        remarks = {}
    assert not remarks, f"{document}: {remarks} stands before no block"
    return found


def _parse(document: Document) -> Iterable[Region]:
    regions = [*_fences(document), *_remarks(document)]
    for region in regions:
        region.evaluator = _never
        region.parsed = region.lexemes
    return regions


def _never(example: object) -> str:
    raise AssertionError("blocks are run by test_code_blocks")
