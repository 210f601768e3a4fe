r"""FLAN's chain-of-thought sets: AQuA, CREAK, ECQA, GSM8K, QASC, SenseMaking and StrategyQA as headerless TSV.

Schema: question, answer, rationale, separated by tabs, without quoting; a line break inside a field is written `\n`.
Options stand in the question below `Options:`, as `(A) text`, `- (A) text` or `- text`. An answer `(A)` gives the Key
`A`, of type choice; yes and no are boolean; a number without options is a number; an option's text is text.
Source: Longpre et al. 2023, "The Flan Collection", files flan/v2/cot_data/*_train.tsv of
github.com/google-research/FLAN, to be named with `--input`. Licence: Apache-2.0; the seven sets have their own.
"""

import re

from sftkey_data.extract import AnswerType, Parts, Reject, Row, text
from sftkey_data.format.key_type import infer_answer_type

FIELDS = ("question", "answer", "rationale")
COLUMNS = FIELDS

_LETTER = re.compile(r"\(([A-Z])\)")
_LETTERED_OPTION = re.compile(r"(?:- )?\(([A-Z])\) (.*)")
_PLAIN_OPTION = re.compile(r"- (.*)")


def extract(row: Row) -> Parts:
    """The rationale is the CoT; the Key's type follows from the answer and from how the options are listed."""
    question, answer, rationale = (text(row, column).replace("\\n", "\n").strip() for column in FIELDS)
    if letter := _LETTER.fullmatch(answer):
        choices = _lettered_options(question, letter[1])
        return Parts(prompt=question, cot=rationale, key=letter[1], answer_type="choice", choices=choices)
    return Parts(prompt=question, cot=rationale, key=answer, answer_type=_type_of(answer, question))


def _options(question: str) -> list[str]:
    return question.rpartition("\nOptions:\n")[2].split("\n") if "\nOptions:\n" in question else []


def _lettered_options(question: str, letter: str) -> tuple[str, ...]:
    found = [option for line in _options(question) if (option := _LETTERED_OPTION.fullmatch(line))]
    if letter not in (option[1] for option in found):
        raise Reject("missing_key", f"answer must be one of the listed options, found ({letter})")
    return tuple(option[2] for option in found)


def _type_of(answer: str, question: str) -> AnswerType:
    """An answer that is an option's text is text, whatever it looks like, unless the options are yes and no."""
    listed = [option[1] for line in _options(question) if (option := _PLAIN_OPTION.fullmatch(line))]
    return "text" if listed and {option.lower() for option in listed} != {"yes", "no"} else infer_answer_type(answer)
