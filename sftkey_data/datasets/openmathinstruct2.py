r"""OpenMathInstruct-2: 14 million solutions of Llama-3.1-405B to GSM8K, MATH and questions made from them.

Schema: `problem`, `generated_solution` (ends in `\boxed{…}`), `expected_answer`, `problem_source` (`gsm8k`, `math`,
`augmented_gsm8k`, `augmented_math`). The Key is the expected answer; for augmented problems it is the majority's.
Boxes inside the CoT are unwrapped. The splits `train_1M`, `train_2M` and `train_5M` are samples of `train`.
Source: Toshniwal et al. 2024, "OpenMathInstruct-2: Accelerating AI for Math with Massive Open-Source Instruction Data";
hub id nvidia/OpenMathInstruct-2. Licence: CC BY 4.0.
"""

from sftkey_data.extract import Parts, Row, text
from sftkey_data.format.boxes import unwrap
from sftkey_data.format.key_type import number_or

INPUT = "nvidia/OpenMathInstruct-2"
COLUMNS = ("problem", "generated_solution", "expected_answer")


def extract(row: Row) -> Parts:
    """The generated solution with its boxes unwrapped, and the expected answer."""
    key = text(row, "expected_answer")
    return Parts(
        prompt=text(row, "problem"),
        cot=unwrap(text(row, "generated_solution")),
        key=key,
        answer_type=number_or(key, "math"),
    )
