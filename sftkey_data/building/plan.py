"""Everything about a build that can be decided, and refused, before the first row."""

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain, islice

from pydantic import BaseModel

import sftkey_data
from sftkey_data.building.build_config import USUAL_TEMPLATE, BuildConfig, checked, config_json, parse_share
from sftkey_data.building.inputs import find_inputs, find_windows, generate_rows, label_of, read_rows
from sftkey_data.errors import SFTKeyError
from sftkey_data.format.template import Template, load_template
from sftkey_data.prepare.chat_format import ChatFormat
from sftkey_data.prepare.contamination import load_evaluation_sets
from sftkey_data.prepare.holdout import Holdout
from sftkey_data.prepare.question_share import only_share
from sftkey_data.prepare.rendered_rows import Preparation
from sftkey_data.prepare.row_filter import only_where, parse_condition
from sftkey_data.prepare.unit import prepare
from sftkey_data.prepared.manifest import InputInfo, TokenizerInfo, file_sha256
from sftkey_data.registry import Dataset, bind, load_dataset, parse_options
from sftkey_data.sources import source as sources
from sftkey_data.sources.pieces import Piece, cut
from sftkey_data.sources.source import Record, Source
from sftkey_data.sources.split_slices import Window
from sftkey_data.tokens.fast_encoder import Mismatch, find_fast_encoder
from sftkey_data.tokens.fastokens_prefetch import prefetch
from sftkey_data.tokens.special_text import check_as_text
from sftkey_data.tokens.tokenizer import OFFSET_PROBES, Encoder, load_tokenizer, tokenizer_fingerprint
from sftkey_data.tokens.tokenizer_file import TokenizerFile, open_tokenizer_file

SHARD_BYTES = 128 * 2**20  # of input: about 256 MB of shard, text and ids
MIN_SHARD_BYTES = 4 * 2**20
WANTED_SHARDS = 32  # of a smaller input, so that many workers have work: 1 GiB is cut into 32 MiB each
SELF_TEST_ROWS = 16
PROOF_ROWS = 128  # that both encoders see before the first row is written …
PROOF_STRIDE = 16  # … one in so many of the first rows, that is of the first 128 * 16 = 2,048


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A build whose names, columns, options and tokenizer have been checked.

    `windows` are the rows that are read of each split; all where there are none.
    """

    config: BuildConfig
    recipe: Preparation
    inputs: tuple[Source, ...]
    hashes: tuple[str, ...]
    row_counts: tuple[int | None, ...]
    tokenizer: TokenizerInfo | None
    options: BaseModel | None
    shard_bytes: int
    windows: tuple[Window, ...] = ()
    said: str = ""
    """What the first rows decided, for the terminal."""

    @property
    def first(self) -> int:
        """Index of the first row, from which ids are counted: its place in the split where one slice is read."""
        return self.windows[0].start if len(self.windows) == 1 else 0

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
            "inputs": self.hashes,
            "source_file": file_sha256(source_file) if source_file else None,
            "option_files": [file_sha256(path) for path in self.recipe.dataset.option_files],
            "template": self.recipe.template.digest,
            "chat": self.recipe.chat.digest if self.recipe.chat else None,
            "tokenizer": (self.tokenizer.fingerprint, self.tokenizer.eos_token_id) if self.tokenizer else None,
            "evaluation": self.recipe.evaluation.digest if self.recipe.evaluation else None,
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def num_rows(self) -> int | None:
        """How many rows will be read, where that is known without reading them."""
        known: list[int | None] = list(self.row_counts)
        if self.recipe.dataset.generate is not None:
            known = [getattr(self.options, "num", None)]
        if self.windows:
            known = [window.stop - window.start if window.stop is not None else None for window in self.windows]
        if None in known:
            return None
        total = sum(n for n in known if n is not None)
        return total if self.config.limit is None else min(total, self.config.limit)

    def pieces(self) -> Iterator[Piece]:
        """All rows, cut into what becomes one shard each."""
        generated = self.recipe.dataset.generate is not None
        return cut(
            self._generated() if generated else self.inputs,
            max_rows=self.config.shard_rows,
            max_bytes=self.shard_bytes,
            limit=self.config.limit,
            windows=() if generated else self.windows,
            first=self.first,
        )

    def records(self) -> Iterator[Record]:
        """All records in order, at most `limit`."""
        generated = self.recipe.dataset.generate is not None
        rows = self._generated() if generated else read_rows(self.inputs, self.windows)
        return islice(rows, self.config.limit)

    def _generated(self) -> Iterator[Record]:
        return generate_rows(self.recipe.dataset, self.recipe.split, self.options, self.windows)

    def input_infos(self, rows_by_source: dict[str, int]) -> list[InputInfo]:
        """The manifest's entry for each input; a generated set has one, hashed by its options or file."""
        named = [(source.name, source.split, digest) for source, digest in zip(self.inputs, self.hashes, strict=True)]
        labels = [source.label for source in self.inputs]
        if self.options is not None and self.recipe.dataset.generate is not None:
            content = self.options.model_dump_json().encode()
            named = [("generated", self.recipe.split, hashlib.sha256(content).hexdigest())]
            if files := self.recipe.dataset.option_files:  # rows are made of the first
                named = [(str(files[0]), self.recipe.split, file_sha256(files[0]))]
            labels = [f"{self.recipe.dataset.name}[{self.recipe.split}]"]
        return [
            InputInfo(name=name, split=split, sha256=digest, rows=rows_by_source.get(label, 0))
            for (name, split, digest), label in zip(named, labels, strict=True)
        ]


