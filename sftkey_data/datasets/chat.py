r"""Any chat: the last assistant turn holds the CoT and the Key, found by a template; what came before is the prompt.

Schema: `messages` (or `conversations`, `conversation`), turns `{"role": …, "content": …}` or `{"from": …, "value": …}`;
or a pair such as `prompt` and `completion` (texts or turns), or Alpaca's `instruction`, `input` and `output`. A content
may be a list of parts, text and thinking. Reasoning that stands beside an answer (`reasoning_content`, `reasoning`,
`thinking`, …) is its CoT, and a turn that only closes its `</think>` was opened by its prompt. A column `system` is a
first system turn. The turn before the last assistant turn is the prompt, those before it are the history, kept as they
are; only the last assistant turn is trained on, and what follows it is left out. Tools are not read.

The template is that of the rows, and the default of `--template`: the built-in one that reads the first rows, unless
`--set template=` names one. With `--set free_text=true` text may stand between the CoT and the answer and after it, as
reasoning models write; it is left out, and counted. A turn that the template does not read is rejected under the
template's code, unless `gold_field` names a column with the answer. Rejected by design are turns that say not to be
trained on, as `weight: 0` and its like do (`not_trained`), and answers labelled as not wanted, as `label: false` of KTO
does (`unwanted_answer`); both on earlier turns say what is done anyway.
Source: your own rows, named with `--input`. Licence: that of your rows.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from sftkey_data.datasets._chat_answer import (
    Answer,
    detect_template,
    gold_answer,
    is_boxed,
    is_exact,
    read_answer,
    rest_answer,
    tags_of_another,
    written_answer,
)
from sftkey_data.datasets._chat_turns import Turn, read_turns
from sftkey_data.errors import SFTKeyError
from sftkey_data.extract import AnswerType, Parts, Reject, Row, text
from sftkey_data.extract.cells import text_or_number
from sftkey_data.extract.training_flags import said_by
from sftkey_data.format.key_type import infer_answer_type
from sftkey_data.format.marks import Malformed
from sftkey_data.format.template import BUILTIN, Template, load_template

COLUMNS = ()  # a row has one of several
EXPECTED_REJECTS = ("not_trained", "unwanted_answer")

AUTO = "auto"
USUAL = "think-boxed"  # where no rows were looked at
ONE_LAYOUT = 0.95  # of the first rows that are read at all; the others are rejected, more is a mixture
MAX_SHOWN_END = 60  # characters of an answer in a message


class Options(BaseModel):
    """How the last turn is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    template: str = Field(
        AUTO, description="Template of the rows: a built-in one, a .toml file, or auto: the one of the first rows."
    )
    free_text: bool = Field(False, description="Allow text between the CoT and the answer, and after it.")
    key: Literal["marked", "rest"] = Field(
        "marked", description="Where the Key is: `marked` as the template says, or the whole `rest` after the CoT."
    )
    turns: str = Field("", description="Column with the turns, or with the completion of the row's prompt.")
    reasoning: str = Field("", description="Field of a turn, or column, with the reasoning.")
    gold_field: str = Field("", description="Column with the answer, for turns that the template does not read.")
    answer_type: AnswerType | Literal["infer"] = Field("infer", description="Type of all answers, or from each Key.")

    @field_validator("template")
    @classmethod
    def _known(cls, name: str) -> str:
        if name != AUTO:
            load_template(name)  # raises before the first row
        return name

    @cached_property
    def reader(self) -> Template:
        """The template that reads the last turn, loaded once."""
        template = load_template(USUAL if self.template == AUTO else self.template)
        return replace(template, free_text=True) if self.free_text else template

    def files(self) -> tuple[Path, ...]:
        """Files that decide how a row is read."""
        return () if self.template in (AUTO, *BUILTIN) else (Path(self.template),)

    def output_template(self) -> str | None:
        """The template to write with where none is named: that of the rows."""
        return None if self.key == "rest" else USUAL if self.template == AUTO else self.template


def settle(options: Options, rows: Sequence[Row]) -> tuple[Options, str]:
    """The options with the template that the first rows are written in, and what to say of it.

    Raises:
        SFTKeyError: None of the rows can be read, or they are of several layouts.
    """
    answers, rejects = list[Turn](), list[Reject]()
    for row in rows:
        try:
            turns, last = _conversation(row, options)
            answers.append(turns[last])
        except Reject as reject:
            rejects.append(reject)
    if not answers and rejects:
        raise SFTKeyError(f"chat: none of the first {len(rows)} rows can be read; the first: {rejects[0]}")
    if options.template != AUTO or options.key == "rest" or not answers:
        return options, ""
    return _detected(options, answers)


