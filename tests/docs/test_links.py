"""What the documentation points at is there: files, sections, modules, options; and it says what the code says."""

import importlib
import importlib.util
import os
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from urllib.parse import urlsplit

import pytest
from markdown_blocks import DOCUMENTS, ROOT, blocks_of
from markdown_it import MarkdownIt
from markdown_it.token import Token
from stand_in import environment

from sftkey.cli import PROGRAMS
from sftkey_data.command_line.verb import RENAMED
from sftkey_data.registry import builtin_names
from sftkey_data.schema import REGIONS, shard_schema
from sftkey_eval.records.verdicts import ERROR_CLASSES
from sftkey_eval.report.glossary import terms
from sftkey_train.recipe import Stage

MAX_README_LINES = 150

PATH = re.compile(r"(?:sftkey_data|sftkey_eval|train|tests|benchmarks|docs)/[\w./-]+|[\w.-]+\.md")
MODULE = re.compile(r"sftkey_(?:data|eval|train)(?:\.\w+)+")
OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*")
OF_OTHERS = {
    "--head",  # ray
    *("--nproc-per-node", "--nnodes", "--rdzv-backend", "--rdzv-endpoint", "--rdzv-id"),  # torchrun
    *("--include_path", "--tasks", "--model_args", "--gen_kwargs", "--metadata", "--log_samples", "--output_path"),
    *("--apply_chat_template", "--constraint", "--editable", "--strict"),  # lm_eval, pip, mypy
    *("--version", "--help-all", "--install-completion", "--show-completion"),  # of every program
    *RENAMED,  # the changelog names them
    "--record",  # the suite of faults
}
VERBS = {
    "sftkey": ("demo",),
    "sftkey-data": ("list", "show", "build", "check", "stats", "export", "map", "tokenizer", "push"),
    "sftkey-train": ("run", "study", "recipe", "push"),
    "sftkey-eval": ("run", "generate", "score", "grade", "report", "compare", "index", "tasks", "import", "push"),
}


def tokens_of(document: str) -> Iterator[Token]:
    """Every token, those inside lines too."""
    for token in MarkdownIt().enable("table").parse((ROOT / document).read_text(encoding="utf-8")):
        yield token
        yield from token.children or ()


def code_of(document: str) -> str:
    """All that stands as code in a document, in lines and in blocks."""
    spans = [token.content for token in tokens_of(document) if token.type == "code_inline"]
    return "\n".join([*spans, *(block.source for block in blocks_of(document))])


@cache
def anchors_of(document: str) -> frozenset[str]:
    """The names of a document's sections as GitHub and mkdocs make them."""
    tokens = list(tokens_of(document))
    titles = [after.content for token, after in pairwise(tokens) if token.type == "heading_open"]
    return frozenset(re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", title.lower())) for title in titles)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_somewhere(document: str) -> None:
    targets = [str(token.attrs["href"]) for token in tokens_of(document) if token.type == "link_open"]
    for target in targets:
        parts = urlsplit(target)
        if parts.scheme:
            assert parts.scheme == "https", target
            continue
        path = (ROOT / document).parent / parts.path if parts.path else ROOT / document
        name = os.path.relpath(path, ROOT)
        assert path.exists(), f"{document}: {target}: no such file"
        assert not parts.fragment or parts.fragment in anchors_of(name), f"{document}: {target}: no such section"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_path_and_module_that_is_named_exists(document: str) -> None:
    spans = [token.content for token in tokens_of(document) if token.type == "code_inline"]
    if document == "CHANGELOG.md":  # names of before stand in the first column
        spans = [span for span in spans if not span.startswith("!function") and span not in names_of_before()]
    for span in spans:
        if PATH.fullmatch(span) and "NAME" not in span and not (ROOT / document).parent.joinpath(span).exists():
            assert (ROOT / span).exists(), f"{document}: {span}: no such file"
        if MODULE.fullmatch(span):
            assert is_there(span), f"{document}: {span}: no such module, and no name of one"


def is_there(name: str) -> bool:
    """Whether it is a module of ours, or a name that one has."""
    module, _, last = name.rpartition(".")
    if importlib.util.find_spec(module) is None:
        return False
    return importlib.util.find_spec(name) is not None or hasattr(importlib.import_module(module), last)


def names_of_before() -> set[str]:
    """The names that the changelog says are gone."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    return set(re.findall(r"`([^`]+)`", "".join(re.findall(r"^ *\|([^|]*)\|[^|]*\|$", text, re.M))))


def test_every_option_that_is_named_is_one() -> None:
    """Of a command that is written with its verb, an option of that verb; alone, of any verb."""
    options = {verb: options_of(verb) for verb in all_verbs()}
    known = OF_OTHERS.union(*options.values())
    for document in DOCUMENTS:
        code = code_of(document).replace("\\\n", " ")
        unknown = set(OPTION.findall(code)) - known
        assert not unknown, f"{document}: {unknown}"
        for verb in all_verbs():
            commands = "\n".join(re.findall(rf"(?:^|[^\w/-]){verb} ([^\n`;|#()]*)", code, re.M))
            unknown = set(OPTION.findall(commands)) - options[verb]
            assert not unknown, f"{document}: {verb} has no {unknown}"


def all_verbs() -> list[str]:
    """Every verb behind its program."""
    return [f"{program} {verb}" for program, verbs in VERBS.items() for verb in verbs]


def options_of(verb: str) -> frozenset[str]:
    """The options in the help of a verb."""
    wide = environment(ROOT) | {"COLUMNS": "400", "TERM": "dumb"}
    command = f"{verb} --help-all".split()
    done = subprocess.run(command, env=wide, capture_output=True, text=True, check=True)
    return frozenset(OPTION.findall(done.stdout))


def test_the_verbs_of_the_documentation_are_those_of_the_programs() -> None:
    for program, verbs in VERBS.items():
        done = subprocess.run([program, "--help"], env=environment(ROOT), capture_output=True, text=True, check=True)
        shown = re.findall(r"^[│ ] +([a-z]+)  ", done.stdout.split("Commands")[1], re.M)
        assert sorted(shown) == sorted([*verbs, *(PROGRAMS if program == "sftkey" else ())])


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < MAX_README_LINES


@pytest.mark.parametrize(
    ("document", "names"),
    [
        ("docs/formats.md", [*shard_schema(tokenized=True).names, *REGIONS]),
        ("docs/numbers.md", [*terms("codes"), *ERROR_CLASSES]),
        ("docs/training.md", ["weights_end", "normalisation", "token_loss", "anchor", "placebo", "packing"]),
    ],
)
def test_a_page_names_everything_of_its_kind(document: str, names: list[str]) -> None:
    spans = {token.content for token in tokens_of(document) if token.type == "code_inline"}
    assert not set(names) - spans


def test_dataset_names_in_the_documentation_are_built_in() -> None:
    code = "\n".join(code_of(document) for document in DOCUMENTS)
    named = set(re.findall(r"sftkey-data build ([a-z]\w+)(?![\w.])", code))
    assert {"gsm8k", "arithmetic", "columns", "chat"} <= named
    assert named <= set(builtin_names())


def test_options_of_a_stage_in_the_documentation_are_keys_of_a_recipe() -> None:
    code = "\n".join(code_of(document) for document in DOCUMENTS)
    keys = set(re.findall(r"stage\.[\w-]+\.(\w+)=", code))
    assert keys
    assert keys <= set(Stage.model_fields)
