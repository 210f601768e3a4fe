"""What a small tokenizer is trained on: each field is a flag of `sftkey-data tokenizer`."""

from dataclasses import dataclass, field
from typing import Annotated

from sftkey_data.building.build_config import DatasetOptions, Inputs, Limit, Split, TemplateName
from sftkey_data.options import Option, Panel

BYTES_AND_SPECIAL = 256 + 2  # every byte is a token, so that any text can be encoded; and the end and the padding


@dataclass(frozen=True, kw_only=True)
class TokenizerOptions:
    """The rows, as for a build, and how many tokens they may become."""

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
