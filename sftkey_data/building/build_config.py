"""What a build is asked for: each field is a flag of `sftkey-data build` and is recorded in the manifest."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from sftkey_data.errors import SFTKeyError
from sftkey_data.options import Option, Panel, check_values

SHARD_ROWS = 200_000

Inputs = Annotated[
    tuple[str, ...],
    Option(
        flag="--input",
        metavar="FILE|URL|HUB",
        help="Rows; a hub id is `org/name:subset`; repeatable.",
        panel=Panel.IN,
    ),
]
Split = Annotated[str | None, Option(help="Also `train[:90%]`, `train+test`; of a file its label.", panel=Panel.IN)]
USUAL_TEMPLATE = "sftkey"
TemplateName = Annotated[
    str | None,
    Option(
        metavar="NAME|FILE",
        help="Template, built in or .toml [default: sftkey]",
        panel=Panel.FORMAT,
    ),
]
Chat = Annotated[
    bool, Option(flag="--chat/--no-chat", help="Prompts by the tokenizer's chat template.", panel=Panel.FORMAT)
]
System = Annotated[str | None, Option(help="System prompt.", panel=Panel.FORMAT, rare=True)]
ChatArguments = Annotated[
    dict[str, Any],
    Option(
        flag="--chat-arg",
        json=True,
        help="Argument of the chat template, VALUE in JSON; repeatable.",
        panel=Panel.FORMAT,
        rare=True,
    ),
]
DatasetOptions = Annotated[
    dict[str, Any], Option(flag="--set", help="Option of the dataset, see `list`; repeatable.", panel=Panel.IN)
]
Limit = Annotated[int | None, Option(help="Only the first rows.", min=1, range_shown=True, panel=Panel.IN)]


@dataclass(frozen=True, kw_only=True)
class BuildConfig:
    """What a build was asked for; recorded in the manifest."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    source: Annotated[
        str,
        Option(
            argument=True, help="Built-in dataset, ./mine.py, ./mine.toml, or ./mix.toml of several.", panel=Panel.IN
        ),
    ]
    inputs: Inputs = ()
    """Empty: the dataset's own."""
    split: Split = None
    tokenizer: Annotated[
        str | None,
        Option(metavar="NAME|DIR", help="Without it, only text columns.", panel=Panel.FORMAT),
    ] = None
    template: TemplateName = None
    """A plan names it."""
    straddle: Annotated[
        Literal["cover", "strict"],
        Option(help="Tokens that touch the Key are its own, or the row is rejected.", panel=Panel.FORMAT, rare=True),
    ] = "cover"
    chat: Chat = False
    system: System = None
    chat_args: ChatArguments = field(default_factory=dict)
    special_tokens: Annotated[
        Literal["reject", "text"],
        Option(
            help="A row whose own text holds a special token: reject it, or encode the name.",
            panel=Panel.SAFETY,
            rare=True,
        ),
    ] = "reject"
    max_tokens: Annotated[
        int | None, Option(help="Tokens of an example at most.", min=8, range_shown=True, panel=Panel.FORMAT)
    ] = None
    """EOS included."""
    too_long: Annotated[
        Literal["reject", "shorten-cot"],
        Option(help="Over --max-tokens: the CoT's middle may be cut.", panel=Panel.FORMAT),
    ] = "reject"
    where: Annotated[
        tuple[str, ...],
        Option(
            flag="--where",
            metavar="COLUMN=VALUE",
            help="Only such rows; also `!=`, `<`, `<=`, `>`, `>=`, `~`; repeatable.",
            panel=Panel.IN,
        ),
    ] = ()
    limit: Limit = None
    share: Annotated[
        str | None,
        Option(
            metavar="A:B",
            help="Only this share of the questions, as 0:0.8 and then 0.8:1, drawn by hash.",
            panel=Panel.IN,
            rare=True,
        ),
    ] = None
    decontaminate: Annotated[
        tuple[str, ...],
        Option(metavar="SET", help="Drop questions of this file, folder or hub id; repeatable.", panel=Panel.SAFETY),
    ] = ()
    dedup: Annotated[
        bool, Option(flag="--dedup", help="Drop rows that repeat an earlier question.", panel=Panel.SAFETY)
    ] = False
    holdout: Annotated[
        float | None,
        Option(metavar="N|SHARE", help="So many questions, or this share, for OUT-holdout.", panel=Panel.OUT),
    ] = None
    seed: Annotated[
        int,
        Option(
            help="Draws another --holdout or --share.",
            min=0,
            max=2**32 - 1,
            range_shown=True,
            panel=Panel.OUT,
            rare=True,
        ),
    ] = 0
    shard_rows: Annotated[
        int, Option(help="Rows of a shard at most.", min=1, range_shown=True, panel=Panel.OUT, rare=True)
    ] = SHARD_ROWS
    shard_bytes: int | None = None
    """Bytes of input per shard, no flag; None: by the input's size."""
    max_reject_rate: Annotated[
        float,
        Option(
            help="A larger share of rejects fails the build.",
            min=0.0,
            max=1.0,
            range_shown=True,
            panel=Panel.SAFETY,
        ),
    ] = 0.05
    options: DatasetOptions = field(default_factory=dict)


