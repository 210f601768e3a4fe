"""StrategyQA: yes-or-no questions whose steps are not stated; the facts that settle each are the CoT.

Schema: `qid`, `term`, `description`, `question`, `answer` (true or false), `facts` (a list of sentences),
`decomposition`; the release's own JSON has `evidence` besides.
Source: Geva et al. 2021, "Did Aristotle Use a Laptop? A Question Answering Benchmark with Implicit Reasoning
Strategies"; hub id havens2/strategyQA_train, the release's train file. Licence: MIT.
"""

from sftkey_data.datasets._facts import join_facts, truth_key
from sftkey_data.extract import Parts, Row, text
from sftkey_data.extract.multiple_choice import string_list

INPUT = "havens2/strategyQA_train"
COLUMNS = ("question", "answer", "facts")


def extract(row: Row) -> Parts:
    """The facts are the CoT; the Key is yes or no."""
    return Parts(
        prompt=text(row, "question"),
        cot=join_facts(string_list(row["facts"], "facts")),
        key=truth_key(row["answer"], "answer"),
        answer_type="boolean",
    )
