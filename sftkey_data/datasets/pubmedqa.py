"""PubMedQA: research questions answered yes, no or maybe from an abstract; its conclusion is the CoT.

Schema (subset `pqa_labeled`): `pubid`, `question`, `context` (`contexts`, `labels`, `meshes`, … a list each; the
abstract's sections and their names), `long_answer` (the conclusion), `final_decision`. The prompt is the abstract
without its conclusion, then the question. Of type boolean are yes and no; maybe is text. The subset `pqa_artificial`
has the same columns, its answers made by rules.
Source: Jin et al. 2019, "PubMedQA: A Dataset for Biomedical Research Question Answering"; hub id qiaojin/PubMedQA.
Licence: MIT.
"""

from sftkey_data.extract import Parts, Reject, Row, text
from sftkey_data.extract.multiple_choice import string_list

INPUT = "qiaojin/PubMedQA:pqa_labeled"
COLUMNS = ("question", "context", "long_answer", "final_decision")


def extract(row: Row) -> Parts:
    """The conclusion is the CoT, the decision the Key."""
    key = text(row, "final_decision").strip().lower()
    if key not in ("yes", "no", "maybe"):
        raise Reject("missing_key", f"final_decision must be yes, no or maybe, found {key!r}")
    return Parts(
        prompt=f"{_abstract(row['context'])}\n\n{text(row, 'question').strip()}",
        cot=text(row, "long_answer"),
        key=key,
        answer_type="text" if key == "maybe" else "boolean",
    )


def _abstract(context: object) -> str:
    """The sections, each under its name, as `METHODS: …`."""
    if not isinstance(context, dict):
        raise Reject("wrong_type", f"context must hold the lists contexts and labels, found {type(context).__name__}")
    sections, names = (string_list(context.get(part), f"context.{part}") for part in ("contexts", "labels"))
    if len(sections) != len(names) or not sections:
        raise Reject("wrong_type", f"context has {len(sections)} sections and {len(names)} names")
    return "\n".join(f"{name.strip()}: {section.strip()}" for name, section in zip(names, sections, strict=True))
