"""Sen-Making: two sentences of which one is against common sense, with the reason why.

Schema: `id`, `sentence0`, `sentence1`, `false` (0 or 1: the sentence against common sense), `A`, `B`, `C` (reasons),
`reason` (the letter of the right reason). The Key is the letter of the sentence, the right reason the CoT.
Source: Wang et al. 2019, "Does It Make Sense? And Why? A Pilot Study for Sense Making and Explanation"; the file
dataset.jsonl of github.com/wangcunxiang/Sen-Making-and-Explanation. Licence: none stated.
"""

from sftkey_data.datasets._facts import join_facts
from sftkey_data.extract import Parts, Reject, Row, text
from sftkey_data.extract.multiple_choice import ChoiceOptions, choice_parts

INPUT = "https://raw.githubusercontent.com/wangcunxiang/Sen-Making-and-Explanation/master/dataset.jsonl"
COLUMNS = ("sentence0", "sentence1", "false", "A", "B", "C", "reason")
Options = ChoiceOptions

QUESTION = "Which of these two sentences is against common sense?"


def extract(row: Row, options: ChoiceOptions) -> Parts:
    """The sentences are the options."""
    reason, index = text(row, "reason").strip(), row["false"]
    if reason not in ("A", "B", "C"):
        raise Reject("missing_cot", f"reason must be A, B or C, found {reason!r}")
    if isinstance(index, bool) or index not in (0, 1):
        raise Reject("wrong_choice", f"false must be 0 or 1, found {index!r}")
    sentences = [text(row, "sentence0"), text(row, "sentence1")]
    return choice_parts(QUESTION, join_facts([text(row, reason)]), sentences, index, options)