SMALL_BYTES, SMALL_ROWS = 2**20, 2_000
PACKED = (".gz", ".parquet", ".arrow")  # may hold ten times as much


def is_small(config: BuildConfig) -> bool:
    """Whether so few rows are asked for that a quicker encoder would load for longer than it saves.

    The ids are the same by any. Not where nobody knows without reading, as of a folder.
    """
    if config.limit is not None and config.limit <= SMALL_ROWS:
        return True
    files = [Path(name) for name in config.inputs if "://" not in name]
    if not files or len(files) < len(config.inputs) or not all(map(os.path.isfile, files)):
        return False
    return sum(file.stat().st_size * (10 if file.suffix in PACKED else 1) for file in files) <= SMALL_BYTES


BYTES_AND_SPECIAL = 256 + 2  # every byte is a token, so that any text can be encoded; and the end and the padding


@dataclass(frozen=True, kw_only=True)
class TokenizerOptions:
    """What a small tokenizer is trained on: the rows, as for a build, and how many tokens they may become.

    Each field is a flag of `sftkey-data tokenizer`.
    """

    source: Annotated[
        str,
        Option(flag="--train", metavar="SOURCE", help="Source as for `build`, or a prepared folder.", panel=Panel.IN),
    ]
    inputs: Inputs = ()
    split: Split = None
    template: TemplateName = None
    limit: Limit = None
    options: DatasetOptions = field(default_factory=dict)
    vocab_size: Annotated[
        int, Option(help="Tokens at most.", min=BYTES_AND_SPECIAL, range_shown=True, panel=Panel.OUT)
    ] = 512


def checked(config: BuildConfig) -> BuildConfig:
    """The configuration with every value of its type, within its choices and limits.

    Raises:
        SFTKeyError: Names the first value that is not.
    """
    from sftkey_data.config import validate  # pydantic, which `--help` does without

    config = validate(vars(config), BuildConfig, where="sftkey-data")
    holdout = config.holdout
    # 1 may be meant as all of them, and one question is no set
    if holdout is not None and not (0 < holdout < 1 or (holdout > 1 and holdout.is_integer())):
        expected = "expected a share above 0 and below 1, as 0.1 for a tenth, or a number of questions, as 500"
        raise SFTKeyError(f"--holdout {holdout:g}: {expected}")
    check_values(config)
    if config.holdout is not None and config.share is not None:
        raise SFTKeyError("--holdout and --share both divide the questions, expected one of them")
    if config.seed and config.holdout is None and config.share is None:
        raise SFTKeyError(f"--seed {config.seed} draws a holdout: name its share or size with --holdout")
    parse_share(config.share)
    if config.shard_bytes is not None and config.shard_bytes < 1:
        raise SFTKeyError(f"shard_bytes is {config.shard_bytes}, expected at least 1")
    return config


def parse_share(text: str | None) -> tuple[float, float] | None:
    """The two bounds that a text of `--share` names; None for None.

    Raises:
        SFTKeyError: It names none, or they are not in order between 0 and 1.
    """
    if text is None:
        return None
    first, _, end = text.partition(":")
    try:
        bounds = float(first), float(end)
    except ValueError:
        bounds = 1.0, 0.0
    if not 0 <= bounds[0] < bounds[1] <= 1:
        raise SFTKeyError(f"--share {text!r}: expected A:B with 0 <= A < B <= 1, as 0:0.8 for the first four fifths")
    return bounds


def config_json(config: BuildConfig) -> dict[str, Any]:
    """The configuration as the manifest holds it."""
    from pydantic import TypeAdapter

    found: dict[str, Any] = TypeAdapter(BuildConfig).dump_python(config, mode="json")
    return found
