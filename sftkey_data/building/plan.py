"""Everything about a build that can be decided, and refused, before the first row."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import chain, count, islice
from pathlib import Path

import sftkey_data
from sftkey_data.building.build_config import USUAL_TEMPLATE, BuildConfig, checked, config_json, is_small
from sftkey_data.building.mix import SourceConfig, sources_of
from sftkey_data.building.recipes import Recipes, make_recipes
from sftkey_data.building.source_plan import SourcePlan, plan_source
from sftkey_data.errors import SFTKeyError
from sftkey_data.format.template import load_template
from sftkey_data.prepare.rendered_rows import Preparation
from sftkey_data.prepare.unit import prepare
from sftkey_data.prepared.manifest import TokenizerInfo, file_sha256
from sftkey_data.registry import dataset_name
from sftkey_data.sources.pieces import Piece
from sftkey_data.sources.row_index import MeasureRun, index_rows
from sftkey_data.sources.source import Record, Source, source_bytes
from sftkey_data.sources.survey import SurveyRun, start_surveys, survey_threads
from sftkey_data.tokens.fast_encoder import Mismatch, find_fast_encoder
from sftkey_data.tokens.fastokens_prefetch import prefetch
from sftkey_data.tokens.tokenizer import OFFSET_PROBES, Encoder
from sftkey_data.tokens.tokenizer_file import TokenizerFile

Surveying = Callable[[], AbstractContextManager[SurveyRun]]
SHARD_BYTES = 128 * 2**20  # of input: about 256 MB of shard, text and ids
MIN_SHARD_BYTES = 4 * 2**20
WANTED_SHARDS = 32  # of a smaller input, so that many workers have work: 1 GiB is cut into 32 MiB each
SELF_TEST_ROWS = 16
PROOF_ROWS = 128  # that both encoders see before the first row is written …
PROOF_STRIDE = 16  # … one in so many of the first rows, that is of the first 128 * 16 = 2,048


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A build whose names, columns, options and tokenizer have been checked.

    A source has as many recipes as it is read times, one after the other: see `SourceConfig.shares`.
    """

    config: BuildConfig
    recipes: Recipes
    sources: tuple[SourcePlan, ...]
    tokenizer: TokenizerInfo | None
    shard_bytes: int

    @property
    def recipe(self) -> Preparation:
        """The first; all have its encoder, template, chat format, evaluation sets and holdout."""
        return self.recipes[0]

    @property
    def mix(self) -> Path | None:
        """The file that names the sources."""
        return self.sources[0].asked.mix

    @property
    def name(self) -> str:
        """Of the dataset that is built."""
        return self.recipe.dataset.name if self.mix is None else dataset_name(self.mix)

    @property
    def split(self) -> str:
        """The label of what is built; those of all sources where they differ."""
        labels = (label for source in self.sources for label in source.asked.label.split("+"))
        return "+".join(dict.fromkeys(labels))

    @property
    def numbers(self) -> list[int]:
        """Of each recipe, the number of its source, from 0."""
        return [number for number, source in enumerate(self.sources) for _ in source.asked.shares]

    @property
    def asked(self) -> tuple[SourceConfig, ...]:
        """The sources as they are asked for, settled."""
        return tuple(source.asked for source in self.sources)

    @property
    def inputs(self) -> tuple[Source, ...]:
        """Of all sources."""
        return tuple(chain.from_iterable(source.inputs for source in self.sources))

    @property
    def files(self) -> tuple[Source, ...]:
        """The inputs, and the files of the sets among them that workers read."""
        indices = chain.from_iterable(source.rows.values() for source in self.sources)
        return (*self.inputs, *(file.file for index in indices for file in index.files))

    @property
    def said(self) -> str:
        """What the first rows decided, for the terminal."""
        found = [source for source in self.sources if source.said]
        return "\n".join(one.said if self.mix is None else f"{one.asked.place}: {one.said}" for one in found)

    @property
    def unconfirmed(self) -> TokenizerFile | None:
        """The tokenizer, where transformers has not been asked about it."""
        encoder = self.recipe.encoder
        return encoder.tokenizer if encoder is not None and isinstance(encoder.tokenizer, TokenizerFile) else None

    @property
    def fingerprint(self) -> str:
        """Decides whether units of an interrupted build may be used again."""
        source_file = self.recipe.dataset.source_file
        facts = {
            "code_version": sftkey_data.__version__,
            "config": config_json(self.config),
            "inputs": [survey.digest for source in self.sources for survey in source.surveys],
            "source_file": file_sha256(source_file) if source_file else None,
            "option_files": [file_sha256(path) for path in self.recipe.dataset.option_files],
            "template": self.recipe.template.digest,
            "chat": self.recipe.chat.digest if self.recipe.chat else None,
            "tokenizer": (self.tokenizer.fingerprint, self.tokenizer.eos_token_id) if self.tokenizer else None,
            "evaluation": self.recipe.evaluation.digest if self.recipe.evaluation else None,
        }
        if self.mix is not None:
            own = chain.from_iterable(source.own_files for source in self.sources)
            facts["mix"] = [file_sha256(path) for path in (self.mix, *own)]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def unindexed(self, workers: float) -> list[tuple[Source, list[Source]]]:
        """Of all sources, see `SourcePlan.unindexed`."""
        return list(chain.from_iterable(source.unindexed(workers) for source in self.sources))

    def indexed(self, inputs: Sequence[tuple[Source, list[Source]]], run: MeasureRun) -> "Plan":
        """The plan with the rows of these inputs found, so that workers read them.

        Raises:
            SFTKeyError: As for reading all of such an input.
        """
        found = index_rows(inputs, run, self.config.shard_rows, self.shard_bytes)
        return replace(self, sources=tuple(source.with_rows(found) for source in self.sources))

    def num_rows(self, *, copies: bool = True) -> int | None:
        """How many rows will be read, where that is known without reading them; copies as of `pieces`."""
        wanted = [
            number for number, recipe in zip(self.numbers, self.recipes, strict=True) if copies or not recipe.is_copy
        ]
        known = [self.sources[number].num_rows() for number in wanted]
        return None if None in known else sum(n for n in known if n is not None)

    def pieces(self, *, copies: bool = True) -> Iterator[Piece]:
        """All rows, cut into what becomes one shard each; without copies, each source is read once."""
        number = index = 0
        for reading, (of_source, recipe) in enumerate(zip(self.numbers, self.recipes, strict=True)):
            source = self.sources[of_source]
            if recipe.is_copy and not copies:
                continue
            index = index if recipe.is_copy else source.first  # ids of a copy go on from those of the rows
            for piece in source.pieces(self.config.shard_rows, self.shard_bytes):
                yield replace(piece, number=number, first=index, reading=reading)
                number, index = number + 1, index + piece.num_rows

    def readings(self, *, copies: bool = True) -> Iterator[tuple[Preparation, Iterator[tuple[int, Record]]]]:
        """The records of each source in order, with their indices, and the recipe for them; copies as of `pieces`."""
        indices = count()
        for of_source, recipe in zip(self.numbers, self.recipes, strict=True):
            source = self.sources[of_source]
            if recipe.is_copy and not copies:
                continue
            indices = indices if recipe.is_copy else count(source.first)
            yield recipe, ((index, record) for record, index in zip(source.records(), indices, strict=False))