def make_plan(config: BuildConfig, *, from_file: bool = False) -> Plan:
    """Check a build from end to end without preparing a row.

    Args:
        config: What is wanted.
        from_file: See `make_recipe`.

    Raises:
        SFTKeyError: A value outside its limits; unknown dataset, template or option; missing file, column or tokenizer;
            a tokenizer whose offsets fail the self-test on the probes or on the first rows.
    """
    config = checked(config)
    if from_file and config.tokenizer is not None:
        prefetch(config.tokenizer)
    dataset = load_dataset(config.source)
    if config.template is not None:
        load_template(config.template)
    options = parse_options(dataset, config.options)
    inputs = find_inputs(dataset, config)
    config, options, said = _settled(config, dataset, inputs, options)
    template = load_template(config.template or USUAL_TEMPLATE)
    dataset = bind(dataset, options)
    split = label_of(inputs, config)
    asked = tuple(parse_condition(text).column for text in config.where)
    for source in inputs:
        sources.check_first_rows(source, (*dataset.columns, *dataset.nullable, *asked))
    windows = find_windows(dataset, inputs, split, options, config.split)
    with ThreadPoolExecutor(1) as pool:  # hashing leaves the interpreter to the loading of the tokenizer
        fingerprints = pool.map(sources.source_fingerprint, inputs)
        recipe, info = make_recipe(config, dataset, template, split, from_file=from_file)
        if recipe.encoder is not None:
            try:
                generated = generate_rows(dataset, split, options)
                _self_test(recipe.encoder, generated if dataset.generate is not None else read_rows(inputs))
            except SFTKeyError:
                if from_file:  # maybe transformers makes a better tokenizer of the file
                    return make_plan(config)
                raise
        hashes, row_counts = tuple(zip(*fingerprints, strict=True)) if inputs else ((), ())
        return Plan(
            config=config,
            recipe=recipe,
            inputs=inputs,
            hashes=hashes,
            row_counts=row_counts,
            tokenizer=info,
            options=options,
            shard_bytes=config.shard_bytes or _shard_bytes(inputs),
            windows=windows,
            said=said,
        )


def _settled(
    config: BuildConfig, dataset: Dataset, inputs: tuple[Source, ...], options: BaseModel | None
) -> tuple[BuildConfig, BaseModel | None, str]:
    """The configuration with nothing left open: what it does not name, the first rows of each input decide."""
    own, said = None, ""
    if dataset.settle is not None:
        records = (islice(sources.read_source(source), sources.FIRST_ROWS) for source in inputs)
        rows = [record.row for record in chain.from_iterable(records) if isinstance(record.row, dict)]
        settled, said = dataset.settle(options, rows)
        changed = {name: value for name, value in settled if value != getattr(options, name)}
        config = replace(config, options={**config.options, **changed})
        own, options = settled.output_template(), settled
    return replace(config, template=config.template or own or USUAL_TEMPLATE), options, said


