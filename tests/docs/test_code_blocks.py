"""Every code block of the documentation runs as it stands, or says why it cannot."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from markdown_blocks import DOCUMENTS, ROOT, Block, blocks_of
from markdown_it import MarkdownIt
from some_slow import some_slow
from stand_in import clone, environment

COMMANDS = {"sh": ("bash", "-euo", "pipefail", "-c"), "python": (sys.executable, "-c")}
ALONE = {"file", "output", "not run"}
"""Remarks of which a block has at most one; what has none of them is run."""

WITH_BLOCKS = [document for document in DOCUMENTS if blocks_of(document)]
QUICK = (
    "README.md",
    "docs/choosing.md",
    "docs/formats.md",
    "docs/tutorials/completions.md",
)
"""What `make test` runs; the others are run by `make test-docs` and `make test-all`."""
WITH_SLOW_BLOCKS = [document for document in WITH_BLOCKS if any("slow" in b.remarks for b in blocks_of(document))]


@pytest.fixture
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder that all processes of this test run see."""
    base = tmp_path_factory.getbasetemp()
    return (base if worker_id == "master" else base.parent) / "documentation"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_block_is_run_or_says_why_not(document: str) -> None:
    fences = [t for t in MarkdownIt().parse((ROOT / document).read_text(encoding="utf-8")) if t.type == "fence"]
    blocks = blocks_of(document)
    assert [block.source for block in blocks] == [fence.content for fence in fences]
    for block in blocks:
        assert len(ALONE & set(block.remarks)) <= 1, f"{block.where}: {block.remarks}"
        assert runs(block) or ALONE & set(block.remarks), f"{block.where}: run by nothing, and no remark says why"
        assert all(text for remark, text in block.remarks.items() if remark != "output"), f"{block.where}: no reason"


def test_a_document_has_blocks_of_each_kind() -> None:
    blocks = [block for document in WITH_BLOCKS for block in blocks_of(document)]
    assert sum(map(runs, blocks)) >= 15
    assert {"file", "output", "slow", "not run"} == {remark for block in blocks for remark in block.remarks}


@pytest.mark.parametrize("document", some_slow(WITH_BLOCKS, quick=QUICK))
def test_the_quick_blocks_run_in_order(document: str, tmp_path: Path, shared: Path) -> None:
    blocks = [block for block in blocks_of(document) if "slow" not in block.remarks]
    run_all(blocks, tmp_path / "clone", shared, trained=False)


@pytest.mark.slow
@pytest.mark.parametrize("document", WITH_SLOW_BLOCKS)
def test_all_blocks_run_in_order(document: str, tmp_path: Path, shared: Path) -> None:
    run_all(blocks_of(document), tmp_path / "clone", shared, trained=True)


def runs(block: Block) -> bool:
    """Whether the block is a command or a program, to be run."""
    return block.language in COMMANDS and not ALONE & set(block.remarks)


def run_all(blocks: Sequence[Block], folder: Path, shared: Path, *, trained: bool) -> None:
    """Each block in turn, in a folder like a clone after `make demo`; none is made for a document that runs nothing."""
    if not all("not run" in block.remarks for block in blocks):
        clone(folder, shared, trained=trained)
    printed = ""
    for block in blocks:
        if "not run" in block.remarks:
            check_syntax(block)
        elif "file" in block.remarks:
            (folder / block.remarks["file"]).write_text(block.source, encoding="utf-8")
        elif "output" in block.remarks:
            assert printed.strip() == block.source.strip(), f"{block.where}: not what the block before it prints"
        else:
            printed = run(block, folder, shared)


def run(block: Block, folder: Path, shared: Path) -> str:
    """What the block prints on stdout."""
    command = [*COMMANDS[block.language], block.source]
    done = subprocess.run(
        command, cwd=folder, env=environment(shared), capture_output=True, text=True, check=False, timeout=900
    )
    said = f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    assert done.returncode == 0, f"{block.where}: exit {done.returncode}\n{block.source}\n{said}"
    return done.stdout


def check_syntax(block: Block) -> None:
    """What cannot run can still be read."""
    if block.language == "sh":
        done = subprocess.run(["bash", "-n", "-c", block.source], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{block.where}: {done.stderr}"
    elif block.language == "python":
        compile(block.source, block.where, "exec")