def make_plan(config: BuildConfig, *, from_file: bool = False, surveying: Surveying = survey_threads) -> Plan:
    """Check a build from end to end without preparing a row.

    Args:
        config: What is wanted.
        from_file: See `make_recipes`.
        surveying: Who surveys the inputs meanwhile.

    Raises:
        SFTKeyError: A value outside its limits; unknown dataset, template or option; missing file, column or tokenizer;
            a tokenizer whose offsets fail the self-test on the probes or on the first rows.
    """
    config = checked(config)
    if from_file and config.tokenizer is not None and not is_small(config):
        prefetch(config.tokenizer)
    if config.template is not None:
        load_template(config.template)
    with surveying() as run:
        sources = [plan_source(asked, run) for asked in sources_of(config)]
        config = _settled_config(config, sources)
        template = load_template(config.template or USUAL_TEMPLATE)
        # from here on the inputs are surveyed beside the loading of the tokenizer
        surveys = [source.surveys or start_surveys(source.inputs, run) for source in sources]
        read = [(source.asked, source.dataset) for source in sources]
        recipes, info = make_recipes(config, read, template, from_file=from_file)
        if (encoder := recipes[0].encoder) is not None:
            try:
                _self_test(encoder, sources)
            except SFTKeyError:
                if from_file:  # maybe transformers makes a better tokenizer of the file
                    return make_plan(config, surveying=surveying)
                raise
        return Plan(
            config=config,
            recipes=recipes,
            sources=tuple(replace(one, surveys=tuple(of)) for one, of in zip(sources, surveys, strict=True)),
            tokenizer=info,
            shard_bytes=config.shard_bytes or _shard_bytes(sources),
        )


