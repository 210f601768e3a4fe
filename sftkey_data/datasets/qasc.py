"""QASC: grade-school science with eight options; two facts and what follows from them are the CoT.

Schema: `id`, `question`, `choices` (`text` and `label`, a list each), `answerKey` (a label, empty in the test split),
`fact1`, `fact2`, `combinedfact`, `formatted_question`.
Source: Khot et al. 2020, "QASC: A Dataset for Question Answering via Sentence Composition"; hub id allenai/qasc.
Licence: CC BY 4.0.
"""

from sftkey_data.datasets._facts import join_facts
from sftkey_data.extract import Parts, Row, text
from sftkey_data.extract.multiple_choice import ChoiceOptions, choice_index, choice_parts, labelled_choices

INPUT = "allenai/qasc"
FACTS = ("fact1", "fact2", "combinedfact")
COLUMNS = ("question", "choices", "answerKey", *FACTS)
Options = ChoiceOptions


def extract(row: Row, options: ChoiceOptions) -> Parts:
    """Both facts, then their combination; the Key is the answer's letter."""
    texts, labels = labelled_choices(row)
    index = choice_index(text(row, "answerKey"), labels)
    return choice_parts(text(row, "question"), join_facts([text(row, fact) for fact in FACTS]), texts, index, options)
