"""How long and at which rates a proposed recipe trains."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

STAGE1, STAGE2, CONTROL = "stage1", "sftkey", "continued"
_EPOCHS = {STAGE1: 3, STAGE2: 1, CONTROL: 1}
# Parameters up to which a learning rate of stage 1 is customary: what is smaller bears more.
_RATES = {300e6: 1e-4, 1e9: 2e-5, math.inf: 1e-5}
_LATER = 1 / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """Epochs of each stage, the learning rate of stage 1, and what share of it the later ones have."""

    epochs: Mapping[str, int]
    rate: float
    later: float

    def num_steps(self, stage: str, num_examples: int, batch_size: int) -> int:
        """Of a stage."""
        return math.ceil(num_examples * self.epochs[stage] / batch_size)


def course_of_pretrained(num_parameters: int) -> Course:
    """That of a pretrained model, at customary rates."""
    rate = next(rate for most, rate in _RATES.items() if num_parameters <= most)
    return Course(epochs=_EPOCHS, rate=rate, later=_LATER)
