"""CoT Collection: 1.84 million rationales over 1,060 tasks of the Flan Collection; the Key is the task's target.

Schema: `source` (the whole prompt, options included), `target`, `rationale`, `task`, `type`. The type of the answer is
inferred from the target: an option letter, yes or no, a number, else text.
Source: Kim et al. 2023, "The CoT Collection: Improving Zero-shot and Few-shot Learning of Language Models via
Chain-of-Thought Fine-Tuning"; hub id nguyen-brat/CoT-Collection, the rows of kaist-ai/CoT-Collection without its
loading script, which `datasets` no longer runs. Licence: CC BY 4.0.
"""

from sftkey_data.extract import Parts, Row, text
from sftkey_data.format.key_type import infer_answer_type

INPUT = "nguyen-brat/CoT-Collection"
COLUMNS = ("source", "target", "rationale")


def extract(row: Row) -> Parts:
    """The rationale explains the target; both are kept as written."""
    key = text(row, "target")
    return Parts(prompt=text(row, "source"), cot=text(row, "rationale"), key=key, answer_type=infer_answer_type(key))
