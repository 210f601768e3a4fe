"""OpenBookQA: elementary science questions; the fact that each was written around is the CoT.

Schema (subset `additional`, the one with facts): `id`, `question_stem`, `choices` (`text` and `label`, a list each),
`answerKey` (a label), `fact1`, `humanScore`, `clarity`, `turkIdAnonymized`.
Source: Mihaylov et al. 2018, "Can a Suit of Armor Conduct Electricity? A New Dataset for Open Book Question
Answering"; hub id allenai/openbookqa. Licence: stated as unknown on the hub.
"""

from sftkey_data.datasets._facts import join_facts
from sftkey_data.extract import Parts, Row, text
from sftkey_data.extract.multiple_choice import ChoiceOptions, choice_index, choice_parts, labelled_choices

INPUT = "allenai/openbookqa:additional"
COLUMNS = ("question_stem", "choices", "answerKey", "fact1")
Options = ChoiceOptions


def extract(row: Row, options: ChoiceOptions) -> Parts:
    """The fact is the CoT, the answer's letter the Key."""
    texts, labels = labelled_choices(row)
    index = choice_index(text(row, "answerKey"), labels)
    return choice_parts(text(row, "question_stem"), join_facts([text(row, "fact1")]), texts, index, options)
