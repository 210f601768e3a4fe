r"""Any chat: the last assistant turn holds the CoT and the Key, found by a template; what came before is the prompt.

Schema: `messages`, turns `{"role": …, "content": …}`, or `conversations` (ShareGPT), turns `{"from": …, "value": …}`; a
column `system` is a first system turn. The turn before the last assistant turn is the prompt, those before it are the
history, kept as they are; what follows the last assistant turn is left out.

The template is that of your rows, not that of the build: `think-boxed` reads `<think>…</think> \boxed{…}`. With
`--set free_text=true` text may stand between the CoT and the answer and after it, as reasoning models write; it is left
out. A turn that the template does not read is rejected under the template's code, unless `gold_field` names a column
with the answer.
Source: your own rows, named with `--input`. Licence: that of your rows.
"""

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from sftkey_data.datasets._keys import infer_answer_type
from sftkey_data.extract import AnswerType, Parts, Reject, Row, text
from sftkey_data.extract.cells import text_or_number
from sftkey_data.format.boxes import unwrap
from sftkey_data.format.marks import Malformed
from sftkey_data.format.template import BUILTIN, Template, load_template

COLUMNS = ()  # a row has either of two

ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
}

Turn = tuple[str, str]  # role and content


class Options(BaseModel):
    """How the last turn is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    template: str = Field("think-boxed", description="Template of the rows: a built-in one or a .toml file.")
    free_text: bool = Field(False, description="Allow text between the CoT and the answer, and after it.")
    gold_field: str = Field("", description="Column with the answer, for turns that the template does not read.")
    answer_type: AnswerType | Literal["infer"] = Field("infer", description="Type of all answers, or from each Key.")

    @field_validator("template")
    @classmethod
    def _known(cls, name: str) -> str:
        load_template(name)  # raises before the first row
        return name

    @cached_property
    def reader(self) -> Template:
        """The template that reads the last turn, loaded once."""
        template = load_template(self.template)
        return replace(template, free_text=True) if self.free_text else template

    def files(self) -> tuple[Path, ...]:
        """Files that decide how a row is read."""
        return () if self.template in BUILTIN else (Path(self.template),)


def extract(row: Row, options: Options) -> Parts:
    """The last assistant turn, read by the template."""
    turns = _turns(row)
    last = max((i for i, (role, _) in enumerate(turns) if role == "assistant"), default=-1)
    if last < 1 or turns[last - 1][0] != "user":
        found = ", ".join(role for role, _ in turns) or "none"
        raise Reject("unexpected_turns", f"expected an assistant turn right after a user turn, found {found}")
    cot, key = _answer(turns[last][1], row, options)
    return Parts(
        prompt=turns[last - 1][1],
        cot=cot,
        key=key,
        answer_type=_type_of(key, options),
        history=tuple(turns[: last - 1]),
    )


def _type_of(key: str, options: Options) -> AnswerType:
    """As the options say, else by the Key's text; what stands in a box is mathematics where nothing else fits."""
    if options.answer_type != "infer":
        return options.answer_type
    found = infer_answer_type(key)
    return "math" if found == "text" and _boxed(options.reader) else found


def _turns(row: Row) -> list[Turn]:
    column = "messages" if row.get("messages") is not None else "conversations"
    role_name, text_name = ("role", "content") if column == "messages" else ("from", "value")
    if row.get(column) is None:
        raise Reject("missing_column", f"expected 'messages' or 'conversations', found {', '.join(map(repr, row))}")
    turns = row[column]
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise Reject("wrong_type", f"{column} must be a list of turns, found {type(turns).__name__}")
    read = [(_role(turn.get(role_name)), _content(turn, text_name)) for turn in turns]
    if (system := row.get("system")) and isinstance(system, str) and not any(role == "system" for role, _ in read):
        return [("system", system), *read]
    return read


def _role(name: object) -> str:
    if not isinstance(name, str) or name.lower() not in ROLES:
        raise Reject("unknown_role", f"{name!r}, expected one of {', '.join(ROLES)}")
    return ROLES[name.lower()]


def _content(turn: dict[str, Any], name: str) -> str:
    """A turn's text; a list of text parts is joined."""
    parts = turn.get(name)
    if isinstance(parts, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in parts):
        return "".join(text(part, "text") for part in parts)
    return text(turn, name)


def _answer(content: str, row: Row, options: Options) -> tuple[str, str]:
    """CoT and Key; the gold column is the Key only where the template finds none."""
    template = options.reader
    try:
        cot, key = template.parse(content)
    except Malformed as malformed:
        if not options.gold_field:
            raise Reject(malformed.code, _hint(malformed.code, template)) from None
        cot, key = _cot_alone(content, template, malformed.code), _gold(row, options.gold_field)
    return (unwrap(cot), key) if _boxed(template) else (cot, key)


def _boxed(template: Template) -> bool:
    return template.before_key.rstrip().endswith("boxed{")


def _hint(code: str, template: Template) -> str:
    read = f"the last assistant turn is not what template {template.name!r} reads"
    around = code in ("text_before_key", "text_after_key") and not template.free_text
    return f"{read}; --set free_text=true allows text around the answer" if around else read


def _cot_alone(content: str, template: Template, code: str) -> str:
    """What stands between the CoT's tags, each of which must stand there once; all of it where there are none."""
    opening, closing = template.before_cot.strip(), template.after_cot.strip()
    if not opening:
        return content
    before, found, rest = content.partition(opening)
    cot, closed, after = rest.partition(closing)
    if before.strip() or not (found and closed) or opening in rest or closing in after:
        raise Reject(code, _hint(code, template))
    return cot


def _gold(row: Row, column: str) -> str:
    return text(row, column) if isinstance(row.get(column), bool) else text_or_number(row, column)
