"""How to read the rows of a source to show: each field is a flag of `sftkey-data show`."""

from dataclasses import dataclass, field
from typing import Annotated

from sftkey_data.building.build_config import Chat, ChatArguments, DatasetOptions, Inputs, Split, System, TemplateName
from sftkey_data.options import Option, Panel


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """Those options of a build that show how its examples look; the names are those of `BuildConfig`."""

    inputs: Inputs = ()
    split: Split = None
    template: TemplateName = None
    tokenizer: Annotated[
        str | None, Option(metavar="NAME|DIR", help="Rows of a source as its tokens.", panel=Panel.FORMAT)
    ] = None
    chat: Chat = False
    system: System = None
    chat_args: ChatArguments = field(default_factory=dict)
    options: DatasetOptions = field(default_factory=dict)
