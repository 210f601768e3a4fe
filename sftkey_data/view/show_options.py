"""How to read the rows of a source to show: each field is a flag of `sftkey-data show`."""

from dataclasses import dataclass, field
from typing import Annotated

from sftkey_data.build.build_config import DatasetOptions, Inputs, Split, TemplateName
from sftkey_data.options import Option


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """Those options of a build that show how its examples look; the names are those of `BuildConfig`."""

    inputs: Inputs = ()
    split: Split = None
    template: TemplateName = None
    tokenizer: Annotated[str | None, Option(help="Show the rows of a source as its tokens.")] = None
    options: DatasetOptions = field(default_factory=dict)