def make_recipe(
    config: BuildConfig, dataset: Dataset, template: Template, split: str, *, from_file: bool = False
) -> tuple[Preparation, TokenizerInfo | None]:
    """What every worker needs; made again from the same config it is the same.

    Args:
        config: What is wanted.
        dataset: With its options bound.
        template: Of the completions.
        split: Of the inputs.
        from_file: The tokenizer may be a `TokenizerFile`; transformers must then be asked before anything is published.
    """
    encoder, info, chat = _load_encoder(config, template, from_file=from_file)
    special = encoder.special_tokens if encoder is not None else None
    if special is not None and (found := special.search(config.system or "")):
        raise SFTKeyError(f"--system holds {found.group()!r}, a special token of {config.tokenizer!r}: leave it out")
    evaluation = None
    if config.decontaminate:
        evaluation = load_evaluation_sets(config.decontaminate, dataset)
    conditions = [parse_condition(text) for text in config.where]
    recipe = Preparation(
        # not of the evaluation sets, which are whole
        dataset=only_share(only_where(dataset, conditions), parse_share(config.share), config.seed),
        split=split,
        template=template,
        encoder=encoder,
        straddle=config.straddle,
        chat=chat,
        system=config.system,
        max_tokens=config.max_tokens,
        too_long=config.too_long,
        evaluation=evaluation,
        holdout=Holdout(config.holdout, config.seed) if config.holdout is not None else None,
    )
    return recipe, info


def proven(plan: Plan) -> tuple[Preparation, str]:
    """The recipe with the fast encoder if it gives what the reference gives on rows of the input; else why not.

    A row of a wrong kind proves nothing and is left to the build.
    """
    encoder = plan.recipe.encoder
    if encoder is None:
        return plan.recipe, ""
    rows = list(enumerate(islice(plan.records(), 0, PROOF_ROWS * PROOF_STRIDE, PROOF_STRIDE)))
    expected = prepare(rows, plan.recipe)  # first, while the fast encoder may still be loading
    if (fast := find_fast_encoder(encoder)) is None:
        return plan.recipe, "reference encoder (the tokens' bytes are not known from the vocabulary)"
    recipe = replace(plan.recipe, fast=fast)
    try:
        found = prepare(rows, recipe)
    except Mismatch as mismatch:
        return plan.recipe, f"reference encoder ({fast.name} gives {mismatch})"
    if not found.table.equals(expected.table):
        return plan.recipe, f"reference encoder ({fast.name} gives other tokens)"
    return recipe, ""


def _shard_bytes(inputs: tuple[Source, ...]) -> int:
    sizes = [sources.source_bytes(source) for source in inputs]
    total = sum(size for size in sizes if size is not None)
    return min(SHARD_BYTES, max(MIN_SHARD_BYTES, total // WANTED_SHARDS))


def _load_encoder(
    config: BuildConfig, template: Template, *, from_file: bool
) -> tuple[Encoder | None, TokenizerInfo | None, ChatFormat | None]:
    if config.chat_args and not config.chat:
        raise SFTKeyError(f"--chat-arg {next(iter(config.chat_args))} needs --chat")
    if config.tokenizer is None:
        for name in ("chat", "max_tokens", "special_tokens"):
            if getattr(config, name) not in (None, False, "reject"):
                raise SFTKeyError(f"--{name.replace('_', '-')} needs a --tokenizer")
        return None, None, None
    as_text = config.special_tokens == "text"
    file = open_tokenizer_file(config.tokenizer) if from_file and not config.chat else None
    if file is not None:
        chat, encoder = None, Encoder(file, special_text=as_text)
    else:
        tokenizer = load_tokenizer(config.tokenizer)
        chat = ChatFormat(tokenizer, template, config.system, config.chat_args) if config.chat else None
        eos = chat.eos_token_id if chat is not None else None
        encoder = Encoder(tokenizer, add_special_tokens=chat is None, eos_token_id=eos, special_text=as_text)
    if as_text:
        check_as_text(encoder)
    info = TokenizerInfo(
        name=config.tokenizer,
        fingerprint=tokenizer_fingerprint(encoder.tokenizer),
        vocab_size=len(encoder.tokenizer),
        eos_token_id=encoder.eos_token_id,
        end_token=str(encoder.backend.id_to_token(encoder.eos_token_id)),
        adds_special_tokens=encoder.add_special_tokens,
    )
    return encoder, info, chat


def _self_test(encoder: Encoder, records: Iterator[Record]) -> None:
    """Test the offsets on the probes and on text of the first rows, before row 1 is prepared."""
    rows = (record.row for record in islice(records, SELF_TEST_ROWS))
    texts = [value for row in rows if isinstance(row, dict) for value in row.values() if isinstance(value, str)]
    special = encoder.special_tokens  # rows with one are rejected, and are no fault of the offsets
    # cut, as the self-test decodes a text from its start up to every border: quadratic
    encodable = [
        text[:500]
        for text in texts
        if text.isprintable() and text.strip() and not (special is not None and special.search(text))
    ]
    encoder.check_offsets([*OFFSET_PROBES, *encodable])