def _settled_config(config: BuildConfig, sources: Sequence[SourcePlan]) -> BuildConfig:
    """The configuration with nothing left open that the rows decide.

    Raises:
        SFTKeyError: Sources of a mix have one name, or want different templates.
    """
    named, wanted = dict[tuple[str, str], int](), dict[str, int]()
    for source in sources:
        asked, title = source.asked, (source.dataset.name, source.asked.label)
        if title in named:
            both = f"sources {named[title]} and {asked.number} are both {'/'.join(title)}"
            raise SFTKeyError(f"{asked.mix}: {both}, of which ids are made: give one of them a `name`")
        named[title] = asked.number
        if source.template is not None:
            wanted.setdefault(source.template, asked.number)
    if config.template is None and len(wanted) > 1:
        found = ", ".join(f"{template} in source {number}" for template, number in wanted.items())
        raise SFTKeyError(f"{config.source}: its rows are in different templates ({found}): name one with --template")
    template = config.template or next(iter(wanted), USUAL_TEMPLATE)
    plain = sources[0].asked.mix is None
    return replace(config, template=template, options=sources[0].asked.options if plain else config.options)


def proven(plan: Plan) -> tuple[Recipes, str]:
    """The recipes with the fast encoder if it gives what the reference gives on rows of each source; else why not.

    A row of a wrong kind proves nothing and is left to the build.
    """
    encoder = plan.recipe.encoder
    if encoder is None:
        return plan.recipes, ""
    rows = [
        (recipe, list(islice(records, 0, PROOF_ROWS * PROOF_STRIDE, PROOF_STRIDE)))
        for recipe, records in plan.readings(copies=False)
    ]
    expected = [prepare(some, recipe) for recipe, some in rows]  # first, while the fast encoder may still be loading
    if (fast := find_fast_encoder(encoder, quickest=not is_small(plan.config))) is None:
        return plan.recipes, "reference encoder (the tokens' bytes are not known from the vocabulary)"
    try:
        found = [prepare(some, replace(recipe, fast=fast)) for recipe, some in rows]
    except Mismatch as mismatch:
        return plan.recipes, f"reference encoder ({fast.name} gives {mismatch})"
    if not all(one.table.equals(other.table) for one, other in zip(found, expected, strict=True)):
        return plan.recipes, f"reference encoder ({fast.name} gives other tokens)"
    return tuple(replace(recipe, fast=fast) for recipe in plan.recipes), ""


def _shard_bytes(sources: Sequence[SourcePlan]) -> int:
    sizes = [source_bytes(one) for source in sources for one in source.inputs]
    total = sum(size for size in sizes if size is not None)
    return min(SHARD_BYTES, max(MIN_SHARD_BYTES, total // WANTED_SHARDS))


def _self_test(encoder: Encoder, sources: Sequence[SourcePlan]) -> None:
    """Test the offsets on the probes and on text of the first rows of each source, before row 1 is prepared."""
    # without windows, as the last rows may be far
    first = [islice(replace(source, windows=()).records(), SELF_TEST_ROWS) for source in sources]
    rows = (record.row for record in chain.from_iterable(first))
    texts = [value for row in rows if isinstance(row, dict) for value in row.values() if isinstance(value, str)]
    special = encoder.special_tokens  # rows with one are rejected, and are no fault of the offsets
    # cut, as the self-test decodes a text from its start up to every border: quadratic
    encodable = [
        text[:500]
        for text in texts
        if text.isprintable() and text.strip() and not (special is not None and special.search(text))
    ]
    encoder.check_offsets([*OFFSET_PROBES, *encodable])
