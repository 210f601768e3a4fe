"""How long and at which rates a proposed recipe trains."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

STAGE1, STAGE2, CONTROL = "stage1", "sftkey", "continued"
_EPOCHS = {STAGE1: 3, STAGE2: 1, CONTROL: 1}
# Parameters up to which a learning rate of stage 1 is customary: what is smaller bears more.
_RATES = {300e6: 1e-4, 1e9: 2e-5, math.inf: 1e-5}
_LATER = 1 / 2
# A small model from scratch is to see about so many examples: of few rows, each more often. At the rate of its stage 1
# the answer alone would destroy what stage 1 has learned.
_SMALL_SEEN, _SMALL_EPOCHS, _SMALL_RATE, _SMALL_LATER = 20_000, (3, 20), 4e-3, 1 / 20


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


def course_from_scratch(num_examples: int) -> Course:
    """That of a small model which has learned nothing yet."""
    least, most = _SMALL_EPOCHS
    epochs = min(max(math.ceil(_SMALL_SEEN / num_examples), least), most)
    later = math.ceil(epochs / 4)
    return Course(epochs={STAGE1: epochs, STAGE2: later, CONTROL: later}, rate=_SMALL_RATE, later=_SMALL_LATER)
