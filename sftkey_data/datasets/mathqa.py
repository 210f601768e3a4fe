"""MathQA: multiple-choice word problems from AQuA-RAT, cleaned and annotated; the Key is the option's letter.

Schema: `Problem`, `Rationale` (often in quotation marks), `options`, one text such as `a ) 12 , b ) 15 , c ) 7.5` or
`['a ) 12', 'b ) 15', 'c ) 7.5']`, `correct` (a small letter), `annotated_formula`, `linear_formula`, `category`. All
text is lower case with spaces around its marks, and is kept so.
Source: Amini et al. 2019, "MathQA: Towards Interpretable Math Word Problem Solving with Operation-Based Formalisms";
hub id regisss/math_qa, the rows of allenai/math_qa without its loading script. Licence: Apache-2.0.
"""

import ast
import re

from sftkey_data.extract import Parts, Reject, Row, text
from sftkey_data.extract.multiple_choice import ChoiceOptions, choice_key, list_options

INPUT = "regisss/math_qa"
COLUMNS = ("Problem", "Rationale", "options", "correct")
Options = ChoiceOptions

LETTERS = "abcde"
_LABEL = re.compile(r"(?:^|,)\s*([a-e])\s*\)\s*")
_OPTION = re.compile(r"\s*([a-e])\s*\)(.*)", re.DOTALL)


def extract(row: Row, options: ChoiceOptions) -> Parts:
    """The options are listed below the problem; the Key is the letter of the correct one."""
    texts = split_options(text(row, "options"))
    correct = text(row, "correct").strip().lower()
    if len(correct) != 1 or correct not in LETTERS[: len(texts)]:
        raise Reject("missing_key", f"correct must be the letter of one of {len(texts)} options, found {correct!r}")
    return Parts(
        prompt=list_options(text(row, "Problem"), texts),
        cot=text(row, "Rationale").strip().strip('"').strip(),
        key=choice_key(LETTERS.index(correct), texts, options.key),
        answer_type="choice",
        choices=texts,
    )


def split_options(listed: str) -> tuple[str, ...]:
    """The texts of `a ) 12 , b ) 15` or `['a ) 12', 'b ) 15']`.

    Raises:
        Reject: `bad_options` where the letters are not a, b, c, … in order, or an option is empty.
    """
    options = _quoted(listed) if listed.startswith("[") else _joined(listed)
    texts = tuple(text.strip() for _, text in options)
    if len(texts) < 2 or not all(texts) or [letter for letter, _ in options] != list(LETTERS[: len(texts)]):
        raise Reject("bad_options", f"options must read 'a ) … , b ) …', found {listed[:80]!r}")
    return texts


def _joined(listed: str) -> list[tuple[str, str]]:
    labels = list(_LABEL.finditer(listed))
    ends = [label.start() for label in labels[1:]] + [len(listed)]
    return [(label[1], listed[label.end() : end]) for label, end in zip(labels, ends, strict=False)]


def _quoted(listed: str) -> list[tuple[str, str]]:
    """Letter and text of each string in a list that Python has printed; none where it is no such list."""
    try:
        strings = ast.literal_eval(listed)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return []
    found = [_OPTION.fullmatch(string) for string in strings if isinstance(string, str)]
    return [(option[1], option[2]) for option in found if option] if all(found) else []
