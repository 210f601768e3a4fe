"""GSM8K: grade-school word problems with worked solutions and a number as Key.

Schema: `question`; `answer` holds the worked solution, marks such as `<<48/2=24>>`, and a last line `#### 24`.
Source: Cobbe et al. 2021, "Training Verifiers to Solve Math Word Problems"; hub id openai/gsm8k, subset `main`.
Licence: MIT.
"""

import re

from sftkey_data.extract import Parts, Reject, Row, text

INPUT = "openai/gsm8k:main"
COLUMNS = ("question", "answer")

CALCULATOR_MARK = re.compile(r"<<[^<>]*>>")


def extract(row: Row) -> Parts:
    """Split the answer at its `####`; the Key is what follows, kept as written (a comma, a minus)."""
    cot, mark, key = text(row, "answer").rpartition("####")
    if not mark:
        raise Reject("missing_key", "answer must end in '#### KEY', found no '####'")
    return Parts(prompt=text(row, "question"), cot=CALCULATOR_MARK.sub("", cot), key=key, answer_type="number")
