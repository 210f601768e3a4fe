"""What every worker needs to turn the rows of each source into examples."""

from collections.abc import Sequence
from dataclasses import replace

from sftkey_data.building.build_config import USUAL_TEMPLATE, BuildConfig, is_small, parse_share
from sftkey_data.building.mix import SourceConfig
from sftkey_data.building.source_plan import bound_dataset
from sftkey_data.errors import SFTKeyError
from sftkey_data.format.template import Template, load_template
from sftkey_data.prepare.chat_format import ChatFormat
from sftkey_data.prepare.contamination import load_evaluation_sets
from sftkey_data.prepare.draw import Draw
from sftkey_data.prepare.question_share import only_share
from sftkey_data.prepare.rendered_rows import Preparation
from sftkey_data.prepare.row_filter import only_where, parse_condition
from sftkey_data.prepared.manifest import TokenizerInfo
from sftkey_data.registry import Dataset
from sftkey_data.tokens.fast_encoder import find_fast_encoder
from sftkey_data.tokens.special_text import check_as_text
from sftkey_data.tokens.tokenizer import Encoder, load_tokenizer, tokenizer_fingerprint
from sftkey_data.tokens.tokenizer_file import open_tokenizer_file

WEIGHT_SEEDS = 2**32  # beyond those of --seed: what a weight draws says nothing of what a holdout draws

Recipes = tuple[Preparation, ...]
"""Of a build; a piece knows the number of its own."""


def make_recipes(
    config: BuildConfig, read: Sequence[tuple[SourceConfig, Dataset]], template: Template, *, from_file: bool = False
) -> tuple[Recipes, TokenizerInfo | None]:
    """What every worker needs; made again from the same config it is the same.

    Args:
        config: What is wanted.
        read: The sources, settled, and the dataset of each with its options bound.
        template: Of the completions.
        from_file: The tokenizer may be a `TokenizerFile`; transformers must then be asked before anything is published.
    """
    encoder, info, chat = _load_encoder(config, template, from_file=from_file)
    special = encoder.special_tokens if encoder is not None else None
    if special is not None and (found := special.search(config.system or "")):
        raise SFTKeyError(f"--system holds {found.group()!r}, a special token of {config.tokenizer!r}: leave it out")
    evaluation = None
    if config.decontaminate:
        evaluation = load_evaluation_sets(config.decontaminate, [dataset for _, dataset in read])
    recipes = tuple(
        Preparation(
            # not of the evaluation sets, which are whole
            dataset=only_share(
                only_where(dataset, [parse_condition(text) for text in asked.where]),
                parse_share(config.share),
                config.seed,
            ),
            split=asked.label,
            template=template,
            encoder=encoder,
            straddle=config.straddle,
            chat=chat,
            system=config.system,
            max_tokens=config.max_tokens,
            too_long=config.too_long,
            evaluation=evaluation,
            holdout=Draw(config.holdout, config.seed) if config.holdout is not None else None,
            drawn=Draw(share, WEIGHT_SEEDS + asked.seed) if share < 1 else None,
            is_copy=copy > 0,
        )
        for asked, dataset in read
        for copy, share in enumerate(asked.shares)
    )
    return recipes, info


def remake_recipes(
    config: BuildConfig, asked: Sequence[SourceConfig], *, fast: bool = False, from_file: bool = False
) -> Recipes:
    """The recipes of a plan, made again in another process.

    Args:
        config: Of the plan.
        asked: Its sources, settled.
        fast: They had a fast encoder.
        from_file: See `make_recipes`.
    """
    template = load_template(config.template or USUAL_TEMPLATE)
    read = [(source, bound_dataset(source)) for source in asked]
    recipes, _ = make_recipes(config, read, template, from_file=from_file)
    encoder = recipes[0].encoder
    found = find_fast_encoder(encoder, quickest=not is_small(config)) if fast and encoder is not None else None
    return tuple(replace(recipe, fast=found) for recipe in recipes)


def without_tokenizer(config: BuildConfig) -> BuildConfig:
    """The configuration without what a question's hash does not need, so a worker that hashes loads none of it."""
    return replace(
        config, tokenizer=None, chat=False, chat_args={}, system=None, special_tokens="reject", max_tokens=None
    )


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
