"""Any table: say on the command line which column is the prompt, the CoT and the Key.

Schema: yours. For example `--input x.csv --set prompt=question --set cot=working --set key=result`. A number becomes
its text, 145.0 the text `145`; a float that no short decimal says exactly is rejected. For parts that are found inside
a column write a `mine.toml`, for anything else a `mine.py`.
Source: your own rows, named with `--input`. Licence: that of your rows.
"""

from functools import lru_cache
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from sftkey_data.extract import AnswerType, Parts, Row
from sftkey_data.format.key_type import infer_answer_type
from sftkey_data.mapping.toml_mapping import ColumnMapping

COLUMNS = ()  # the options name them


class Options(BaseModel):
    """Which column is which part."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: str = Field("prompt", description="Column of the prompt.")
    cot: str = Field("cot", description="Column of the CoT.")
    key: str = Field("key", description="Column of the Key.")
    choices: str = Field("", description="Column with the list of option texts, if there is one.")
    answer_type: AnswerType | Literal["infer"] = Field("infer", description="Type of all answers, or from each Key.")

    def columns(self) -> tuple[str, ...]:
        """Columns every row must have."""
        return _mapping(self).columns


def extract(row: Row, options: Options) -> Parts:
    """The columns as they are."""
    parts = _mapping(options).extract(row)
    return parts._replace(answer_type=infer_answer_type(parts.key)) if options.answer_type == "infer" else parts


@lru_cache(maxsize=8)
def _mapping(options: Options) -> ColumnMapping:
    values = options.model_dump(exclude={"answer_type"} if options.answer_type == "infer" else set())
    return ColumnMapping.model_validate({**values, "choices": options.choices or None})