def _detected(options: Options, answers: list[Turn]) -> tuple[Options, str]:
    found = detect_template(answers)
    total, best = found.read.total(), found.best
    if not total:
        if options.gold_field:
            return options.model_copy(update={"template": USUAL}), ""
        raise SFTKeyError(
            f"chat: no built-in template reads the answers of the first {len(answers)} rows; the first ends in "
            f"{answers[0].content[-MAX_SHOWN_END:]!r}: name their template with --set template=NAME or a .toml file, "
            "the column with the answer with --set gold_field=COLUMN, or take all after the CoT with --set key=rest"
        )
    counts = ", ".join(f"{name} {n}" for name, n in found.read.most_common() if n)
    if found.read[best] < ONE_LAYOUT * total:
        raise SFTKeyError(
            f"chat: the first {len(answers)} rows are written in several templates ({counts}): build them apart, or "
            "name the one to read with --set template=NAME; the others are rejected then"
        )
    around = found.read[best] - found.strictly[best]
    if around > (1 - ONE_LAYOUT) * found.read[best] and not options.free_text:
        raise SFTKeyError(
            f"chat: of the first {len(answers)} rows, {around} have text around the answer that template {best!r} does "
            f"not keep: --set free_text=true allows it, and counts what is left out; --set template={best} rejects them"
        )
    exact = sum(is_exact(turn, BUILTIN[best]) for turn in answers)
    said = f"template of the rows: {best} (of the first {len(answers)} answers: {counts}; {exact} byte for byte)"
    return options.model_copy(update={"template": best}), said


def extract(row: Row, options: Options) -> Parts:
    """The last assistant turn, read by the template."""
    turns, last = _conversation(row, options)
    turn, asked, history = turns[last], turns[last - 1], turns[: last - 1]
    _refuse_untrained(row, turns[:last], turn)
    answer = _answer(turn, row, options)
    opening = options.reader.before_cot.strip()
    prompt = asked.content
    if opening and prompt.rstrip().endswith(opening):  # it opens the CoT that the turn only closes
        prompt = prompt.rstrip().removesuffix(opening)
    return Parts(
        prompt=prompt,
        cot=answer.cot,
        key=answer.key,
        answer_type=_type_of(answer.key, options),
        history=tuple((earlier.role, earlier.content) for earlier in history),
        left_out=(*answer.left_out, *_of_other_turns(history, turns[last + 1 :])),
    )


def _conversation(row: Row, options: Options) -> tuple[list[Turn], int]:
    """All turns, and which of them is the last answer."""
    turns = read_turns(row, options.turns, options.reasoning)
    last = max((i for i, turn in enumerate(turns) if turn.role == "assistant"), default=-1)
    if last < 1 or turns[last - 1].role != "user":
        found = ", ".join(turn.role for turn in turns) or "none"
        raise Reject("unexpected_turns", f"expected an assistant turn right after a user turn, found {found}")
    return turns, last


def _of_other_turns(history: list[Turn], after: list[Turn]) -> tuple[tuple[str, str], ...]:
    """What is not trained on of the turns before and after the answer, as far as they do not say so themselves."""
    earlier = [turn for turn in history if turn.role == "assistant"]
    found = {
        "earlier_answers": "\n\n".join(turn.content for turn in earlier if not _is_untrained(turn)),
        "turns_after_answer": "\n\n".join(turn.content for turn in after),
        "earlier_reasoning": "\n\n".join(turn.reasoning for turn in earlier if turn.reasoning),
    }
    return tuple((name, content) for name, content in found.items() if content)


def _refuse_untrained(row: Row, earlier: list[Turn], turn: Turn) -> None:
    for said in [*said_by(row), *(() if turn.row is row else said_by(turn.row, turn.place))]:
        if said.leaves_out:
            raise Reject("not_trained", f"{said.shown}, so the answer is not to be trained on")
        if said.name in ("label", "kto_tag"):
            raise Reject("unwanted_answer", f"{said.shown}, so the answer is not a wanted one")
    for other in earlier:  # not trained on anyway: the flag is looked at, and does what it says
        for said in said_by(other.row):
            if said.leaves_out:
                other.row.get(said.name)


def _is_untrained(turn: Turn) -> bool:
    return any(said.leaves_out for said in said_by(turn.row))


def _type_of(key: str, options: Options) -> AnswerType:
    """As the options say, else by the Key's text; what stands in a box is mathematics where nothing else fits."""
    if options.answer_type != "infer":
        return options.answer_type
    found = infer_answer_type(key)
    return "math" if found == "text" and options.key == "marked" and is_boxed(options.reader) else found


def _answer(turn: Turn, row: Row, options: Options) -> Answer:
    """CoT and Key; the gold column is the Key only where the template finds none."""
    template = options.reader
    content = written_answer(turn, template)
    if options.key == "rest":
        return rest_answer(content, template)
    if (tag := tags_of_another(turn.content, template)) is not None:
        raise Reject("tagged_cot", f"the answer holds {tag!r}, which template {template.name!r} takes for text")
    try:
        return read_answer(content, template)
    except Malformed as malformed:
        if not options.gold_field:
            raise Reject(malformed.code, _hint(malformed.code, template)) from None
        return gold_answer(content, template, malformed.code, _gold(row, options.gold_field))


def _hint(code: str, template: Template) -> str:
    read = f"the last assistant turn is not what template {template.name!r} reads"
    around = code in ("text_before_key", "text_after_key") and not template.free_text
    return f"{read}; --set free_text=true allows text around the answer" if around else read


def _gold(row: Row, column: str) -> str:
    return text(row, column) if isinstance(row.get(column), bool) else text_or_number(row, column)
