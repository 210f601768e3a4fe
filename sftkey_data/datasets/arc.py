"""ARC: grade-school science questions, with explanations that you bring: the release itself has none.

Schema: as allenai/ai2_arc, `id`, `question`, `choices` (`text` and `label`, a list each), `answerKey` (a label: a
letter or a digit), and one column more that explains the answer, named with `--set cot=COLUMN`. There is no input by
default, because a question and its letter alone are no chain of thought. Explanations by experts for many of these
questions are in WorldTree and EntailmentBank (to be joined by `id`); others write them with a model.
Source: Clark et al. 2018, "Think you have Solved Question Answering? Try ARC, the AI2 Reasoning Challenge"; hub id
allenai/ai2_arc, without explanations. Licence: CC BY-SA 4.0.
"""

from pydantic import Field

from sftkey_data.extract import Parts, Row, text
from sftkey_data.extract.multiple_choice import ChoiceOptions, choice_index, choice_parts, labelled_choices

COLUMNS = ("question", "choices", "answerKey")


class Options(ChoiceOptions):
    """Where the explanation stands."""

    cot: str = Field("explanation", description="Column that explains the answer; allenai/ai2_arc has none.")

    def columns(self) -> tuple[str, ...]:
        """Columns every row must have."""
        return (*COLUMNS, self.cot)


def extract(row: Row, options: Options) -> Parts:
    """The explanation is the CoT; digits that label options become letters."""
    texts, labels = labelled_choices(row)
    index = choice_index(text(row, "answerKey"), labels)
    return choice_parts(text(row, "question"), text(row, options.cot), texts, index, options)
